# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup of one source, step by step: what is read, encrypted, put into the target, looked at there, and what may go then."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from ansible_collections.boring.fleet.plugins.module_utils.backup import manifest as manifests
from ansible_collections.boring.fleet.plugins.module_utils.backup.crypt import Encrypted, decrypted
from ansible_collections.boring.fleet.plugins.module_utils.backup.manifest import Found, Item, Manifest, Part
from ansible_collections.boring.fleet.plugins.module_utils.backup.target import Target
from ansible_collections.boring.fleet.plugins.module_utils.backup.told import BackupError, Source, Told

PART_BYTES: Final = 8 << 20
_AHEAD_SECONDS: Final = 3600  # by which another host's clock may be ahead
_MARGIN: Final = 1.1  # of the disk below the spool, which may be that of the data itself


@dataclass(frozen=True)
class Piece:
    """Something of a source that is saved as one file. `size`: bytes at most, as far as the source knows.

    `save` writes it and gives the counts that are compared after a restore.
    """

    name: str
    size: int
    save: Callable[[Callable[[bytes], None]], Mapping[str, Any]]


class Service(Protocol):
    """A running service. Everything raises NatsError or RedisError, one sentence."""

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """What there is to save, and notes of what is not saved, with the reason."""

    def busy(self) -> str:
        """Why nothing may be restored into it, as a clause; empty where it is empty and takes data."""

    def restore(self, item: Item, pieces: Iterator[bytes], folder: Path) -> str:
        """Bring a file back and compare it; what was found, as a sentence. Raises BackupError where it differs."""

    def close(self) -> None:
        """Give its connections back."""


class NothingError(BackupError):
    """There is nothing to save: an empty service must not push out the backups of when it was not."""


@dataclass
class Work:
    """What all runs need. `now`: unix seconds; `monotonic` is for deadlines; `token`: eight random hex digits."""

    told: Told
    target: Target
    spool: Path
    host: str
    now: Callable[[], float]
    monotonic: Callable[[], float]
    token: Callable[[], str]
    say: Callable[[str], None]
    end: float = 0.0

    def begin(self) -> None:
        """From now on the time counts that a run may take."""
        self.end = self.monotonic() + self.told.seconds

    def left(self) -> float:
        """Seconds. Raises BackupError when there are none."""
        left = self.end - self.monotonic()
        if left <= 0:
            raise BackupError(
                f"It is not done after {self.told.seconds} s; look at the network, or raise data_backup_seconds."
            )
        return left

    # -- what is there -------------------------------------------------------------------------------------------------

    def find(self, source: str, enough: int | None = None, *, ahead: bool = True) -> Found:
        """The backups of a source, looked at from the newest on until `enough` are whole: their seal, and whether all parts are there.

        Without `ahead`, those do not count that were taken in the future: by them no other would be due. Raises BackupError when the target does
        not answer.
        """
        latest = manifests.new_id(self.now() + _AHEAD_SECONDS, "")
        there = self.target.list(f"{source}/")
        folders = manifests.folders(there)
        written = sorted((one for one, keys in folders.items() if f"{one}/{manifests.NAME}" in keys), reverse=True)
        good: list[Manifest] = []
        bad: dict[str, str] = {}
        for place, identifier in enumerate(written):
            if enough is not None and len(good) >= enough:
                rest = tuple(written[place:])
                break
            try:
                if identifier > latest and not ahead:
                    raise BackupError(
                        "it was taken in the future: look at the clock of the host that took it, and of this one."
                    )
                one = self._manifest(source, identifier)
                why = manifests.missing(one, there)
                if why:
                    raise BackupError(f"{why}: the backup is not whole.")
                good.append(one)
            except BackupError as exc:
                bad[identifier] = str(exc)
        else:
            rest = ()
        return Found(tuple(good), bad, rest, tuple(sorted({*folders} - {*written})))

    def _manifest(self, source: str, identifier: str) -> Manifest:
        text = self.target.get(f"{source}/{identifier}/{manifests.NAME}")
        return manifests.load(text, self.told.seal, source, identifier)

    # -- a backup ------------------------------------------------------------------------------------------------------

    def backup(self, source: Source, service: Service) -> Manifest:
        """Take one, and let go what is old. Raises BackupError, and NothingError for an empty service.

        The manifest is the last object that is written: without it nothing is taken for a backup.
        """
        pieces, notes = service.pieces()
        if not pieces:
            raise NothingError(f"{source.name} holds nothing: no backup is taken, and those that are there stay.")
        now = self.now()
        identifier = manifests.new_id(now, self.token())
        try:
            items = tuple(self._item(source, identifier, number, piece) for number, piece in enumerate(pieces))
            made = Manifest(identifier, source.name, source.kind, self.host, int(now), items, tuple(notes))
            self.left()
            self.target.put(f"{source.name}/{identifier}/{manifests.NAME}", manifests.dump(made, self.told.seal))
        except BaseException:
            # a target that is full stays so otherwise, and the next run adds to it
            with contextlib.suppress(BackupError):
                for key in self.target.list(f"{source.name}/{identifier}/"):
                    self.target.delete(f"{source.name}/{identifier}/{key}")
            raise
        found = self.find(source.name, self.told.keep_least, ahead=False)
        if made not in found.good:
            why = found.bad.get(identifier, "it is not there")
            raise BackupError(f"The target does not have what was written, {source.name}/{identifier}: {why}")
        self._retain(source, found)
        return made

    def _item(self, source: Source, identifier: str, number: int, piece: Piece) -> Item:
        free = shutil.disk_usage(self.spool).free
        if free < piece.size * _MARGIN:
            raise BackupError(
                f"{piece.name} of {source.name} may take {manifests.human([piece.size])}, and the disk of {self.spool} has"
                f" {manifests.human([free])} left; make room, or mount a larger disk there."
            )
        path = self.spool / "file.age"
        writer = Encrypted(path, self.told.recipients)
        try:
            about = piece.save(writer.write)
            writer.close()
        except BaseException:
            writer.abort()
            path.unlink(missing_ok=True)
            raise
        try:
            return Item(piece.name, about, tuple(self._parts(source, identifier, number, path)))
        finally:
            path.unlink(missing_ok=True)

    def _parts(self, source: Source, identifier: str, number: int, path: Path) -> Iterator[Part]:
        with path.open("rb") as file:
            place = 0
            while data := file.read(PART_BYTES):
                self.left()
                self.target.put(f"{source.name}/{manifests.part_key(identifier, number, place)}", data)
                yield Part(len(data), manifests.sha256(data))
                place += 1

    def _retain(self, source: Source, found: Found) -> None:
        """A backup stops being one before its parts go."""
        old, cut = manifests.superfluous(found, self.now(), self.told.keep_days, self.told.keep_least)
        there = manifests.folders(self.target.list(f"{source.name}/")) if old or cut else {}
        for identifier in (*old, *cut):
            for key in sorted(there.get(identifier, []), key=lambda key: not key.endswith(manifests.NAME)):
                self.left()
                self.target.delete(f"{source.name}/{key}")
            why = "was never finished" if identifier in cut else f"is older than {self.told.keep_days} days"
            self.say(f"{source.name}/{identifier} {why} and is deleted")

    # -- the way back --------------------------------------------------------------------------------------------------

    def refuse_over_data(self, source: Source, service: Service) -> None:
        """Raises BackupError for a service that is not empty, or not to be written to here."""
        why = service.busy()
        if why:
            raise BackupError(
                f"Nothing is restored into {source.name}: {why}. It takes a service that is new and empty."
            )

    def restore(self, source: Source, wanted: str, identity: str, service: Service) -> list[str]:
        """Bring a backup back into an empty service, and compare; a sentence for each file. Raises BackupError.

        Every byte is compared with the manifest's checksums before anything is restored.
        """
        self.refuse_over_data(source, service)
        chosen = manifests.choose(self.find(source.name, 1 if wanted == "latest" else None), wanted, source.name)
        if chosen.kind != source.kind:
            raise BackupError(
                f"{source.name}/{chosen.id} is of {chosen.kind}, and {source.name} is now {source.kind}: name another source."
            )
        # of Redis the decrypted file lies beside it
        needed, free = chosen.size * _MARGIN * (1 + (source.kind == "redis")), shutil.disk_usage(self.spool).free
        if free < needed:
            raise BackupError(
                f"The restore needs {manifests.human([int(needed)])}, and the disk of {self.spool} has {manifests.human([free])} left: make room."
            )
        self.say(f"{source.name}/{chosen.id} was taken on {chosen.host}")
        paths = [self.spool / f"{number:04d}.age" for number in range(len(chosen.items))]
        try:
            for number, path in enumerate(paths):
                self._fetch(source, chosen, number, path)
            return [self._bring(item, path, identity, service) for item, path in zip(chosen.items, paths, strict=True)]
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def _fetch(self, source: Source, chosen: Manifest, number: int, path: Path) -> None:
        try:
            with path.open("wb") as file:
                for place, part in enumerate(chosen.items[number].parts):
                    self.left()
                    key = f"{source.name}/{manifests.part_key(chosen.id, number, place)}"
                    data = self.target.get(key)
                    if (len(data), manifests.sha256(data)) != (part.size, part.sha256):
                        raise BackupError(
                            f"{key} is not what was written: its checksum is another. Restore another backup."
                        )
                    file.write(data)
        except OSError as exc:
            raise BackupError(f"{path} cannot be written: {exc.strerror}; look at its disk.") from exc

    def _bring(self, item: Item, path: Path, identity: str, service: Service) -> str:
        with decrypted(path, identity) as pieces:
            return service.restore(item, pieces, self.spool)


@contextlib.contextmanager
def empty_folder(path: Path) -> Iterator[Path]:
    """A folder with nothing in it, also of a run that was cut off, and gone afterwards."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700, parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def due(found: Found, now: float, every: int) -> bool:
    """Whether the newest backup is so old that the next one is to be taken, by this host or another of the same service."""
    return not found.good or now - found.good[0].taken >= every
