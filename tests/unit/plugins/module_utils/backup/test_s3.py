# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups in a bucket: every request is signed as botocore signs it, what fails is tried again or said in one sentence."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.backup import work
from ansible_collections.boring.fleet.plugins.module_utils.backup.s3 import Bucket
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import http_request
from ansible_collections.boring.fleet.plugins.module_utils.host.signature import Credentials
from tests.programs import redis_server
from tests.unit.plugins.module_utils.backup.bucket import NAME, REGION, SECRET, Server, serving
from tests.unit.plugins.module_utils.backup.services import Redis, World


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def bucket(server: Server, name: str = NAME, secret: str = SECRET, prefix: str = "shop/prod/") -> Bucket:
    def credentials() -> Credentials:
        return Credentials(server.key, secret, server.token)

    return Bucket(http_request, credentials, server.url, REGION, name, prefix, time.time, lambda seconds: None)


def test_objects_come_and_go(server: Server) -> None:
    target = bucket(server)
    data = os.urandom(3 << 20)
    target.put("bus/a b+ü&=/1", data)
    target.put("bus/2", b"")
    target.put("other/3", b"x")
    assert target.get("bus/a b+ü&=/1") == data
    assert target.list("bus/") == {"a b+ü&=/1": len(data), "2": 0}
    assert server.client().head_object(Bucket=NAME, Key="shop/prod/bus/a b+ü&=/1")["ContentLength"] == len(data)
    target.delete("bus/a b+ü&=/1")
    target.delete("bus/never-there")
    assert target.list("bus/") == {"2": 0}
    assert bucket(server, prefix="").list("shop/") == {"prod/bus/2": 0, "prod/other/3": 1}


def test_a_long_list_comes_whole(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    client = server.client()
    for number in range(12):
        client.put_object(Bucket=NAME, Key=f"shop/prod/bus/{number:04d}", Body=b"12")
    assert bucket(server).list("bus/") == {f"{number:04d}": 2 for number in range(12)}
    assert len(server.asked) == 3


def test_what_passes_is_tried_again(server: Server) -> None:
    target = bucket(server)
    server.answers = [(503, "SlowDown"), (500, "InternalError"), (429, "SlowDown")]
    target.put("key", b"data")
    assert len(server.asked) == 4
    server.key, server.token = "ASIA2", "session/+="  # the role's credentials were renewed meanwhile
    assert target.get("key") == b"data"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, "AccessDenied"), "PUT of backups.example/shop/prod/key was refused with 403 AccessDenied: as the test wants it; give the role or the key"),
        ((301, "PermanentRedirect"), "name the bucket's own region"),
        ((403, "RequestTimeTooSkewed"), "set the host's clock"),
        ((507, "InsufficientStorage"), "failed 5 times, the last time so: 507 InsufficientStorage"),
    ],
)  # fmt: skip
def test_a_refusal_says_the_way_out(server: Server, answer: tuple[int, str], said: str) -> None:
    server.answers = [answer] * 5
    with pytest.raises(BackupError) as raised:
        bucket(server).put("key", b"data")
    assert said in str(raised.value)


def test_wrong_names_and_keys_are_named(server: Server) -> None:
    with pytest.raises(BackupError, match=r"NoSuchBucket: .*; make the bucket"):
        bucket(server, name="nobodys").list("")
    with pytest.raises(
        BackupError, match=r"SignatureDoesNotMatch: .*; look at the secret key, and at the host's clock"
    ):
        bucket(server, secret="wrong").list("")
    target = bucket(server)
    target.endpoint = "http://127.0.0.1:1"
    with pytest.raises(BackupError, match=r"does not answer: .*refused"):
        target.get("key")


def test_a_service_comes_back_out_of_a_bucket(server: Server, tmp_path: Path, world: World) -> None:
    world.patch.setattr(work, "PART_BYTES", 64 << 10)
    place = {"bucket": NAME, "prefix": "shop/", "region": REGION, "endpoint": server.url, "access_key": server.key}
    redis = Redis(tmp_path / "redis", redis_server(tmp_path))
    redis.start()
    try:
        client = redis.client()
        values = {b"key:%d" % number: os.urandom(5000) for number in range(100)}
        client.many([(b"SET", key, value) for key, value in values.items()])
        backup = world.program("p", redis.source(), target=place)
        backup.secrets["s3_secret_key"] = SECRET
        backup.write()
        code, said = backup("run")
        assert code == 0, said
        assert sum("PUT" in line for line in server.asked) > 8, "it is stored in parts"
        client("FLUSHALL")
        code, said = backup.restore("store")
        assert (code, "100 keys are back and as they were" in said) == (0, True), said
        assert dict(zip(values, client.many([(b"GET", key) for key in values]), strict=True)) == values
        client("FLUSHALL")
        stored = server.client().list_objects_v2(Bucket=NAME)["Contents"]
        part = next(one["Key"] for one in stored if one["Key"].endswith(".000003"))
        server.client().put_object(Bucket=NAME, Key=part, Body=os.urandom(64 << 10))
        code, said = backup.restore("store")
        assert (code, "its checksum is another" in said) == (1, True), said
        assert client.databases() == {}
        client.close()
    finally:
        redis.stop()
