# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of one conversion, from acceptance to result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Where an operation is. COMPLETED, FAILED and CANCELLED are final."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class About:
    """What is said about a result: sentences for the user, and its surface in numbers (mm, mm2, mm3)."""

    warnings: tuple[str, ...] = ()
    statistics: dict[str, Any] | None = None

    @classmethod
    def read(cls, raw: dict[str, Any]) -> About:
        """What a job's process wrote, which a hostile file may have made: only what is of the right kind, and not too much."""
        warnings, statistics = raw.get("warnings"), raw.get("statistics")
        return cls(
            tuple(str(one)[:1000] for one in warnings[:100]) if isinstance(warnings, list) else (),
            statistics if isinstance(statistics, dict) else None,
        )

    def beside(self, result: bytes) -> bytes:
        """This and the result in one, as the cache keeps them."""
        text = json.dumps({"warnings": self.warnings, "statistics": self.statistics}).encode()
        return len(text).to_bytes(4, "big") + text + result

    @classmethod
    def apart(cls, kept: bytes) -> tuple[About, bytes]:
        """The reverse of `beside`."""
        end = 4 + int.from_bytes(kept[:4], "big")
        return cls.read(json.loads(kept[4:end])), kept[end:]


NOTHING = About()


@dataclass(frozen=True)
class Operation:
    """One request and how far it is. Times are unix seconds; sizes are bytes; `error` is a sentence for the user.

    `output_key` names the stored result: each attempt stores under its own, so two engines never mix theirs.
    `owner` is the name of the key that asked, empty where the API is open. `same_as` is the operation that converts the same
    content, of which this one only takes the result; `followers` counts those who do so here. `left` says that the owner
    cancelled or forgot it while followers need it still. `needs_gpu`: it is for an engine with a GPU, if there is one.
    """

    id: str
    src_format: str
    output_format: str
    created_at: float
    cache_key: str
    source_bytes: int
    options: dict[str, float | str] = field(default_factory=dict)
    status: Status = Status.QUEUED
    started_at: float | None = None
    completed_at: float | None = None
    output_bytes: int = 0
    output_key: str = ""
    error: str | None = None
    crashes: int = 0
    engine: str | None = None
    cached: bool = False
    type: str = "file_conversion"
    warnings: list[str] = field(default_factory=list)
    statistics: dict[str, Any] | None = None
    owner: str = ""
    request_id: str = ""
    progress: float = 0.0
    same_as: str = ""
    followers: int = 0
    left: str = ""
    needs_gpu: bool = False

    @property
    def final(self) -> bool:
        """True once the status cannot change any more."""
        return self.status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)

    @property
    def output_name(self) -> str:
        """File name of the result."""
        return f"output.{self.output_format}"

    def started(self, now: float, engine: str) -> Operation:
        """This operation, taken up by `engine`."""
        return replace(self, status=Status.IN_PROGRESS, started_at=self.started_at or now, engine=engine)

    def completed(
        self, now: float, output_bytes: int, *, output_key: str = "", cached: bool = False, about: About = NOTHING
    ) -> Operation:
        """This operation with its result stored."""
        return replace(
            self,
            status=Status.COMPLETED,
            started_at=self.started_at or now,
            completed_at=now,
            output_bytes=output_bytes,
            output_key=output_key,
            cached=cached,
            warnings=list(about.warnings),
            statistics=about.statistics,
            progress=1.0,
        )

    def failed(self, now: float, error: str) -> Operation:
        """This operation, given up for the reason `error`."""
        return replace(self, status=Status.FAILED, completed_at=now, error=error)

    def cancelled(self, now: float) -> Operation:
        """This operation, which nobody wants any more."""
        return replace(self, status=Status.CANCELLED, completed_at=now)

    def followed(self) -> Operation:
        """This operation, with one more that waits for its result."""
        return replace(self, followers=self.followers + 1)

    def given_up(self, now: float) -> Operation:
        """This operation after its owner cancelled it: it goes on for its followers."""
        return replace(self, left=Status.CANCELLED.value) if self.followers else self.cancelled(now)

    def as_of(self, leader: Operation) -> Operation:
        """This follower, as far as the operation is whose result it takes."""
        return replace(
            self,
            status=leader.status,
            started_at=leader.started_at,
            completed_at=leader.completed_at,
            output_bytes=leader.output_bytes,
            output_key=leader.output_key,
            error=leader.error,
            engine=leader.engine,
            cached=leader.cached,
            progress=leader.progress,
            warnings=leader.warnings,
            statistics=leader.statistics,
        )

    def seen_by_owner(self) -> Operation | None:
        """What the owner is shown: cancelled as soon as that was asked for, and nothing of what was forgotten."""
        if self.left == "forgotten":
            return None
        return replace(self, status=Status.CANCELLED) if self.left else self

    def to_json(self) -> bytes:
        """The record as stored."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Operation:
        """Read a record. Fields of a newer version are ignored: old and new engines run side by side in a roll."""
        raw: dict[str, Any] = json.loads(data)
        names = {f.name for f in fields(cls)}
        values = {name: value for name, value in raw.items() if name in names}
        values["status"] = Status(values.get("status", Status.QUEUED))
        return cls(**values)


def timestamp(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as in answers of the API."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
