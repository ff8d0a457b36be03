# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, their quota, and whose an operation is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.api import keys
from conversion.cache import MemoryCache, NoCache
from conversion.errors import BusyError, InputError, SettingsError
from conversion.jobs.memory import MemoryJobs
from conversion.settings import Settings
from tests.unit.engine.api_stack import convert_one, serving

Run = Callable[[Any], Any]
Make = Callable[..., Settings]


def key_file(path: Path, **per_hour: int) -> dict[str, dict[str, str]]:
    """A file with a key for each name; the header that each sends."""
    made = {name: keys.made(name) for name in per_hour}
    entries = [{**json.loads(entry), "per_hour": per_hour[name]} for name, (_, entry) in made.items()]
    path.write_text(json.dumps({"keys": entries}))
    return {name: {"Authorization": f"Bearer {key}"} for name, (key, _) in made.items()}


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    headers = key_file(tmp_path / "keys.json", acme=0)
    assert headers["acme"]["Authorization"].partition(" ")[2] not in (tmp_path / "keys.json").read_text()


def test_a_new_key_has_a_name_that_the_file_may_hold() -> None:
    with pytest.raises(SettingsError, match="no name for a key"):
        keys.made("ac me")


def test_nobody_without_a_key(run: Run, settings: Make, tmp_path: Path) -> None:
    headers = key_file(tmp_path / "keys.json", acme=0)

    async def story() -> None:
        async with serving(settings(KEYS_FILE=tmp_path / "keys.json"), MemoryJobs()) as (client, _):
            wrong = ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"},
                     {"Authorization": headers["acme"]["Authorization"] + "x"}, {"Authorization": "Bearer \udcff"})  # fmt: skip
            for given in wrong:
                for method, path in (
                    ("POST", "/file/conversion/stl/obj"), ("GET", "/async/operations"),
                    ("GET", "/async/operations/00000000-0000-4000-8000-000000000000"),
                    ("DELETE", "/async/operations/00000000-0000-4000-8000-000000000000"),
                ):  # fmt: skip
                    answer = await client.request(method, path, headers=given, data=b"x" if method == "POST" else None)
                    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), (given, path)
                    assert (await answer.json())["error"].endswith(".")
            assert (await client.get("/openapi.json")).status == 200
            assert (await client.get("/healthz")).status == 200
            answer = await client.post("/file/conversion/stl/obj", data=b"part", headers=headers["acme"])
            assert answer.status == 202

    run(story())


def test_operations_are_the_caller_s_own(run: Run, settings: Make, tmp_path: Path) -> None:
    headers = key_file(tmp_path / "keys.json", acme=0, rival=0)

    async def story() -> None:
        jobs = MemoryJobs()
        async with serving(settings(KEYS_FILE=tmp_path / "keys.json"), jobs) as (client, _):
            made = await (await client.post("/file/conversion/stl/obj", data=b"part", headers=headers["acme"])).json()
            await convert_one(jobs, tmp_path, b"v 0 0 0")
            path = f"/async/operations/{made['id']}"
            for ask in (client.get(path, headers=headers["rival"]), client.get(f"{path}/output", headers=headers["rival"]),
                        client.delete(path, headers=headers["rival"])):  # fmt: skip
                answer = await ask
                assert answer.status == 404
                assert "There is no operation" in (await answer.json())["error"]
            listed = {
                name: (await (await client.get("/async/operations", headers=headers[name])).json())["items"]
                for name in headers
            }
            assert [one["id"] for one in listed["acme"]] == [made["id"]]
            assert listed["rival"] == []
            assert (await client.get(f"{path}/output", headers=headers["acme"])).status == 200

    run(story())


def test_beyond_the_quota(run: Run, settings: Make, tmp_path: Path) -> None:
    headers = key_file(tmp_path / "keys.json", acme=2, rival=0)

    async def story() -> None:
        async with serving(settings(KEYS_FILE=tmp_path / "keys.json", WAIT=0), MemoryJobs()) as (client, _):
            answers = [
                await client.post("/file/conversion/stl/obj", data=b"part", headers=headers["acme"]) for _ in range(3)
            ]
            assert [answer.status for answer in answers] == [202, 202, 429]
            assert 1 <= int(answers[2].headers["Retry-After"]) <= 3600
            assert "2 files" in (await answers[2].json())["error"]
            assert (await client.post("/file/conversion/stl/obj", data=b"part", headers=headers["rival"])).status == 202

    run(story())


def test_a_quota_is_shared_by_all_apis_and_renewed_each_hour(run: Run) -> None:
    class Counting(MemoryCache):
        total = 0

        async def count(self, key: str, seconds: int) -> int | None:
            self.total += 1
            return self.total

    async def story() -> None:
        now, key = [7200.0], keys.Key("acme", "0" * 64, 2)
        shared = Counting(1)
        here, there = keys.Quota(shared, lambda: now[0]), keys.Quota(shared, lambda: now[0])
        await here.take(key)
        await there.take(key)
        with pytest.raises(BusyError) as refused:
            await here.take(key)
        assert refused.value.seconds == 3600
        alone = keys.Quota(NoCache(), lambda: now[0])  # the cache is away: counted here
        for _ in range(2):
            await alone.take(key)
        with pytest.raises(BusyError):
            await alone.take(key)
        now[0] += 3600
        await alone.take(key)

    run(story())


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    path, now = tmp_path / "keys.json", [0.0]
    first = key_file(path, acme=0)["acme"]["Authorization"]
    known = keys.Keys(path, lambda: now[0])
    assert known.owner(first)
    second = key_file(tmp_path / "new", acme=0)["acme"]["Authorization"]
    (tmp_path / "new").replace(path)
    now[0] += 2
    assert known.owner(second)
    with pytest.raises(InputError):
        known.owner(first)
    path.write_text("a slip of an editor")
    os.utime(path, (5, 5))
    now[0] += 2
    assert known.owner(second), "a broken file locks nobody out"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not of the form"), ("[]", "not of the form"), ('{"keys": 3}', "not of the form"), ('{"keys": ["x"]}', "Key 1"),
        ('{"keys": [{"name": "a b", "sha256": "0"}]}', "needs a name"),
        ('{"keys": [{"name": "a", "sha256": "secret"}]}', "64 hexadecimal"),
        ('{"keys": [{"name": "a", "sha256": "%s", "per_hour": -1}]}' % ("0" * 64), "per_hour"),
        ('{"keys": [{"name": "a", "sha256": "%s", "key": "k"}]}' % ("0" * 64), "nothing else"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_without_what_is_in_it(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words) as refused:
        keys.read(path)
    assert "secret" not in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        keys.Keys(tmp_path / "none")


def test_an_open_api_says_so(settings: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from conversion.api.__main__ import warn_if_open

    key_file(tmp_path / "keys.json", acme=0)
    warn_if_open(settings(LISTEN_HOST="127.0.0.1"))
    warn_if_open(settings(LISTEN_HOST="0.0.0.0", KEYS_FILE=tmp_path / "keys.json"))
    assert caplog.text == ""
    warn_if_open(settings(LISTEN_HOST="0.0.0.0"))
    assert "The API is open" in caplog.text
