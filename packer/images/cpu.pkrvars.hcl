# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 13 on a machine without a GPU.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-13-amd64-*"
megabytes          = 2500
