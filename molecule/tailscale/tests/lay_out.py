# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenario's hosts meet: headscale with keys and a policy made of an access file, Tailscale's archive as its vendor
packs it, and a signed repository with a package."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.tailnet.control import PROGRAMS, Headscale  # noqa: E402

ACCESS = {
    "people": {"developers": ["ana@example.org"]},
    "machines": {"api": {}, "data": {}, "web": {}, "router": {"routes": ["10.9.4.0/24"]}},
    "services": {
        "redis": {"runs_on": "data", "ports": 6379},
        "nats": {"runs_on": "data", "ports": 4222},
        "database": {"behind": "router", "at": "10.9.4.7", "ports": 5432},
    },
    "allow": [{"from": "api", "to": ["redis", "nats", "database"]}],
    "ssh": [{"from": "developers", "to": "api", "as": "admin", "check": "12h"}],
    "tests": [
        {"from": "api", "to": ["redis", "nats", "database"]},
        {"from": "web", "not_to": ["redis", "nats", "database"]},
        {"from": "developers", "to": "ssh:admin@api", "not_to": ["redis", "ssh:root@api", "ssh:admin@data"]},
    ],
}


def run(*argv: str | Path, seconds: int = 600, **more: str) -> None:
    subprocess.run(argv, check=True, timeout=seconds, stdin=subprocess.DEVNULL, env={**os.environ, **more})


def control_plane(address: str, folder: Path) -> None:
    """headscale, its policy rendered by our module and taken by headscale, and a key for each kind of host."""
    folder.mkdir(parents=True)
    control = Headscale.new(folder, address)
    options = {"access": ACCESS, "tailnet": str(control.policy), "dialect": "headscale"}
    options["validate"] = f"{PROGRAMS / 'headscale'} policy check -f %s"
    run("ansible", "localhost", "-m", "boring.fleet.access_policy", "-a", json.dumps(options), seconds=60)
    control.call("users", "create", "ana", "--email", "ana@example.org")
    control.stop()
    control.start()
    for name, tag in (("data", "data"), ("api", "api"), ("clone", "api"), ("router", "router")):
        options_of_key = ["--ephemeral", "--expiration", "1h", "--tags", f"tag:{tag}"]
        key = control.key(*options_of_key, *(["--reusable"] if name in ("clone", "router") else []))
        (folder / f"{name}.key").write_text(key + "\n")
        (folder / f"{name}.key").chmod(0o600)


def archive(folder: Path) -> None:
    file = folder / "tailscale.tgz"
    with tarfile.open(file, "w:gz", compresslevel=1) as tar:
        for name in ("tailscale", "tailscaled"):
            tar.add(PROGRAMS / name, f"tailscale_1.98.0_amd64/{name}")
    (folder / "tailscale.tgz.sha256").write_text(hashlib.sha256(file.read_bytes()).hexdigest())


def repository(folder: Path) -> None:
    """A flat one: a package, its list, and a Release that is signed by a key made for this run."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        for name, place in (("tailscale", "usr/bin"), ("tailscaled", "usr/sbin")):
            (root / place).mkdir(parents=True, exist_ok=True)
            (root / place / name).write_bytes((PROGRAMS / name).read_bytes())
            (root / place / name).chmod(0o755)
        (root / "DEBIAN").mkdir()
        described = (
            "Package: tailscale\nVersion: 1.98.0\nArchitecture: all\nMaintainer: tests <tests@example.org>\n"
            "Description: Tailscale, packed for a test\n"
        )
        (root / "DEBIAN" / "control").write_text(described)
        run("dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", root, folder / "tailscale.deb")
        package = (folder / "tailscale.deb").read_bytes()
        listed = f"{described}Filename: ./tailscale.deb\nSize: {len(package)}\nSHA256: {hashlib.sha256(package).hexdigest()}\n"
        (folder / "Packages").write_text(listed)
        (folder / "Packages.gz").write_bytes(gzip.compress(listed.encode(), mtime=0))
        lines = [
            f" {hashlib.sha256((folder / name).read_bytes()).hexdigest()} {(folder / name).stat().st_size} {name}"
            for name in ("Packages", "Packages.gz")
        ]
        (folder / "Release").write_text(
            f"Origin: tests\nSuite: ./\nDate: {formatdate(time.time() - 3600, usegmt=True)}\nSHA256:\n"
            + "\n".join(lines)
            + "\n"
        )
        home = Path(scratch) / "gnupg"
        home.mkdir(mode=0o700)
        gpg = ("gpg", "--batch", "--homedir", home, "--pinentry-mode", "loopback", "--passphrase", "")
        run(*gpg, "--quick-gen-key", "tests <tests@example.org>", "rsa2048", "sign", "never")
        run(*gpg, "--clearsign", "--output", folder / "InRelease", folder / "Release")
        run(*gpg, "--output", folder / "key.gpg", "--export", "tests@example.org")
        run("gpgconf", "--homedir", home, "--kill", "all")


def main(address: str, place: str) -> None:
    run(sys.executable, ROOT / "bin" / "build-tailnet", seconds=1900)
    folder = Path(place)
    control_plane(address, folder)
    archive(folder)
    repository(folder / "repository")


if __name__ == "__main__":
    main(*sys.argv[1:])
