# SPDX-License-Identifier: GPL-3.0-or-later
# find.sh [MEGABYTES]: prints what is wrong with an image, one thing a line; nothing when all is well. Packages that may be held come on
# stdin; MEGABYTES is what the image may take on its disk, 0 or nothing for any size.
set -eu
held=$(cat)
budget=${1:-0}

# Size
if [ "$budget" -gt 0 ]; then
  used=$(du -xsm / 2>/dev/null | cut -f1)
  [ "$used" -le "$budget" ] || echo "it takes $used MB and may take $budget; most of it is in" \
    "$(du -xm --max-depth 3 /usr /var /opt 2>/dev/null | sort -rn | awk '$2 ~ "/.*/.*/" && n++ < 4 {printf "%s%s (%s MB)", (n > 1 ? ", " : ""), $2, $1}')"
fi

# Packages
dpkg --audit 2>&1 | sed -n 's/^ \([a-z0-9][^ ]*\) .*/the package \1 is half installed/p'
holds=$(apt-mark showhold) # once: it reads all of apt's lists each time
for name in $holds; do
  printf '%s\n' "$held" | grep -qxF "$name" || echo "$name is held, and would miss its security updates"
done
for name in $held; do
  printf '%s\n' "$holds" | grep -qxF "$name" || echo "$name is not held"
done
apt-get --simulate -o Debug::NoLocking=1 dist-upgrade | sed -nE 's/^(Inst|Remv) ([^ ]+) .*/\2/p' | while read -r name; do
  if printf '%s\n' "$held" | grep -qxF "$name"; then echo "an upgrade would touch $name"; fi
  case "$name" in linux-image-[0-9]* | linux-headers-[0-9]*) [ -z "$held" ] || echo "an upgrade would bring $name" ;; esac
done

# Kernels. An image without one gets it from where it runs.
kernels=$(for vmlinuz in /boot/vmlinuz-*; do [ ! -e "$vmlinuz" ] || echo "${vmlinuz#/boot/vmlinuz-}"; done)
[ "$(printf '%s' "$kernels" | grep -c .)" -le 1 ] || echo "there are several kernels: $(echo $kernels)"
for kernel in $kernels; do
  [ -s "/lib/modules/$kernel/modules.dep" ] || echo "depmod was not run for $kernel"
  [ -s "/boot/initrd.img-$kernel" ] || echo "$kernel has no initramfs"
done

# Modules that were compiled: each for a kernel that is there, found by it, and signed.
for module in /lib/modules/*/updates/dkms/*.ko*; do
  [ -e "$module" ] || continue
  kernel=${module#/lib/modules/} && kernel=${kernel%%/*}
  name=$(basename "$module") && name=${name%%.ko*}
  printf '%s\n' "$kernels" | grep -qxF "$kernel" || echo "$name was compiled for $kernel, and that kernel is not there"
  told=$(modinfo "$module" 2>/dev/null) || true # once: the whole module is unpacked each time
  vermagic=$(printf '%s\n' "$told" | sed -n 's/^vermagic: *//p')
  case "$vermagic" in "$kernel "*) ;; *) echo "$name does not fit $kernel: $vermagic" ;; esac
  printf '%s\n' "$told" | grep -q '^signer: *[^ ]' || echo "$name is not signed"
  grep -q "/$(basename "$module"):" "/lib/modules/$kernel/modules.dep" || echo "$kernel does not know $name: depmod was not run after it"
done
if command -v dkms >/dev/null; then
  dkms status 2>/dev/null | grep -vE ': installed' | sed 's/^/dkms did not finish /' || true
fi

# Services that start at boot
for unit in /etc/systemd/system/multi-user.target.wants/*.service; do
  [ -e "$unit" ] || continue
  program=$(sed -n 's/^ExecStart=[-@:+!]*\(\/[^ ]*\).*/\1/p' "$unit" | head -n 1)
  if [ -n "$program" ] && [ ! -e "$program" ]; then echo "$(basename "$unit") starts $program, which is not there"; fi
done
