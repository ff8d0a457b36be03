# SPDX-License-Identifier: GPL-3.0-or-later
"""`make lock` from NVIDIA's own repository: this machine's apt, in a root of its own, against a repository of the same layout that the test
makes, signs and serves on loopback. Nothing is installed. The real repository cannot be reached here, so it was not tried.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.image import pair
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError
from ansible_collections.boring.fleet.plugins.module_utils.image.pair import Driver, Kernel

ROOT = Path(__file__).resolve().parents[3]
KERNEL = Kernel("6.12.117+deb13-cloud-amd64", "6.12.117-1")
NEW, OLD = "580.105.08", "580.95.05"

# What NVIDIA's repository has of a driver, with its dependencies: of the driver's own version exactly, or of any newer one.
DRIVER = {
    "nvidia-kernel-open-dkms": "dkms, nvidia-modprobe (>= {v})",
    "nvidia-kernel-dkms": "dkms, nvidia-modprobe (>= {v})",
    "nvidia-driver-cuda": "libcuda1 (= {v}), nvidia-smi (= {v})",
    "libcuda1": "",
    "nvidia-smi": "",
    "nvidia-persistenced": "",
    "nvidia-modprobe": "",
    "nvidia-fabricmanager": "",
    "libnvidia-nscq": "",
}
TOOLKIT = "1.18.0-1"


def stanza(
    folder: Path, name: str, version: str, depends: str = "", source: str = "", *, architecture: str = "amd64"
) -> str:
    """A package of the index. Nobody downloads it, so that its file is only its name."""
    file = folder / f"{name}_{version}_amd64.deb".replace(":", "%3a")
    file.write_text(f"{name} {version}")
    fields = {
        "Package": name, "Source": source, "Version": version, "Architecture": architecture, "Maintainer": "x <x@example.org>", "Depends": depends,
        "Filename": f"./{file.name}", "Size": file.stat().st_size, "SHA256": hashlib.sha256(file.read_bytes()).hexdigest(), "Description": name,
    }  # fmt: skip
    return "".join(f"{field}: {value}\n" for field, value in fields.items() if value != "") + "\n"


class Repo:
    """A flat repository as NVIDIA's is: Packages, Release and InRelease in one folder, signed with a key of its own."""

    def __init__(self, folder: Path, home: Path, origin: str) -> None:
        self.folder, self._home = folder, home
        folder.mkdir(parents=True)
        self.origin = origin
        self.packages: dict[tuple[str, str], str] = {}

    def add(self, name: str, version: str, depends: str = "", source: str = "") -> None:
        self.packages[name, version] = stanza(self.folder, name, version, depends, source)

    def driver(self, version: str, *without: str) -> None:
        for name, depends in DRIVER.items():
            if name not in without:
                self.add(name, f"{version}-1", depends.format(v=f"{version}-1"), source="nvidia-graphics-drivers")
        self.add(f"nvidia-driver-pinning-{version}", "1-1")

    def sign(self) -> None:
        index = "".join(self.packages.values())
        (self.folder / "Packages").write_text(index)
        digest = hashlib.sha256(index.encode()).hexdigest()
        (self.folder / "Release").write_text(
            f"Origin: {self.origin}\nLabel: {self.origin}\nSuite: ./\nDate: Mon, 30 Nov 2026 00:00:00 UTC\n"
            f"Architectures: amd64 arm64\nSHA256:\n {digest} {len(index.encode())} Packages\n"
        )
        gpg(self._home, "--clearsign", "--output", str(self.folder / "InRelease"), str(self.folder / "Release"))


def gpg(home: Path, *arguments: str) -> str:
    argv = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--yes",
        "--quiet",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
    ]
    done = subprocess.run([*argv, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, Any]]:
    """Two keys: the repository's, and somebody else's. Their socket needs a short path."""
    made: dict[str, Any] = {}
    homes = [Path(f"/tmp/lock-{os.getpid()}-{name}") for name in ("own", "other")]
    for home in homes:
        home.mkdir(mode=0o700)
        gpg(home, "--quick-generate-key", f"{home.name} <x@example.org>", "ed25519", "sign", "never")
        made[home.name.rpartition("-")[2]] = (home, gpg(home, "--armor", "--export"))
    yield made
    for home in homes:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout=30, check=False)
        subprocess.run(["rm", "-rf", str(home)], timeout=30, check=True)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("lock_pair", str(ROOT / "bin" / "lock-pair"))
    spec = importlib.util.spec_from_loader("lock_pair", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules["lock_pair"] = module
    loader.exec_module(module)
    return module


class Machine:
    """apt of this machine with nothing of this machine's: what bin/lock-pair asks a container for."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        for folder in ("etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d", "root", "tmp",
                       "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"):  # fmt: skip
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").write_text("")
        (root / "apt.conf").write_text(
            f'Dir "{root}";\nDir::State::status "{root}/var/lib/dpkg/status";\nDir::Bin::methods "/usr/lib/apt/methods";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\nAcquire::Languages "none";\nAPT::Sandbox::User "";\n'
        )

    def sh(self, script: str, seconds: float = 300) -> str:
        done = subprocess.run(
            ["sh", "-ec", script], env={"PATH": os.environ["PATH"], "LC_ALL": "C", "APT_CONFIG": f"{self.root}/apt.conf"},
            capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ImageError((done.stderr or done.stdout).strip().splitlines()[-1])
        return done.stdout


class World:
    def __init__(self, tmp_path: Path, keys: dict[str, Any], tool: ModuleType, url: str) -> None:
        home, self.key = keys["own"]
        self.other = keys["other"][1]
        self.tool, self.url, self._tmp = tool, f"{url}/nvidia/", tmp_path
        self.nvidia = Repo(tmp_path / "served/nvidia", home, "NVIDIA")
        self.debian = Repo(tmp_path / "served/debian", home, "Debian")
        for kind in ("image", "headers"):
            self.debian.add(f"linux-{kind}-{KERNEL.release}", KERNEL.version, source="linux")
        self.debian.add("linux-image-cloud-amd64", KERNEL.version)
        self.debian.add("dkms", "3.2.2-1", "kmod")
        self.debian.add("kmod", "34.2-2")
        self.debian.add("nvidia-kernel-dkms", "550.163.01-2")
        for name in ("nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container1"):
            depends = (
                "nvidia-container-toolkit-base, libnvidia-container1" if name == "nvidia-container-toolkit" else ""
            )
            self.nvidia.add(name, TOOLKIT, depends)
        self.nvidia.add("datacenter-gpu-manager-4-core", "1:4.4.1-1")
        (tmp_path / "debian.asc").write_text(self.key)
        self._debian = f"Types: deb\nURIs: {url}/debian/\nSuites: /\nSigned-By: {tmp_path}/debian.asc\n"

    def archive(self, *, key: str = "", branch: int | None = None) -> Any:
        self.debian.sign()
        self.nvidia.sign()
        machine = Machine(self._tmp / "root")
        return self.tool.Archive(machine, self._debian, self.tool.Repository(self.url, key or self.key, branch))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: apt says what it did not get."""


@pytest.fixture
def world(tmp_path: Path, keys: dict[str, Any], tool: ModuleType) -> Iterator[World]:
    (tmp_path / "served").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield World(tmp_path, keys, tool, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("flavour", ["open", "proprietary"])
def test_everything_of_a_driver_at_one_version(world: World, flavour: str) -> None:
    world.nvidia.driver(OLD)
    world.nvidia.driver("575.57.08")
    archive = world.archive(branch=580)
    assert archive.kernels() == [KERNEL]
    (driver,) = archive.drivers(flavour)
    packages = {package.name: package for package in archive.packages(KERNEL, driver)}
    of_driver = {name for name, package in packages.items() if package.version == f"{OLD}-1"}
    other_flavour = "nvidia-kernel-dkms" if flavour == "open" else "nvidia-kernel-open-dkms"
    assert of_driver == set(DRIVER) - {other_flavour}
    assert set(packages) - of_driver == {
        f"linux-image-{KERNEL.release}", f"linux-headers-{KERNEL.release}", f"nvidia-driver-pinning-{OLD}",
        "nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container1", "datacenter-gpu-manager-4-core",
    }, "what is Debian's own keeps its updates"  # fmt: skip
    file = world.nvidia.folder / f"nvidia-smi_{OLD}-1_amd64.deb"
    assert packages["nvidia-smi"].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_lock_says_where_it_is_from(world: World, tmp_path: Path) -> None:
    world.nvidia.driver(OLD)
    archive = world.archive()
    (driver,) = archive.drivers("open")
    made = pair.Lock(
        "debian-13",
        "amd64",
        "open",
        KERNEL,
        archive.packages(KERNEL, driver),
        driver,
        "nvidia",
        OLD,
        repository=world.url,
    )
    path = tmp_path / "lock.json"
    path.write_text(made.document())
    assert pair.read(path).repository == world.url
    for lock in (ROOT / "packer/locks").glob("*.json"):
        assert pair.read(lock).document() == lock.read_text(), "Debian's locks are as they were"
        assert "repository" not in json.loads(lock.read_text())
        assert pair.read(lock).compiled is ("-arm64-" not in lock.name or lock.name.endswith("-none.lock.json"))


def test_the_newest_of_a_branch_and_not_debians(world: World) -> None:
    for version in (OLD, NEW, "590.48.01"):
        world.nvidia.driver(version)
    archive = world.archive(branch=580)
    found = archive.drivers("proprietary")
    newest = pair.choose([KERNEL], found, lambda kernel, driver: "").driver
    assert {driver.version for driver in found} == {f"{OLD}-1", f"{NEW}-1"}
    assert newest == Driver("nvidia-kernel-dkms", f"{NEW}-1")
    with pytest.raises(ImageError, match="has no tesla driver: lock one of open, proprietary"):
        archive.drivers("tesla")


def test_a_dependency_that_brings_another_drivers(world: World) -> None:
    """`nvidia-modprobe (>= 580)` took 610's in its time; here a library of CUDA's does."""
    world.nvidia.driver(OLD)
    world.nvidia.add("libnvidia-extra", "590.48.01-1")
    world.nvidia.add("nvidia-smi", f"{OLD}-1", "libnvidia-extra (>= 580)", source="nvidia-graphics-drivers")
    archive = world.archive(branch=580)
    with pytest.raises(ImageError, match=rf"nvidia-kernel-open-dkms {OLD}-1 brings libnvidia-extra 590.48.01-1: lock"):
        archive.packages(KERNEL, *archive.drivers("open"))


@pytest.mark.parametrize("name", ["nvidia-fabricmanager", "libnvidia-nscq", "nvidia-persistenced"])
def test_a_part_that_is_not_there_at_this_version(world: World, name: str) -> None:
    world.nvidia.driver(OLD, name)
    world.nvidia.add(name, "580.65.06-1")
    archive = world.archive()
    with pytest.raises(
        ImageError, match=rf"the repository has no {name}.* {OLD}, only 580.65.06-1: what belongs to the driver"
    ):
        archive.packages(KERNEL, *archive.drivers("open"))


def test_a_part_under_its_older_name(world: World) -> None:
    world.nvidia.driver(OLD, "nvidia-fabricmanager")
    world.nvidia.add("nvidia-fabricmanager-580", f"{OLD}-1")
    archive = world.archive()
    names = {package.name for package in archive.packages(KERNEL, *archive.drivers("open"))}
    assert "nvidia-fabricmanager-580" in names


def test_only_what_the_key_signed(world: World) -> None:
    world.nvidia.driver(OLD)
    with pytest.raises(ImageError, match=r"is not signed|NO_PUBKEY|could not be verified|no longer signed"):
        world.archive(key=world.other)


def test_what_was_changed_after_it_was_signed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.nvidia.driver(OLD)

    def tampered() -> None:
        Repo.sign(world.nvidia)
        index = world.nvidia.folder / "Packages"
        index.write_text(index.read_text().replace(OLD, "666.66.66"))

    monkeypatch.setattr(world.nvidia, "sign", tampered)
    with pytest.raises(ImageError, match=r"unexpected size|Hash Sum mismatch|Mirror sync|Some index files failed"):
        world.archive()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--key", "a.asc"), "go together with --repository"),
        (("debian-13", "--repository", "https://x/y/"), "needs --key and one RELEASE"),
        (("debian-13", "--repository", "https://x/y", "--key", "a.asc"), "is a URL that ends with /"),
        (("debian-12", "debian-13", "--repository", "https://x/y/", "--key", "a.asc"), "needs --key and one RELEASE"),
        (("debian-13", "--repository", "https://x/y/", "--key", "a.asc"), "is no armoured public key"),
    ],
)
def test_what_is_refused_before_a_host_is_made(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "a.asc").write_text("no key")
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin/lock-pair"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr


class Local:
    """A host that runs what it is told on this machine."""

    def sh(self, script: str, seconds: float = 300) -> str:
        done = subprocess.run(
            ["sh", "-ec", script],
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise ImageError(done.stderr.strip().splitlines()[-1])
        return done.stdout


def test_another_architecture_is_resolved(world: World, tool: ModuleType, tmp_path: Path) -> None:
    """Packages of arm64 only, and the pair that compiled for amd64."""
    folder, arm = world.debian.folder, functools.partial(stanza, architecture="arm64")
    kernels = [Kernel(f"{release}+deb13-cloud-arm64", f"{release}-1") for release in ("6.12.117", "6.12.94")]
    for kernel in kernels:
        for kind in ("image", "headers"):
            world.debian.packages[f"linux-{kind}-{kernel.release}", ""] = arm(
                folder, f"linux-{kind}-{kernel.release}", kernel.version, source="linux"
            )
    world.debian.packages["linux-image-cloud-arm64", ""] = arm(folder, "linux-image-cloud-arm64", "6.12.117-1")
    for name in (
        "libcuda1",
        "nvidia-smi",
        "nvidia-persistenced",
        "nvidia-egl-icd",
        "libnvidia-encode1",
        "libnvcuvid1",
        "nvidia-kernel-dkms",
    ):
        world.debian.packages[name, "arm64"] = arm(folder, name, "550.163.01-2", source="nvidia-graphics-drivers")
    world.debian.sign()
    foreign = tool.Foreign(Local(), "arm64", str(tmp_path / "foreign"))
    archive = tool.Archive(foreign, world._debian)
    assert archive.architecture == "arm64"
    assert archive.kernels() == kernels
    like = pair.Lock(
        "debian-13",
        "amd64",
        "proprietary",
        Kernel("6.12.94+deb13-cloud-amd64", "6.12.94-1"),
        (),
        Driver("nvidia-kernel-dkms", "550.163.01-2"),
    )
    chosen = tool.alike(archive.kernels(), archive.drivers("proprietary"), like)
    choice = pair.choose(*chosen, tool.resolves(archive))
    assert (choice.kernel, choice.driver) == (kernels[1], like.driver)
    packages = archive.packages(choice.kernel, choice.driver)
    assert {package.architecture for package in packages} == {"arm64"} and len(packages) == 9
    assert tool.alike(archive.kernels(), [], None) == (kernels, [])


@pytest.mark.parametrize(("native", "foreign"), [("amd64", "arm64"), ("arm64", "amd64")])
def test_another_architecture_gets_the_pair_that_compiled_here(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: str, foreign: str
) -> None:
    """Not the one of an older lock of its own."""

    class Machine:
        def __init__(self, *dummy: str) -> None:
            self.root = ""

        def sh(self, line: str, *dummy: int) -> str:
            return f"{native}\n" if line == "dpkg --print-architecture" else "nvidia-550.1\n"

        def close(self) -> None:
            """Nothing to end."""

    class Archive:
        architecture = foreign

        def __init__(self, *dummy: object) -> None:
            """Has three kernels and one driver."""

        def kernels(self) -> list[Kernel]:
            return [Kernel(f"6.12.{number}-cloud-{foreign}", f"6.12.{number}-1") for number in (3, 2, 1)]

        def drivers(self, dummy: str) -> list[Driver]:
            return [driver]

        def packages(self, *dummy: object) -> tuple[pair.Package, ...]:
            return ()

    driver = Driver("nvidia-kernel-dkms", "550.1-1")
    for name, fake in (("Host", Machine), ("Foreign", Machine), ("Archive", Archive)):
        monkeypatch.setattr(tool, name, fake)
    wanted = tool.Wanted("debian-13", "proprietary", False, 12, None, tmp_path, foreign)
    for architecture, number in ((native, 2), (foreign, 1)):
        kernel = Kernel(f"6.12.{number}-cloud-{architecture}", f"6.12.{number}-1")
        old = pair.Lock("debian-13", architecture, "proprietary", kernel, (), driver, "nvidia", "550.1")
        wanted.path(architecture).write_text(old.document())
    assert tool.lock(wanted).kernel.version == "6.12.2-1"
    wanted.path(native).unlink()
    assert tool.lock(wanted).kernel.version == "6.12.3-1", "without one it is the newest"


def test_what_does_not_resolve_is_no_pair(world: World, tool: ModuleType, tmp_path: Path) -> None:
    world.debian.sign()
    archive = tool.Archive(tool.Foreign(Local(), "amd64", str(tmp_path / "foreign")), world._debian)
    with pytest.raises(ImageError, match=r"none of 1 pairs compiles.*Unable to locate package lib"):
        pair.choose(archive.kernels(), archive.drivers("proprietary"), tool.resolves(archive))
