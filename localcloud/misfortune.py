# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls hosts: faults of :mod:`localcloud.faults` brought about, and taken back when they are over.

A host that is launched or booted while a fault lasts meets it too. Commands run on workers, without the cloud's lock.
"""

from __future__ import annotations

import difflib
import logging
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from localcloud import wire
from localcloud.cloud import Cloud
from localcloud.ec2.backend import ZONES
from localcloud.faults import (
    ApiFault,
    ClockFault,
    CredentialsFault,
    DiskFault,
    Fault,
    HostFault,
    NetworkFault,
    PlugFault,
    SpotFault,
)
from localcloud.hosts.fence import METADATA
from localcloud.hosts.fleet import Host, Phase
from localcloud.hosts.podman import HostError, Podman, entering
from localcloud.metadata import Notice
from localcloud.server import SERVICES

LOG = logging.getLogger(__name__)
_SECONDS = 60
_FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
_LARGEST_KB = 256 * 1024
# What lies below a directory moves to a file system of its own, which is then filled to the last byte. Room beyond what
# lies there is for what others write while it is copied.
_FILL = f"""\
set -eu
kb=$(du -sk "$1" | cut -f1)
[ "$kb" -le {_LARGEST_KB} ] || {{ echo "$1 has $kb KB, and {_LARGEST_KB} are the most" >&2; exit 1; }}
mkdir -p /run/lc-full
mount -t tmpfs -o size=$((2 * kb + 8192))k tmpfs /run/lc-full
trap 'umount /run/lc-full' EXIT
cp -a "$1/." /run/lc-full/
chmod --reference="$1" /run/lc-full && chown --reference="$1" /run/lc-full
cat /dev/zero > /run/lc-full/.full 2>/dev/null || true
mount --bind /run/lc-full "$1"
trap - EXIT
"""
_EMPTY = 'umount "$1" && umount /run/lc-full'
# The library comes by standard input. What names it lies in /run, so that it is gone after a stop, whoever was there to
# take it back; in /etc are links to it. A library that programs have open is replaced and not written over.
_FAKE = """\
set -eu
for name in faketimerc ld.so.preload; do
    [ ! -e "/etc/$name" ] || [ "$(readlink "/etc/$name")" = "/run/lc-clock/$name" ] || { echo "it has an /etc/$name of its own" >&2; exit 1; }
done
mkdir -p /run/lc-clock
cat > /usr/local/lib/lc-faketime.part
mv /usr/local/lib/lc-faketime.part /usr/local/lib/lc-faketime.so
echo "$1" > /run/lc-clock/faketimerc
echo /usr/local/lib/lc-faketime.so > /run/lc-clock/ld.so.preload
ln -sfn /run/lc-clock/faketimerc /etc/faketimerc
ln -sfn /run/lc-clock/ld.so.preload /etc/ld.so.preload
"""
# What runs with the library reads the offset again.
_TRUE = "rm -f /etc/ld.so.preload && echo +0 > /run/lc-clock/faketimerc"
_NO_RULES = "table inet lc_fault\ndelete table inet lc_fault\n"
_RUNS = (Phase.BOOTING, Phase.UP, Phase.IMPAIRED)


@dataclass
class _Felt:
    """What is being done to a host, or was, for its faults of one kind."""

    fault: HostFault
    pid: int  # of the host's systemd then
    busy: bool = True
    done: bool = False


class Misfortune:
    """Brings the faults of one cloud about.

    :param now: unix seconds.
    """

    def __init__(self, cloud: Cloud, now: Callable[[], float]) -> None:
        self._cloud = cloud
        self._now = now
        self._felt: dict[tuple[str, str], _Felt] = {}  # by kind and host: one step at a time
        cloud.faults.check = self.check
        cloud.more_parts.append(self.tick)

    def check(self, fault: Fault) -> None:
        """Raise ValueError, with the way out, for a fault that cannot come about."""
        if isinstance(fault, ApiFault):
            _check_operation(fault.operation)
        instance, zone = getattr(fault, "instance", None), getattr(fault, "zone", None)
        with self._cloud.lock:
            host = self._cloud.fleet.get(instance or "")
            if instance is not None and host is None:
                raise ValueError(f"there is no host {instance}")
            found = self._cloud.backend().get_instance_by_id(instance or "")
            self._check_alone(fault)
        if isinstance(fault, SpotFault) and (found is None or found.lifecycle != "spot"):
            raise ValueError(f"{instance} is no Spot instance")
        zones = [f"{self._cloud.settings.region}{letter}" for letter in ZONES]
        if zone is not None and zone not in zones:
            raise ValueError(f"there is no zone {zone}: there are {', '.join(zones)}")
        match fault:
            case PlugFault() if host is None or host.phase not in _RUNS:
                raise ValueError(f"{instance} does not run, so there is no plug to pull: start it first")
            case NetworkFault():
                _check_network(fault)
            case DiskFault() if not re.fullmatch(r"(/[\w.+-]+)+", fault.path):
                raise ValueError(f"{fault.path!r} is no directory below /")
            case ClockFault() if not fault.offset:
                raise ValueError("a clock that is 0 seconds ahead is right: use another offset")
            case ClockFault() if _faketime() is None:
                raise ValueError("libfaketime is missing: install it (apt-get install libfaketime)")

    def _check_alone(self, fault: Fault) -> None:
        """A second fault of a kind would undo the first one on the hosts that both are about."""
        if not isinstance(fault, NetworkFault | DiskFault | ClockFault | CredentialsFault):
            return
        for other in self._cloud.faults.of_hosts():
            if type(other) is not type(fault):
                continue
            instances = {one.instance for one in (fault, other)} - {None}
            zones = {getattr(one, "zone", None) for one in (fault, other)} - {None}
            if instances and zones:
                zones |= {self._zone(str(one)) for one in instances}
            if len(instances) < 2 and len(zones) < 2:
                whom = " ".join(sorted(map(str, instances or zones))) or "every host"
                raise ValueError(f"a fault {fault.kind} is armed for {whom} already: clear it first (--clear)")

    def tick(self) -> None:
        """Begin and end what is due. Called with the cloud's lock."""
        now = self._now()
        for fault in self._cloud.faults.of_hosts():
            if fault.until is None:
                fault.until = float("inf") if fault.seconds is None else now + fault.seconds
                self._begin(fault, now)
            if now >= fault.until:
                self._cloud.faults.end(fault)
        armed = self._cloud.faults.of_hosts()
        for key, was in list(self._felt.items()):
            if not was.busy and not any(was.fault is one for one in armed):
                self._take_back(key, was)
        for fault in armed:
            for host in self._hosts(fault):
                felt = self._felt.get((fault.kind, host.id))
                if host.pid and (felt is None or (felt.fault is fault and felt.pid != host.pid and not felt.busy)):
                    self._bring_about(fault, host)
        self._take(now)

    def _bring_about(self, fault: HostFault, host: Host) -> None:
        felt = self._felt[fault.kind, host.id] = _Felt(fault, host.pid)
        around = self._around(fault, host)

        def after(failed: str) -> None:
            felt.busy, felt.done = False, not failed
            self._note(fault, host.id, failed)

        self._work(lambda: _do(fault, felt.pid, *around), after)

    def _take_back(self, key: tuple[str, str], felt: _Felt) -> None:
        """What did not come about needs no taking back, and what it would undo is the host's own."""
        felt.busy = True

        def after(failed: str) -> None:
            del self._felt[key]
            if failed:
                LOG.warning("The fault %s on %s was not taken back: %s", *key, failed)

        if felt.done:
            self._work(lambda: _undo(felt.fault, felt.pid), after)
        else:
            after("")

    def _begin(self, fault: HostFault, now: float) -> None:
        if isinstance(fault, PlugFault):
            self._pull(fault)
        elif isinstance(fault, SpotFault):
            recommended = now if fault.rebalance else 0.0
            self._cloud.backend().notices[fault.instance] = Notice("terminate", now + fault.notice, recommended)
            self._cloud.faults.end(fault)
            if fault.rebalance:
                self._cloud.autoscaling.rebalance_recommendation(fault.instance)

    def _pull(self, fault: PlugFault) -> None:
        fleet, name = self._cloud.fleet, fault.instance

        def after(failed: str) -> None:
            self._note(fault, name, failed)
            if not failed:
                self._cloud.faults.end(fault)

        self._work(lambda: _kill(fleet.podman, fleet.container(name)), after)

    def _take(self, now: float) -> None:
        """Terminate Spot instances whose notice is over."""
        for instance_id, notice in list(self._cloud.backend().notices.items()):
            if notice.action and now >= notice.at:
                self._cloud.backend().notices[instance_id] = replace(notice, at=float("inf"))
                self._cloud.backend().take_spot(instance_id)

    def _hosts(self, fault: HostFault) -> list[Host]:
        if not isinstance(fault, NetworkFault | DiskFault | ClockFault):
            return []
        hosts = [one for one in self._cloud.fleet.hosts() if one.phase in _RUNS]
        if fault.instance is not None:
            return [one for one in hosts if one.id == fault.instance]
        return [one for one in hosts if self._zone(one.id) == getattr(fault, "zone", None)]

    def _zone(self, instance_id: str) -> str:
        instance = self._cloud.backend().get_instance_by_id(instance_id)
        return "" if instance is None else str(instance.availability_zone)

    def _around(self, fault: HostFault, host: Host) -> tuple[str, str]:
        """The network that a cut leaves a host, empty if none; and this machine's address in it."""
        instance = self._cloud.backend().get_instance_by_id(host.id)
        if instance is None or getattr(fault, "zone", None) is None:
            return "", self._cloud.settings.gateway
        return str(self._cloud.backend().get_subnet(str(instance.subnet_id)).cidr_block), self._cloud.settings.gateway

    def _note(self, fault: HostFault, instance: str, failed: str) -> None:
        self._cloud.faults.note(fault, instance, failed)
        if failed:
            LOG.warning("The fault %s on %s did not come about: %s", fault.kind, instance, failed)

    def _work(self, work: Callable[[], None], after: Callable[[str], None]) -> None:
        """Do something on a worker; then call ``after`` with the cloud's lock, and with the reason if it could not be done."""

        def run() -> None:
            failed = ""
            try:
                work()
            except Exception as error:
                failed = str(error) or type(error).__name__
                if not isinstance(error, HostError | OSError):
                    LOG.exception("a step of a fault failed")
            with self._cloud.lock:
                after(failed)

        self._cloud.fleet.background(run)


def _kill(podman: Podman, container: str) -> None:
    podman("kill", "--signal=KILL", container)


def _check_operation(name: str) -> None:
    there = {one for service in SERVICES for one in wire.operations(service)}
    if name != "*" and name not in there:
        near = difflib.get_close_matches(name, there, 1)
        meant = f"did you mean {near[0]}?" if near else "use a name of AWS's, or * for all"
        raise ValueError(f"no service here has an operation {name!r} ({meant})")


def _check_network(fault: NetworkFault) -> None:
    if (fault.instance is None) == (fault.zone is None):
        raise ValueError("fault network needs an instance or a zone")
    if fault.loss > 100:
        raise ValueError("fault network: loss is 0 to 100 percent")
    if not (fault.cut or fault.loss or fault.rate or fault.latency):
        raise ValueError("fault network needs one of cut, loss, rate and latency")
    if fault.latency and not _has_netem():
        raise ValueError(
            "this machine's kernel has no netem, which latency needs (modprobe sch_netem): use rate, loss or cut"
        )


def _do(fault: HostFault, pid: int, around: str, gateway: str) -> None:
    match fault:
        case NetworkFault():
            _in_network(pid, ["nft", "--file", "-"], network_rules(fault, around, gateway))
            if fault.latency:
                delay = ["netem", "delay", f"{fault.latency:g}ms"]
                try:
                    _in_network(pid, ["tc", "qdisc", "replace", "dev", "eth0", "root", *delay])
                except HostError:
                    _in_network(pid, ["nft", "--file", "-"], _NO_RULES)
                    raise
        case DiskFault():
            _inside(pid, _FILL, fault.path)
        case ClockFault():
            library = _faketime()
            if library is None:
                raise HostError("libfaketime is missing")
            _inside(pid, _FAKE, f"{fault.offset:+.15g}", given=library.read_bytes())


def _undo(fault: HostFault, pid: int) -> None:
    """A host that ended took with it all that was done to it."""
    if not Path(f"/proc/{pid}").exists():
        return
    match fault:
        case NetworkFault():
            _in_network(pid, ["nft", "--file", "-"], _NO_RULES)
            if fault.latency:
                _in_network(pid, ["tc", "qdisc", "del", "dev", "eth0", "root"])
        case DiskFault():
            _inside(pid, _EMPTY, fault.path)
        case ClockFault():
            _inside(pid, _TRUE)


def network_rules(fault: NetworkFault, around: str, gateway: str) -> str:
    """A script for nft in the network namespace of a host.

    :param around: the network that stays within reach of a cut, empty if none.
    :param gateway: this machine's address, which never does; its load balancers and API are outside.
    """
    if fault.cut:
        act = "drop"
    else:
        parts = [f"numgen random mod 1000 < {round(fault.loss * 10)} drop"] if fault.loss else []
        act = "\n        ".join(parts + ([f"limit rate over {fault.rate} kbytes/second drop"] if fault.rate else []))

    def chain(name: str, hook: str, way: str, address: str) -> str:
        near = f"ip {address} != {gateway} ip {address} {around} accept" if around and fault.cut else ""
        return f"""\
    chain {name} {{
        type filter hook {hook} priority -250;
        {way} "lo" accept
        ip {address} {METADATA} accept
        {near}
        {act}
    }}
"""

    chains = chain("leaves", "output", "oifname", "daddr") + chain("comes", "input", "iifname", "saddr")
    return f"{_NO_RULES}table inet lc_fault {{\n{chains}}}\n"


def _in_network(pid: int, command: list[str], given: str = "") -> None:
    """Run a command of this machine in the network of a host. Raises HostError."""
    _run(command[0], ["nsenter", f"--target={pid}", "--net", *command], given.encode())


def _inside(pid: int, script: str, *arguments: str, given: bytes = b"") -> None:
    """Run a script with the host's own shell. Raises HostError."""
    _run("a script", [*entering(pid), "sh", "-c", script, "sh", *arguments], given)


def _run(name: str, command: list[str], given: bytes) -> None:
    try:
        done = subprocess.run(command, input=given, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{name} could not be run on a host: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise HostError(f"{name} failed on a host: {said or 'it said nothing'}")


def _faketime() -> Path | None:
    return next((Path(path) for path in _FAKETIME if Path(path).exists()), None)


def _has_netem() -> bool:
    """Whether the kernel can delay packets, tried in a network namespace of its own."""
    done = subprocess.run(
        ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"],
        capture_output=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    return done.returncode == 0
