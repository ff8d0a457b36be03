# SPDX-License-Identifier: GPL-3.0-or-later
# The conversion engine: takes work from NATS, converts, caches in Redis.

family = "engine"
roles  = ["boring.fleet.base", "boring.fleet.host_secrets", "boring.fleet.conversion_engine"]

role_files = {
  conversion_engine_wheelhouse = "build/wheelhouse/engine"
}

# It has no effect in an image without a driver.
role_variables_json = "{\"nvidia_driver_needed_by\": [\"conversion-engine.service\"]}"
