# SPDX-License-Identifier: GPL-3.0-or-later
"""What was acknowledged is read, although a node of the cluster that is asked directly may be behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from conversion.errors import InputError
from conversion.jobs.nats import NatsJobs


class Behind:
    """JetStream of a cluster in which only the leader has anything; by subject."""

    def __init__(self, leader: dict[str, bytes]) -> None:
        self._leader = leader

    async def get_msg(
        self, stream: str, seq: int | None = None, subject: str = "", direct: bool | None = False
    ) -> RawStreamMsg:
        if direct or subject not in self._leader:
            raise NotFoundError
        return RawStreamMsg(subject=subject, seq=1, data=self._leader[subject])

    async def get_last_msg(self, stream: str, subject: str, direct: bool | None = False) -> RawStreamMsg:
        return await self.get_msg(stream, subject=subject, direct=direct)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> NatsJobs:
    there = Behind({"blobs.1.out.0": b"solid", "$KV.conversion_operations.1": b"{}"})
    monkeypatch.setattr(NatsJobs, "js", property(lambda self: there))
    return NatsJobs("nats://127.0.0.1:4222")


def test_a_record_is_read_where_it_was_written(jobs: NatsJobs) -> None:
    bucket: Any = jobs.bucket()
    assert asyncio.run(bucket.get("1")).value == b"{}"


def test_a_file_that_a_node_has_not_got_yet_is_read_from_the_leader(jobs: NatsJobs) -> None:
    assert asyncio.run(jobs._piece("blobs.1.out.0")) == b"solid"


def test_a_file_that_nobody_has_is_not_kept(jobs: NatsJobs) -> None:
    with pytest.raises(InputError, match="The file is no longer kept"):
        asyncio.run(jobs._piece("blobs.2.out.0"))
