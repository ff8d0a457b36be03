# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the role container_service that makes a root directory of an image: as runtimes do, and never outside of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.oci_image import Image, digest, file, folder, index, layer, link

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "container_service" / "files" / "unpack"
WEB = file("bin/web", "#!/bin/sh\n", mode=0o755)
OWN = 64321  # a user that this machine has not


class Place:
    """A host's directories, and images put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "data" / "root"
        self.drop_in = folder / "unit.d" / "10-image.conf"

    def run(self, image: Image, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        told = {
            "image": "registry.example.org/web", "digest": digest(image.manifest), "architecture": "amd64", "command": [], "user": "",
            "root": str(self.root), "drop_in": str(self.drop_in), "uid": OWN, "gid": OWN,
            "archive": str(image.archive(self.folder / "image.tar")), **more,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, PROGRAM, *arguments],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def made(self, image: Image, **more: Any) -> Path:
        done = self.run(image, **more)
        assert done.returncode == 0, done.stderr
        return self.root

    def refused(self, image: Image, **more: Any) -> str:
        done = self.run(image, **more)
        assert done.returncode == 1, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not self.root.exists()
        return done.stderr

    @property
    def directives(self) -> list[str]:
        return self.drop_in.read_text().splitlines()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def image(*entries: Any, above: tuple[Any, ...] = (), **config: Any) -> Image:
    layers = [layer(WEB, *entries)] + ([layer(*above)] if above else [])
    return Image(layers, {"Cmd": ["/bin/web"], **config})


def test_a_second_run_does_nothing_and_needs_no_archive(place: Place) -> None:
    place.made(image())
    inode = place.root.stat().st_ino
    for arguments in ((), ("check",)):
        done = place.run(image(), *arguments, archive="/nowhere")
        assert json.loads(done.stdout) == {"same": True}
    assert place.root.stat().st_ino == inode
    assert json.loads(place.run(image(), "check", user="0").stdout) == {"same": False}
    assert place.root.stat().st_ino == inode


def test_upper_layers_take_away_and_replace(place: Place) -> None:
    below = (
        folder("opt"),
        file("opt/old"),
        file("opt/kept"),
        folder("cache"),
        file("cache/a"),
        file("etc/x", "1"),
        link("way", "opt"),
        folder("d"),
        file("d/f"),
    )
    above = (
        file("opt/.wh.old"),
        file("cache/b"),
        file("cache/.wh..wh..opq"),
        file("way/new", "2"),
        file("d"),
        folder("etc/x"),
    )
    root = place.made(image(*below, above=above))
    assert sorted(path.name for path in (root / "opt").iterdir()) == ["kept", "new"]
    assert [path.name for path in (root / "cache").iterdir()] == ["b"]
    assert (root / "d").is_file()
    assert (root / "etc/x").is_dir()


def test_nothing_is_written_outside(place: Place) -> None:
    victim = place.folder / "victim"
    victim.mkdir()
    (victim / "etc").mkdir()
    hostile = (
        file("../../victim/a", "x"),
        file("/../victim/b", "x"),
        link("way", str(victim)), file("way/c", "x"),
        link("up", "../../../../.." + str(victim)), file("up/d", "x"),
        link("etc", str(victim / "etc")),  # where files of ours go: passwd, resolv.conf
        link("hard", "../../../victim/target"), file("hard", "x"),
        link("run", str(victim)), link("var", str(victim)),
    )  # fmt: skip
    place.made(image(*hostile, Volumes={"/way/e": {}, "/../../victim/f": {}}, WorkingDir="/up/g"))
    assert [path.name for path in victim.iterdir()] == ["etc"]
    assert not list((victim / "etc").iterdir())


def test_a_link_to_itself_is_refused(place: Place) -> None:
    assert "go round in a circle" in place.refused(image(link("a", "b"), link("b", "a"), file("a/x")))
    assert "links /hard to /missing" in place.refused(image(file("hard", type=tarfile.LNKTYPE, linkname="missing")))


def test_no_set_uid_bits_no_devices_and_one_owner(place: Place) -> None:
    entries = (
        file("bin/su", "x", mode=0o6755),
        file("dev/disk", type=tarfile.BLKTYPE),
        file("pipe", type=tarfile.FIFOTYPE),
        file("home/app", "x", uid=1000, gid=1000, mode=0o600),
        file("home/other", "x", uid=OWN, gid=OWN),
        file("etc/passwd", "root:x:0:0:::\napp:x:1000:1000::/home:/bin/sh\n"),
    )
    root = place.made(image(*entries, User="app"))
    assert (root / "bin/su").stat().st_mode & 0o7777 == 0o755
    assert not (root / "dev/disk").exists()
    assert not (root / "pipe").exists()
    assert f"container:x:{OWN}:{OWN}::/home:/sbin/nologin" in (root / "etc/passwd").read_text()
    assert 'Environment="HOME=/home"' in place.directives
    if os.geteuid() == 0:  # the molecule scenario has it as root, always
        assert (root / "home/app").stat().st_uid == OWN
        assert (root / "home/other").stat().st_uid == 0
        assert (root / "bin/web").stat().st_uid == 0


def test_root_of_the_image_is_its_own_user(place: Place) -> None:
    root = place.made(image(file("root/key", "x", mode=0o600)))
    if os.geteuid() == 0:
        assert (root / "root/key").stat().st_uid == OWN


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("nobody", "has no user nobody"),
        ("app:wheel", "has no group wheel"),
        ("app:", ""),
        ("1234:5678", ""),
        ("1000", ""),
    ],
)
def test_users(place: Place, user: str, words: str) -> None:
    found = image(file("etc/passwd", "app:x:1000:1000::/home:/bin/sh\n"), file("etc/group", "app:x:1000:\n"), User=user)
    if words:
        assert words in place.refused(found)
    else:
        place.made(found)


@pytest.mark.parametrize(
    ("config", "command", "start"),
    [
        ({"Cmd": ["web", "-v"]}, [], ["/bin/web", "-v"]),
        ({"Cmd": ["-v"], "Entrypoint": ["web"]}, [], ["/bin/web", "-v"]),
        ({"Cmd": ["-v"], "Entrypoint": ["web"]}, ["--jobs", "a b"], ["/bin/web", "--jobs", "a b"]),
        ({"Cmd": ["./web"], "WorkingDir": "/bin"}, [], ["/bin/web"]),
        ({"Cmd": ["tool"], "Env": ["PATH=/opt"]}, [], ["/opt/tool"]),
    ],
)
def test_what_runs(place: Place, config: Mapping[str, Any], command: list[str], start: list[str]) -> None:
    place.made(replace(image(file("opt/tool", mode=0o755)), config=config), command=command)
    line = next(line for line in place.directives if line.startswith("ExecStart=:"))
    assert shlex.split(line.removeprefix("ExecStart=:")) == start


def test_words_and_variables_reach_a_unit_as_they_are(place: Place) -> None:
    hostile = 'a "b" \\c $D ${E} %n\n#x'
    place.made(image(Cmd=["/bin/web", hostile], Env=[f"X={hostile}"], StopSignal="QUIT", WorkingDir="/a%b"))
    written = '"a \\"b\\" \\\\c $D ${E} %%n\\n#x"'
    assert f"ExecStart=:/bin/web {written}" in place.directives
    assert f'Environment="X={written[1:]}' in place.directives
    assert "KillSignal=SIGQUIT" in place.directives
    assert "WorkingDirectory=-/a%%b" in place.directives
    assert (place.root / "a%b").is_dir()


def test_volumes_can_be_written_to(place: Place) -> None:
    place.made(image(file("data/old"), Volumes={"/data/": {}, "/data/deeper": {}, "/tmp": {}, "/": {}}))
    made = [line for line in place.directives if line.startswith("RuntimeDirectory=")]
    assert len(made) == 1
    assert str((place.root / "data").readlink()) == f"/run/{made[0].removeprefix('RuntimeDirectory=')}"


@pytest.mark.parametrize("compress", [True, False])
def test_layers_of_any_compression(place: Place, compress: bool) -> None:
    assert (place.made(Image([layer(WEB, compress=compress)], {"Cmd": ["/bin/web"]})) / "bin/web").is_file()


def test_images_that_cannot_be_used(place: Place) -> None:
    found = image()
    assert "is for linux/arm64, and this host is linux/amd64" in place.refused(replace(found, architecture="arm64"))
    assert f"not sha256:{'0' * 64}" in place.refused(found, digest="sha256:" + "0" * 64)
    assert "is no whole OCI archive" in place.refused(found, archive=str(PROGRAM))
    half = found.archive(place.folder / "half.tar")
    half.write_bytes(half.read_bytes()[: half.read_bytes().find(found.layers[0]) + 10])
    assert "/half.tar is no whole OCI archive" in place.refused(found, archive=str(half))
    assert "says no command" in place.refused(replace(found, config={}))
    assert "has no program /bin/jobs" in place.refused(found, command=["/bin/jobs"])
    assert "has no program jobs" in place.refused(found, command=["jobs"])
    assert "is no tar that can be read" in place.refused(replace(found, layers=[b"nothing" * 200]))
    assert "control characters" in place.refused(found, command=["web", "\x07"])


def test_a_damaged_piece_is_refused(place: Place) -> None:
    whole = image(file("x", os.urandom(3000)))
    archive = whole.archive(place.folder / "image.tar")
    content = bytearray(archive.read_bytes())
    place_of_layer = content.find(whole.layers[0])
    content[place_of_layer + len(whole.layers[0]) - 6] ^= 1  # in the checksum of gzip
    archive.write_bytes(content)
    copy = place.folder / "damaged.tar"
    archive.rename(copy)
    place.refused(whole, archive=str(copy))


def test_a_list_is_known_by_its_own_digest(place: Place) -> None:
    listed = index([replace(image(), architecture="arm64"), image()])
    archive = image().archive(place.folder / "list.tar", listed)
    place.made(image(), archive=str(archive), digest=digest(listed))


def test_a_list_without_this_architecture_is_refused(place: Place) -> None:
    listed = index([replace(image(), architecture="arm64")])
    archive = image().archive(place.folder / "list.tar", listed)
    assert "has nothing for linux/amd64" in place.refused(image(), archive=str(archive), digest=digest(listed))
