# SPDX-License-Identifier: GPL-3.0-or-later
# What an image is made of. images/*.pkrvars.hcl choose the machine, services/*.pkrvars.hcl what runs on it.

# --- The image ---------------------------------------------------------------------------------------------------

variable "family" {
  type        = string
  description = "What the image is for; part of its name and its tag boring:family."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.family))
    error_message = "The family is 1 to 31 lower-case letters, digits and dashes, and begins with a letter."
  }
}

variable "roles" {
  type        = list(string)
  description = "Roles whose `install` entry point makes the image, in this order, by their full names. None: only the lock's kernel and driver."

  validation {
    condition     = alltrue([for role in var.roles : can(regex("^[a-z0-9_]+\\.[a-z0-9_]+\\.[a-z0-9_]+$", role))])
    error_message = "Name every role in full: boring.fleet.base."
  }
}

variable "role_variables" {
  type        = map(string)
  description = "Variables for the roles. Not for secrets: an image holds none."
  default     = {}
}

variable "role_variables_json" {
  type        = string
  description = "More of them as a JSON object, for values that are no text. Win over `role_variables`."
  default     = "{}"

  validation {
    condition     = can(keys(jsondecode(var.role_variables_json)))
    error_message = "The variables are a JSON object."
  }
}

variable "labels" {
  type        = map(string)
  description = "More tags for the image: what is in it, in words of whoever builds it."
  default     = {}
}

variable "role_files" {
  type        = map(string)
  description = "Variables for the roles that are paths on this machine, relative to the directory above this one."
  default     = {}
}

variable "gpu" {
  type = object({
    family      = string
    driver      = string
    secure_boot = bool
  })
  description = "What the image is meant to drive: the GPU's generation, the driver's flavour, and whether Secure Boot is on."
  default = {
    family      = "none"
    driver      = "none"
    secure_boot = false
  }

  validation {
    condition     = contains(["none", "maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"], var.gpu.family)
    error_message = "The GPU's family is none, maxwell, pascal, volta, turing, ampere, ada, hopper or blackwell."
  }
  validation {
    condition     = contains(["none", "open", "proprietary", "tesla"], var.gpu.driver)
    error_message = "The driver's flavour is none, open, proprietary or tesla."
  }
  validation {
    condition     = (var.gpu.family == "none") == (var.gpu.driver == "none")
    error_message = "A GPU needs a driver, and a driver a GPU: family and driver are both none, or neither is."
  }
  validation {
    condition     = !(var.gpu.driver == "open" && contains(["maxwell", "pascal", "volta"], var.gpu.family))
    error_message = "NVIDIA's open driver begins with Turing: choose the proprietary one for older GPUs."
  }
  validation {
    condition     = !(contains(["proprietary", "tesla"], var.gpu.driver) && var.gpu.family == "blackwell")
    error_message = "Blackwell has no proprietary driver: choose the open one."
  }
}

variable "unsupported_driver" {
  type        = bool
  description = "Take the lock's driver although NVIDIA supports its branch no more: its holes stay open."
  default     = false
}

variable "lock" {
  type        = string
  description = "Lock file of packages, given by image_build. Empty: the newest that the archive has."
  default     = ""
}

variable "megabytes" {
  type        = number
  description = "What the finished image may take on its disk, in MB: a build that grows beyond it fails, with what takes most. 0: any size."
  default     = 0

  validation {
    condition     = var.megabytes >= 0
    error_message = "The budget is a number of megabytes, or 0 for none."
  }
}

variable "pair_below" {
  type        = bool
  description = "The source image has the lock's kernel and driver already: they are proven, and nothing is compiled."
  default     = false
}

# --- Identity: given by image_build, never typed -----------------------------------------------------------------

variable "fingerprint" {
  type        = string
  description = "SHA-256 of everything the image is made of. Empty in a build by hand: its name says so."
  default     = ""

  validation {
    condition     = can(regex("^([0-9a-f]{64})?$", var.fingerprint))
    error_message = "The fingerprint is 64 hexadecimal digits."
  }
}

variable "revision" {
  type        = string
  description = "Told apart by this: images of the same fingerprint, when one was built although another existed."
  default     = ""

  validation {
    condition     = can(regex("^([1-9][0-9]{0,5})?$", var.revision))
    error_message = "The revision is a number from 1 up."
  }
}

variable "image_tags" {
  type        = map(string)
  description = "Tags for the image: what it was made of."
  default     = {}
}

variable "run_tags" {
  type        = map(string)
  description = "Tags for everything temporary: the instance that is built on, its volumes, key pair and security group."
  default     = {}
}

variable "manifest" {
  type        = string
  description = "File that Packer writes its manifest to."
  default     = "packer-manifest.json"
}

variable "packages" {
  type        = string
  description = "File on this machine to write the image's packages to, from which image_build makes the SBOM."
  default     = ""
}

# --- The machine it is built on ----------------------------------------------------------------------------------

variable "region" {
  type        = string
  description = "AWS region to build in."
  default     = "eu-central-1"
}

variable "source_image" {
  type        = string
  description = "Image to start from. image_build gives the newest that the owner and name below find."
  default     = ""

  validation {
    condition     = can(regex("^(ami-[0-9a-f]{8,17})?$", var.source_image))
    error_message = "The source image is an id such as ami-0123456789abcdef0."
  }
}

variable "source_image_owner" {
  type        = string
  description = "AWS account that publishes the source image."

  validation {
    condition     = can(regex("^([0-9]{12}|self|amazon)$", var.source_image_owner))
    error_message = "The owner of the source image is an account of 12 digits, self or amazon."
  }
}

variable "source_image_name" {
  type        = string
  description = "Name of the source image, with * for what differs from one release to the next."
}

variable "ssh_username" {
  type        = string
  description = "The user that the source image lets in: admin on AWS, debian in the images for QEMU; on Google any name."
  default     = "admin"
}

variable "ssh_interface" {
  type        = string
  description = "Address to reach the builder by."
  default     = "public_ip"

  validation {
    condition     = contains(["public_ip", "private_ip", "public_dns", "private_dns"], var.ssh_interface)
    error_message = "The interface is public_ip, private_ip, public_dns or private_dns."
  }
}

variable "ssh_cidrs" {
  type        = list(string)
  description = "Networks that may reach the builder's SSH port while it lives. None: only the machine that runs Packer, by its public address; from inside a VPC, private networks."
  default     = []

  validation {
    condition     = !contains(var.ssh_cidrs, "0.0.0.0/0") && !contains(var.ssh_cidrs, "::/0")
    error_message = "The builder's SSH is not opened to the world: name the networks that you build from."
  }
}

variable "subnet_id" {
  type        = string
  description = "Subnet to build in. Empty: a default subnet of the region."
  default     = ""
}

variable "instance_type" {
  type        = string
  description = "Size of the machine to build on."
  default     = "c7i.large"
}

variable "volume_size" {
  type        = number
  description = "Root volume of the image, in GiB."
  default     = 8

  validation {
    condition     = var.volume_size >= 2 && var.volume_size <= 16384
    error_message = "The root volume has 2 to 16384 GiB."
  }
}

variable "encrypted" {
  type        = bool
  description = "Encrypt the image's snapshots."
  default     = true
}

variable "kms_key_id" {
  type        = string
  description = "Key to encrypt with. Empty: the account's default key for volumes."
  default     = ""
}

# --- Where else it may be built -----------------------------------------------------------------------------------

variable "qemu" {
  type = object({
    image            = string
    checksum         = string
    public_key       = string
    private_key_file = string
    accelerator      = string
    output           = string
  })
  description = "A cloud image of Debian (path or URL) with its checksum, a key pair to reach it with, kvm or tcg, and where the result goes."
  default = {
    image            = ""
    checksum         = ""
    public_key       = ""
    private_key_file = ""
    accelerator      = "kvm"
    output           = "build/qemu"
  }

  validation {
    condition     = contains(["kvm", "tcg"], var.qemu.accelerator)
    error_message = "The accelerator is kvm, or tcg where there is none."
  }
  validation {
    condition     = can(regex("^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})?$", var.qemu.checksum))
    error_message = "The checksum is sha256: or sha512: with its digits, from the list that Debian publishes beside the image."
  }
  validation {
    condition     = (var.qemu.image == "") == (var.qemu.checksum == "")
    error_message = "An image for qemu comes with its checksum: give both or none."
  }
}

variable "google" {
  type = object({
    project             = string
    zone                = string
    machine_type        = string
    source_image_family = string
    subnetwork          = string
    internal            = bool
  })
  description = "Project, zone and machine on Google Compute Engine, the family of Debian's images there, and whether it is reached from inside."
  default = {
    project             = ""
    zone                = "europe-west3-a"
    machine_type        = "n2-standard-2"
    source_image_family = "debian-13"
    subnetwork          = ""
    internal            = false
  }
}
