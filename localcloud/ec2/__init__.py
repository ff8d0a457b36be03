# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 with real hosts: moto keeps the API's resources, the fleet keeps the hosts, and this ties one to the other."""
