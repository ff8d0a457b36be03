#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the wheelhouse that an image's role installs from without a network.

    python engine/wheelhouse.py --python 3.13 --profile engine --dest build/wheelhouse/engine

downloads the wheels of requirements/<profile>.txt for the guest's Python (every one checked against its hash), builds the
package's own wheel, and writes <dest>/<profile>-<python>-<machine>.tar: the wheels, requirements.txt, package.txt (the same
for the own wheel) and the fingerprint of all that it was made from. Equal sources and locks give equal bytes; a tar that is
up to date is left alone. Prints one line of JSON: path, sha256, fingerprint, changed.

Needs Python 3.11 or newer with pip. `--cache` keeps downloaded wheels between profiles and runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

try:
    from pip._vendor.packaging.markers import Marker
except ImportError:
    raise SystemExit(
        "wheelhouse: this Python has no pip; run it with one that has, such as build/venv/bin/python"
    ) from None

ENGINE = Path(__file__).resolve().parent
ROOT = ENGINE.parent
PROFILES = ("api", "engine")
EPOCH = 1_767_225_600  # 2026-01-01: the time that every file in the wheel and the tar gets
GLIBC = (36, 35, 34, 31, 28, 27, 26, 24, 17)  # Debian 12 has 2.36; a wheel for an older one runs there too
MACHINES = ("x86_64", "aarch64")


class WheelhouseError(Exception):
    """One sentence for the person at the terminal."""


def sources(profile: str) -> dict[str, Path]:
    """Every file that the tar is made from, by its path in the checkout."""
    files = [ROOT / "requirements" / f"{profile}.txt", ROOT / "requirements" / "build.txt", ENGINE / "wheelhouse.py"]
    files.append(ENGINE / "pyproject.toml")
    files += sorted(path for path in (ENGINE / "src").rglob("*.*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT)): path for path in files}


def fingerprint(profile: str, python: str, machine: str) -> str:
    """SHA-256 over all inputs: equal when and only when the tar would be equal."""
    digest = hashlib.sha256(f"{profile} {python} {machine}\n".encode())
    for name, path in sources(profile).items():
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def pip(arguments: list[str], seconds: int = 600) -> None:
    """Run this Python's pip; its last lines are the error."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments],
            timeout=seconds, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise WheelhouseError(f"pip took more than {seconds} s; look at the network and run this again") from exc
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise WheelhouseError(f"pip failed to download the wheels, look at its last lines and run this again:\n{tail}")


def lock_for(text: str, python: str, machine: str) -> str:
    """A universal lock with its markers decided for the guest: pip itself decides them for the Python it runs on."""
    guest = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": machine,
    }
    lines, wanted = [], True
    for line in text.splitlines():
        if line[:1].isalnum():
            name, _, marker = line.removesuffix("\\").partition(";")
            wanted = not marker.strip() or Marker(marker.strip()).evaluate(guest)
            line = f"{name.strip()} \\"  # noqa: PLW2901
        if wanted and not line.lstrip().startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


def download(lock: Path, python: str, machine: str, cache: Path, dest: Path) -> None:
    """Wheels of the lock for the guest's Python, whatever this one is."""
    flat = "".join(python.split("."))
    platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in GLIBC]
    platforms += [f"--platform=manylinux2014_{machine}", f"--platform=manylinux1_{machine}"]
    tags = [f"--python-version={python}", "--implementation=cp", f"--abi=cp{flat}", "--abi=abi3", "--abi=none"]
    pip([
        "download", "--require-hashes", "--no-deps", "--only-binary=:all:", *platforms, *tags,
        f"--find-links={cache}", f"--dest={dest}", "-r", str(lock),
    ])  # fmt: skip


def own_wheel(cache: Path, dest: Path) -> Path:
    """Build the package's wheel with the locked build backend, straight from its wheel (a zip on sys.path)."""
    with tempfile.TemporaryDirectory() as name:
        pip(["download", "--require-hashes", "--no-deps", "--only-binary=:all:", f"--find-links={cache}",
             f"--dest={name}", "-r", str(ROOT / "requirements" / "build.txt")])  # fmt: skip
        backend = next(Path(name).glob("flit_core-*.whl"))
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import flit_core.buildapi as b; "
            "print(b.build_wheel(sys.argv[2]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(backend), str(dest)], cwd=ENGINE, timeout=60, capture_output=True, text=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    if done.returncode:
        raise WheelhouseError(f"the engine's own wheel cannot be built:\n{done.stderr.strip()[-600:]}")
    return dest / done.stdout.strip().splitlines()[-1]


def pack(directory: Path, dest: Path) -> str:
    """Write the tar with sorted names and fixed owners and times; its SHA-256."""
    partial = dest.with_name(f".{dest.name}.{os.getpid()}")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(directory.iterdir()):
                info = tarfile.TarInfo(path.name)
                info.size, info.mtime, info.mode = path.stat().st_size, EPOCH, 0o644
                with path.open("rb") as stream:
                    tar.addfile(info, stream)
        partial.replace(dest)
    finally:
        partial.unlink(missing_ok=True)
    return sha256(dest)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def recorded(dest: Path) -> str | None:
    """Fingerprint inside an existing tar."""
    try:
        with tarfile.open(dest) as tar:
            member = tar.extractfile("fingerprint")
            return member.read().decode().strip() if member else None
    except (OSError, KeyError, tarfile.TarError):
        return None


def build(profile: str, python: str, machine: str, dest: Path, cache: Path) -> bool:
    """Bring `dest` up to date; whether it changed."""
    wanted = fingerprint(profile, python, machine)
    if recorded(dest) == wanted:
        return False
    dest.parent.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent) as name:
        directory = Path(name)
        lock = directory / "requirements.txt"
        lock.write_text(lock_for((ROOT / "requirements" / f"{profile}.txt").read_text(), python, machine))
        download(lock, python, machine, cache, directory)
        for wheel in directory.glob("*.whl"):
            if not (cache / wheel.name).exists():
                partial = cache / f".{os.getpid()}-{wheel.name}"
                shutil.copyfile(wheel, partial)
                partial.rename(cache / wheel.name)
        wheel = own_wheel(cache, directory)
        (directory / "package.txt").write_text(
            f"{wheel.name.split('-')[0].replace('_', '-')}=={wheel.name.split('-')[1]} --hash=sha256:{sha256(wheel)}\n"
        )
        (directory / "fingerprint").write_text(wanted + "\n")
        pack(directory, dest)
    return True


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the wheelhouse for an image.")
    parser.add_argument("--python", default="3.13", help="the guest's Python: 3.11 on Debian 12, 3.13 on Debian 13")
    parser.add_argument("--profile", choices=PROFILES)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--dest", type=Path, help="the directory to write to")
    where.add_argument("--show", type=Path, metavar="TAR", help="only tell what a tar is")
    parser.add_argument("--machine", default="x86_64", choices=MACHINES)
    parser.add_argument("--cache", type=Path, help="default: .cache in --dest")
    arguments = parser.parse_args()
    if arguments.show:
        return show(arguments.show.absolute())
    if not arguments.profile:
        parser.error("--dest needs --profile")
    if [part.isdigit() for part in arguments.python.split(".")] != [True, True]:
        parser.error(f"--python {arguments.python} is not a version such as 3.13")
    dest = arguments.dest.absolute() / f"{arguments.profile}-{arguments.python}-{arguments.machine}.tar"
    cache = (arguments.cache or arguments.dest / ".cache").absolute()
    try:
        changed = build(arguments.profile, arguments.python, arguments.machine, dest, cache)
    except (WheelhouseError, OSError) as exc:
        print(f"wheelhouse: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return show(dest, changed=changed)


def show(path: Path, *, changed: bool = False) -> int:
    """Print what a tar is."""
    made_from = recorded(path)
    if made_from is None:
        print(f"wheelhouse: {path} is missing or no wheelhouse; make it with engine/wheelhouse.py", file=sys.stderr)
        return 1
    print(json.dumps({"path": str(path), "sha256": sha256(path), "fingerprint": made_from, "changed": changed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
