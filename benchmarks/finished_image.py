# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished image, built the way users build one, and a search of it for secrets and for what only one machine may have.

The image is `boring.fleet.build_images`' family `data` with Tailscale, from a base image of a local cloud of its own. Looked at is
what podman stored of it, not the machine that it was made on. In a copy of it one thing of each kind is planted: what the
search then does not find it could not have found before.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localcloud.hosts.podman import Podman  # noqa: E402
from localcloud.scratch import ScratchCloud, run  # noqa: E402

NAME, PORT, SUBNET = "bench-zero-trust", 4615, "172.25.0.0/16"
ROLES = ("base", "redis", "nats", "tailscale")
CLEANUP = ROOT / "roles" / "image_cleanup"
# What one machine has for itself, or somebody left: path -> content, all of it made up
PLANTED = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/ssh/ssh_host_ed25519_key": "-\n",
    "root/.ssh/authorized_keys": "-\n",
    "home/admin/.ssh/authorized_keys": "-\n",
    "root/.bash_history": "-\n",
    "var/lib/tailscale/tailscaled.state": "{}\n",
    "var/lib/redis/dump.rdb": "-\n",
    "var/lib/nats/jetstream/meta.inf": "-\n",
    "var/lib/dkms/mok.key": "-\n",
    "var/lib/systemd/random-seed": "-\n",
    "var/lib/cloud/instances/i-0123/user-data.txt": "-\n",
    "srv/signing.pem": "-----BEGIN PRIVATE KEY-----\n",
}
HIDDEN_IN = "opt/somewhere/settings"  # here goes one of the secrets
BUILD_SECONDS = 900


class SearchError(Exception):
    """Why nothing can be said about an image; one sentence."""


def build(archive: Path, cloud: ScratchCloud, scratch: Path) -> str:
    """podman's name of an image made in the local cloud; `archive` is Tailscale's."""
    given = {
        "fleet_name": NAME,
        "fleet_state_dir": str(scratch / "state"),
        "fleet_region": cloud.region,
        "fleet_image_variables": {"ssh_interface": "private_ip"},
        "fleet_image_families": {
            "data": {
                "variables": {
                    "roles": [f"boring.fleet.{role}" for role in ROLES],
                    "role_variables": {
                        "tailscale_archive": str(archive),
                        "tailscale_archive_sha256": archive.with_name(archive.name + ".sha256").read_text(),
                    },
                },
            }
        },
    }
    argv = ["ansible-playbook", "boring.fleet.build_images", "-e", json.dumps(given)]
    cloud.run("boring.fleet.build_images", argv, BUILD_SECONDS)
    # By its name in podman, which is not its id: Packer encrypts an image by a copy, and the copy has the same disk.
    found = [name for name in Podman().images(f"localhost/lc-{NAME}/") if "/draft:" not in name]
    if len(found) != 1:
        raise SearchError(f"one image was built, and podman has {len(found)} of the local cloud: {', '.join(found)}")
    return found[0]


def search(root: Path, secret: Iterable[str]) -> list[str]:
    """What is found in the files of an image: with the rules that image_cleanup has, and each secret wherever it is."""
    state = yaml.safe_load((CLEANUP / "defaults" / "main.yml").read_text())["image_cleanup_state"]
    rules = yaml.safe_load((CLEANUP / "vars" / "main.yml").read_text())["__image_cleanup_rules"]
    rules = [{"what": "state", "paths": [f"{directory}/**" for directory in state]}, *rules]
    argv = [sys.executable, str(CLEANUP / "files" / "look.py"), "find", str(root)]
    found = run("the search", argv, 300, given=json.dumps(rules)).splitlines()
    # One that finds nothing ends with 1.
    grep = 'grep -rlFf - --devices=skip "$1" || test $? -eq 1'
    holders = run("the search for secrets", ["sh", "-c", grep, "sh", root], 300, given="\n".join(secret)).splitlines()
    return [*found, *(f"secret {holder.removeprefix(str(root))}" for holder in holders)]


def plant(root: Path, secret: str) -> None:
    for path, content in {**PLANTED, HIDDEN_IN: f"key = {secret}\n"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).unlink(missing_ok=True)
        (root / path).write_text(content)


def missed(found: Iterable[str]) -> list[str]:
    """What was planted and is not among what was found."""
    places = {line.rpartition(" ")[2] for line in found}
    return [path for path in (*PLANTED, HIDDEN_IN) if f"/{path}" not in places]


def leaks(archive: Path, known: list[str]) -> int:
    """Build an image, search it, and print what is in it that must not be. Raises SearchError, ProgramError and HostError."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as name:
        scratch = Path(name)
        with ScratchCloud(NAME, port=PORT, subnet=SUBNET, folder=scratch) as cloud:
            secret = cloud.environment["AWS_SECRET_ACCESS_KEY"]
            image = build(archive, cloud, scratch)
            built = time.monotonic()
            Podman().unpack(image, scratch / "root")
        found = search(scratch / "root", [secret, *known])
        plant(scratch / "root", known[0])
        overlooked = missed(search(scratch / "root", [secret, *known]))
    if overlooked:
        raise SearchError(f"the search did not find {', '.join(overlooked)}, which was planted, so it sees nothing")
    print(
        f"finished image: {', '.join(found) or 'no key, no password, no identity'} "
        f"(built in {built - began:.0f} s; of {len(PLANTED) + 1} things planted in a copy all were found)"
    )
    return len(found)
