# SPDX-License-Identifier: GPL-3.0-or-later
"""Data disks: directories that are with one host or with none, and outlive hosts.

Every host has a folder of this machine at ``/mnt``. A volume that is attached is a directory there, under its id, with a link
under its device's name: ``/mnt/sdf``. It is moved there and away again, so a host that runs sees it come and go.

A host's root can make any directory below ``/mnt``. So nothing is taken for a volume by its name alone: where each one was
put is kept beside the folders, where hosts do not reach.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Container, Mapping
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)
INSIDE = "/mnt"
"""Where a host finds its disks."""
Place = tuple[str, str]
"""An instance, and the name of the device there."""


class Disks:
    """The disks of one cloud.

    :param root: a directory; the folders of hosts and the disks of none lie in it, and for each disk that is with a host a
        link whose target is the instance's id.
    """

    def __init__(self, root: Path) -> None:
        self._hosts = root / "hosts"
        self._loose = root / "loose"
        self._places = root / "places"
        self._said: dict[str, str] = {}

    def folder(self, instance_id: str) -> Path:
        """The folder of a host, made if it is not there."""
        found = self._hosts / instance_id
        found.mkdir(parents=True, exist_ok=True)
        return found

    def settle(self, wanted: Mapping[str, Place | None], leaving: Container[str], known: Collection[str]) -> None:
        """Put every disk where it belongs, and remove those that are no volumes any more.

        What cannot be done for one disk or host, the log says once; the others do not wait for it.

        :param wanted: where each volume is attached; None: nowhere.
        :param leaving: hosts that are ending: what they have stays until they are gone.
        :param known: hosts whose folders stay.
        """
        self._begin(wanted)
        for volume in {path.name for folder in (self._loose, self._places) for path in folder.glob("vol-*")} - {
            *wanted
        }:
            if self._host(volume) not in leaving:
                self._try(volume, self._remove, volume)
        for volume, place in wanted.items():
            if self._host(volume) in leaving:
                continue
            if place is None:
                self._try(volume, self._take, volume)
            elif place[0] in known and place[0] not in leaving:
                self._try(volume, self._give, volume, place[0])
        for folder in self._hosts.glob("*"):
            if folder.name not in leaving:
                names = {p[1]: volume for volume, p in wanted.items() if p is not None and p[0] == folder.name}
                self._try(folder.name, _link, folder, names)
                self._forget(folder, {*known, *map(self._host, wanted)})

    def _begin(self, wanted: Mapping[str, Place | None]) -> None:
        """Believe what is wanted where no places were kept yet: in a new cloud, or after a version that kept none."""
        if not self._places.is_dir():
            self._places.mkdir(parents=True)
            for volume, place in wanted.items():
                if place is not None:
                    self._note(volume, place[0])

    @staticmethod
    def _forget(folder: Path, stay: Container[str]) -> None:
        if folder.name not in stay:
            shutil.rmtree(folder, ignore_errors=True)

    def _try(self, name: str, work: Callable[..., None], *about: Any) -> None:
        try:
            work(*about)
        except OSError as error:
            if self._said.get(name) != str(error):
                LOG.warning("the disks of %s are not where they belong: %s", name, error)
            self._said[name] = str(error)
        else:
            self._said.pop(name, None)

    def _host(self, volume: str) -> str:
        """The host that a disk was put to; empty if it is with none."""
        link = self._places / volume
        return str(link.readlink()) if link.is_symlink() and not (self._loose / volume).exists() else ""

    def _note(self, volume: str, host: str) -> None:
        link = self._places / volume
        link.unlink(missing_ok=True)
        link.symlink_to(host)

    def _at(self, volume: str) -> Path | None:
        """Where a disk is; None if there is none yet, or its host's root took it away."""
        host = self._host(volume)
        path = self._hosts / host / volume if host else self._loose / volume
        return path if path.is_dir() and not path.is_symlink() else None

    def _remove(self, volume: str) -> None:
        at = self._at(volume)
        if at is not None:
            shutil.rmtree(at, ignore_errors=True)
        (self._places / volume).unlink(missing_ok=True)

    def _take(self, volume: str) -> None:
        """Away from its host, if it is with one."""
        at, to = self._at(volume), self._loose / volume
        if at is not None and at != to:
            to.parent.mkdir(parents=True, exist_ok=True)
            at.rename(to)
            if to.is_symlink():  # its host's root put it there this very moment
                to.unlink()
        (self._places / volume).unlink(missing_ok=True)

    def _give(self, volume: str, host: str) -> None:
        """To a host; made if there is none. It is with none in between, so that it is known where it is whatever happens."""
        if self._host(volume) == host and self._at(volume) is not None:
            return
        self._take(volume)
        loose = self._loose / volume
        loose.mkdir(parents=True, exist_ok=True)
        self._note(volume, host)
        loose.rename(self.folder(host) / volume)


def _link(folder: Path, names: Mapping[str, str]) -> None:
    """Devices' names as links to disks; those that are gone are taken away."""
    for link in folder.iterdir():
        if link.is_symlink() and names.get(link.name) != str(link.readlink()):
            link.unlink()
    for name, volume in names.items():
        link = folder / name
        if not link.is_symlink() and not link.exists() and (folder / volume).exists():
            link.symlink_to(volume)
