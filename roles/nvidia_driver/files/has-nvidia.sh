#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# has-nvidia gpu|switch: whether this host has one. Asks sysfs only: no driver, no lspci, no network.
set -eu

case "${1:-}" in
  gpu) wanted=0x03 ;;      # display controllers, with and without a screen
  switch) wanted=0x0680 ;; # bridges: NVSwitch
  *)
    echo "has-nvidia: say gpu or switch" >&2
    exit 2
    ;;
esac

for device in "${SYSFS_ROOT:-/sys}"/bus/pci/devices/*; do
  # One that cannot be read says nothing of the others.
  [ -r "$device/vendor" ] && [ -r "$device/class" ] || continue
  read -r vendor <"$device/vendor" && read -r class <"$device/class" || continue
  case "$vendor $class" in "0x10de $wanted"*) exit 0 ;; esac
  # Blackwell's switches are behind a network adapter of Mellanox that says so in its vital product data.
  if [ "$1 $vendor" = "switch 0x15b3" ] && grep -qs SMDL=SW_MNG "$device/vpd"; then exit 0; fi
done
exit 1
