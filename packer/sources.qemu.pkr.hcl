# SPDX-License-Identifier: GPL-3.0-or-later
# A virtual machine on this one, from one of Debian's cloud images: the result is a file, for whatever boots qcow2.

source "qemu" "debian" {
  vm_name          = "${local.image_name}.qcow2"
  output_directory = "${var.qemu.output}/${local.image_name}"
  iso_url          = var.qemu.image
  iso_checksum     = var.qemu.checksum
  disk_image       = true
  format           = "qcow2"
  disk_size        = "${var.volume_size}G"
  disk_interface   = "virtio"
  disk_discard     = "unmap"
  net_device       = "virtio-net"
  machine_type     = "q35"
  cpu_model        = var.qemu.accelerator == "kvm" ? "host" : "max"
  accelerator      = var.qemu.accelerator
  cpus             = 2
  memory           = 4096
  headless         = true

  # The plugin makes no key of its own. cloud-init lets this one in from a disk that is gone with the build; image_cleanup
  # takes it off the image.
  cd_label = "cidata"
  cd_content = {
    "meta-data" = jsonencode({ "instance-id" = local.image_name })
    "user-data" = "#cloud-config\n${jsonencode({ ssh_authorized_keys = [var.qemu.public_key] })}\n"
  }
  ssh_username              = var.ssh_username
  ssh_private_key_file      = var.qemu.private_key_file
  ssh_keep_alive_interval   = "-1s"
  ssh_timeout               = "15m"
  ssh_clear_authorized_keys = true
  shutdown_command          = "sudo shutdown --poweroff now"
}
