# SPDX-License-Identifier: GPL-3.0-or-later
# AWS, and whatever answers like AWS at AWS_ENDPOINT_URL.

source "amazon-ebs" "debian" {
  ami_name         = local.image_name
  ami_description  = "${var.family}, fingerprint ${local.identity}"
  tags             = local.image_tags
  snapshot_tags    = local.snapshot_tags
  run_tags         = local.run_tags
  run_volume_tags  = local.run_tags
  force_deregister = false
  encrypt_boot     = var.encrypted
  kms_key_id       = var.encrypted ? var.kms_key_id : ""
  imds_support     = "v2.0"

  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id
  source_ami    = var.source_image

  dynamic "source_ami_filter" {
    for_each = var.source_image == "" ? [1] : []
    content {
      owners      = [var.source_image_owner]
      most_recent = true
      filters = {
        name  = var.source_image_name
        state = "available"
      }
    }
  }

  dynamic "subnet_filter" {
    for_each = var.subnet_id == "" ? [1] : []
    content {
      most_free = true
      filters = {
        default-for-az = "true"
      }
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.volume_size
    delete_on_termination = true
  }

  # How often EC2 is asked whether something is done, and for how long: 30 minutes.
  aws_polling {
    delay_seconds = 1
    max_attempts  = 1800
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  ssh_username  = var.ssh_username
  ssh_interface = var.ssh_interface
  # golang.org/x/crypto 0.52 spins for ever in a keep-alive to a session that has ended, half a core for the whole build.
  ssh_keep_alive_interval = "-1s"
  ssh_timeout             = "5m"
  temporary_key_pair_type = "ed25519"

  # By default the builder lets in the machine that runs Packer and nobody else: by its public address, as AWS sees it. Reached from inside,
  # it cannot know that address beforehand and lets in private networks, which reach as far as the VPC's routes.
  temporary_security_group_source_public_ip = local.ssh_by_public_address
  temporary_security_group_source_cidrs     = local.ssh_cidrs
  shutdown_behavior                         = "terminate"
}
