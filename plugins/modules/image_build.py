#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build a machine image with Packer, only if its inputs changed
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Computes a fingerprint of everything an image is made of, looks for an image that has it, and runs Packer only when
    there is none.
  - The fingerprint is the SHA-256 over the content, mode and relative path of the template, of what the template names itself and of
    O(inputs), the variables, the lock, the id of the source image that the template's filter or its data source C(amazon-ami) finds now,
    and the versions of Packer and its plugins. The clock, file times, the checkout's location, the order of globs and the user do not
    count.
  - What the template names itself is found without being listed - scripts and uploads of provisioners wherever they lie, C(file()),
    C(templatefile()) and C(fileset()), variables files, an Ansible provisioner's playbook with its roles wherever they are found, their
    dependencies, what they include and upload, and its requirements.
  - What the image hangs on and cannot be read, such as C(env()) or a data source that asks another service, is named in RV(unknown).
    O(unknown) says what to do then.
  - Inputs are read again after the build. If they changed meanwhile, the image does not get the fingerprint and the task fails.
  - An image is found again only if a build of this module confirmed it, by its build's name and its source. One that Packer made before it
    failed is named in the message, and M(boring.fleet.image_janitor) removes it.
  - Values of sensitive variables are in no tag and in no fingerprint. This machine keeps a salted digest of those that it built each image
    with. On another machine nobody can say whether they changed, so they are unknown there.
  - The fingerprint is the image's tag V(boring:fingerprint), and its first 12 digits are in the image's name when the
    template declares the variable V(fingerprint) and uses it there, as the one of this collection does.
  - A template may declare these variables, which are given to it by this module - V(fingerprint), V(revision),
    V(image_tags), V(run_tags), V(source_image), V(manifest), V(packages), V(lock) and V(region). It puts V(run_tags) on everything
    temporary, so that nothing is left running when Packer is killed.
  - Needs Packer 1.12 or newer.
options:
  template:
    description:
      - Directory of the Packer template (HCL2 or its JSON form). Everything in it counts, except variables files that are not chosen by
        O(var_files), and locks that nobody names.
      - Before anything is asked of AWS, a template is refused that does not parse, has no post-processor C(manifest), a variable without a
        value, or a provisioner that names a missing file.
    type: path
    required: true
  only:
    description:
      - Builds to run, by the names that Packer gives them, such as V(amazon-ebs.debian), or V(name.amazon-ebs.debian) where the build block has
        a name. Globs work as in Packer. Without the block's name the builds of every block are meant.
      - When omitted, all builds of the template.
    type: list
    elements: str
  var_files:
    description:
      - Files of variables, as Packer takes them. Later ones win.
    type: list
    elements: path
    default: []
  variables:
    description:
      - Variables, as Packer takes them. They win over O(var_files).
      - Packer gets them in a file that only its user can read.
    type: dict
    default: {}
  inputs:
    description:
      - Files, directories (with everything below) and globs that feed the image beside the template and what it names itself, such as the
        sources of a program that a script downloads.
      - One that is missing, empty or matches nothing is an error.
    type: list
    elements: str
    default: []
  exclude:
    description:
      - Globs of files that feed nothing, such as V(README.md) beside the template. Matched against the path seen from the template, with or
        without leading C(../), against its end, and against the absolute path.
      - A file that the template names itself counts all the same.
    type: list
    elements: str
    default: []
  unknown:
    description:
      - What to do where the template hangs on something that cannot be read - C(env()), a function that asks another service, a data source
        other than C(amazon-ami), an HCP bucket, requirements without an exact version, a path that only a run of the playbook knows.
      - V(build) never skips such a build, and warns what it is and how to make it known.
      - V(refuse) fails, before anything is asked of AWS.
      - V(ignore) decides by what is known.
      - An owner or a filter of a source image that cannot be read is never left out of a question. Nothing is asked then, and Packer looks
        for itself.
    type: str
    choices: [build, refuse, ignore]
    default: build
  lock:
    description:
      - Lock file of packages. Part of the fingerprint, and handed to the template as the variable V(lock).
    type: path
  state:
    description:
      - V(built) makes sure that an image of these inputs exists.
      - V(planned) only tells the fingerprint, whether V(built) would build, and why. So does check mode.
    type: str
    choices: [built, planned]
    default: built
  force:
    description:
      - Build although an image with this fingerprint exists. The new one gets a number at the end of its name.
    type: bool
    default: false
  timeout:
    description:
      - Seconds for the whole build. Then Packer is asked to clean up, as with Ctrl-C, and ended if it does not.
    type: int
    default: 3600
  log:
    description:
      - File for everything that Packer says.
      - When omitted, one that is kept only when the build fails; the message names it.
    type: path
  packer:
    description:
      - The Packer to run.
      - When omitted, the one on E(PATH), else the pinned one that C(bin/build-packer) of this collection made.
    type: path
extends_documentation_fragment:
  - boring.fleet.aws
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Shows which inputs changed since the newest image of the same build.
    support: full
notes:
  - On the controller, with a local connection, Packer's steps and the roles are shown while they go on.
  - Packer's manifest does not tell apart several builds that rename one source. A template that makes them in one run says
    C(custom_data = {build = "${source.type}.${source.name}"}) in its post-processor C(manifest), as this collection's does; without it nobody
    can say which image is whose, so RV(unknown) says so and they are built anew each time.
  - A playbook is read, not run. A role or a file whose name only the run knows is looked for in C(extra_arguments), the play's variables and
    the role's defaults. Reading it takes PyYAML, which ansible-core brings.
  - Needs ec2:DescribeImages, ec2:CreateTags and ec2:DeleteTags beside what Packer needs.
seealso:
  - name: How images are made
    description: What the fingerprint covers, and every command that is run.
    link: https://example.org/boring/fleet/docs/images.md
"""

EXAMPLES = r"""
- name: Build the image of the engine, if anything that feeds it changed
  boring.fleet.image_build:
    template: "{{ playbook_dir }}/../packer"
    only: [amazon-ebs.debian]
    var_files:
      - "{{ playbook_dir }}/../packer/images/cpu.pkrvars.hcl"
      - "{{ playbook_dir }}/../packer/services/engine.pkrvars.hcl"
    inputs:
      - "{{ playbook_dir }}/../engine/src/**/*.py"
    exclude: [README.md]
    region: eu-central-1
  register: engine

- name: Say what would be built, and why
  boring.fleet.image_build:
    template: packer
    unknown: refuse
    state: planned
  register: plan

- name: Show it
  ansible.builtin.debug:
    var: plan.reasons
"""

RETURN = r"""
fingerprint:
  description: SHA-256 of everything the image is made of, 64 hexadecimal digits.
  returned: success
  type: str
  sample: 3f1c0a6d5e0b8a1e8b4c0c2f5d1a9e7b6c3d2f4a5b6c7d8e9f0a1b2c3d4e5f60
skipped:
  description: An image with this fingerprint exists, so nothing was built.
  returned: success
  type: bool
images:
  description: The images of this fingerprint, one for each build and region.
  returned: success
  type: list
  elements: dict
  contains:
    build:
      description: Name of the build.
      type: str
      sample: amazon-ebs.debian
    builder:
      description: Type of the builder.
      type: str
      sample: amazon-ebs
    region:
      description: Region where the image is; empty for a file.
      type: str
      sample: eu-central-1
    id:
      description: Id of the image.
      type: str
      sample: ami-0123456789abcdef0
    name:
      description: Name of the image.
      type: str
      sample: boring-engine-3f1c0a6d5e0b
    file:
      description: Path of the image, when it is a file.
      type: str
    sha256:
      description: SHA-256 of that file.
      type: str
reasons:
  description:
    - Why it is built - which inputs changed since the newest image of the same build, or V(no image with this
      fingerprint). Empty when it is skipped.
  returned: success
  type: list
  elements: str
  sample: [roles/base/tasks/install.yml changed]
unknown:
  description: What the image hangs on and cannot be read, each in a sentence that says how to make it known.
  returned: success
  type: list
  elements: str
seconds:
  description: How long this took.
  returned: success
  type: float
  sample: 0.42
manifest:
  description:
    - Packer's manifest of this build; empty when nothing was built.
    - When the template's play writes the image's packages to the file that the variable V(packages) names, V(sbom) has the
      C(file) and C(sha256) of a CycloneDX document made of them, and V(verified) what of the image is proven.
  returned: success
  type: dict
"""

import os
import select
import signal
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import ARGUMENT_SPEC, Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.image import build, packer
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError


class Stop:
    """Whether to give up: a signal came, or nobody is there any more to hear our answer."""

    def __init__(self) -> None:
        self._signal = ""
        self._answer = select.poll()
        self._answer.register(sys.stdout.fileno(), 0)
        self._ansible = packer.ancestors("ansible")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._heard)

    def _heard(self, number: int, _frame: object) -> None:
        self._signal = signal.Signals(number).name

    def __call__(self) -> str:
        deaf = any(event & (select.POLLERR | select.POLLHUP) for dummy, event in self._answer.poll(0))
        if deaf or not all(process.runs() for process in self._ansible):
            return "Ansible is gone"
        return self._signal


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "template": {"type": "path", "required": True},
            "only": {"type": "list", "elements": "str"},
            "var_files": {"type": "list", "elements": "path", "default": []},
            "variables": {"type": "dict", "default": {}},
            "inputs": {"type": "list", "elements": "str", "default": []},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "unknown": {"type": "str", "choices": ["build", "refuse", "ignore"], "default": "build"},
            "lock": {"type": "path"},
            "state": {"type": "str", "choices": ["built", "planned"], "default": "built"},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 3600},
            "log": {"type": "path"},
            "packer": {"type": "path"},
        },
        supports_check_mode=True,
    )
    began = time.monotonic()
    try:
        module.exit_json(**run(module, began))
    except (ImageError, AwsError) as exc:
        module.fail_json(msg=str(exc), seconds=round(time.monotonic() - began, 3))


def run(module: AnsibleModule, began: float) -> dict[str, Any]:
    given = module.params
    if given["timeout"] < 1:
        raise ImageError(f"timeout is {given['timeout']}: give the seconds that the build may take")
    options = AwsOptions.from_params(given)
    aws = Aws(options)
    options = replace(options, region=aws.region)

    @cache
    def ec2(region: str | None) -> Any:
        return (aws if region == aws.region else Aws(replace(options, region=region))).client("ec2")

    job = build.ImageBuild(
        build.Request(
            template=Path(given["template"]).absolute(),
            inputs=tuple(given["inputs"]),
            exclude=tuple(given["exclude"]),
            unknown=given["unknown"],
            only=tuple(given["only"] or ()),
            var_files=tuple(Path(path).absolute() for path in given["var_files"]),
            variables=given["variables"],
            lock=Path(given["lock"]).absolute() if given["lock"] else None,
            force=given["force"],
            timeout=float(given["timeout"]),
            packer=given["packer"],
            region=options.region,
            log=Path(given["log"]).absolute() if given["log"] else None,
        ),
        ec2=ec2,
        env={**os.environ, **packer.credentials(options)},
        cache=build.cache_directory(os.environ),
    )
    plan = job.plan()
    for sentence in plan.warnings:
        module.warn(f"{sentence[0].upper()}{sentence[1:]}.")
    if given["unknown"] == "build":
        for sentence in plan.unknown:
            module.warn(f"The image is built each time, because not all that feeds it is known: {sentence}.")
    needed = plan.builds
    built = build.Built(plan.existing)
    if needed and given["state"] == "built" and not module.check_mode:
        built = job.build(plan, Stop())
        needed = built.manifest is not None
        for warning in built.warnings:
            module.warn(warning)
    return {
        "changed": needed,
        "skipped": not needed,
        "fingerprint": plan.fingerprint,
        "images": [image.as_dict() for image in built.images],
        "reasons": list(plan.reasons),
        "unknown": list(plan.unknown),
        "seconds": round(time.monotonic() - began, 3),
        "manifest": built.manifest or {},
        "diff": build.as_diff(plan),
    }


if __name__ == "__main__":
    main()
