# SPDX-License-Identifier: GPL-3.0-or-later
# Redis and NATS: both are in the image, a host's configuration says which of them runs.

family = "data"
roles  = ["boring.fleet.base", "boring.fleet.redis", "boring.fleet.nats"]
