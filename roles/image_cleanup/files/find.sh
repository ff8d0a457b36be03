# SPDX-License-Identifier: GPL-3.0-or-later
# Prints what must not be in an image, one thing a line; nothing when all is well. Takes directories like remove.sh.
set -eu

files() { # what, then where and which
  what=$1
  shift
  find "$@" 2>/dev/null | sed "s|^|$what |"
}

while read -r directory; do files "state" "$directory" -xdev ! -type d; done

files "package list" /var/lib/apt/lists -xdev -type f -not -name lock
files "package" /var/cache/apt/archives -xdev -name '*.deb'
files "start-up guard" /usr/sbin/policy-rc.d
files "instance data" /var/lib/cloud/instances /var/lib/cloud/instance /var/lib/cloud/seed /var/log/cloud-init.log -xdev \
  \( -type f -o -type l \) -size +0
files "host key" /etc/ssh -xdev -name 'ssh_host_*_key*'
files "random seed" /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
files "signing key" /var/lib/dkms/mok.key /var/lib/shim-signed/mok -type f
files "key that lets somebody in" /root /home -xdev -name 'authorized_keys*'
files "known host" /root /home -xdev -name 'known_hosts*'
files "history" /root /home -xdev -name '.*_history'
files "Ansible's directory" /root /home -xdev -maxdepth 2 -name .ansible
files "log" /var/log -xdev -type f -size +0
files "temporary file" /tmp /var/tmp -xdev -mindepth 1 -not -path '*/systemd-private-*' -not -path '/tmp/ansible_*'
if [ -s /etc/machine-id ]; then echo "machine-id /etc/machine-id"; fi
grep -rlsE '^[^#/]*Acquire::[a-z]+::Proxy' /etc/apt | sed 's|^|proxy of the build |' || true
grep -rlsE -e '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' /etc /root /home /opt /srv /var/lib |
  grep -v '^/etc/ssl/private/ssl-cert-snakeoil.key$' | sed 's|^|private key |' || true
