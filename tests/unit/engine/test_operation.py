# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of operations."""

from __future__ import annotations

import json

from conversion.operation import Operation, Status, timestamp

QUEUED = Operation("id", "step", "stl", 100.0, "conversion:1:ab", 5, {"angle": 15.0})


def test_life_of_an_operation() -> None:
    begun = QUEUED.started(101.0, "host/1.0")
    again = begun.started(105.0, "other/1.0")
    done = again.completed(106.0, 684, output_key="result-2")
    assert (QUEUED.status, QUEUED.final) == (Status.QUEUED, False)
    assert (again.status, again.started_at, again.engine) == (Status.IN_PROGRESS, 101.0, "other/1.0")
    assert (done.status, done.final, done.completed_at, done.output_bytes) == (Status.COMPLETED, True, 106.0, 684)
    assert done.output_name == "output.stl"
    failed = begun.failed(102.0, "It is broken.")
    assert (failed.status, failed.final, failed.error) == (Status.FAILED, True, "It is broken.")


def test_stored_and_read_again() -> None:
    done = QUEUED.completed(106.0, 684, output_key="result-1", cached=True)
    assert Operation.from_json(done.to_json()) == done


def test_record_of_a_newer_version_is_read() -> None:
    """In a roll old and new processes work on the same records."""
    raw = json.loads(QUEUED.to_json()) | {"colour": "red"}
    assert Operation.from_json(json.dumps(raw).encode()) == QUEUED


def test_timestamps_are_iso_8601_in_utc() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1795249991.7871) == "2026-11-21T08:33:11.787Z"
    assert timestamp(None) is None
