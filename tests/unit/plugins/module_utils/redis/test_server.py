# SPDX-License-Identifier: GPL-3.0-or-later
"""How a running Redis is waited for, and when its unit says that one runs."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.redis.client import ConnectionLostError, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.server import connect, runs


class Server:
    """Answers each attempt in turn: an error when asked to connect, text when asked for INFO, the last one to all that follow."""

    def __init__(self, *answers: RedisError | str) -> None:
        self.answers = list(answers)
        self.now = 0.0
        self.open = 0

    def make(self) -> Any:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, RedisError):
            raise answer
        self.open += 1
        server = self

        class Connection:
            def __call__(self, *words: str) -> str:
                assert words == ("INFO", "persistence")
                return answer

            def close(self) -> None:
                server.open -= 1

        return Connection()

    def sleep(self, length: float) -> None:
        self.now += length

    def connect(self, patience: float) -> Any:
        return connect(self.make, patience, lambda: self.now, self.sleep)


LOADING, READY = "# Persistence\r\nloading:1\r\n", "# Persistence\r\nloading:0\r\n"
SILENT = ConnectionLostError("127.0.0.1:6379: no answer in time")
WRONG = RedisError("127.0.0.1:6379 refused AUTH: WRONGPASS invalid username-password pair or user is disabled.")


def test_one_that_is_silent_or_loads_its_data_is_waited_for() -> None:
    server = Server(
        SILENT,
        LOADING,
        RedisError("-ERR max number of clients reached"),
        READY,
    )
    assert server.connect(60)("INFO", "persistence") == READY
    assert (server.now, server.open) == (3.0, 1)


@pytest.mark.parametrize("answer", [SILENT, LOADING])
def test_the_patience_ends(answer: RedisError | str) -> None:
    server = Server(answer)
    with pytest.raises(RedisError, match=r"no answer in time|it still loads its data"):
        server.connect(60)
    assert (server.now, server.open) == (60.0, 0)


def test_a_wrong_password_is_not_waited_for() -> None:
    server = Server(WRONG)
    with pytest.raises(RedisError, match="WRONGPASS"):
        server.connect(60)
    assert server.now == 0.0


@pytest.mark.parametrize(
    ("state", "sub", "there"),
    [
        ("active", "running", True),
        ("activating", "start", True),
        ("deactivating", "stop-sigterm", True),
        ("activating", "start-pre", False),
        ("activating", "auto-restart", False),
        ("failed", "failed", False),
        ("inactive", "dead", False),
    ],
)
def test_a_server_runs_from_its_start_to_its_end(state: str, sub: str, there: bool) -> None:
    assert runs(f"ActiveState={state}\nSubState={sub}\n") is there


def test_without_systemd_nothing_runs() -> None:
    assert not runs("")
