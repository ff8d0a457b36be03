# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a cloud without talking to it: its settings and its files."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import secrets
import stat
import string
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from localcloud import private
from localcloud.hosts.base import Base

DAEMON = "localcloud.daemon"
"""The module that a cloud's process runs."""
OWN = "localcloud"
"""The service that requests to the cloud's own paths are signed for."""

_FILE = "settings.json"


class Refusal(Exception):  # noqa: N818 - it is what the user reads
    """The command cannot be done: one sentence with the way out."""


class Directory:
    """The files of one cloud."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.path = root.absolute() / name
        self.log = self.path / "server.log"
        self._pid = self.path / "server.pid"
        self._lock = self.path / "lock"

    def make(self) -> None:
        """Make it, or raise Refusal if what is there is not the caller's alone."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check()

    def check(self) -> None:
        """Raise Refusal unless the directory, if there is one, is the caller's with no way in for others.

        What is in it decides which processes are ended, and what is unpickled.
        """
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise Refusal(
                f"{self.path} is not a directory of yours alone (owner {found.st_uid}, mode {found.st_mode & 0o7777:o}): "
                "look at what is in it, then remove it or choose another --state-dir."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory for the life of a server."""
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Refusal(f"Cloud {self.name} is running already.") from None
            self._pid.write_text(str(os.getpid()))
            try:
                yield
            finally:
                self._pid.unlink(missing_ok=True)

    def server(self) -> int:
        """The process id of the running server, 0 if there is none."""
        try:
            with self._lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass
        except OSError:  # somebody holds it
            with suppress(OSError, ValueError):
                return int(private.read(self.path, self._pid.name))
        return self._orphan()

    def _orphan(self) -> int:
        """A server whose files were deleted under it."""
        return next((number for number, place in _servers() if place == self.path), 0)

    def namesakes(self) -> list[Path]:
        """Where servers of clouds of the same name work: hosts, images and the network would be the same."""
        return [place for dummy, place in _servers() if place.name == self.name and place != self.path]

    def proxies(self) -> list[int]:
        """The process ids of HAProxies that work in this directory, though it may be deleted."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                inside = str((process / "cwd").readlink()).startswith(f"{self.path}/")
                if inside and (process / "comm").read_text().strip() == "haproxy":
                    found.append(int(process.name))
        return found

    def last_words(self) -> str:
        """The last line that the server wrote."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return next((line for line in reversed(lines) if line.strip()), "")
        return ""


def _servers() -> Iterator[tuple[int, Path]]:
    """Process id and directory of every server on this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[1:3] == [b"-m", DAEMON.encode()]:
                yield int(process.name), Path(os.fsdecode(words[3]))


@dataclass(frozen=True)
class Key:
    """The access key of a cloud's owner."""

    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def random(cls) -> Key:
        """As AWS's look; a shell takes them without quotes."""
        capitals = string.ascii_uppercase + "234567"
        letters = string.ascii_letters + string.digits
        return cls(
            "AKIA" + "".join(secrets.choice(capitals) for _ in range(16)),
            "".join(secrets.choice(letters) for _ in range(40)),
        )


@dataclass(frozen=True)
class Settings:
    """What makes one cloud differ from another."""

    name: str
    port: int
    subnet: str
    region: str
    bases: list[Base] = field(default_factory=list)
    key: Key = field(default_factory=Key.random)
    reach: list[str] = field(default_factory=list)  # networks of the machine's surroundings that hosts may reach

    @property
    def environment(self) -> dict[str, str]:
        """What points AWS's tools at the cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.key.access_key,
            "AWS_SECRET_ACCESS_KEY": self.key.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def client(self) -> dict[str, str]:
        """The same for ``boto3.client``."""
        return {
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "aws_access_key_id": self.key.access_key,
            "aws_secret_access_key": self.key.secret_key,
        }

    @property
    def gateway(self) -> str:
        """This machine's address on the hosts' network, podman's choice."""
        return str(next(ipaddress.IPv4Network(self.subnet).hosts()))

    @property
    def inside(self) -> str:
        """Where hosts reach their metadata and SSM."""
        return f"http://{self.gateway}:{self.port}"

    def write(self, directory: Path) -> None:
        """For the owner only: the key is in it."""
        private.write(directory / _FILE, f"{json.dumps(asdict(self), indent=2)}\n".encode())

    @classmethod
    def read(cls, directory: Path) -> Settings | None:
        """The settings of the cloud in this directory; None if there is none."""
        try:
            values = json.loads(private.read(directory, _FILE))
        except FileNotFoundError:
            return None
        key = Key(**values["key"]) if "key" in values else Key.random()  # clouds of earlier versions had none
        return cls(**{**values, "bases": [Base(**base) for base in values["bases"]], "key": key})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def environment(state_dir: Path, name: str) -> dict[str, str]:
    """What points AWS's tools at a cloud that was brought up. Raises Refusal if there is none."""
    return settings_of(state_dir, name).environment


def settings_of(state_dir: Path, name: str) -> Settings:
    """The settings of a cloud that was brought up. Raises Refusal if there is none."""
    directory = Directory(state_dir, name)
    directory.check()
    settings = Settings.read(directory.path)
    if settings is None:
        raise Refusal(f"There is no cloud {name} in {state_dir}: start one with up.")
    return settings
