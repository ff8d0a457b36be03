# SPDX-License-Identifier: GPL-3.0-or-later
# Directories of services' state come on stdin, one a line.
set -eu

while read -r directory; do
  [ ! -d "$directory" ] || find "$directory" -xdev ! -type d -delete
done

# Packages: the lists are days old when the image boots.
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -f /usr/sbin/policy-rc.d

# What cloud-init knows of this machine. A seed may be mounted: then it is not part of the image.
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
if [ -d /var/lib/cloud/seed ]; then find /var/lib/cloud/seed -xdev -mindepth 1 -delete 2>/dev/null || true; fi
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init

# Identity. An empty machine-id is filled at the next boot; "uninitialized" would enable every unit there is (presets).
: >/etc/machine-id
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dkms/mok.key /var/lib/dkms/mok.pub
rm -rf /var/lib/dhcp/*.leases /var/lib/NetworkManager/*.lease

# Who was here.
for home in /root /home/*; do
  rm -rf "$home"/.ssh "$home"/.ansible "$home"/.cache "$home"/.local/share/*_history "$home"/.*_history \
    "$home"/.wget-hsts "$home"/.viminfo "$home"/.lesshst "$home"/.sudo_as_admin_successful
done
rm -rf /var/lib/sudo/lectured/* /run/sudo/ts/*

# Logs. The journal goes on in memory until the machine stops.
if command -v journalctl >/dev/null; then journalctl --quiet --relinquish-var || true; fi
rm -rf /var/log/journal/*
find /var/log -xdev -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
find /var/log -xdev -type f -exec truncate --size 0 {} +
# What Ansible runs from right now removes itself.
find /tmp /var/tmp /var/crash -xdev -mindepth 1 -not -path '*/systemd-private-*' -not -path '/tmp/ansible_*' \
  -delete 2>/dev/null || true
