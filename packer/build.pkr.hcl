# SPDX-License-Identifier: GPL-3.0-or-later
# One build for every source: settle, apply the roles, write down what came out.
# Choose one with -only=amazon-ebs.debian; what the image is for is in its variables. The machine that builds needs no GPU.

build {
  sources = ["source.amazon-ebs.debian", "source.googlecompute.debian", "source.qemu.debian"]

  # cloud-init ends with 2 on recoverable errors (cloud-init 23.4 and later): the machine is usable.
  provisioner "shell" {
    inline           = ["timeout 300 cloud-init status --wait"]
    valid_exit_codes = [0, 2]
  }

  provisioner "ansible" {
    playbook_file = "${path.root}/playbooks/image.yml"
    user          = var.ssh_username
    use_proxy     = false
    use_sftp      = true
    extra_arguments = [
      "--extra-vars", jsonencode(local.role_variables),
      "--extra-vars", "ansible_python_interpreter=/usr/bin/python3",
    ]
    ansible_env_vars = [
      "ANSIBLE_PIPELINING=True",
      "ANSIBLE_SSH_ARGS=-o ControlMaster=auto -o ControlPersist=60s -o IdentitiesOnly=yes -o UserKnownHostsFile=/dev/null",
      "ANSIBLE_SSH_TRANSFER_METHOD=sftp",
      "ANSIBLE_TIMEOUT=30",
      "ANSIBLE_NOCOLOR=True",
      "ANSIBLE_DEPRECATION_WARNINGS=False",
      "ANSIBLE_STDOUT_CALLBACK=default",
    ]
  }

  post-processor "manifest" {
    output = var.manifest
    custom_data = {
      build        = "${source.type}.${source.name}"
      family       = var.family
      fingerprint  = var.fingerprint
      source_image = var.source_image
    }
  }
}
