# SPDX-License-Identifier: GPL-3.0-or-later
# find.sh KERNEL VERSION FLAVOUR MODULE: prints what is wrong with the driver, one thing a line; nothing when all is well.
# The lock's packages come on stdin: NAME VERSION. Nothing is loaded, and no GPU is needed.
set -eu
kernel=$1 version=$2 flavour=$3 module=$4

holds=$(apt-mark showhold) # once: it reads all of apt's lists each time
installed=$(dpkg-query --show --showformat '${Package} ${Version}\n')
while read -r name wanted; do
  [ -n "$name" ] || continue # what stdin ends with
  there=$(printf '%s\n' "$installed" | awk -v name="$name" '$1 == name {print $2}')
  [ "$there" = "$wanted" ] || echo "$name is ${there:-nothing} and not $wanted"
  printf '%s\n' "$holds" | grep -qxF "$name" || echo "$name is not held"
done

# Debian calls the module nvidia-current, nvidia-current-open or nvidia-tesla-535, and modprobe loads it when it is asked for nvidia.
told=$(modinfo -k "$kernel" "$module" 2>/dev/null) || true # once: the whole module is unpacked each time
field() { printf '%s\n' "$told" | sed -n "s/^$1: *//p" | head -n 1; }
[ "$(field version)" = "$version" ] || echo "the module $module for $kernel is version '$(field version)' and not $version"
case "$(field vermagic)" in "$kernel "*) ;; *) echo "the module $module is made for '$(field vermagic)'" ;; esac
[ -n "$(field signer)" ] || echo "the module $module is not signed"
case "$flavour $(field license)" in
  "open Dual MIT/GPL" | "proprietary NVIDIA" | "tesla NVIDIA") ;;
  *) echo "the module's licence '$(field license)' is not that of the $flavour driver" ;;
esac
case "$(modprobe --set-version "$kernel" --show-depends --ignore-install "$module" 2>&1)" in
  *"/updates/dkms/$module.ko"*) ;;
  *) echo "modprobe does not find $module for $kernel" ;;
esac
if [ "$flavour" = open ]; then
  ls "/lib/firmware/nvidia/$version"/gsp_*.bin >/dev/null 2>&1 || echo "there is no GSP firmware of $version, and the open driver needs it"
fi

case "$(modprobe --set-version "$kernel" --dry-run --verbose nouveau 2>&1)" in
  *"/bin/false"*) ;;
  *"not found"*) ;; # the kernel has none
  *) echo "nouveau can be loaded" ;;
esac
initramfs=$(lsinitramfs "/boot/initrd.img-$kernel")
case "$initramfs" in */nouveau.ko*) echo "nouveau is in the initramfs" ;; esac
case "$initramfs" in
  *etc/modprobe.d/boring-fleet-nouveau.conf*) ;;
  *) echo "the initramfs does not know that nouveau is kept out" ;;
esac

for key in /var/lib/dkms/mok.key /run/boring-fleet-signing/key.pem; do [ ! -e "$key" ] || echo "the signing key $key is there"; done
apt-get --simulate -o Debug::NoLocking=1 dist-upgrade |
  sed -nE 's/^(Inst|Remv) ([^ ]*nvidia[^ ]*|libcuda[^ ]*|linux-(image|headers)-[^ ]*) .*/an upgrade would touch \2/p'
