# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams as code: the plan by itself, and the whole against a real nats-server."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Client, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.sizes import size
from ansible_collections.boring.fleet.plugins.module_utils.nats.stream import (
    Actual,
    Stream,
    carry_out,
    check_name,
    look,
    nanoseconds,
    permit,
    plan,
    plan_removal,
)
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login
from tests.programs import nats_server

CONFIG: dict[str, Any] = {
    "name": "A", "subjects": ["a.>"], "storage": "file", "retention": "limits", "num_replicas": 1, "max_msgs": -1,
    "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1,
}  # fmt: skip


def actual(messages: int = 10, stored: int = 1000, **config: Any) -> Actual:
    return Actual({**CONFIG, **config}, {"messages": messages, "bytes": stored}, {"c": {"durable_name": "c"}})


def test_a_stream_that_is_not_there_is_made_with_its_consumers() -> None:
    made = plan(Stream("A", {"subjects": ["a.>"]}, {"c": {"ack_policy": "explicit"}}), None)
    assert [step.subject for step in made.steps] == [
        "$JS.API.STREAM.CREATE.A",
        "$JS.API.CONSUMER.DURABLE.CREATE.A.c",
    ]
    assert made.before == {}
    permit(made, may_lose=False)


def test_what_is_as_wanted_takes_no_step() -> None:
    assert plan(Stream("A", {"subjects": ["a.>"], "description": ""}, {"c": {}}), actual()).steps == ()


@pytest.mark.parametrize(
    "change",
    [{"max_msgs": 9}, {"max_bytes": 999}, {"max_age": 10}, {"max_msgs_per_subject": 1}],
)
def test_a_tighter_limit_that_removes_messages_is_refused_unless_told(change: dict[str, int]) -> None:
    made = plan(Stream("A", change), actual())
    with pytest.raises(NatsError, match="may_lose_messages"):
        permit(made, may_lose=False)
    permit(made, may_lose=True)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"max_msgs": 10}, actual()),  # as many as there are
        ({"max_bytes": 1000}, actual()),
        ({"max_age": 10}, actual(messages=0, stored=0)),  # nothing to lose
        ({"max_age": 20}, actual(max_age=10)),  # wider
        ({"max_age": 0}, actual(max_age=10)),  # no limit any more
        ({"max_msgs": -1}, actual(max_msgs=20)),
        ({"num_replicas": 3}, actual()),
    ],
)
def test_a_change_that_loses_nothing_is_made(change: dict[str, int], found: Actual) -> None:
    made = plan(Stream("A", change), found)
    permit(made, may_lose=False)
    assert made.after == change
    assert made.steps[0].payload == {**found.config, **change}  # what is not named stays


def test_what_jetstream_fixes_at_the_creation_is_refused_in_any_case() -> None:
    with pytest.raises(NatsError, match="storage is file and cannot become memory"):
        permit(plan(Stream("A", {"storage": "memory"}), actual()), may_lose=True)


def test_consumers_that_are_not_named_stay_unless_only_these_are_wanted() -> None:
    assert plan(Stream("A", {}), actual()).steps == ()
    made = plan(Stream("A", {}, only_these_consumers=True), actual())
    assert made.steps[0].subject == "$JS.API.CONSUMER.DELETE.A.c"
    with pytest.raises(NatsError, match="forgets"):
        permit(made, may_lose=False)


def test_a_removal_is_refused_while_there_are_messages() -> None:
    assert plan_removal("A", None).steps == ()
    permit(plan_removal("A", actual(messages=0)), may_lose=False)
    with pytest.raises(NatsError, match="A holds 10 messages"):
        permit(plan_removal("A", actual()), may_lose=False)


@given(
    st.dictionaries(st.sampled_from(["max_msgs", "max_bytes", "max_age"]), st.integers(-1, 2000), max_size=3),
    st.integers(0, 2000),
    st.integers(0, 2000),
)
def test_whatever_the_change_a_second_run_changes_nothing(change: dict[str, int], messages: int, stored: int) -> None:
    found = actual(messages, stored)
    made = plan(Stream("A", change), found)
    after = Actual({**found.config, **{name: value for step in made.steps for name, value in step.payload.items()}},
                   found.state, found.consumers)  # fmt: skip
    assert plan(Stream("A", change), after).steps == ()


def test_durations_sizes_and_names() -> None:
    assert nanoseconds("90s") == 90 * 10**9
    assert nanoseconds("7d") == 7 * 86400 * 10**9
    assert nanoseconds("0") == 0
    assert size("10GB") == 10 << 30
    assert size("-1") == -1
    assert check_name("Stream", "ORDERS-1") == "ORDERS-1"
    for wrong in (lambda: nanoseconds("soon"), lambda: size("lots"), lambda: check_name("Stream", "a.b")):
        with pytest.raises(ValueError, match=r"write|choose"):
            wrong()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real nats-server with JetStream on loopback."""
    directory = tmp_path_factory.mktemp("nats")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    (directory / "nats.conf").write_text(
        json.dumps({
            "listen": f"127.0.0.1:{port}",
            "jetstream": {"store_dir": str(directory / "store")},
            "authorization": {"user": "app", "password": "correct-horse"},
        })
    )  # fmt: skip
    process = subprocess.Popen([nats_server(), "-c", directory / "nats.conf"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait(timeout=10)


@pytest.fixture
def client(server: int) -> Iterator[Client]:
    found = Client([("127.0.0.1", 1), ("127.0.0.1", server)], Login("app", "correct-horse", tls=False))
    yield found
    found.close()


def test_a_stream_is_made_changed_and_removed_on_a_real_server(client: Client) -> None:
    config: dict[str, Any] = {
        "subjects": ["b.>"],
        "storage": "file",
        "retention": "limits",
        "max_age": nanoseconds("7d"),
    }
    consumer = {"ack_policy": "explicit", "deliver_policy": "all", "ack_wait": nanoseconds("30s"), "max_deliver": 5}
    wanted = Stream("B", config, {"worker": consumer})
    assert look(client, "B") is None
    carry_out(client, plan(wanted, None))
    assert plan(wanted, look(client, "B")).steps == ()  # what JetStream filled in is nobody's change
    for number in range(5):
        client.ask("b.x", {"number": number})
    tighter = plan(Stream("B", {"max_msgs": 2}, {"worker": {"max_deliver": 7}}), look(client, "B"))
    with pytest.raises(NatsError, match="3 of B's 5 messages"):
        permit(tighter, may_lose=False)
    carry_out(client, tighter)
    found = look(client, "B")
    assert found is not None
    assert found.state["messages"] == 2
    assert found.config["max_age"] == nanoseconds("7d")
    assert found.consumers["worker"]["max_deliver"] == 7
    assert found.consumers["worker"]["ack_wait"] == nanoseconds("30s")
    carry_out(client, plan(Stream("B", {}, only_these_consumers=True), found))
    found = look(client, "B")
    assert found is not None
    assert not found.consumers
    carry_out(client, plan_removal("B", found))
    assert look(client, "B") is None


def test_what_jetstream_refuses_is_a_sentence(client: Client) -> None:
    with pytest.raises(NatsError, match=r"refused \$JS.API.STREAM.CREATE.C: .*; change"):
        carry_out(client, plan(Stream("C", {"subjects": ["c"], "num_replicas": 3}), None))


def test_who_may_not_come_in_is_told_so(server: int) -> None:
    with pytest.raises(NatsError, match="Authorization Violation"):
        Client([("127.0.0.1", server)], Login("app", "wrong", tls=False))
    with pytest.raises(NatsError, match="No NATS server let us in"):
        Client([("127.0.0.1", server)], Login("app", "correct-horse"), timeout=5)


def test_a_server_that_says_nothing_does_not_hang() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(NatsError, match="no answer in time"):
            Client([("127.0.0.1", mute.getsockname()[1])], Login("app", "x", tls=False), timeout=0.3)


def test_a_question_is_not_lost_where_the_server_still_has_the_last_one_s_subscription() -> None:
    """A server answers, and forgets the subscription a moment later; another one of its number it ignores until then."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        serving = pool.submit(serve_without_forgetting, listening, questions=3)
        client = Client([listening.getsockname()[:2]], Login("app", "x", tls=False), timeout=2)
        assert [client.ask("what")["number"] for dummy in range(3)] == [0, 1, 2]
        client.close()
        serving.result(timeout=5)


def serve_without_forgetting(listening: socket.socket, questions: int) -> None:
    known: dict[bytes, bytes] = {}
    answered = 0
    accepted, dummy = listening.accept()
    accepted.settimeout(5)
    with accepted, accepted.makefile("rwb", buffering=0) as lines:
        lines.write(b"INFO {}\r\n")
        while answered < questions:
            line = lines.readline()
            assert line, "the client gave up"
            words = line.split()
            if line.startswith(b"PING"):
                lines.write(b"PONG\r\n")
            elif line.startswith(b"SUB"):
                known.setdefault(words[2], words[1])
            elif line.startswith(b"PUB"):
                number, inbox = next(reversed(known.items()))
                if inbox == words[2]:
                    body = b'{"number": %d}' % answered
                    answered += 1
                    lines.write(b"MSG %s %s %d\r\n%s\r\n" % (inbox, number, len(body), body))


def test_the_password_is_not_shown() -> None:
    assert "correct-horse" not in repr(Login("app", "correct-horse"))
