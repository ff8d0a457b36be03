# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program host-lifecycle: `run` is its service, `step` one of its own steps, `respond` answers the load balancer of Redis."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.host import machine as machines
from ansible_collections.boring.fleet.plugins.module_utils.host import nats_config, peers, redis_config, responder
from ansible_collections.boring.fleet.plugins.module_utils.host import told as tolds
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import (
    METADATA,
    Aws,
    Instance,
    Metadata,
    http_request,
)
from ansible_collections.boring.fleet.plugins.module_utils.host.lifecycle import NEVER, Lifecycle
from ansible_collections.boring.fleet.plugins.module_utils.host.metric import Publisher
from ansible_collections.boring.fleet.plugins.module_utils.host.nats_node import NatsNode, health
from ansible_collections.boring.fleet.plugins.module_utils.host.redis_node import RedisNode
from ansible_collections.boring.fleet.plugins.module_utils.host.service_node import ServiceNode
from ansible_collections.boring.fleet.plugins.module_utils.host.steps import Folder
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError, Told
from ansible_collections.boring.fleet.plugins.module_utils.nats import client as nats
from ansible_collections.boring.fleet.plugins.module_utils.redis import client as redis
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

FOLDER: Final = Path("/etc/fleet")
STATE: Final = Path("/var/lib/host-lifecycle/state.json")
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STEP_SECONDS: Final = 3000.0  # an own step gives up before; this is for those of others
_SECONDS: Final = 10.0
_ENOUGH: Final = 16 << 20  # bytes of an answer
_USAGE: Final = "usage: host-lifecycle run | step enter|leave|keep | respond"


class Node(Protocol):
    """What a host is for."""

    def enter(self) -> None:
        """Be of use, or raise HostError with what is missing."""

    def leave(self) -> None:
        """May go, or raise HostError with what is in the way."""

    def keep(self) -> None:
        """What it does from time to time."""


def main(argv: Sequence[str]) -> int:
    """The exit status."""
    words = tuple(argv[1:])
    os.umask(0o022)  # of directories; a service must get through them to its own files, which have their own modes
    if words == ("respond",):
        responder.serve()
        return 0
    if words not in (("run",), ("step", "enter"), ("step", "leave"), ("step", "keep")):
        say(_USAGE)
        return 2
    try:
        told = tolds.read(Path(tolds.PATH).read_text(encoding="utf-8"))
        metadata = Metadata(http_request, time.monotonic, METADATA)
        aws = Aws(http_request, metadata, told.region, told.endpoint, time.time)
        if words == ("run",):
            _run(told, metadata, aws)
        else:
            node = _node(told, metadata.need("instance-id"), aws)
            {"enter": node.enter, "leave": node.leave, "keep": node.keep}[words[-1]]()
    except HostError as exc:
        say(str(exc))
        return NEVER if exc.never else 1
    except OSError as exc:
        say(f"{exc.filename or 'the host'}: {exc.strerror or exc}")
        return 1
    return 0


def say(sentence: str) -> None:
    """To the journal."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _run(told: Told, metadata: Metadata, aws: Aws) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)  # the step that runs is ended with it

    signal.signal(signal.SIGTERM, end)
    boot = _BOOT.read_text(encoding="ascii").strip()
    steps = Folder(FOLDER, say, _STEP_SECONDS)
    kept = machines.StateFile(STATE)
    Lifecycle(told, metadata, aws, steps, kept, boot, time.time, time.sleep, say).run()


def _node(told: Told, me: str, aws: Aws) -> Node:
    machine = machines.Host()
    if told.kind == "nats":

        def connect(password: str) -> nats.Client:
            login = _login(told, nats_config.SYSTEM, password, nats_config.TLS, peers.name(told, me))
            return nats.Client([("127.0.0.1", nats_config.PORT)], login, _SECONDS)

        def healthy() -> str:
            try:
                answer = http_request("GET", f"http://127.0.0.1:{nats_config.MONITOR}/healthz", {}, None)
            except OSError:
                return health(0, b"")
            return health(answer.status, answer.body)

        return NatsNode(told, me, aws, machine, connect, healthy, time.monotonic, time.sleep, say)
    if told.kind == "redis":

        def reach(node: Instance, port: int, password: str) -> redis.Client:
            login = _login(told, "admin", password, redis_config.TLS, peers.name(told, node.id))
            return redis.Client("127.0.0.1" if node.id == me else node.address, port, login)

        return RedisNode(told, me, aws, machine, reach, time.monotonic, time.sleep, say)
    publish = Publisher(_get, aws.put_metric)
    return ServiceNode(told, _asking(told), time.monotonic, time.sleep, say, publish)


def _login(told: Told, user: str, password: str, folder: str, name: str) -> Login:
    if told.plaintext:
        return Login(user, password, tls=False)
    return Login(user, password, ca=f"{folder}/ca.pem", name=name)


def _asking(told: Told) -> Callable[[str, str], int]:
    return lambda method, path: _here(method, path, told.port, told.tls)[0]


def _get(path: str, port: int, tls: bool) -> tuple[int, str]:
    return _here("GET", path, port, tls)


def _here(method: str, path: str, port: int, tls: bool) -> tuple[int, str]:
    """Status and text of a service of this host; 0 without an answer."""
    # on loopback there is nobody in between, and the certificate is for another name
    context = ssl._create_unverified_context() if tls else None  # noqa: S323
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=_SECONDS, context=context)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    )
    try:
        connection.request(method, path, headers={"Content-Length": "0"} if method == "POST" else {})
        answer = connection.getresponse()
        return answer.status, answer.read(_ENOUGH).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
