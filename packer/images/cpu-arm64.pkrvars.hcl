# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 13 for arm64 on a machine without a GPU. The lock is locks/debian-13-arm64-none.lock.json, if the kernel is to be pinned.
# Images for arm64 were validated only: none was built or booted.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-13-arm64-*"
instance_type      = "c7g.large"
megabytes          = 2500
