# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls hosts: faults of :mod:`localcloud.faults` brought about, and taken back when they are over.

A host that is launched or booted while a fault lasts meets it too. Commands run on workers, without the cloud's lock.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from localcloud.cloud import Cloud
from localcloud.ec2.backend import ZONES
from localcloud.faults import (
    ClockFault,
    CredentialsFault,
    DiskFault,
    HostFault,
    NetworkFault,
    PlugFault,
    SpotFault,
)
from localcloud.hosts.fence import METADATA
from localcloud.hosts.fleet import Host, Phase
from localcloud.hosts.podman import HostError
from localcloud.metadata import Notice

LOG = logging.getLogger(__name__)
_SECONDS = 60
_FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
_INSIDE = "/usr/local/lib/libfaketime.so.1"
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


class Misfortune:
    """Brings the faults of one cloud about.

    :param now: unix seconds.
    """

    def __init__(self, cloud: Cloud, now: Callable[[], float]) -> None:
        self._cloud = cloud
        self._now = now
        # Of each fault and host that meets it: the fault, and the host's systemd.
        self._felt: dict[tuple[int, str], tuple[HostFault, int]] = {}
        cloud.faults.check = self.check
        cloud.more_parts.append(self.tick)

    def check(self, fault: HostFault) -> None:
        """Raise ValueError, with the way out, for a fault that cannot come about."""
        instance, zone = getattr(fault, "instance", None), getattr(fault, "zone", None)
        with self._cloud.lock:
            if instance is not None and self._cloud.fleet.get(instance) is None:
                raise ValueError(f"there is no host {instance}")
            found = self._cloud.backend().get_instance_by_id(instance or "")
        if isinstance(fault, SpotFault) and (found is None or found.lifecycle != "spot"):
            raise ValueError(f"{instance} is no Spot instance")
        zones = [f"{self._cloud.settings.region}{letter}" for letter in ZONES]
        if zone is not None and zone not in zones:
            raise ValueError(f"there is no zone {zone}: there are {', '.join(zones)}")
        match fault:
            case NetworkFault():
                _check_network(fault)
            case DiskFault() if not re.fullmatch(r"(/[\w.+-]+)+", fault.path):
                raise ValueError(f"{fault.path!r} is no directory below /")
            case ClockFault() if _faketime() is None:
                raise ValueError("libfaketime is missing: install it (apt-get install libfaketime)")
            case CredentialsFault() if fault.outcome not in ("missing", "expired"):
                raise ValueError(f"there is no outcome {fault.outcome!r}: use missing or expired")

    def tick(self) -> None:
        """Begin and end what is due. Called with the cloud's lock."""
        now = self._now()
        for fault in self._cloud.faults.of_hosts():
            if fault.until is None:
                fault.until = float("inf") if fault.seconds is None else now + fault.seconds
                self._begin(fault, now)
            if now >= fault.until:
                self._cloud.faults.end(fault)
        armed = {id(fault) for fault in self._cloud.faults.of_hosts()}
        for key, (fault, pid) in list(self._felt.items()):
            if key[0] not in armed:
                del self._felt[key]
                said = f"The fault {fault.kind} on {key[1]} was not taken back"
                self._work(said, lambda fault=fault, pid=pid: _undo(fault, pid))  # type: ignore[misc]
        for fault in self._cloud.faults.of_hosts():
            for host in self._hosts(fault):
                if host.pid and self._felt.get((id(fault), host.id), (fault, 0))[1] != host.pid:
                    self._felt[id(fault), host.id] = (fault, host.pid)
                    around = self._around(fault, host)
                    said = f"The fault {fault.kind} on {host.id} did not come about"
                    self._work(said, lambda fault=fault, pid=host.pid, around=around: _do(fault, pid, *around))  # type: ignore[misc]
        self._take(now)

    def _begin(self, fault: HostFault, now: float) -> None:
        if isinstance(fault, PlugFault):
            self._cloud.fleet.kill(fault.instance)
            self._cloud.faults.end(fault)
        elif isinstance(fault, SpotFault):
            recommended = now if fault.rebalance else 0.0
            self._cloud.backend().notices[fault.instance] = Notice("terminate", now + fault.notice, recommended)
            self._cloud.faults.end(fault)
            if fault.rebalance:
                self._cloud.autoscaling.rebalance_recommendation(fault.instance)

    def _take(self, now: float) -> None:
        """Terminate Spot instances whose notice is over."""
        for instance_id, notice in list(self._cloud.backend().notices.items()):
            if notice.action and now >= notice.at:
                self._cloud.backend().notices[instance_id] = replace(notice, at=float("inf"))
                self._cloud.backend().take_spot(instance_id)

    def _hosts(self, fault: HostFault) -> list[Host]:
        if not isinstance(fault, NetworkFault | DiskFault | ClockFault):
            return []
        hosts = [one for one in self._cloud.fleet.hosts() if one.phase in (Phase.BOOTING, Phase.UP, Phase.IMPAIRED)]
        if fault.instance is not None:
            return [one for one in hosts if one.id == fault.instance]
        return [one for one in hosts if self._zone(one) == getattr(fault, "zone", None)]

    def _zone(self, host: Host) -> str:
        instance = self._cloud.backend().get_instance_by_id(host.id)
        return "" if instance is None else str(instance.availability_zone)

    def _around(self, fault: HostFault, host: Host) -> tuple[str, str]:
        """The network that a cut leaves a host, empty if none; and this machine's address in it."""
        instance = self._cloud.backend().get_instance_by_id(host.id)
        if instance is None or getattr(fault, "zone", None) is None:
            return "", self._cloud.settings.gateway
        return str(self._cloud.backend().get_subnet(str(instance.subnet_id)).cidr_block), self._cloud.settings.gateway

    def _work(self, failed: str, work: Callable[[], None]) -> None:
        """Do something on a worker.

        :param failed: what the log says if it cannot be done; the reason comes after it.
        """

        def run() -> None:
            try:
                work()
            except (HostError, OSError) as error:
                LOG.warning("%s: %s", failed, error)

        self._cloud.fleet.background(run)


def _check_network(fault: NetworkFault) -> None:
    if (fault.instance is None) == (fault.zone is None):
        raise ValueError("fault network needs an instance or a zone")
    if not 0 <= fault.loss <= 100 or fault.rate < 0 or fault.latency < 0:
        raise ValueError("fault network: loss is 0 to 100 percent, rate and latency are not negative")
    if not (fault.cut or fault.loss or fault.rate or fault.latency):
        raise ValueError("fault network needs one of cut, loss, rate and latency")
    if fault.latency and not _has_netem():
        raise ValueError(
            "this machine's kernel has no netem, which latency needs (modprobe sch_netem): use rate, loss or cut"
        )


def _do(fault: HostFault, pid: int, around: str, gateway: str) -> None:
    match fault:
        case NetworkFault():
            _enter(pid, ["--net"], ["nft", "--file", "-"], network_rules(fault, around, gateway))
            if fault.latency:
                _enter(
                    pid,
                    ["--net"],
                    ["tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", f"{fault.latency:g}ms"],
                )
        case DiskFault():
            _enter(pid, ["--mount", "--pid"], ["sh", "-c", _FILL, "sh", fault.path])
        case ClockFault():
            library, root = _faketime(), Path(f"/proc/{pid}/root")
            if library is None:
                raise HostError("libfaketime is missing")
            (root / _INSIDE[1:]).write_bytes(library.read_bytes())
            (root / "etc/faketimerc").write_text(f"{fault.offset:+g}\n")
            (root / "etc/ld.so.preload").write_text(f"{_INSIDE}\n")


def _undo(fault: HostFault, pid: int) -> None:
    if not Path(f"/proc/{pid}").exists():
        return
    match fault:
        case NetworkFault():
            _enter(pid, ["--net"], ["nft", "--file", "-"], "table inet lc_fault\ndelete table inet lc_fault\n")
            if fault.latency:
                _enter(pid, ["--net"], ["tc", "qdisc", "del", "dev", "eth0", "root"])
        case DiskFault():
            _enter(pid, ["--mount", "--pid"], ["sh", "-c", _EMPTY, "sh", fault.path])
        case ClockFault():
            root = Path(f"/proc/{pid}/root")
            (root / "etc/ld.so.preload").unlink(missing_ok=True)
            (root / "etc/faketimerc").write_text("+0\n")  # what runs with the library reads it again


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
    return f"table inet lc_fault\ndelete table inet lc_fault\ntable inet lc_fault {{\n{chains}}}\n"


def _enter(pid: int, spaces: list[str], command: list[str], given: str = "") -> None:
    """Run a command in namespaces of a host. Raises HostError."""
    try:
        done = subprocess.run(
            ["nsenter", f"--target={pid}", *spaces, *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{command[0]} could not be run on a host: {error}") from None
    if done.returncode:
        raise HostError(f"{command[0]} failed on a host: {done.stderr.strip()[-300:] or 'it said nothing'}")


def _faketime() -> Path | None:
    return next((Path(path) for path in _FAKETIME if Path(path).exists()), None)


def _has_netem() -> bool:
    """Whether the kernel can delay packets, tried in a network namespace of its own."""
    done = subprocess.run(
        ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"],
        capture_output=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    return done.returncode == 0
