# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 12 on a machine without a GPU. The lock is locks/debian-12-amd64-none.lock.json, if the kernel is to be pinned.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-12-amd64-*"
megabytes          = 2500
