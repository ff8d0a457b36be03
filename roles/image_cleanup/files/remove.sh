# SPDX-License-Identifier: GPL-3.0-or-later
# What takes a program of its own; files go by the rules in vars/main.yml.
set -eu

apt-get clean

# What cloud-init knows of this machine.
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi

# The journal goes on in memory until the machine stops.
if command -v journalctl >/dev/null; then journalctl --quiet --relinquish-var || true; fi
