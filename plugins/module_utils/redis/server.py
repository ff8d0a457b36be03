# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running Redis brought to what it should be: observe, plan, apply. What only a restart can change is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.redis.acl import commands, readable
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers, ConnectionLostError, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.desired import SECRET_SETTINGS
from ansible_collections.boring.fleet.plugins.module_utils.redis.replication import fields

USERS, UNIT = "users", "unit"
_REWRITE_SECONDS = 300.0
# Redis counts its uptime in whole seconds: a second's grace on both sides
_GRACE_SECONDS = 2.0
_NO_LOGIN = "WRONGPASS"


@dataclass(frozen=True)
class Wanted:
    """`settings` as CONFIG GET gives them; `users` are all lines of the ACL file, without any they are left as they are.

    `again`: settings to say once more though they are the same, because a file that they name has changed. `unit_time`: when
    the unit was written, seconds since the epoch.
    """

    settings: Mapping[str, str] = field(repr=False)
    users: Sequence[str] = field(default=(), repr=False)
    again: Sequence[str] = ()
    unit_time: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What a server says of itself. `started`: seconds since the epoch, at the latest."""

    settings: Mapping[str, str] = field(repr=False)
    users: Sequence[str] = field(repr=False)
    started: float
    rewriting: bool


@dataclass(frozen=True)
class Plan:
    """`steps` are commands; `differs` names what they change, and what only a restart can."""

    steps: tuple[tuple[str, ...], ...] = field(repr=False)
    differs: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]


def look(redis: Answers, names: Sequence[str]) -> Seen:
    """Ask for these settings, the users and the uptime. Raises RedisError."""
    flat = redis("CONFIG", "GET", *names) if names else []
    info = {**fields(redis("INFO", "server")), **fields(redis("INFO", "persistence"))}
    return Seen(
        dict(zip(flat[::2], flat[1::2], strict=True)),
        redis("ACL", "LIST"),
        int(info["server_time_usec"]) / 1e6 - int(info["uptime_in_seconds"]) + _GRACE_SECONDS,
        info.get("aof_rewrite_in_progress") == "1" or info.get("aof_rewrite_scheduled") == "1",
    )


def plan(wanted: Wanted, seen: Seen) -> Plan:
    """What differs, and the commands that change it."""
    drift = {name: value for name, value in wanted.settings.items() if seen.settings.get(name) != value}
    acl = commands(wanted.users, seen.users) if wanted.users else ()
    steps = [*acl, *(("CONFIG", "SET", name, value) for name, value in sorted(drift.items()))]
    if wanted.again:
        # all in one: a certificate and its key only make sense together
        steps.append(("CONFIG", "SET", *(part for name in wanted.again for part in (name, wanted.settings[name]))))
    before: dict[str, Any] = {name: _shown(name, seen.settings.get(name, "(none)")) for name in drift}
    after: dict[str, Any] = {name: _shown(name, value) for name, value in drift.items()}
    if acl:
        before[USERS], after[USERS] = readable(seen.users), readable(wanted.users)
    late = [UNIT] if seen.started < wanted.unit_time else []
    return Plan(tuple(steps), (*([USERS] if acl else []), *sorted(drift), *late), before, after)


def _shown(name: str, value: str) -> str:
    return "(secret)" if name in SECRET_SETTINGS else value


def apply(redis: Answers, made: Plan) -> None:
    """Take the steps, one by one: what a running server cannot change is refused, and does not keep it from what it can.

    Raises ConnectionLostError.
    """
    for step in made.steps:
        try:
            redis(*step)
        except RedisError as exc:
            if isinstance(exc, ConnectionLostError):
                raise


def settle(redis: Answers, names: Sequence[str], clock: Callable[[], float], sleep: Callable[[float], None]) -> Seen:
    """Look again, once an append-only file that was just turned on is complete. Raises RedisError."""
    deadline = clock() + _REWRITE_SECONDS
    while True:
        seen = look(redis, names)
        if not seen.rewriting or clock() >= deadline:
            return seen
        sleep(1.0)


def connect(
    make: Callable[[], Answers], patience: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Answers:
    """A connection, as soon as the server lets us in and has loaded its data.

    Raises RedisError after `patience` seconds, and at once for a password that is not the server's: no time makes it right.
    """
    deadline = clock() + patience
    while True:
        try:
            return _ready(make())
        except RedisError as exc:
            if _NO_LOGIN in str(exc) or clock() >= deadline:
                raise
            sleep(1.0)


def _ready(redis: Answers) -> Answers:
    try:
        loads = fields(redis("INFO", "persistence")).get("loading") == "1"
    except RedisError:
        redis.close()
        raise
    if loads:
        redis.close()
        raise RedisError("it still loads its data; see how large that is, and try again.")
    return redis


def runs(shown: str) -> bool:
    """Whether a server is there, whether it answers or not. `shown`: its unit's ActiveState and SubState, a line each, as systemctl shows them.

    One that loads its data still starts. One that failed and waits to be started anew does not run.
    """
    found = fields(shown.replace("=", ":"))
    state = found.get("ActiveState")
    return state in ("active", "reloading", "deactivating") or (
        state == "activating" and found.get("SubState") in ("start", "start-post")
    )
