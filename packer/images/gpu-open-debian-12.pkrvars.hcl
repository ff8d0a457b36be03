# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 12 with NVIDIA's open driver, for GPUs from Turing to Hopper. Its lock is
# locks/debian-12-amd64-open.lock.json. It is built on a machine without a GPU.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-12-amd64-*"
volume_size        = 16
megabytes          = 5000

gpu = {
  family      = "hopper"
  driver      = "open"
  secure_boot = false
}
