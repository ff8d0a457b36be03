# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults to be injected into a local cloud: data only, shared by the simulation and the HTTP server.

A fault is a JSON object with a ``kind``; fields that are left out have the defaults below.

===========  =========================================================================================================
kind         fields
===========  =========================================================================================================
api          ``operation`` ("*": any), ``code`` Throttling, ``message`` Rate exceeded, ``times`` 1: refuse the next calls
launch       ``code`` InsufficientInstanceCapacity, ``message``, ``zone`` (null: any), ``times`` 1 (null: until cleared)
boot         ``outcome`` hang or die, ``times`` 1: what becomes of the next hosts that are launched
target       ``outcome`` unhealthy, ``times`` 1: the next hosts launched never pass a load balancer's health check
lag          ``seconds``: descriptions of Auto Scaling groups and tags show a write only this much later (0: off)
===========  =========================================================================================================

With real hosts only. plug and spot happen once; each other one is over after ``seconds`` (null: when it is cleared), and hosts are as
before then. A host has one network, one disk, one clock and one credentials fault at a time. Where one did not come about on a host, it stays
listed, with the reason in ``failed``.

===========  =========================================================================================================
plug         ``instance``, which runs: every process of the host is killed at once
network      ``instance`` or ``zone``; ``cut`` true: nothing gets through but metadata (in a zone: its hosts reach each other);
             or ``loss`` percent, ``rate`` kilobytes a second, ``latency`` milliseconds
spot         ``instance``, ``notice`` 120 seconds, ``rebalance`` true: it is taken, with its notice in the metadata first
disk         ``instance``, ``path``: what is below this directory (256 MB at most) lies on a full file system
clock        ``instance``, ``offset`` seconds: what starts on the host from now on reads a clock that is so far ahead
credentials  ``instance`` (null: all), ``outcome`` missing or expired: what the metadata gives of the role
away         ``seconds`` 60: the API closes connections without an answer, to hosts and to everybody
===========  =========================================================================================================
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from localcloud.errors import ApiError

CAPACITY_MESSAGE = (
    "We currently do not have sufficient capacity in the Availability Zone you requested. Our system will be working "
    "on provisioning additional capacity."
)


@dataclass
class ApiFault:
    kind: ClassVar[str] = "api"
    operation: str = "*"
    code: str = "Throttling"
    message: str = "Rate exceeded"
    times: int | None = 1


@dataclass
class LaunchFault:
    kind: ClassVar[str] = "launch"
    code: str = "InsufficientInstanceCapacity"
    message: str = CAPACITY_MESSAGE
    zone: str | None = None
    times: int | None = 1


@dataclass
class BootFault:
    kind: ClassVar[str] = "boot"
    outcome: Literal["hang", "die"] = "hang"
    times: int | None = 1


@dataclass
class TargetFault:
    kind: ClassVar[str] = "target"
    outcome: Literal["unhealthy"] = "unhealthy"
    times: int | None = 1


@dataclass
class LagFault:
    kind: ClassVar[str] = "lag"
    seconds: float = 0.0
    times: ClassVar[None] = None


@dataclass(kw_only=True)
class HostFault:
    """What befalls real hosts. ``until`` is set when it begins (unix seconds), ``failed`` where it does not come about (why, by host)."""

    kind: ClassVar[str]
    once: ClassVar[bool] = False
    seconds: float | None = None
    until: float | None = None
    failed: dict[str, str] = field(default_factory=dict)
    times: ClassVar[None] = None


@dataclass(kw_only=True)
class PlugFault(HostFault):
    kind: ClassVar[str] = "plug"
    once: ClassVar[bool] = True
    instance: str


@dataclass(kw_only=True)
class NetworkFault(HostFault):
    kind: ClassVar[str] = "network"
    instance: str | None = None
    zone: str | None = None
    cut: bool = False
    loss: float = 0.0
    rate: int = 0
    latency: float = 0.0


@dataclass(kw_only=True)
class SpotFault(HostFault):
    kind: ClassVar[str] = "spot"
    once: ClassVar[bool] = True
    instance: str
    notice: float = 120.0
    rebalance: bool = True


@dataclass(kw_only=True)
class DiskFault(HostFault):
    kind: ClassVar[str] = "disk"
    instance: str
    path: str


@dataclass(kw_only=True)
class ClockFault(HostFault):
    kind: ClassVar[str] = "clock"
    instance: str
    offset: float


@dataclass(kw_only=True)
class CredentialsFault(HostFault):
    kind: ClassVar[str] = "credentials"
    instance: str | None = None
    outcome: Literal["missing", "expired"] = "missing"


@dataclass(kw_only=True)
class AwayFault(HostFault):
    kind: ClassVar[str] = "away"
    seconds: float | None = 60.0


Fault = ApiFault | LaunchFault | BootFault | TargetFault | LagFault | HostFault
_CALLS: tuple[type[Fault], ...] = (ApiFault, LaunchFault, BootFault, TargetFault, LagFault)
_HOSTS: tuple[type[Fault], ...] = (
    PlugFault,
    NetworkFault,
    SpotFault,
    DiskFault,
    ClockFault,
    CredentialsFault,
    AwayFault,
)
KINDS: dict[str, type[Fault]] = {cls.kind: cls for cls in (*_CALLS, *_HOSTS)}
Check = Callable[[Fault], None]
"""Raises ValueError for a fault that cannot come about."""
_LEAST = {"times": 1, "seconds": 0, "notice": 0, "loss": 0, "rate": 0, "latency": 0}
_MOST = 1e12


def _no_hosts(fault: Fault) -> None:
    if isinstance(fault, HostFault):
        raise ValueError(f"fault {fault.kind} needs real hosts")


@dataclass
class Faults:
    """The faults that are armed, oldest first. Safe to use from several threads."""

    armed: list[Fault] = field(default_factory=list)
    check: Check = _no_hosts
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _adding: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, data: Mapping[str, Any]) -> None:
        """Arm one fault. Raises ValueError that names what is wrong with it, and the way out."""
        fault = _made(data)
        with self._adding:
            self.check(fault)
            self.arm(fault)

    def arm(self, fault: Fault) -> None:
        """Arm one fault; a new lag replaces the old one."""
        with self._lock:
            if isinstance(fault, LagFault):
                self.armed = [f for f in self.armed if not isinstance(f, LagFault)]
                if fault.seconds <= 0:
                    return
            self.armed.append(fault)

    def clear(self) -> None:
        with self._lock:
            self.armed = []

    def as_list(self) -> list[dict[str, Any]]:
        """What is armed, as JSON-able values; of hosts' faults also when they end (null: not of themselves) and where they failed."""
        with self._lock:
            found = [{"kind": fault.kind} | asdict(fault) for fault in self.armed]
        return [one | {"until": None} if one.get("until") == float("inf") else one for one in found]

    def of_hosts(self) -> list[HostFault]:
        with self._lock:
            return [fault for fault in self.armed if isinstance(fault, HostFault)]

    def end(self, fault: HostFault) -> None:
        """Take one away; it is no error if it was cleared."""
        with self._lock:
            self.armed = [one for one in self.armed if one is not fault]

    def note(self, fault: HostFault, instance_id: str, failed: str) -> None:
        """Keep why a fault did not come about on a host; empty: it did."""
        with self._lock:
            if failed:
                fault.failed[instance_id] = failed
            else:
                fault.failed.pop(instance_id, None)

    def credentials(self, instance_id: str) -> str:
        """``missing`` or ``expired`` if the metadata of this instance gives no good credentials, else empty."""
        found = (one for one in self.of_hosts() if isinstance(one, CredentialsFault))
        return next((one.outcome for one in found if one.instance in (None, instance_id)), "")

    @property
    def away(self) -> bool:
        """Whether the API is not to be reached."""
        return any(isinstance(one, AwayFault) for one in self.of_hosts())

    def api_refusal(self, operation: str) -> ApiError | None:
        """The refusal that this call meets, if any; uses the fault up."""
        with self._lock:
            for fault in self.armed:
                if isinstance(fault, ApiFault) and fault.operation in ("*", operation):
                    self._use(fault)
                    return ApiError(fault.code, fault.message)
        return None

    def launch_refusal(self, zone: str) -> ApiError | None:
        """The refusal that a launch in this zone meets, if any; uses the fault up."""
        with self._lock:
            for fault in self.armed:
                if isinstance(fault, LaunchFault) and fault.zone in (None, zone):
                    self._use(fault)
                    return ApiError(fault.code, fault.message)
        return None

    def boot_outcome(self) -> str | None:
        """``hang`` or ``die`` for the host that is being launched, None for a good boot; uses the fault up."""
        return self._outcome(BootFault)

    def target_outcome(self) -> str | None:
        """``unhealthy`` for the host that is being launched, or None; uses the fault up."""
        return self._outcome(TargetFault)

    @property
    def lag(self) -> float:
        """Seconds by which descriptions of groups lag behind."""
        return next((fault.seconds for fault in self.armed if isinstance(fault, LagFault)), 0.0)

    def _outcome(self, cls: type[BootFault] | type[TargetFault]) -> str | None:
        with self._lock:
            for fault in self.armed:
                if isinstance(fault, cls):
                    self._use(fault)
                    return fault.outcome
        return None

    def _use(self, fault: Fault) -> None:
        if isinstance(fault, HostFault) or fault.times is None:
            return
        fault.times -= 1
        if fault.times <= 0:
            self.armed.remove(fault)


def _made(data: Mapping[str, Any]) -> Fault:
    """The fault that JSON describes. Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError('a fault is a JSON object, such as {"kind": "api"}')
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown fault kind {kind!r}: use one of {', '.join(sorted(KINDS))}")
    cls = KINDS[kind]
    known = {f.name for f in fields(cls)} - {"until", "failed"}
    if issubclass(cls, HostFault) and cls.once:
        known -= {"seconds"}
    given = {key: value for key, value in data.items() if key != "kind"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"fault {kind} has no field {unknown[0]!r}: it has {', '.join(sorted(known))}")
    missing = [
        f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING and f.name not in given
    ]
    if missing:
        raise ValueError(f"fault {kind} needs the field {missing[0]!r}")
    hints = get_type_hints(cls)
    for name, value in given.items():
        wrong = _wrong(value, hints[name]) or _too_small(cls, name, value)
        if wrong:
            raise ValueError(f"fault {kind}: {wrong.format(name=name, value=value)}")
    return cls(**given)


def _wrong(value: Any, hint: Any) -> str:
    """What is wrong with the type of a value; empty if nothing is."""
    null = ""
    if isinstance(hint, UnionType):
        hint, null = get_args(hint)[0], " or null"
        if value is None:
            return ""
    if get_origin(hint) is Literal:
        allowed = get_args(hint)
        return "" if value in allowed else f"there is no {{name}} {{value!r}}: use {' or '.join(allowed)}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text that is not empty"}
    fits = {
        bool: isinstance(value, bool),
        int: isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST,
        float: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST,
        str: isinstance(value, str) and value != "",
    }
    return "" if fits[hint] else f"{{name}} is {{value!r}} and must be {words[hint]}{null}"


def _too_small(cls: type[Fault], name: str, value: Any) -> str:
    """What is wrong with the size of a number; empty if nothing is."""
    if value is None or name not in _LEAST:
        return ""
    least = _LEAST[name]
    if value < least:
        return f"{{name}} is {{value}} and must be {least} or more"
    if value == 0 and name == "seconds" and issubclass(cls, HostFault):
        return "it would last 0 seconds, which is never"
    return ""
