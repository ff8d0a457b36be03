# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of one cloud, which ``up`` starts: ``python -m localcloud.daemon DIRECTORY``."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

from localcloud.balancer.haproxy import BalancerError
from localcloud.clock import SystemClock
from localcloud.cloud import Cloud
from localcloud.hosts.podman import HostError, Podman
from localcloud.inside import Inside
from localcloud.misfortune import Misfortune
from localcloud.server import Application, PortTakenError, Server
from localcloud.settings import Directory, Refusal, Settings
from localcloud.state import StateError


def main(path: Path) -> int:
    """Serve until SIGTERM. If it cannot, the last line of stderr is one sentence that says why."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    directory = Directory(path.parent, path.name)
    try:
        with directory.held():
            _serve(directory)
    except (Refusal, PortTakenError, HostError, BalancerError, StateError) as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        logging.exception("the server failed")
        print(f"The server failed ({error}): {directory.log} says more.", file=sys.stderr)
        return 1
    return 0


def _serve(directory: Directory) -> None:
    settings = Settings.read(directory.path)
    if settings is None:
        raise Refusal(f"There is no cloud {directory.name} in {directory.path.parent}: start one with up.")
    server = Server(settings.port)
    inside = Server(settings.port, settings.gateway)
    cloud = Cloud(settings, directory.path, Podman())
    Misfortune(cloud, SystemClock().now)
    application = Application(cloud)
    for_hosts = threading.Thread(target=inside.serve, args=(Inside(cloud, application),), name="inside", daemon=True)
    for_hosts.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    cloud.start_in_background(server.stop)
    server.serve(application)
    inside.stop()
    for_hosts.join(timeout=10)
    inside.close()
    server.close()
    if cloud.failure is not None:
        raise cloud.failure
    cloud.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
