# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this node start? The unit asks before every start of Redis.

A master that starts without its data is copied by its replicas, and then all of them have lost it. So a node of a set that has
no append-only file copies first from a node that answers as the master, or somebody said once that the set is new.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.boring.fleet.plugins.module_utils.quoting.redis_conf import line
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import Answers, Client, RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.copying import APPEND_ONLY_DIR, copy
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

NEW_SET = "new-set"
_OWN = "redis.conf"
_SNAPSHOT = "dump.rdb"
_APPEND_ONLY = f"{APPEND_ONLY_DIR}/appendonly.aof.manifest"
_APPEND_ONLY_OF_6 = "appendonly.aof"
# For so long one start waits for a failover. systemd starts the unit again after it, and so on until the set has a master.
_PATIENCE_SECONDS = 60.0
_NOT_STARTED = 75  # EX_TEMPFAIL


@dataclass(frozen=True)
class Member:
    """This node and its set, as ``set.json`` has it."""

    announce: str
    data_dir: str
    engine: str
    name: str
    nodes: Sequence[str]
    port: int
    sentinel: bool
    sentinel_port: int
    tls: bool
    password: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True)
class Disk:
    """What is in the directory of the data."""

    own: str | None  # text of the file that Redis writes for itself
    has_data: bool  # an append-only file
    has_snapshot: bool
    new_set: bool  # somebody said so


@dataclass(frozen=True)
class Verdict:
    """`own`: what to write into Redis's own file first; None leaves it. `source`: whose data to copy first.

    Without `start` it may not, for the `reason`.
    """

    start: bool
    reason: str = ""
    own: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Around:
    """What the others say. `named`: whom each Sentinel that answers takes for the master; `leads`: whether a node answers as one."""

    named: Callable[[], Sequence[str]]
    leads: Callable[[str], bool]


def look(data_dir: Path) -> Disk:
    """The directory of the data. Raises OSError."""
    own = data_dir / _OWN
    return Disk(
        own.read_text(encoding="utf-8", errors="surrogateescape") if own.exists() else None,
        (data_dir / _APPEND_ONLY).exists() or (data_dir / _APPEND_ONLY_OF_6).exists(),
        (data_dir / _SNAPSHOT).exists(),
        (data_dir / NEW_SET).exists(),
    )


def followed(own: str | None) -> str:
    """The master that Redis's own file names; empty where it says that the node is one itself."""
    for words in map(str.split, (own or "").splitlines()):
        if len(words) == 3 and words[0] in ("replicaof", "slaveof"):
            return words[1].strip('"')
    return ""


def following(own: str | None, master: str, port: int) -> str:
    """Redis's own file with another master in it."""
    kept = [text for text in (own or "").splitlines() if text.split()[:1] not in (["replicaof"], ["slaveof"])]
    return "\n".join([*kept, line("replicaof", master, str(port)), ""])


def alone(engine: str, disk: Disk, *, append_only: bool) -> Verdict:
    """Of a Redis that is no node of a set. Nobody copies it, so an empty one is a beginning like any other."""
    if append_only and disk.has_snapshot and not disk.has_data:
        return Verdict(False, _snapshot_only(engine))
    return Verdict(True, own="" if disk.own is None else None)


def _snapshot_only(engine: str) -> str:
    return (
        f"/var/lib/{engine} has a {_SNAPSHOT} and no append-only file, so {engine} would start empty and write over it."
        f" To restore it, turn it into an append-only file as docs/redis.md says; to do without it, move it away."
    )


def verdict(member: Member, disk: Disk, around: Around) -> Verdict:
    """Of a node of a set, as things are now."""
    if disk.has_data:
        if disk.own is not None:
            return Verdict(True)
        others = [master for master in around.named() if master != member.announce]
        return Verdict(True, own=following(None, others[0], member.port) if others else "")
    if disk.has_snapshot and not followed(disk.own):
        return Verdict(False, _snapshot_only(member.engine))
    if disk.new_set:
        return Verdict(True, own="" if disk.own is None else None)
    return _without_data(member, disk, around)


def _without_data(member: Member, disk: Disk, around: Around) -> Verdict:
    """It may follow who has the data, and nothing else."""
    lost = f"{member.announce} is a node of the set {member.name} and has no data"
    written = followed(disk.own)
    if not member.sentinel:
        if written:
            return Verdict(True)
        return Verdict(
            False,
            f"{lost}, so its replicas would copy its emptiness. Make one of them the master (REPLICAOF NO ONE, CONFIG REWRITE) and this"
            f" one its replica ('replicaof ADDRESS {member.port}' in {member.data_dir}/{_OWN}).",
        )
    named = around.named()
    candidates = list(dict.fromkeys(named)) if named else [written] if written else []
    for master in candidates:
        if master != member.announce and around.leads(master):
            own = None if master == written else following(disk.own, master, member.port)
            return Verdict(True, own=own, source=master)
    if not candidates:
        why = (
            "no other Sentinel of it answers, so nobody says who has the data. Start the nodes that have it. If the set is new,"
            " apply the role boring.fleet.redis to all its nodes, or once with redis_new_set"
        )
    elif member.announce in candidates:
        why = (
            "the Sentinels still take it for the master. It waits until they have named another node, which takes a majority of"
            " Sentinels and a replica with the data"
        )
    else:
        why = (
            f"{' and '.join(candidates)}, which has been named as the master, does not answer as one. It waits for that"
        )
    return Verdict(False, f"{lost}; {why}.")


def wait(
    judge: Callable[[], Verdict],
    say: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Verdict:
    """Judge until it may start, or until the patience ends. Each new reason is said once."""
    deadline, said = clock() + _PATIENCE_SECONDS, ""
    while True:
        found = judge()
        if found.start:
            return found
        if found.reason != said:
            say(found.reason)
            said = found.reason
        if clock() >= deadline:
            return found
        sleep(1.0)


def others(member: Member, connect: Callable[[str, int], Answers]) -> Around:
    """Ask the other nodes over connections that `connect` makes."""

    def ask(address: str, port: int, *words: str) -> object:
        try:
            connection = connect(address, port)
            try:
                return connection(*words)
            finally:
                connection.close()
        except RedisError:
            return None

    def named() -> list[str]:
        said = [
            ask(node, member.sentinel_port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", member.name)
            for node in member.nodes
            if node != member.announce and member.sentinel
        ]
        return [str(each[0]) for each in said if isinstance(each, list) and each]

    def leads(address: str) -> bool:
        said = ask(address, member.port, "ROLE")
        return isinstance(said, list) and said[:1] == ["master"]

    return Around(named, leads)


def become(user: str) -> None:
    """Be this user for good, where the unit started it as root: what is in the directory of the data is not root's to trust.

    Raises KeyError where there is no such user.
    """
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


def prepare(data_dir: Path, found: Verdict) -> None:
    """Make the directory ready for the start. Raises OSError."""
    if found.own is not None:
        fresh = data_dir / f".{_OWN}.new"
        fresh.unlink(missing_ok=True)
        with os.fdopen(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "w", errors="surrogateescape"
        ) as file:
            file.write(found.own)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(data_dir / _OWN)
    # once: a disk that is empty later is no new set
    (data_dir / NEW_SET).unlink(missing_ok=True)


def main(arguments: Sequence[str]) -> int:
    """``guard ENGINE PROGRAM ETC DATA_DIR``: 0 when Redis may start, or why it may not in the journal."""
    engine, program, etc, data_dir = arguments[0], arguments[1], Path(arguments[2]), Path(arguments[3])

    def say(reason: str) -> None:
        sys.stderr.write(f"{engine} does not start: {reason}\n")
        sys.stderr.flush()

    become(engine)
    if not (etc / "set.json").exists():
        managed = (etc / "managed.conf").read_text(encoding="utf-8").splitlines()
        found = alone(engine, look(data_dir), append_only="appendonly yes" in managed)
        if not found.start:
            say(found.reason)
            return _NOT_STARTED
        prepare(data_dir, found)
        return 0
    member = Member(**json.loads((etc / "set.json").read_text(encoding="utf-8")))
    login = Login("sentinel", member.password, member.tls, member.ca, member.cert, member.key)
    around = others(member, lambda address, port: Client(address, port, login, 2.0))
    found = wait(lambda: verdict(member, look(data_dir), around), say, time.monotonic, time.sleep)
    if not found.start:
        return _NOT_STARTED
    if found.source:
        why = copy(program, etc / "managed.conf", data_dir, (found.source, member.port))
        if why:
            say(f"{member.announce} could not copy the data of the set {member.name} from {found.source}: {why}.")
            return _NOT_STARTED
    prepare(data_dir, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
