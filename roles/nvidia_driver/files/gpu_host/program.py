# SPDX-License-Identifier: GPL-3.0-or-later
"""gpu prepare | ready | watch | enter | check | show | compute | containers | export: the program of units and people, /usr/lib/boring.fleet/gpu.

prepare    brings what is declared onto the GPUs
ready      checks them until they work or the time is over; the unit gpu-ready, which services that need a GPU require
watch      checks once; the timer gpu-watch
enter      for the launch hook: ends with 78 and the reason on a host whose GPUs do not work, with 75 while that is not known yet
check      checks once, kernels too, and prints all of it as JSON; writes nothing down and notifies nobody
show       prints what was found last, a line a problem; with --json all of it
compute    runs a kernel on the one GPU that CUDA_VISIBLE_DEVICES names
containers writes what containers need of the GPUs, as a CDI specification and for units that run one
export     serves metrics for Prometheus
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError
from gpu_host import cdi, cuda, exporter, facts, judge, notify, nvml, prepare, state
from gpu_host.host import Host, run

STATE = "run/boring.fleet/gpu.json"
IMAGE = "usr/share/boring.fleet/gpu.json"
HOST = "etc/fleet/gpu.json"
FLEET = "etc/fleet/host.json"
AGAIN, NEVER = 75, 78  # how a step of the launch hook ends: to be tried again, or in vain
_PAUSE = 3.0
_LOOKS_BEFORE_NOTIFYING = 2  # one alone may be a moment in which something restarts


@dataclass(frozen=True)
class Outside:
    """What the program uses of the world."""

    root: Path
    host: Host
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    now: Callable[[], datetime.datetime]
    say: Callable[[str], None]
    notify: Callable[..., str]


def real(root: Path) -> Outside:
    itself = [sys.executable, "-I", "-B", sys.argv[0]]
    return Outside(
        root=root,
        host=Host(root, run, nvml.load, itself),
        sleep=time.sleep,
        monotonic=time.monotonic,
        now=lambda: datetime.datetime.now(datetime.UTC),
        say=lambda line: print(line, flush=True),
        # the name that AWS's own programs have for it
        notify=functools.partial(notify.unhealthy, metadata=os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")),
    )


def declared(outside: Outside) -> facts.Declared:
    return facts.declared(state.read(outside.root / IMAGE), state.read(outside.root / HOST))


def look(outside: Outside, *, compute: bool, over: bool) -> dict[str, Any]:
    """One look, judged and written down."""
    wanted = declared(outside)
    before = state.read(outside.root / STATE)
    seen = state.with_earlier(outside.host.look(compute=compute), before)
    # A GPU is in use later on, so only the check at boot runs kernels; the watch keeps what that found.
    judged = seen if compute else replace(seen, computed=before.get("computed"))
    found = judge.problems(judged, wanted, int(before.get("most_gpus", 0)))
    document = state.document(seen, wanted, found, before, outside.now().isoformat(timespec="seconds"), over=over)
    state.write(outside.root / STATE, document)
    return document


def check(outside: Outside, module_version: str) -> int:
    """For people: the same as at boot."""
    wanted = declared(outside)
    if module_version:
        wanted = replace(wanted, module_version=module_version)
    seen = outside.host.look(compute=True)
    found = judge.problems(seen, wanted)
    outside.say(
        json.dumps(state.document(seen, wanted, found, {}, outside.now().isoformat(timespec="seconds"), over=True))
    )
    return 1 if found else 0


def ready(outside: Outside, seconds: float) -> int:
    """Until all is well: persistence, fabric manager and device nodes take a moment to come."""
    deadline = outside.monotonic() + seconds
    while True:
        last = outside.monotonic() + _PAUSE >= deadline
        document = look(outside, compute=True, over=last)
        if document["ready"] or last:
            break
        outside.sleep(_PAUSE)
    if document["ready"]:
        state.write(outside.root / STATE, {**document, "booted": True})
        outside.say(document["reason"] or f"{len(document['pci'])} GPUs work")
        return 0
    return failed(outside, document)


def watch(outside: Outside) -> int:
    document = look(outside, compute=False, over=True)
    if document["ready"]:
        return 0
    if document["failures"] < _LOOKS_BEFORE_NOTIFYING:
        outside.say(f"{document['reason']}; looked at again before its group is notified")
        return 0
    return failed(outside, document)


def failed(outside: Outside, document: dict[str, Any]) -> int:
    """Say what is wrong, and see to it that the host is replaced."""
    for problem in document["problems"]:
        outside.say(problem["sentence"])
    told = state.read(outside.root / FLEET)
    try:
        answer = outside.notify(told, outside.monotonic, lambda: outside.now().timestamp())
    except HostError as error:
        answer = f"Auto Scaling was not notified: {error}"
    outside.say(answer)
    state.write(outside.root / STATE, {**document, "notified": answer})
    return 1


def enter(outside: Outside, seconds: float) -> int:
    """Whether this host may enter service."""
    deadline = outside.monotonic() + seconds
    while True:
        document = state.read(outside.root / STATE)
        if document.get("booted"):
            break
        if outside.monotonic() >= deadline:
            outside.say(f"gpu-ready is not done after {seconds:g} s: look at its journal")
            return AGAIN
        outside.sleep(1.0)
    outside.say(document["reason"] or f"{len(document['pci'])} GPUs work")
    return 0 if document["ready"] else NEVER


def show(outside: Outside, *, whole: bool) -> int:
    document = state.read(outside.root / STATE)
    if whole:
        outside.say(json.dumps(document, indent=1, sort_keys=True))
    elif not document:
        outside.say("no check was made yet: systemctl start gpu-ready")
    elif document["ready"]:
        outside.say(document["reason"] or f"{len(document['pci'])} GPUs work, checked {document['checked']}")
    else:
        for problem in document["problems"]:
            outside.say(problem["sentence"])
        if document["notified"]:
            outside.say(document["notified"])
    return 0 if document.get("ready") else 1


def main(argv: Sequence[str] | None = None, outside: Callable[[Path], Outside] = real) -> int:
    parser = argparse.ArgumentParser(prog="gpu", description="Whether the GPUs of this host work.")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "watch", "compute"):
        commands.add_parser(name)
    for name, seconds in (("ready", 180.0), ("enter", 60.0)):
        commands.add_parser(name).add_argument("--seconds", type=float, default=seconds, help="how long to wait")
    commands.add_parser("show").add_argument("--json", action="store_true", help="all that was seen")
    commands.add_parser("containers").add_argument(
        "units", nargs="*", help="units that run a container by systemd itself"
    )
    once = commands.add_parser("check")
    once.add_argument(
        "--module-version", default="", help="version that the driver must have; the image's own if none is given"
    )
    serve = commands.add_parser("export")
    serve.add_argument("--address", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=9835)
    given = parser.parse_args(argv)
    return COMMANDS[given.command](outside(given.root), given)


def _prepare(outside: Outside) -> int:
    if outside.host.gpus():
        for line in prepare.prepare(outside.host, declared(outside)):
            outside.say(line)
    return 0


def _compute(outside: Outside) -> int:
    reason = cuda.main()
    outside.say(reason or "every sum is right")
    return 1 if reason else 0


def _containers(outside: Outside, units: Sequence[str]) -> int:
    for line in cdi.refresh(outside.host, units):
        outside.say(line)
    return 0


COMMANDS: dict[str, Callable[[Outside, Any], int]] = {
    "prepare": lambda there, given: _prepare(there),
    "ready": lambda there, given: ready(there, given.seconds),
    "watch": lambda there, given: watch(there),
    "enter": lambda there, given: enter(there, given.seconds),
    "check": lambda there, given: check(there, given.module_version),
    "show": lambda there, given: show(there, whole=given.json),
    "compute": lambda there, given: _compute(there),
    "containers": lambda there, given: _containers(there, given.units),
    "export": lambda there, given: exporter.serve(given.address, given.port, there.host.library, there.root / STATE),
}
