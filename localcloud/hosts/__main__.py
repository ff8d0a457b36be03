# SPDX-License-Identifier: GPL-3.0-or-later
"""Single hosts without a cloud: ``python -m localcloud.hosts run|rm``, for molecule and for looking around."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from localcloud.hosts import base
from localcloud.hosts.podman import HostError, HostSpec, Podman, boot_state


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m localcloud.hosts", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="start a host and wait until it is up; prints JSON")
    run.add_argument("--name", required=True, help="the container's name")
    run.add_argument("--image", required=True, help="debian-12, debian-13 or any podman image with systemd")
    run.add_argument("--network", default="", help="a podman network (default: podman's own)")
    run.add_argument("--seed", type=Path, help="a NoCloud seed directory for cloud-init")
    run.add_argument("--wait", type=float, default=120, metavar="SECONDS", help="how long the boot may take (120)")
    remove = verbs.add_parser("rm", help="remove hosts")
    remove.add_argument("names", nargs="+", metavar="NAME")
    for verb in (run,):
        verb.add_argument("--rootfs", type=Path, default=Path("build/rootfs"), help="where base images are cached")
    options = parser.parse_args(argv)
    podman = Podman()
    try:
        podman.require()
        if options.verb == "rm":
            podman.remove(*options.names)
            return 0
        image = options.image
        if image in base.SUITES:
            image = base.ensure(image, options.rootfs, podman, lambda text: print(text, file=sys.stderr)).tag
        spec = HostSpec(options.name, image, hostname=options.name, network=options.network, seed=options.seed)
        podman.run(spec)
        state = wait_until_up(podman, options.name, options.wait)
        about = {"name": options.name, "image": image, "address": podman.address(options.name), "state": state}
        print(json.dumps(about))
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def wait_until_up(podman: Podman, name: str, seconds: float) -> str:
    """``running`` or ``degraded`` once the host's boot is over. Raises HostError after ``seconds``."""
    deadline = time.monotonic() + seconds
    pid = podman.pid(name)
    while (state := boot_state(pid)) not in {"running", "degraded"}:
        if state == "gone":
            raise HostError(f"Host {name} ended while it booted: `podman logs {name}` says more.")
        if time.monotonic() > deadline:
            raise HostError(f"Host {name} is still {state} after {seconds:.0f} s: `podman exec {name} systemctl`.")
        time.sleep(0.2)
    return state


if __name__ == "__main__":
    sys.exit(main())
