# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a Redis: every value comes through a real server as it was given, or is refused by name before."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import control_character
from ansible_collections.boring.fleet.plugins.module_utils.redis import acl, server
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.desired import (
    Desired,
    config_text,
    desired,
    member_text,
    refusals,
    sentinel_config_text,
    settings,
    users,
)
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import redis_server

ADMIN = "admin \"of' the \\ tests #é%"
# All that a person or a generator may come up with. Before they were quoted, some kept the server from starting, some became another
# password, and one became a directive.
HOSTILE = (
    "two words", " blank at the ends ", 'a"quoted"part', "an'apostrophe'", "back\\slash", "ends with \\", "#begins like a comment", "$x${y}%s%%",
    'closed" port 1', "é ü 漢 🔑", "\\x41\\n", '"', "'", "{{ curly }}", "-- option", "a;b|c&d`e`$(f)", "x" * 512,
)  # fmt: skip
USER: dict[str, Any] = {"name": "app", "password": "the-password-of-app", "rules": ["~app:*", "+@read"]}
SET = Desired(
    purpose="store", nodes=["10.0.0.1", "10.0.0.2"], announce="10.0.0.1", replica_password="p" * 16, admin_password=ADMIN, users=[USER]
)  # fmt: skip


@contextmanager
def running(folder: Path, wanted: Desired) -> Iterator[Callable[[], Client]]:
    """A real Redis with the files that the role writes, until it is left; connections of its administrator."""
    (folder / "users.acl").write_text("\n".join([*users(wanted), ""]))
    text = config_text(wanted).replace("/etc/redis", str(folder)).replace("/var/lib/redis", str(folder))
    (folder / "managed.conf").write_text(text.replace("disable-thp yes\n", ""))
    program = folder / "redis-server"
    process = subprocess.Popen(
        [program if program.exists() else redis_server(folder), folder / "managed.conf"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def connect() -> Client:
        return Client("127.0.0.1", wanted.port, Login("admin", ADMIN, False))

    try:
        server.connect(connect, 30, time.monotonic, lambda seconds: time.sleep(seconds / 20)).close()
        yield connect
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.timeout(240)
def test_hostile_passwords_are_what_the_server_runs_with(tmp_path: Path) -> None:
    for password in HOSTILE:
        wanted = dataclasses.replace(SET, replica_password=password, port=17510)
        assert refusals(wanted) == []
        with running(tmp_path, wanted) as connect:
            redis = connect()
            assert redis("CONFIG", "GET", "masterauth") == ["masterauth", password]
            assert redis("CONFIG", "GET", "port") == ["port", "17510"]
            # what Redis writes down itself is not mended here; what the role tells a running server is
            assert redis("CONFIG", "SET", "masterauth", password + "x") == "OK"
            redis.close()
            login = Login("replica", password, False)
            Client("127.0.0.1", wanted.port, login).close()
            with pytest.raises(RedisError, match="WRONGPASS"):
                Client("127.0.0.1", wanted.port, Login("replica", password + "x", False))


@pytest.mark.parametrize(
    ("character", "name"),
    [("\n", "a line feed"), ("\r", "a carriage return"), ("\t", "a tab"), ("\0", "NUL"), ("\x1b", "an escape"), ("\x85", "U+0085")],
)  # fmt: skip
def test_a_control_character_is_refused_by_name_wherever_it_is(character: str, name: str) -> None:
    text = f"hunter2hunter2hunter2{character}requirepass x"
    for field in dataclasses.fields(Desired):
        if not isinstance(field.default, str) or field.name in ("engine", "purpose", "tls_clients"):
            continue
        found = refusals(dataclasses.replace(SET, **{field.name: text}))
        assert any(f"redis_{field.name} holds {name}," in sentence for sentence in found), field.name
        assert "hunter2" not in " ".join(found)
    others: list[Desired] = [
        dataclasses.replace(SET, users=[{**USER, "password": text}]),
        dataclasses.replace(SET, users=[{**USER, "old_password": text}]),
        dataclasses.replace(SET, settings={"maxclients": text}),
        dataclasses.replace(SET, settings={text: "1"}),
        dataclasses.replace(SET, bind=[text]),
        dataclasses.replace(SET, nodes=[text]),
    ]
    for wanted in others:
        assert any(f"holds {name}," in sentence for sentence in refusals(wanted))
    assert "Redis user app" in refusals(dataclasses.replace(SET, users=[{**USER, "rules": [f"+get{character}"]}]))[0]


@given(st.text())
def test_whatever_is_not_refused_stays_on_its_line(text: str) -> None:
    wanted = dataclasses.replace(SET, replica_password=text)
    if control_character(text):
        with pytest.raises(ValueError, match="holds"):
            config_text(wanted)
        return
    lines = config_text(wanted).split("\n")
    assert len(lines) == len(config_text(SET).split("\n"))
    assert json.loads(member_text(wanted))["announce"] == "10.0.0.1"


def test_a_password_that_a_sentinel_spoils_is_refused() -> None:
    """A Sentinel writes it into its own file without quotes, and does not start again (7.0.15)."""
    for password in ("two words of it all", 'quoted"quoted"quoted', "apostrophe'apostrophe'"):
        found = refusals(dataclasses.replace(SET, sentinel_password=password))
        assert "redis_sentinel_password holds a blank or a quotation mark" in found[0]
    assert refusals(dataclasses.replace(SET, sentinel_password="back\\slash#and$more%é{}")) == []


def test_variables_come_as_text_and_strange_ones_are_refused() -> None:
    wanted = desired({"port": "7000", "tls": "yes", "sentinel": False, "nodes": ["a"]})
    assert (wanted.port, wanted.tls, wanted.sentinel) == (7000, True, False)
    with pytest.raises(ValueError, match="there is no prot"):
        desired({"prot": 1})
    assert "hunter2" not in repr(dataclasses.replace(SET, replica_password="hunter2", users=[{"password": "hunter2"}]))


def test_names_of_nodes_are_resolved_by_sentinels() -> None:
    assert "sentinel resolve-hostnames no" in sentinel_config_text(SET)
    assert "sentinel resolve-hostnames yes" in sentinel_config_text(dataclasses.replace(SET, nodes=["a.example"]))


def test_a_user_is_off_without_a_password_and_redis_words_are_compared() -> None:
    assert acl.User("x").line() == "user x reset off"
    app = acl.compiled(USER | {"old_password": USER["password"]})
    assert app.line() == f"user app reset on #{acl.digest('the-password-of-app')} ~app:* +@read"
    lines = acl.marked([acl.User("default"), app])
    told = [
        "user default off sanitize-payload resetchannels -@all",
        f"user app on sanitize-payload #{app.hashes[0]} ~app:* resetchannels -@all +@read",
        f"user {acl.mark(lines[:-1])} off sanitize-payload resetchannels -@all",
    ]
    assert acl.commands(lines, told) == ()
    for changed in (
        told[:2],
        [*told, "user intruder on nopass ~* +@all"],
        [told[0], told[1].replace(" on ", " off "), told[2]],
        [told[0], told[1].replace("sanitize-payload", "nopass"), told[2]],
        [told[0], told[1].replace(app.hashes[0], "0" * 64), told[2]],
        [told[0], f"{told[1]} #{'0' * 64}", told[2]],
    ):
        found = acl.commands(lines, changed)
        assert [words[1] for words in found[:2]] == ["SETUSER", "SETUSER"]
        assert found[-1][2].startswith(acl.MARK), "the mark is the last"
    assert ("ACL", "DELUSER", "intruder") in acl.commands(lines, [*told, "user intruder on nopass"])
    assert app.hashes[0] not in str(acl.readable(lines))


def test_a_running_server_is_observed_planned_and_changed(tmp_path: Path) -> None:
    wanted = dataclasses.replace(SET, port=17520)
    what = server.Wanted({**settings(wanted), "dir": str(tmp_path), "aclfile": f"{tmp_path}/users.acl"}, users(wanted))
    names = sorted(what.settings)
    with running(tmp_path, wanted) as connect:
        redis = connect()
        made = server.plan(what, server.look(redis, names))
        # of a test's Redis only that may differ which it was not given
        assert set(made.differs) <= {"disable-thp"}
        redis("CONFIG", "SET", "maxmemory", "12345678", "masterauth", "another")
        redis("ACL", "SETUSER", "intruder", "on", "nopass", "~*", "+@all")
        made = server.plan(what, server.look(redis, names))
        assert {"users", "maxmemory", "masterauth"} <= set(made.differs)
        assert made.before["maxmemory"] == "12345678"
        assert (made.before["masterauth"], made.after["masterauth"]) == ("(secret)", "(secret)")
        assert "intruder" in made.before["users"]
        shown = str((made, made.before, made.after))
        assert SET.replica_password not in shown
        assert acl.digest(SET.replica_password) not in shown
        server.apply(redis, made)
        left = server.plan(what, server.settle(redis, names, time.monotonic, time.sleep))
        assert set(left.differs) <= {"disable-thp"}
        # what a running server refuses is left, and does not keep it from the rest
        more = dataclasses.replace(what, settings={**what.settings, "databases": "3", "maxmemory": "22345678"})
        server.apply(redis, server.plan(more, server.look(redis, sorted(more.settings))))
        left = server.plan(more, server.look(redis, sorted(more.settings)))
        assert set(left.differs) - {"disable-thp"} == {"databases"}
        late = dataclasses.replace(what, unit_time=time.time() + 60)
        assert "unit" in server.plan(late, server.look(redis, names)).differs
        redis.close()
