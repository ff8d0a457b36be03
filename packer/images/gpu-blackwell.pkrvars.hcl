# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 13 with NVIDIA's open driver of its own repository, for GPUs from Turing to Blackwell. Its lock is to be made:
# docs/images.md says how. It is built on a machine without a GPU.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-13-amd64-*"
volume_size        = 16
megabytes          = 6000

gpu = {
  family      = "blackwell"
  driver      = "open"
  secure_boot = false
}
