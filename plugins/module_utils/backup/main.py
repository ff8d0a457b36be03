# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program data-backup: `run` is what its timer starts, `restore` what the playbook restore_data starts; `list`, `status` and `check` only look."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.backup import state as states
from ansible_collections.boring.fleet.plugins.module_utils.backup import told as tolds
from ansible_collections.boring.fleet.plugins.module_utils.backup.nats_service import NatsService
from ansible_collections.boring.fleet.plugins.module_utils.backup.redis_service import LeftToReplicasError, RedisService
from ansible_collections.boring.fleet.plugins.module_utils.backup.s3 import Bucket
from ansible_collections.boring.fleet.plugins.module_utils.backup.state import State
from ansible_collections.boring.fleet.plugins.module_utils.backup.target import Directory, Target
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError, Place, Source, Told
from ansible_collections.boring.fleet.plugins.module_utils.backup.work import (
    NothingError,
    Service,
    Work,
    due,
    empty_folder,
)
from ansible_collections.boring.fleet.plugins.module_utils.host import signature
from ansible_collections.boring.fleet.plugins.module_utils.host.aws import METADATA, Metadata, http_request
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError
from ansible_collections.boring.fleet.plugins.module_utils.nats.client import NatsError
from ansible_collections.boring.fleet.plugins.module_utils.nats.snapshot import Snapshots as NatsSnapshots
from ansible_collections.boring.fleet.plugins.module_utils.redis.client import RedisError
from ansible_collections.boring.fleet.plugins.module_utils.redis.snapshot import Snapshots as RedisSnapshots
from ansible_collections.boring.fleet.plugins.module_utils.tls.login import Login

_SECONDS: Final = 20.0  # for one answer
_USAGE: Final = "usage: data-backup run | list | status | check CONFIG | ready SOURCE | restore SOURCE BACKUP|latest"
# What may go wrong with a source, each a sentence
_TROUBLES: Final = (BackupError, NatsError, RedisError, HostError)


@dataclass(frozen=True)
class Paths:
    """Where its files are."""

    config: Path = Path(tolds.CONFIG)
    secrets: Path = Path(tolds.SECRETS)
    state: Path = Path("/var/lib/data-backup")


def main(argv: Sequence[str], paths: Paths = Paths()) -> int:
    """The exit status: 0 when all is well, 1 with a sentence, 2 for words that mean nothing."""
    words = tuple(argv[1:])
    try:
        if words == ("status",):
            return _status(paths)
        if len(words) == 2 and words[0] == "check":
            _told(dataclasses.replace(paths, config=Path(words[1])))
            return 0
        if words == ("list",):
            return _list(_told(paths), paths)
        if words == ("run",):
            with _alone(paths):
                return _run(_told(paths), paths)
        if len(words) == 2 and words[0] == "ready":
            return _ready(_told(paths), paths, words[1])
        if len(words) == 3 and words[0] == "restore":
            with _alone(paths):
                return _restore(_told(paths), paths, words[1], words[2])
    except _TROUBLES as exc:
        say(str(exc))
        return 1
    except OSError as exc:
        say(f"{exc.filename or 'The host'}: {exc.strerror or exc}")
        return 1
    say(_USAGE)
    return 2


def say(sentence: str) -> None:
    """To the journal, or to whoever asked."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


# -- backups -----------------------------------------------------------------------------------------------------------


def _run(told: Told, paths: Paths) -> int:
    known = states.load(_text(paths.state / "status.json"))
    found: dict[str, State] = {}
    with empty_folder(paths.state / "spool") as spool:
        for source in told.sources:
            work = _work(told, spool)
            before = known.get(source.name, State(source.name, told.every, int(time.time())))
            found[source.name] = _source(source, work, dataclasses.replace(before, every=told.every))
    _write(paths.state / "status.json", states.dump(found))
    _write(paths.state / "data_backup.prom", states.metrics(found))
    for state in found.values():
        why = states.late(state, time.time())
        if why:
            say(why)
    return int(any(state.trouble or states.late(state, time.time()) for state in found.values()))


def _source(source: Source, work: Work, before: State) -> State:
    """A backup of it if one is due; what is in the target then. What goes wrong is said, and is not the others' fault."""
    now = dataclasses.replace(before, looked=int(time.time()), trouble="", empty=False)
    try:
        work.begin()
        found = work.find(source.name, 1, ahead=False)
        now = now.with_found(found)
        for identifier, why in sorted(found.bad.items()):
            say(f"{source.name}/{identifier} is no good backup: {why}")
        if not due(found, time.time(), work.told.every):
            say(f"{states.line(now, time.time())}; the next one is not due")
            return now
        with _service(source, work) as service:
            made = work.backup(source, service)
        for note in made.notes:
            say(f"{source.name}: {note}")
        now = now.with_found(work.find(source.name, 1, ahead=False))
        say(f"{source.name}/{made.id} is whole: {', '.join(item.name for item in made.items)}")
    except NothingError as exc:
        say(str(exc))
        return dataclasses.replace(now, empty=True, since=now.looked)
    except LeftToReplicasError as exc:
        say(f"{source.name}: {exc}")
    except (*_TROUBLES, OSError) as exc:
        why = f"{exc.filename or 'the host'}: {exc.strerror or exc}" if isinstance(exc, OSError) else str(exc)
        say(f"{source.name} is not backed up: {why}")
        return dataclasses.replace(now, trouble=why)
    return now


def _status(paths: Paths) -> int:
    """From the file alone, so that anybody may ask."""
    known = states.load(_text(paths.state / "status.json"))
    if not known:
        say("No run has ended yet: look at systemctl list-timers data-backup.timer.")
        return 1
    bad = False
    for state in known.values():
        say(states.line(state, time.time()))
        why = states.late(state, time.time())
        bad = bad or bool(why or state.trouble)
        if why:
            say(why)
    return int(bad)


def _list(told: Told, paths: Paths) -> int:
    work = _work(told, paths.state)
    for source in told.sources:
        found = work.find(source.name)
        for one in found.good:
            say(
                f"{source.name} {one.id} {one.size} bytes, on {one.host}: {json.dumps({item.name: item.about for item in one.items})}"
            )
        for identifier, why in sorted(found.bad.items()):
            say(f"{source.name} {identifier} NOT GOOD: {why}")
        for identifier in found.cut:
            say(f"{source.name} {identifier} not finished")
    return 0


# -- the way back ------------------------------------------------------------------------------------------------------


def _ready(told: Told, paths: Paths, name: str) -> int:
    """Whether a backup of this source may be restored through this host."""
    source = _given(told, name)[0]
    work = _work(told, paths.state)
    with _service(source, work) as service:
        work.refuse_over_data(source, service)
    say(f"{name} is empty and takes data")
    return 0


def _restore(told: Told, paths: Paths, name: str, wanted: str) -> int:
    source, given = _given(told, name)
    with empty_folder(paths.state / "restore") as spool:
        work = _work(told, spool)
        work.begin()
        with _service(source, work, keep_old=bool(given.get("keep_old"))) as service:
            for sentence in work.restore(source, wanted, str(given["identity"]), service):
                say(sentence)
    return 0


def _given(told: Told, name: str) -> tuple[Source, dict[str, Any]]:
    """What comes through standard input, as JSON: `identity`, the text of age's key file, `user` and `password` that may write, and `keep_old`."""
    try:
        given: dict[str, Any] = json.loads(sys.stdin.read())
        if not given["identity"]:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise BackupError(
            'Standard input is no JSON with "identity": restore with the playbook boring.fleet.restore_data.'
        ) from None
    source = told.source(name)
    if given.get("user"):
        source = dataclasses.replace(source, user=str(given["user"]), password=str(given.get("password") or ""))
    return source, given


# -- what it is made of ------------------------------------------------------------------------------------------------


def _told(paths: Paths) -> Told:
    return tolds.read(paths.config.read_text(encoding="utf-8"), paths.secrets.read_text(encoding="utf-8"))


def _work(told: Told, spool: Path) -> Work:
    return Work(
        told,
        target(told.place),
        spool,
        socket.gethostname(),
        time.time,
        time.monotonic,
        lambda: secrets.token_hex(4),
        say,
    )


def target(place: Place) -> Target:
    """The directory or the bucket. Raises HostError when the instance should know its region, and does not."""
    if place.directory:
        return Directory(place.directory)
    metadata = Metadata(http_request, time.monotonic, place.metadata or METADATA)
    fixed = signature.Credentials(place.access_key, place.secret_key) if place.access_key else None
    region = place.region or metadata.need("placement/region")
    return Bucket(
        http_request,
        (lambda: fixed) if fixed else metadata.credentials,
        place.endpoint or f"https://s3.{region}.amazonaws.com",
        region,
        place.bucket,
        place.prefix,
        time.time,
        time.sleep,
    )


@contextlib.contextmanager
def _service(source: Source, work: Work, *, keep_old: bool = False) -> Iterator[Service]:
    login = Login(
        source.user,
        source.password,
        source.tls,
        source.ca,
        source.cert,
        source.key,
        source.server_name,
        any_name=not source.server_name,
    )
    service: Service
    if source.kind == "nats":
        service = NatsService(
            NatsSnapshots([(source.host, source.port)], login, _SECONDS), work.left, keep_old=keep_old
        )
    else:
        service = RedisService(RedisSnapshots(source.host, source.port, login, _SECONDS), source.program, work.left)
    try:
        yield service
    finally:
        service.close()


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """One at a time on this host."""
    paths.state.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (paths.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError("Another data-backup runs on this host: wait until it has ended.") from None
        yield


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _write(path: Path, text: str) -> None:
    """In one step, for everybody to read."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".data-backup-")
    with os.fdopen(handle, "w", encoding="utf-8") as temporary:
        os.fchmod(handle, 0o644)
        temporary.write(text)
    Path(name).replace(path)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
