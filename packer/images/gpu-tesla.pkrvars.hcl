# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 13 with NVIDIA's driver of the branch with long support, for GPUs from Volta to Hopper. Its lock is
# locks/debian-13-amd64-tesla.lock.json. It is built on a machine without a GPU.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-13-amd64-*"
volume_size        = 16
megabytes          = 5000

gpu = {
  family      = "ampere"
  driver      = "tesla"
  secure_boot = false
}
