# SPDX-License-Identifier: GPL-3.0-or-later
# Profile: Debian 13 for arm64 with NVIDIA's driver, for the T4G of g5g machines. Its lock is locks/debian-13-arm64-proprietary.lock.json.
# It is built on a machine without a GPU.
# Images for arm64 were validated only: none was built or booted.

source_image_owner = "136693071363" # Debian
source_image_name  = "debian-13-arm64-*"
instance_type      = "c7g.large"
volume_size        = 16
megabytes          = 5000

gpu = {
  family      = "turing"
  driver      = "proprietary"
  secure_boot = false
}
