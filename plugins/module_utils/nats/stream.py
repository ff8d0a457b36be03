# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams and their consumers as code: what differs, what cannot be changed, and what would be lost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.nats.client import Asking, NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.sizes import human_size

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_NOT_FOUND = 404
_PLAIN_NAME = re.compile(r"[^\s.*>/\\]+")
# What JetStream takes at the creation only
FIXED_STREAM = ("storage", "retention", "max_consumers")
FIXED_CONSUMER = ("ack_policy", "deliver_policy", "replay_policy")

Config = dict[str, Any]


def nanoseconds(text: str) -> int:
    """`90s`, `15m`, `12h`, `7d` or `0` as nanoseconds. Raises ValueError with a sentence."""
    if text.strip() == "0":
        return 0
    match = re.fullmatch(r"(\d+)\s*(ns|us|ms|s|m|h|d)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: write 90s, 15m, 12h or 7d.")
    return int(match[1]) * _NANOSECONDS[match[2]]


def check_name(kind: str, name: str) -> str:
    """The name, if NATS takes it. Raises ValueError with a sentence."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r}: a name has no spaces and none of . * > / \\; choose another.")
    return name


@dataclass(frozen=True)
class Stream:
    """A stream as it should be, in JetStream's own words; what is not in `config` is left as it is."""

    name: str
    config: Config
    consumers: Mapping[str, Config] = field(default_factory=dict)
    # consumers that are not named go
    only_these_consumers: bool = False


@dataclass(frozen=True)
class Actual:
    """A stream as JetStream tells it."""

    config: Config
    state: Mapping[str, Any]
    consumers: Mapping[str, Config]


@dataclass(frozen=True)
class Step:
    """One request to JetStream's API."""

    subject: str
    payload: Config


@dataclass(frozen=True)
class Plan:
    """What to do. `losses`: a clause for everything that would be lost; `refusals`: what JetStream cannot do."""

    steps: tuple[Step, ...]
    before: Config
    after: Config
    losses: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


def _same(wanted: Any, found: Any) -> bool:
    """JetStream leaves out what is empty."""
    return wanted == found or (not wanted and not found)


def _differing(wanted: Config, found: Config) -> Config:
    return {name: value for name, value in wanted.items() if not _same(value, found.get(name))}


def _shrinks(new: int, old: int) -> bool:
    """Whether a limit becomes tighter; 0 and -1 are none."""
    return new > 0 and (old <= 0 or new < old)


def _losses_of_limits(name: str, change: Config, actual: Actual) -> list[str]:
    state, config = actual.state, actual.config
    messages = int(state.get("messages", 0))
    if messages == 0:
        return []
    found = []
    if _shrinks(change.get("max_msgs", 0), config.get("max_msgs", -1)) and messages > change["max_msgs"]:
        found.append(
            f"max_msgs {change['max_msgs']} would remove {messages - change['max_msgs']} of {name}'s {messages} messages"
        )
    stored = int(state.get("bytes", 0))
    if _shrinks(change.get("max_bytes", 0), config.get("max_bytes", -1)) and stored > change["max_bytes"]:
        found.append(f"max_bytes {change['max_bytes']} would remove messages of {name}, which holds {stored} bytes")
    # Which messages these limits reach cannot be told without reading all of them.
    if _shrinks(change.get("max_age", 0), config.get("max_age", 0)):
        found.append(f"a shorter max_age would remove the older ones of {name}'s {messages} messages")
    if _shrinks(change.get("max_msgs_per_subject", 0), config.get("max_msgs_per_subject", -1)):
        found.append(f"a smaller max_msgs_per_subject may remove some of {name}'s {messages} messages")
    return found


def plan(wanted: Stream, actual: Actual | None) -> Plan:
    """What brings the stream to what is wanted."""
    name = wanted.name
    steps: list[Step] = []
    losses: list[str] = []
    refusals: list[str] = []
    before: Config = {}
    after: Config = {}
    if actual is None:
        config = {"name": name, **wanted.config}
        steps.append(Step(f"$JS.API.STREAM.CREATE.{name}", config))
        after = dict(config)
        there: Mapping[str, Config] = {}
    else:
        there = actual.consumers
        change = _differing(wanted.config, actual.config)
        refusals += [
            f"{name}: {key} is {actual.config.get(key)} and cannot become {change[key]}"
            for key in FIXED_STREAM
            if key in change
        ]
        if change:
            losses += _losses_of_limits(name, change, actual)
            steps.append(Step(f"$JS.API.STREAM.UPDATE.{name}", {**actual.config, **change}))
            before = {key: actual.config.get(key) for key in change}
            after = dict(change)
    for consumer, config in sorted(wanted.consumers.items()):
        found = there.get(consumer)
        change = config if found is None else _differing(config, found)
        if not change:
            continue
        if found is not None:
            refusals += [
                f"{name}, consumer {consumer}: {key} is {found.get(key)} and cannot become {change[key]}"
                for key in FIXED_CONSUMER
                if key in change
            ]
            before[f"consumer {consumer}"] = {key: found.get(key) for key in change}
        after[f"consumer {consumer}"] = dict(change)
        full = {"durable_name": consumer, "name": consumer, **(found or {}), **config}
        steps.append(Step(f"$JS.API.CONSUMER.DURABLE.CREATE.{name}.{consumer}", {"stream_name": name, "config": full}))
    if wanted.only_these_consumers:
        for consumer in sorted(set(there) - set(wanted.consumers)):
            losses.append(f"without its consumer {consumer}, {name} forgets what that one has had")
            before[f"consumer {consumer}"] = dict(there[consumer])
            steps.append(Step(f"$JS.API.CONSUMER.DELETE.{name}.{consumer}", {}))
    return Plan(tuple(steps), before, after, tuple(losses), tuple(refusals))


def plan_removal(name: str, actual: Actual | None) -> Plan:
    """What takes the stream away."""
    if actual is None:
        return Plan((), {}, {})
    messages = int(actual.state.get("messages", 0))
    losses = (f"{name} holds {messages} messages",) if messages else ()
    return Plan((Step(f"$JS.API.STREAM.DELETE.{name}", {}),), dict(actual.config), {}, losses)


def permit(made: Plan, *, may_lose: bool) -> None:
    """Raises NatsError when the plan cannot be done, or would lose what nobody gave up."""
    if made.refusals:
        raise NatsError(
            f"{made.refusals[0]} (JetStream fixes it at the creation); make another stream and copy into it."
        )
    if made.losses and not may_lose:
        raise NatsError(f"Refused, because {'; '.join(made.losses)}; set may_lose_messages if that is wanted.")


@dataclass(frozen=True)
class Room:
    """What an account may store, in bytes, and what its other streams have reserved there, each replica counted. -1: no limit."""

    limit: int
    others: Mapping[str, tuple[int, int]]  # name of a stream -> its max_bytes and its replicas


def look_for_room(client: Asking, wanted: Config, name: str) -> Room | None:
    """The room for a stream's kind of storage; None where the user may not look. Raises NatsError only for a connection that is lost."""
    storage = wanted.get("storage", "file")
    try:
        limits = checked("$JS.API.INFO", client.ask("$JS.API.INFO")).get("limits") or {}
        streams = everything(client, "$JS.API.STREAM.LIST", "streams")
    except NatsError:
        return None
    others = {
        each["config"]["name"]: (int(each["config"].get("max_bytes", -1)), int(each["config"].get("num_replicas", 1)))
        for each in streams
        if each["config"]["name"] != name and each["config"].get("storage") == storage
    }
    return Room(int(limits.get("max_memory" if storage == "memory" else "max_storage", -1)), others)


def shortage(name: str, config: Config, room: Room) -> str:
    """Why a stream of this configuration does not fit into its account, as a sentence; empty where it does."""
    own, replicas = int(config.get("max_bytes", -1)), int(config.get("num_replicas") or 1)
    if room.limit < 0 or own <= 0:
        return ""
    taken = {stream: most * copies for stream, (most, copies) in room.others.items() if most > 0}
    if own * replicas + sum(taken.values()) <= room.limit:
        return ""
    rest = "".join(f" + {human_size(each)} ({stream})" for stream, each in sorted(taken.items()))
    return (
        f"Stream {name} does not fit into its account, whose limit counts every replica: {human_size(own)} x {replicas}{rest} ="
        f" {human_size(own * replicas + sum(taken.values()))}, and the limit is {human_size(room.limit)}. Lower max_bytes or replicas, or raise the"
        f" account's max_file (or max_mem)."
    )


def boundless(name: str, config: Config, room: Room) -> str:
    """What to warn of: a stream without a limit of its own in an account that has one; empty where there is nothing."""
    if room.limit <= 0 or int(config.get("max_bytes", -1)) > 0:
        return ""
    return (
        f"Stream {name} has no max_bytes and its account a limit of {human_size(room.limit)}: it can take all of that, and then every stream of"
        f" the account refuses messages. Give it max_bytes."
    )


def checked(subject: str, answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if error:
        raise NatsError(
            f"JetStream refused {subject}: {error.get('description', error)} ({error.get('err_code', error.get('code'))});"
            f" change what was asked for, or give the account more."
        )
    return answer


def everything(client: Asking, subject: str, key: str) -> Sequence[Any]:
    """All pages of a list."""
    found: list[Any] = []
    while True:
        answer = checked(subject, client.ask(subject, {"offset": len(found)}))
        page = answer.get(key) or []
        found += page
        if not page or len(found) >= int(answer.get("total", 0)):
            return found


def look(client: Asking, name: str) -> Actual | None:
    """The stream as it is, or None. Raises NatsError."""
    subject = f"$JS.API.STREAM.INFO.{name}"
    answer = client.ask(subject)
    if answer.get("error", {}).get("code") == _NOT_FOUND:
        return None
    checked(subject, answer)
    consumers = everything(client, f"$JS.API.CONSUMER.LIST.{name}", "consumers")
    return Actual(
        answer["config"],
        answer["state"],
        # what lives only while somebody listens is nobody's to manage
        {each["name"]: each["config"] for each in consumers if each["config"].get("durable_name")},
    )


def carry_out(client: Asking, made: Plan) -> None:
    """Take the plan's steps. Raises NatsError."""
    for step in made.steps:
        checked(step.subject, client.ask(step.subject, step.payload))
