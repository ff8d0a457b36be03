# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as podman containers with systemd inside.

What a host is given is the least under which Debian 12's and 13's own units run to zero failures:

* ``SYS_ADMIN`` for the mounts of systemd's sandbox (ProtectSystem, PrivateTmp, DynamicUser),
* ``SYS_PTRACE`` for PrivateUsers beside ProtectProc=invisible (redis-server has both),
* ``NET_ADMIN`` for PrivateNetwork, which systemd leaves out in silence without it,
* ``AUDIT_WRITE`` for the sessions of sshd and sudo,
* ``SYS_BOOT`` so that a reboot from inside can be told from a power-off (it reaches no further than the container).

Podman's seccomp filter and its masks on /proc stay in force: a host cannot change a sysctl of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.hosts import disks

CAPABILITIES = ("SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "AUDIT_WRITE", "SYS_BOOT")
STOP_SECONDS = 90
"""How long a host's services may take to stop before they are killed, as systemd's own default."""

# Podman lowers its own hard limits to these, and without SYS_RESOURCE no container may have more.
_FILES = 1_048_576
_PROCESSES = 32_768
_PORT_PAUSES = (0.2, 0.5, 1.0)  # seconds


class HostError(Exception):
    """Something that a host needs is missing or failed; one sentence with the way out."""


@dataclass(frozen=True)
class Machine:
    """What matters of the machine that the hosts run on."""

    unified_cgroups: bool
    files: int  # the hard limit of open files, which a container may not exceed
    processes: int

    @classmethod
    def detect(cls) -> Machine:
        return cls(
            unified_cgroups=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
            files=_limit(resource.RLIMIT_NOFILE, _FILES),
            processes=_limit(resource.RLIMIT_NPROC, _PROCESSES),
        )

    def options(self) -> list[str]:
        """Podman's options that depend on the machine, not on the host."""
        options = [
            f"--ulimit=nofile={self.files}:{self.files}",
            f"--ulimit=nproc={self.processes}:{self.processes}",
        ]
        if not self.unified_cgroups:
            options.append("--runtime=runc")  # crun refuses systemd on a hybrid hierarchy
        return options


@dataclass(frozen=True)
class HostSpec:
    """One host to be created."""

    name: str  # the container's
    image: str  # a podman image
    hostname: str = ""
    network: str = ""  # podman's default network when empty
    address: str = ""  # an address of ``network``; podman chooses when empty
    mac: str = ""  # likewise
    seed: Path | None = None  # a NoCloud seed directory; cloud-init stays off without one
    disks: Path | None = None  # the folder of its data disks
    labels: Mapping[str, str] | None = None

    def options(self) -> list[str]:
        """Podman's options for this host on any machine."""
        options = ["--name", self.name, "--systemd=always", f"--stop-timeout={STOP_SECONDS}"]
        options.append("--cap-add=" + ",".join(CAPABILITIES))
        if self.hostname:
            options.append(f"--hostname={self.hostname}")
        if self.network:
            options.append(f"--network={self.network}")
        if self.address:
            options.append(f"--ip={self.address}")
        if self.mac:
            options.append(f"--mac-address={self.mac}")
        if self.seed is not None:
            options.append(f"--volume={self.seed}:/var/lib/cloud/seed/nocloud:ro")
        if self.disks is not None:
            options.append(f"--volume={self.disks}:{disks.INSIDE}")
        options += [f"--label={key}={value}" for key, value in (self.labels or {}).items()]
        return options


@dataclass(frozen=True)
class Container:
    """What podman says of a container."""

    name: str
    state: str  # created, running, exited, ...
    pid: int  # of its systemd; 0 unless it runs
    image: str
    labels: dict[str, str]


class Podman:
    """The podman command line, with a deadline on every call. Needs root: only then do hosts have routable addresses."""

    def __init__(self, machine: Machine | None = None) -> None:
        self._machine = machine

    @property
    def machine(self) -> Machine:
        if self._machine is None:
            self._machine = Machine.detect()
        return self._machine

    def listed(self, *args: str) -> str:
        """As ``podman ARGS``, for lists: they fail when something on them is removed meanwhile, so they are tried again."""
        for _ in range(4):
            with contextlib.suppress(HostError):
                return self(*args)
            time.sleep(0.2)
        return self(*args)

    def require(self) -> None:
        """Raise HostError unless hosts can run here."""
        if os.geteuid() != 0:
            raise HostError("Hosts need root, for their addresses and their systemd: run this with sudo.")
        if shutil.which("podman") is None:
            raise HostError("podman is missing, and hosts are podman containers: install it (apt-get install podman).")
        if shutil.which("nft") is None:
            raise HostError(
                "nft is missing, and it keeps hosts out of this machine's network: install it (apt-get install nftables)."
            )
        if not self.machine.unified_cgroups and shutil.which("runc") is None:
            raise HostError(
                "runc is missing, and this machine's hybrid cgroups need it to run systemd in a container: "
                "install it (apt-get install runc)."
            )

    def __call__(self, *args: str, seconds: float = 60) -> str:
        """Run ``podman ARGS`` and return what it printed. Raises HostError with podman's own last words."""
        try:
            done = subprocess.run(
                ["podman", *args],
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise HostError("podman is missing: install it (apt-get install podman).") from None
        except subprocess.TimeoutExpired:
            raise HostError(f"podman {args[0]} was not done after {seconds:.0f} s: look at `podman ps -a`.") from None
        if done.returncode:
            raise HostError(_explain(args[0], done.stderr))
        return done.stdout

    # -- hosts ---------------------------------------------------------------------------------------------------

    def run(self, spec: HostSpec) -> None:
        """Create the host and start its systemd; returns when that runs, long before the host is up."""
        self("create", "--pull=never", *self.machine.options(), *spec.options(), spec.image, "/sbin/init")
        try:
            self.start(spec.name)
        except HostError:
            self.remove(spec.name)
            raise

    def start(self, name: str) -> None:
        self("start", name)

    def stop(self, name: str, *, seconds: int = STOP_SECONDS) -> None:
        """Stop gracefully: systemd is asked to, its services drain; what is left after ``seconds`` is killed."""
        self("stop", "--ignore", f"--time={seconds}", name, seconds=seconds + 30)

    def remove(self, *names: str) -> None:
        """Remove containers, running or not. Those that are gone already are no error."""
        if names:
            self("rm", "--force", "--ignore", "--time=0", "--volumes", *names, seconds=60 + 10 * len(names))

    def containers(self, **labels: str) -> list[Container]:
        """Every container that carries all the labels."""
        filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
        found: Any = json.loads(self.listed("ps", "--all", "--format=json", *filters))
        return [
            Container(
                name=item["Names"][0],
                state=item["State"],
                pid=int(item.get("Pid") or 0),
                image=item["Image"],
                labels=dict(item.get("Labels") or {}),
            )
            for item in found
        ]

    def pid(self, name: str) -> int:
        """The process id of the host's systemd, 0 unless it runs."""
        return int(self("inspect", "--type=container", "--format={{.State.Pid}}", name))

    def port(self, pid: int) -> int:
        """The number of the interface of this machine that a running host's network hangs on.

        By it the packet filter knows the host. Raises HostError where it cannot be seen, after some tries.
        """
        said = "it was not tried"
        for pause in (0.0, *_PORT_PAUSES):
            time.sleep(pause)
            try:
                done = subprocess.run(
                    ["nsenter", f"--target={pid}", "--net", "ip", "-json", "link", "show", "dev", "eth0"],
                    capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL,
                )  # fmt: skip
                said = done.stderr.strip() or "its eth0 is of no pair"
                return int(json.loads(done.stdout)[0]["link_index"])
            except (OSError, subprocess.TimeoutExpired) as error:
                said = str(error)
            except (ValueError, LookupError):
                pass  # ``said`` tells why
        raise HostError(f"The network interface of a host cannot be seen, so it cannot be closed off: {said}.")

    def exit_code(self, name: str) -> int:
        """How the host's systemd ended."""
        return int(self("inspect", "--type=container", "--format={{.State.ExitCode}}", name))

    def console(self, pid: int) -> bytes:
        """What was logged since the host's boot, the newest last."""
        return inside(pid, "journalctl", "--boot", "--output=short-monotonic", "--lines=600", seconds=20).encode()

    def address(self, name: str) -> str:
        """The host's first IPv4 address; empty if it has none."""
        text = self(
            "inspect", "--type=container", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name
        )
        return (text.split() or [""])[0]

    # -- images --------------------------------------------------------------------------------------------------

    def commit(self, name: str, tag: str) -> None:
        """Make an image of a host's disk."""
        self("commit", "--quiet", name, tag, seconds=900)

    def unpack(self, image: str, folder: Path) -> None:
        """The files of an image below ``folder``, which is made, with their owners and extended attributes."""
        draft, archive = f"lc-unpack-{os.getpid()}", folder.with_name(f"{folder.name}.tar")
        folder.mkdir()
        try:
            self("create", "--name", draft, image, "true")
            self("export", "--output", str(archive), draft, seconds=300)
            extract: list[str | Path] = [
                "tar",
                "--extract",
                "--numeric-owner",
                "--xattrs",
                "--file",
                archive,
                "--directory",
                folder,
            ]
            done = subprocess.run(extract, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired as exc:
            raise HostError(f"Unpacking the image {image} took more than {exc.timeout:.0f} s.") from exc
        finally:
            self.remove(draft)
            archive.unlink(missing_ok=True)
        if done.returncode:
            raise HostError(f"The image {image} cannot be unpacked: {done.stderr.strip()[-300:]}")

    def images(self, prefix: str) -> list[str]:
        """The tags of the images whose tag begins so."""
        lines = self.listed("images", "--format={{.Repository}}:{{.Tag}}").split()
        return sorted({line for line in lines if line.startswith(prefix)})

    def has_image(self, tag: str) -> bool:
        with contextlib.suppress(HostError):
            self("image", "exists", tag)
            return True
        return False

    def tag(self, image: str, *tags: str) -> None:
        self("tag", image, *tags)

    def untag(self, tags: Iterable[str]) -> None:
        """Remove images by tag; one that a container still uses stays."""
        for tag in tags:
            with contextlib.suppress(HostError):
                self("rmi", tag)

    # -- networks ------------------------------------------------------------------------------------------------

    def networks(self) -> list[str]:
        return self.listed("network", "ls", "--format={{.Name}}").split()

    def ensure_network(self, name: str, subnet: str) -> None:
        """Create a network, or one anew if it has another subnet (whoever made that one is gone)."""
        if name in self.networks():
            if subnet in self("network", "inspect", "--format={{range .Subnets}}{{.Subnet}} {{end}}", name).split():
                return
            self.remove_network(name)
        self("network", "create", f"--subnet={subnet}", name)

    def bridge(self, network: str) -> str:
        """The interface of this machine that is in a network; it may not be there yet."""
        return self("network", "inspect", "--format={{.NetworkInterface}}", network).strip()

    def remove_network(self, name: str) -> None:
        if name in self.networks():
            self("network", "rm", "--force", name)


def boot_state(pid: int) -> str:
    """What ``systemctl is-system-running`` says in the host whose systemd is ``pid``: running, degraded, starting, ...

    ``running`` and ``degraded`` mean that the boot is over: nothing is queued any more, so cloud-init is done too.
    ``gone`` means that the host does not run, ``unknown`` that its systemd does not answer yet.
    """
    if pid <= 0 or not alive(pid):
        return "gone"
    answer = inside(pid, "systemctl", "is-system-running", seconds=10)
    return answer.strip() or "unknown"


def entering(pid: int) -> list[str]:
    """The beginning of a command line that runs a program of a host: in its namespaces, with its capabilities and no more.

    The host's root decides what that program is, so it must not get those of this machine. Raises HostError if it is gone.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise HostError("the host does not run any more") from None
    bits = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)
    kept = ",".join(["-all", *(f"+cap_{bit}" for bit in range(64) if bits >> bit & 1)])
    spaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
    return ["setpriv", "--inh-caps=-all", f"--bounding-set={kept}", "nsenter", f"--target={pid}", *spaces]


def inside(pid: int, *command: str, seconds: float) -> str:
    """What a command prints inside the host, empty if it cannot run; ten times faster than ``podman exec``."""
    try:
        done = subprocess.run(
            [*entering(pid), *command],
            capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise HostError("nsenter or setpriv is missing: install them (apt-get install util-linux).") from None
    except (HostError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _limit(which: int, most: int) -> int:
    hard = resource.getrlimit(which)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)


def _explain(verb: str, stderr: str) -> str:
    """Podman's last words as one sentence with a way out where we know one."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    last = lines[-1].removeprefix("Error: ") if lines else "it said nothing"
    known: Sequence[tuple[str, str]] = (
        ("no space left on device", "The disk is full: free some space (`podman image prune` helps) and try again."),
        ("executable file `runc` not found", "runc is missing: install it (apt-get install runc)."),
        ("is already in use", "Take it away or choose another --name."),
        ("overlaps with", "Another network has it: choose another --subnet."),
        ("already used on the host", "Another network has it: choose another --subnet."),
    )
    for words, way_out in known:
        if words in stderr.lower():
            return f"podman {verb}: {last}. {way_out}"
    return f"podman {verb} failed: {last}."
