# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults to be injected into a local cloud: data only, shared by the simulation and the HTTP server.

A fault is a JSON object with a ``kind``; fields that are left out have the defaults below.

=========  ===========================================================================================================
kind       fields
=========  ===========================================================================================================
api        ``operation`` ("*": any), ``code`` Throttling, ``message`` Rate exceeded, ``times`` 1: refuse the next calls
launch     ``code`` InsufficientInstanceCapacity, ``message``, ``zone`` (null: any), ``times`` 1 (null: until cleared)
boot       ``outcome`` hang or die, ``times`` 1: what becomes of the next hosts that are launched
target     ``outcome`` unhealthy, ``times`` 1: the next hosts launched never pass a load balancer's health check
lag        ``seconds``: descriptions of Auto Scaling groups and tags show a write only this much later (0: off)
=========  ===========================================================================================================
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

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
    outcome: str = "hang"  # hang, die
    times: int | None = 1


@dataclass
class TargetFault:
    kind: ClassVar[str] = "target"
    outcome: str = "unhealthy"
    times: int | None = 1


@dataclass
class LagFault:
    kind: ClassVar[str] = "lag"
    seconds: float = 0.0
    times: int | None = None


Fault = ApiFault | LaunchFault | BootFault | TargetFault | LagFault
_KINDS: dict[str, type[Fault]] = {cls.kind: cls for cls in (ApiFault, LaunchFault, BootFault, TargetFault, LagFault)}


@dataclass
class Faults:
    """The faults that are armed, oldest first. Safe to use from several threads."""

    armed: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, data: dict[str, Any]) -> None:
        """Arm one fault. Raises ValueError that names the unknown kind or field."""
        kind = data.get("kind")
        if kind not in _KINDS:
            raise ValueError(f"unknown fault kind {kind!r}: use one of {', '.join(sorted(_KINDS))}")
        cls = _KINDS[kind]
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(data) - known - {"kind"})
        if unknown:
            raise ValueError(f"fault {kind} has no field {unknown[0]!r}: it has {', '.join(sorted(known))}")
        self.arm(cls(**{key: value for key, value in data.items() if key != "kind"}))

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
        """What is armed, as ``add`` takes it."""
        with self._lock:
            return [{"kind": fault.kind} | asdict(fault) for fault in self.armed]

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
        if fault.times is None:
            return
        fault.times -= 1
        if fault.times <= 0:
            self.armed.remove(fault)
