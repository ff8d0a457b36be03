# SPDX-License-Identifier: GPL-3.0-or-later
# Names come from the fingerprint, never from the clock: the same inputs make the same name.

locals {
  identity   = var.fingerprint == "" ? "by-hand" : substr(var.fingerprint, 0, 12)
  image_name = join("-", compact(["boring", var.family, local.identity, var.revision]))

  # The image gets its fingerprint from image_build, when it is confirmed.
  identity_tags = {
    Name            = local.image_name
    "boring:family" = var.family
    "boring:source" = var.source_image
  }
  image_tags    = merge(var.labels, var.image_tags, local.identity_tags)
  snapshot_tags = merge(var.run_tags, local.identity_tags)

  run_tags = merge(var.run_tags, {
    Name            = "build ${local.image_name}"
    "boring:family" = var.family
  })

  ssh_by_public_address = length(var.ssh_cidrs) == 0 && contains(["public_ip", "public_dns"], var.ssh_interface)
  ssh_from_inside       = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
  ssh_cidrs             = local.ssh_by_public_address || length(var.ssh_cidrs) > 0 ? var.ssh_cidrs : local.ssh_from_inside

  role_files = { for name, relative in var.role_files : name => abspath("${path.root}/../${relative}") }
  role_variables = merge(var.role_variables, jsondecode(var.role_variables_json), local.role_files, {
    image_roles      = var.roles
    image_lock       = var.lock
    image_pair_below = var.pair_below
    image_packages   = var.packages
    image_megabytes  = var.megabytes
  })
}
