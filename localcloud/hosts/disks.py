# SPDX-License-Identifier: GPL-3.0-or-later
"""Data disks: directories that are with one host or with none, and outlive hosts.

Every host has a folder of this machine at ``/mnt``. A volume that is attached is a directory there, under its id, with a link
under its device's name: ``/mnt/sdf``. It is moved there and away again, so a host that runs sees it come and go.
"""

from __future__ import annotations

import shutil
from collections.abc import Container, Mapping
from pathlib import Path

INSIDE = "/mnt"
"""Where a host finds its disks."""
Place = tuple[str, str]
"""An instance, and the name of the device there."""


class Disks:
    """The disks of one cloud.

    :param root: a directory; the folders of hosts and the disks of none lie in it.
    """

    def __init__(self, root: Path) -> None:
        self._hosts = root / "hosts"
        self._loose = root / "loose"

    def folder(self, instance_id: str) -> Path:
        """The folder of a host, made if it is not there."""
        found = self._hosts / instance_id
        found.mkdir(parents=True, exist_ok=True)
        return found

    def settle(self, wanted: Mapping[str, Place | None], leaving: Container[str], known: Container[str]) -> None:
        """Put every disk where it belongs, and remove those that are no volumes any more.

        :param wanted: where each volume is attached; None: nowhere.
        :param leaving: hosts that are ending: what they have stays until they are gone.
        :param known: hosts whose folders stay.
        """
        found = self._found()
        for volume, path in found.items():
            if volume not in wanted and path.parent.name not in leaving:
                shutil.rmtree(path, ignore_errors=True)
        for volume, place in wanted.items():
            at = found.get(volume)
            if at is not None and at.parent.name in leaving:
                continue
            if place is None:
                self._move(at, self._loose / volume)
            elif place[0] in known and place[0] not in leaving:
                self._move(at or self._made(volume), self.folder(place[0]) / volume)
        for folder in self._hosts.glob("*"):
            if folder.name not in leaving:
                names = {p[1]: volume for volume, p in wanted.items() if p is not None and p[0] == folder.name}
                _link(folder, names)
                if folder.name not in known and not any(folder.iterdir()):
                    folder.rmdir()

    def _found(self) -> dict[str, Path]:
        """Every disk there is."""
        folders = [self._loose, *self._hosts.glob("*")]
        return {path.name: path for folder in folders for path in folder.glob("vol-*") if not path.is_symlink()}

    def _made(self, volume: str) -> Path:
        made = self._loose / volume
        made.mkdir(parents=True, exist_ok=True)
        return made

    @staticmethod
    def _move(at: Path | None, to: Path) -> None:
        if at is not None and at != to:
            to.parent.mkdir(parents=True, exist_ok=True)
            at.rename(to)


def _link(folder: Path, names: Mapping[str, str]) -> None:
    """Devices' names as links to disks; those that are gone are taken away."""
    for link in folder.iterdir():
        if link.is_symlink() and names.get(link.name) != str(link.readlink()):
            link.unlink()
    for name, volume in names.items():
        link = folder / name
        if not link.is_symlink() and not link.exists() and (folder / volume).exists():
            link.symlink_to(volume)
