# SPDX-License-Identifier: GPL-3.0-or-later
# Google Compute Engine. A label takes 63 characters and no colon, so the whole fingerprint is in the description.

source "googlecompute" "debian" {
  project_id        = var.google.project
  zone              = var.google.zone
  image_name        = local.image_name
  image_family      = "boring-${var.family}"
  image_description = "${var.family}, fingerprint ${var.fingerprint == "" ? "by-hand" : var.fingerprint}"
  image_labels = {
    "boring-family"      = var.family
    "boring-fingerprint" = local.identity
  }

  source_image_family     = var.google.source_image_family
  source_image_project_id = ["debian-cloud"]
  # Debian's images trust Google's and Microsoft's keys; modules signed with yours need image_signatures_db, which this plugin
  # cannot set: enrol the certificate where the image is used.
  enable_secure_boot          = var.gpu.secure_boot
  enable_vtpm                 = true
  enable_integrity_monitoring = true
  image_guest_os_features     = ["GVNIC", "UEFI_COMPATIBLE", "VIRTIO_SCSI_MULTIQUEUE"]

  machine_type                    = var.google.machine_type
  disk_size                       = max(var.volume_size, 10)
  disk_type                       = "pd-balanced"
  subnetwork                      = var.google.subnetwork
  omit_external_ip                = var.google.internal
  use_internal_ip                 = var.google.internal
  disable_default_service_account = true
  metadata                        = { "enable-oslogin" = "FALSE", "block-project-ssh-keys" = "TRUE" }
  labels                          = { "boring-family" = var.family, "boring-builder" = "packer" }

  ssh_username            = var.ssh_username
  ssh_keep_alive_interval = "-1s"
  ssh_timeout             = "5m"
  temporary_key_pair_type = "ed25519"
}
