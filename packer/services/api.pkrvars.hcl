# SPDX-License-Identifier: GPL-3.0-or-later
# The conversion API: takes requests, hands the work to NATS.

family = "api"
roles  = ["boring.fleet.base", "boring.fleet.host_secrets", "boring.fleet.conversion_api"]

role_files = {
  conversion_api_wheelhouse = "build/wheelhouse/api"
}
