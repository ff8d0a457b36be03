# SPDX-License-Identifier: GPL-3.0-or-later
"""A GPU image in two layers against a plain Packer build of the same content: real builds, one after another, in one run.

``make bench-images`` runs it, or the project's Python, as root::

    build/venv/bin/python benchmarks/images.py            # the engine on Debian 13 with the proprietary driver
    build/venv/bin/python benchmarks/images.py api        # another service on top

Everything is built in a local cloud of its own, from its base image, with Debian's archive as it is today: kernel, headers,
NVIDIA's packages, the compiler over NVIDIA's module, the service. The peer is Packer alone: the same template with the same
variables, one layer, no look-up. The cold build comes first, so that what the machine keeps in memory helps the peer. Wheels are made
before the clock starts, for both. The goals are those of the project: unchanged under 1 s, a service change at most 0.25
of the plain build, cold at most 1.1 of it. The last line is for machines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localcloud.scratch import ProgramError, ScratchCloud  # noqa: E402

NAME, PORT, SUBNET = "bench-images", 4611, "172.27.0.0/16"
PROFILE, LOCK = ROOT / "packer/images/gpu.pkrvars.hcl", ROOT / "packer/locks/debian-13-amd64-proprietary.lock.json"
SECONDS = 2400  # that one build may take
LOOKS = 5  # at an unchanged image; the middle one counts

PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: ["{{ root }}/playbooks/vars/images.yml"]
  vars:
    common: &common
      template: "{{ root }}/packer"
      only: [amazon-ebs.debian]
      lock: "{{ fleet_image_lock }}"
      region: "{{ region }}"
      timeout: "{{ seconds }}"
  tasks:
    - boring.fleet.image_build:
        <<: *common
        var_files: ["{{ profile }}", "{{ root }}/packer/services/platform.pkrvars.hcl"]
        variables: {ssh_interface: private_ip, unsupported_driver: true, role_variables: {nvidia_driver_cache: "{{ cache }}"}}
        force: "{{ below_anew }}"
      register: below
    - boring.fleet.image_build:
        <<: *common
        var_files: ["{{ profile }}", "{{ root }}/packer/services/{{ service }}.pkrvars.hcl"]
        variables:
          ssh_interface: private_ip
          unsupported_driver: true
          role_variables: "{{ role_variables }}"
          source_image: "{{ below.images[0].id }}"
          pair_below: true
        inputs: "{{ fleet_image_families[service].inputs | default([]) }}"
      register: above
      when: not below_anew
    - ansible.builtin.copy: {dest: "{{ answer }}", mode: "0600", content: "{{ [below, above] | to_json }}"}
"""


class Bench:
    """The builds in a local cloud. `scratch` is emptied by whoever made it."""

    def __init__(self, service: str, cloud: ScratchCloud, scratch: Path) -> None:
        self.service = service
        self.cloud = cloud
        self.scratch = scratch
        (scratch / "play.yml").write_text(PLAY)

    def wheels(self) -> None:
        argv = ["--python", "3.13", "--profile", self.service, "--dest", f"build/wheelhouse/{self.service}"]
        self.cloud.run("the wheelhouse", [sys.executable, str(ROOT / "engine/wheelhouse.py"), *argv], 1800)

    def ours(self, version: str, *, below_anew: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both layers, each built if it has to be; what image_build says of the lower and the upper one."""
        given = {
            "root": str(ROOT), "region": self.cloud.region, "seconds": SECONDS, "profile": str(PROFILE), "service": self.service,
            "fleet_collection_dir": str(ROOT), "fleet_image_lock": str(LOCK), "cache": str(self.scratch / "modules"),
            "role_variables": self._role_variables(version), "below_anew": below_anew, "answer": str(self.scratch / "answer.json"),
        }  # fmt: skip
        argv = ["ansible-playbook", str(self.scratch / "play.yml"), "-e", json.dumps(given)]
        self.cloud.run("image_build", argv, 2 * SECONDS)
        below, above = json.loads((self.scratch / "answer.json").read_text())
        return below, above

    def plain(self, version: str) -> float:
        """Seconds of `packer build` alone, of the same content in one layer."""
        began = time.monotonic()
        self.cloud.run(
            "packer build",
            [
                "packer", "build", "-color=false", "-only=amazon-ebs.debian", f"-var-file={PROFILE}",
                f"-var-file=packer/services/{self.service}.pkrvars.hcl", f"-var=lock={LOCK}", f"-var=region={self.cloud.region}",
                "-var=ssh_interface=private_ip", "-var=unsupported_driver=true", f"-var=role_variables={json.dumps({'nvidia_driver_cache': '', **self._role_variables(version)})}",
                f"-var=manifest={self.scratch / 'plain.json'}", "packer",
            ],
            SECONDS,
        )  # fmt: skip
        return time.monotonic() - began

    def _role_variables(self, version: str) -> dict[str, str]:
        return {f"conversion_{self.service}_version": version}


def show(what: str, seconds: float, note: str = "") -> None:
    print(f"bench-images: {what:<44} {seconds:8.1f} s  {note}".rstrip(), flush=True)


def measure(bench: Bench, *, cache: bool) -> tuple[float, float, float, float]:
    """Seconds of an unchanged image, of a change of the service, of a cold build and of plain Packer's; each printed as it comes."""
    below, above = bench.ours("1.0.0")
    cold = below["seconds"] + above["seconds"]
    show("cold, kernel and driver", below["seconds"], "nothing there, nothing in the cache of modules")
    show(f"cold, {bench.service} on it", above["seconds"])
    looks = []
    for dummy in range(LOOKS):
        looks.append(bench.ours("1.0.0"))
        if again := [layer for layer in looks[-1] if not layer["skipped"]]:
            raise SystemExit(f"{NAME}: an unchanged image was built again, because: {', '.join(again[0]['reasons'])}")
    unchanged = statistics.median(below["seconds"] + above["seconds"] for below, above in looks)
    slowest = max(layer["seconds"] for look in looks for layer in look)
    show("unchanged, both layers", unchanged, f"each of {LOOKS}: at most {slowest:.2f} s a layer")
    below, above = bench.ours("1.1.0")
    if not below["skipped"] or above["skipped"]:
        raise SystemExit("bench-images: a change of the service did not rebuild exactly its own layer")
    changed = below["seconds"] + above["seconds"]
    show("warm, only the service changed", changed)
    if cache:
        below, dummy = bench.ours("1.1.0", below_anew=True)
        show("layer below anew, module from the cache", below["seconds"])
    plain = bench.plain("1.0.0")
    show("plain Packer, one layer", plain)
    return unchanged, changed, cold, plain


def main() -> int:
    parser = argparse.ArgumentParser(description="A GPU image in two layers against a plain Packer build.")
    parser.add_argument("service", nargs="?", default="engine", choices=["engine", "api"])
    parser.add_argument(
        "--cache", action="store_true", help="build the layer below once more, with its module from the cache"
    )
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix=f"{NAME}-") as name,
        ScratchCloud(NAME, port=PORT, subnet=SUBNET, folder=Path(name)) as cloud,
    ):
        bench = Bench(options.service, cloud, Path(name))
        bench.wheels()
        print(f"{NAME}: {options.service} on {LOCK.name}, {load()} on {os.cpu_count()} cores", flush=True)
        unchanged, changed, cold, plain = measure(bench, cache=options.cache)
        print(f"{NAME}: {load()} at the end")
    print(
        f"{NAME}: unchanged {unchanged:.2f} s, service change {changed / plain:.2f} of plain, cold {cold / plain:.2f} of plain"
    )
    return 0


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ProgramError as exc:
        sys.exit(f"{NAME}: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)
