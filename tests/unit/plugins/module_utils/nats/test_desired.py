# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of a NATS server: every value comes through a real server as it was given, or is refused by name before."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.desired import (
    Desired,
    config_text,
    desired,
    refusals,
)
from ansible_collections.boring.fleet.plugins.module_utils.nats.sizes import human_size, number
from ansible_collections.boring.fleet.plugins.module_utils.nats.stream import (
    Room,
    Stream,
    boundless,
    carry_out,
    look_for_room,
    plan,
    shortage,
)
from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import control_character
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import nats_server, self_signed

HOSTILE = (
    "two words", 'a"quoted"part', "an'apostrophe'", "back\\slash", "ends with \\", "#comment", "$x${y}%s", "$2a$11$abc", '"} port: 1',
    "é ü 漢 🔑", "\\x41\\n", "// no comment", "{{ curly }}", "a;b,c:d=e[f]", "include x",
)  # fmt: skip
HASH = "$2b$04$" + "a" * 53
USER: dict[str, Any] = {"user": "app", "password_bcrypt": HASH}
ONE = Desired(users=[USER])


@contextmanager
def running(folder: Path, wanted: Desired) -> Iterator[None]:
    (folder / "nats.conf").write_text(config_text(wanted))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([nats_server(), "-c", folder / "nats.conf"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while "Server is ready" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_hostile_users_passwords_and_permissions_come_through_a_real_server(tmp_path: Path) -> None:
    users = [
        {
            "user": f"user {text}",
            "password_bcrypt": bcrypt.hashpw(text.encode(), bcrypt.gensalt(4, b"2b")).decode(),
            "permissions": {"publish": {"deny": [f"denied.{index}"]}, "subscribe": [">"]},
        }
        for index, text in enumerate(HOSTILE)
    ]
    wanted = Desired(
        server_name="na\"me\\é$x", port=17610, monitor_port=17611, store_dir=str(tmp_path / "st\"ore é"), users=users,
    )  # fmt: skip
    assert refusals(wanted) == []
    with running(tmp_path, wanted):
        for text in HOSTILE:
            Client([("127.0.0.1", 17610)], Login(f"user {text}", text, False), 5.0).close()
            with pytest.raises(NatsError, match="Authorization"):
                Client([("127.0.0.1", 17610)], Login(f"user {text}", text + "x", False), 5.0)
    assert (tmp_path / 'st"ore é').is_dir()


def test_a_hostile_password_of_a_leaf_node_is_what_the_other_side_hears(tmp_path: Path) -> None:
    password = "/@:?#[]%41 \"'\\é$x&=+"
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, b"2b")).decode()
    self_signed(tmp_path, "127.0.0.1")
    common = {"tls": True, "tls_dir": str(tmp_path)}
    leaf = {"user": "le/af", "password_bcrypt": hashed}
    hub = Desired(
        **common, port=17620, monitor_port=17621, leafnodes_port=17622, store_dir=str(tmp_path / "h"), users=[USER, leaf]
    )  # fmt: skip
    remote = {"url": "tls://127.0.0.1:17622", "user": "le/af", "password": password}
    joined = Desired(
        **common, port=17623, monitor_port=17624, store_dir=str(tmp_path / "l"), users=[USER], leafnode_remotes=[remote]
    )  # fmt: skip
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with running(tmp_path / "one", hub), running(tmp_path / "two", joined):
        deadline = time.monotonic() + 30
        while "Leafnode connection created" not in (tmp_path / "one" / "log").read_text():
            assert time.monotonic() < deadline, (tmp_path / "two" / "log").read_text()
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("character", "name"), [("\n", "a line feed"), ("\t", "a tab"), ("\0", "NUL"), ("\x9b", "U+009B")]
)
def test_a_control_character_is_refused_by_name_wherever_it_is(character: str, name: str) -> None:
    text = f"hunter2{character}hunter2"
    for field in dataclasses.fields(Desired):
        if isinstance(field.default, str) and field.name != "tls_clients":
            found = refusals(dataclasses.replace(ONE, **{field.name: text}))
            assert any(f"nats_{field.name} holds {name}," in sentence for sentence in found), field.name
    for wanted in (
        dataclasses.replace(ONE, users=[{**USER, "user": text}]),
        dataclasses.replace(ONE, users=[{**USER, "password": text}]),
        dataclasses.replace(ONE, users=[{**USER, "permissions": {"publish": [text]}}]),
        dataclasses.replace(ONE, users=[{**USER, "permissions": {text: "x"}}]),
        dataclasses.replace(ONE, leafnode_remotes=[{"url": "tls://h", "user": "u", "password": text}]),
        dataclasses.replace(ONE, cluster_hosts=[text]),
    ):
        found = refusals(wanted)
        assert any(f"holds {name}," in sentence for sentence in found)


@given(st.text())
def test_whatever_is_not_refused_stays_on_its_line(text: str) -> None:
    wanted = dataclasses.replace(ONE, users=[{**USER, "user": text}])
    if control_character(text):
        with pytest.raises(ValueError, match="holds"):
            config_text(wanted)
        return
    assert len(config_text(wanted).split("\n")) == len(config_text(ONE).split("\n"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_payload": "1MB\nauthorization: x"}, "nats_max_payload holds a line feed"),
        ({"max_payload": "lots"}, "nats_max_payload: 'lots' is no size"),
        ({"max_payload": "1MB } x {"}, "is no size"),
        ({"account_limits": {"APP": {"max_files": "1GB"}}}, "has max_files, which is none of max_consumers, max_file"),
        ({"account_limits": {"APP": {"max_file": "much"}}}, "max_file of nats_account_limits APP: 'much' is no size"),
        ({"users": [{**USER, "account": 'A"B'}]}, "has no way to write such a name"),
        ({"users": [{"user": "app"}]}, "NATS user app: give password_bcrypt"),
    ],
)
def test_what_is_not_clear_is_refused(change: dict[str, Any], sentence: str) -> None:
    assert sentence in " ".join(refusals(dataclasses.replace(ONE, **change)))


def test_limits_of_accounts_must_be_there_with_every_replica_counted() -> None:
    limits = {"APP": {"max_file": "18GB", "max_mem": 0}, "LOGS": {"max_file": "4GB"}}
    single = dataclasses.replace(ONE, jetstream_max_file="20GB", account_limits=limits)
    found = refusals(single)
    assert (
        "18GB (APP) + 4GB (LOGS) of max_file, which is 22GB, and there is 1 x 20GB (nats_jetstream_max_file) = 20GB"
        in found[0]
    )
    cluster = dataclasses.replace(single, cluster_name="c", cluster_hosts=["a", "b", "c"])
    assert refusals(cluster) == []
    more = dataclasses.replace(cluster, account_limits={"APP": {"max_file": "61GB"}})
    assert "= 60GB. A limit counts every replica" in refusals(more)[0]
    memory = dataclasses.replace(cluster, account_limits={"APP": {"max_mem": "1GB"}})
    assert "max_mem" in refusals(memory)[0]
    assert [number(text) for text in ("1", "1k", "1KB", "2GiB", "-1", "3T")] == [1, 1000, 1024, 2 << 30, -1, 3 * 10**12]
    assert [human_size(count) for count in (5, 1536, 18 << 30)] == ["5B", "1.5KB", "18GB"]
    with pytest.raises(ValueError, match="there is no prot"):
        desired({"prot": 1})


def test_a_stream_that_does_not_fit_is_refused_with_the_sum() -> None:
    room = Room(18 << 30, {"LOGS": (1 << 30, 3), "ANY": (-1, 3)})
    orders = {"max_bytes": 10 << 30, "num_replicas": 3}
    assert "10GB x 3 + 3GB (LOGS) = 33GB, and the limit is 18GB" in shortage("ORDERS", orders, room)
    assert shortage("ORDERS", {**orders, "max_bytes": 5 << 30}, room) == ""
    assert shortage("ORDERS", {"max_bytes": -1}, room) == ""
    assert shortage("ORDERS", orders, Room(-1, {})) == ""
    assert "no max_bytes and its account a limit of 18GB" in boundless("ORDERS", {}, room)
    assert boundless("ORDERS", orders, room) == boundless("ORDERS", {}, Room(-1, {})) == ""


def test_a_real_server_counts_as_we_do(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"x" * 8, bcrypt.gensalt(4, b"2b")).decode()
    wanted = Desired(
        port=17630, monitor_port=17631, store_dir=str(tmp_path / "s"), jetstream_max_file="100MB",
        users=[{**USER, "password_bcrypt": hashed}], account_limits={"APP": {"max_file": "60MB"}},
    )  # fmt: skip
    with running(tmp_path, wanted):
        client = Client([("127.0.0.1", 17630)], Login("app", "x" * 8, False))
        first = {"subjects": ["a"], "max_bytes": 40 << 20, "storage": "file"}
        carry_out(client, plan(Stream("A", first), None))
        second = {"subjects": ["b"], "max_bytes": 20 << 20, "storage": "file"}
        room = look_for_room(client, second, "B")
        assert room == Room(60 << 20, {"A": (40 << 20, 1)})
        assert shortage("B", second, room) == ""
        second["max_bytes"] = (20 << 20) + 1
        assert shortage("B", second, room)
        with pytest.raises(NatsError, match="insufficient storage"):
            carry_out(client, plan(Stream("B", second), None))
        client.close()
