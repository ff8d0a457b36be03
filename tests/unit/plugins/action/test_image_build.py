# SPDX-License-Identifier: GPL-3.0-or-later
"""What of Packer's output people get to see while a build goes on."""

from __future__ import annotations

from ansible_collections.boring.fleet.plugins.action.image_build import Steps

LOG = """\
amazon-ebs.cpu: output will be in this color.

==> amazon-ebs.cpu: Prevalidating any provided VPC information
==> amazon-ebs.cpu: Prevalidating AMI Name: boring-web-0123456789ab
==> amazon-ebs.cpu: Launching a source AWS instance...
    amazon-ebs.cpu: Instance ID: i-1
==> amazon-ebs.cpu: Connected to SSH!
==> amazon-ebs.cpu: Provisioning with Ansible...
==> amazon-ebs.cpu: Executing Ansible: ansible-playbook -e password=x
    amazon-ebs.cpu: TASK [Refresh the package lists] ****
    amazon-ebs.cpu: TASK [boring.fleet.base : Install | Packages] ****
    amazon-ebs.cpu: TASK [boring.fleet.base : Install | Bound the journal] ****
    amazon-ebs.cpu: TASK [boring.fleet.nats : Install] ****
==> amazon-ebs.cpu: Creating AMI boring-web-0123456789ab from instance i-1
==> amazon-ebs.cpu: Creating AMI tags
==> amazon-ebs.cpu: Terminating the source AWS instance...
"""


def test_a_build_in_a_few_lines() -> None:
    steps = Steps()
    assert [text for line in LOG.splitlines() if (text := steps.line_of(line))] == [
        "Launching a source AWS instance",
        "Connected to SSH",
        "Provisioning with Ansible",
        "role boring.fleet.base",
        "role boring.fleet.nats",
        "Creating AMI",
        "Terminating the source AWS instance",
    ]
    assert steps._name == "boring-web-0123456789ab"
