# SPDX-License-Identifier: GPL-3.0-or-later
# Exact plugin pins: `packer validate` and `packer build` refuse anything else. tools/go.mod pins the same versions.

packer {
  required_version = ">= 1.12.0"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "= 1.8.1"
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = "= 1.0.3"
    }
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = "= 1.1.6"
    }
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "= 1.0.9"
    }
  }
}
