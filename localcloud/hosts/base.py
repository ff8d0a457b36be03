# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian base images: what a cloud's own Debian image is there, built here with mmdebstrap.

No registry is needed. The root file systems are cached as tar files, shared by every cloud and by molecule.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from localcloud.hosts.podman import HostError, Podman

SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
DEBIAN_OWNER = "136693071363"
"""The account under which Debian publishes its images on AWS."""

PACKAGES = (
    "systemd,systemd-sysv,dbus,libpam-systemd,udev,cloud-init,openssh-server,sudo,python3,python3-apt,"
    "ca-certificates,curl,iproute2,iputils-ping,less,netbase,procps,tzdata"
)
_RECIPE = 4  # raise it when what is below changes, so that cached files are built anew
_BUILD_SECONDS = 900

# As in Debian's images for AWS: user admin with sudo, no passwords. The locale is the one that needs no package;
# RSA host keys and their fingerprints on a console that nobody sees would cost half a boot.
_CLOUD_CFG = """\
system_info:
  default_user:
    name: admin
    gecos: Debian
    groups: [adm, sudo]
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
    shell: /bin/bash
    lock_passwd: true
locale: false
apt_preserve_sources_list: true
ssh_genkeytypes: [ed25519, ecdsa]
ssh: {emit_keys_to_console: false}
"""
# No identity is baked: cloud-init makes host keys, systemd the machine-id.
_CUSTOMIZE = f"""\
set -eu
cat > "$1/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg" <<'EOF'
{_CLOUD_CFG}EOF
echo LANG=C.UTF-8 > "$1/etc/default/locale"
: > "$1/etc/machine-id"
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname" "$1/etc/resolv.conf" "$1/var/lib/dbus/machine-id"
rm -rf "$1"/var/log/apt "$1"/var/log/*.log "$1"/var/cache/debconf/*-old
touch "$1/etc/.updated" "$1/var/.updated"  # nothing to catch up with at the first boot
# Old, or Ansible's apt takes the empty lists of a base built within its cache_valid_time for fresh ones.
chroot "$1" apt-get clean
find "$1/var/lib/apt/lists" -mindepth 1 ! -name lock ! -name partial -delete
touch --date=@0 "$1/var/lib/apt/lists"
"""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """One base image on this machine."""

    release: str  # debian-13
    architecture: str  # amd64
    date: str  # YYYYMMDD, UTC, of the build
    sha256: str  # of the root file system's tar
    recipe: int = _RECIPE

    @property
    def ami_name(self) -> str:
        """The name under Debian's own scheme, so that one source_ami_filter works on AWS and here."""
        return f"{self.release}-{self.architecture}-{self.date}-0000"

    @property
    def tag(self) -> str:
        """The podman image; it keeps its name when the base is built anew."""
        return f"localhost/boring/base:{self.release}-{self.sha256[:12]}"

    @property
    def alias(self) -> str:
        """The podman image of the newest build."""
        return f"localhost/boring/base:{self.release}"


def architecture() -> str:
    """Debian's name of this machine's architecture."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def ensure(release: str, rootfs: Path, podman: Podman, progress: Progress, *, refresh: bool = False) -> Base:
    """The base image, built and imported if it is not there yet.

    :param rootfs: directory of the cached tar files.
    :param refresh: build anew from the archive's packages of today.
    :raises HostError: mmdebstrap is missing, the archive is out of reach, the disk is full.
    """
    if release not in SUITES:
        raise HostError(f"There is no base image {release}: choose among {', '.join(SUITES)}.")
    tar = rootfs / f"{release}-{architecture()}.tar"
    base = None if refresh else _read(tar)
    if base is None:
        base = _build(release, tar, progress)
    if not podman.has_image(base.tag):
        progress(f"{release}: importing")
        change = ('CMD ["/sbin/init"]', "STOPSIGNAL SIGRTMIN+3")
        podman("import", "--quiet", *[f"--change={line}" for line in change], str(tar), base.tag, seconds=300)
    # also when the image is there: another checkout may have taken its own for the newest, and removed it since
    podman.tag(base.tag, base.alias)
    return base


def _read(tar: Path) -> Base | None:
    try:
        base = Base(**json.loads(_about(tar).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return base if tar.exists() and base.recipe == _RECIPE else None


def _build(release: str, tar: Path, progress: Progress) -> Base:
    if shutil.which("mmdebstrap") is None:
        raise HostError("mmdebstrap is missing, and base images are built with it: apt-get install mmdebstrap.")
    tar.parent.mkdir(parents=True, exist_ok=True)
    part = tar.with_name(f".{tar.name}.{os.getpid()}")
    command = [
        "mmdebstrap", "--variant=minbase", "--format=tar", f"--include={PACKAGES}",
        '--aptopt=Acquire::Languages "none"',
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        f"--customize-hook={_CUSTOMIZE}", "--skip=cleanup/apt",
        SUITES[release], str(part),
    ]  # fmt: skip
    try:
        _follow(command, lambda line: progress(f"{release}: {line}"))
        base = Base(release, architecture(), time.strftime("%Y%m%d", time.gmtime()), _sha256(part))
        part.replace(tar)
    finally:
        part.unlink(missing_ok=True)
    _about(tar).write_text(json.dumps(asdict(base), indent=2) + "\n")
    return base


def _follow(command: list[str], progress: Progress) -> None:
    """Run mmdebstrap, telling its steps; its last complaint becomes the error."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in process.stderr or ():
            lines.put(line.strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    complaint, started = "it said nothing", time.monotonic()
    try:
        while process.poll() is None or reader.is_alive() or not lines.empty():
            try:
                line = lines.get(timeout=0.5)
            except Empty:
                if time.monotonic() - started > _BUILD_SECONDS:
                    raise HostError(f"mmdebstrap was not done after {_BUILD_SECONDS} s: is the archive slow?") from None
                continue
            if line.startswith("I: ") and line.endswith("..."):
                progress(line[3:])
            elif line.startswith("E: "):
                complaint = line[3:]
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
        reader.join(timeout=5)
    if process.returncode:
        way_out = "free some space" if "No space left" in complaint else "is Debian's archive reachable?"
        raise HostError(f"mmdebstrap could not build the base image: {complaint} ({way_out}).")


def _about(tar: Path) -> Path:
    return tar.with_suffix(".json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
