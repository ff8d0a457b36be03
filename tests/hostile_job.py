# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that took over the process which converts it: what it then tries.

Run as a program it is the process that jobs are forked from, with the converter replaced by the acts below, so that they are
played inside the real sandbox. The source of a job is JSON: {"act": name, ...}; for the act "all" the result is JSON, the
acts by name with "done" or the reason why not. It needs nothing but the engine's package, so that it also runs on hosts.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

X86 = platform.machine() == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)


def call(x86: int, arm: int, *arguments: Any) -> int:
    """A system call by its number, past whatever the library thinks of it."""
    result = int(libc.syscall(ctypes.c_long(x86 if X86 else arm), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


CANARY = ctypes.create_string_buffer(b"canary..", 8)  # lies at one address in a process and in its forks


def memory_of(pid: int, *, write: bool) -> None:
    """Read or write eight bytes of the process that this one was forked from."""
    here = ctypes.create_string_buffer(b"forged..", 8)
    local, remote = Vector(ctypes.addressof(here), 8), Vector(ctypes.addressof(CANARY), 8)
    number = (311, 271) if write else (310, 270)
    call(*number, pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)


def memory_file(pid: int, mode: str) -> None:
    with Path(f"/proc/{pid}/mem").open(mode):
        pass


def connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_DGRAM if family != socket.AF_UNIX else socket.SOCK_STREAM) as made:
        if address:
            made.settimeout(0.5)
            made.connect(address)


def forked() -> None:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def cloned() -> None:
    if call(56, 220, ctypes.c_ulong(signal.SIGCHLD), None, None, None, None) == 0:
        os._exit(0)


def executed() -> None:
    # In a process that may: when there is none to be had, by itself, and then it would be gone
    pid = os.fork() if "fork" not in DENIED else 0
    if pid == 0:
        os.execv("/bin/true", ["true"])  # noqa: S606
    os.waitpid(pid, 0)


def threaded() -> None:
    try:
        thread = threading.Thread(target=time.sleep, args=(0,))
        thread.start()
        thread.join()
    except RuntimeError as exc:
        raise PermissionError(str(exc)) from exc


def signalled_by_kernel(pid: int) -> None:
    """F_SETOWN: the kernel sends the signal."""
    read, write = os.pipe()
    try:
        fcntl.fcntl(read, fcntl.F_SETOWN, pid)
    finally:
        os.close(read)
        os.close(write)


def limits_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    except ValueError as exc:
        raise PermissionError(str(exc)) from exc


def environment_of_others() -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and (entry / "environ").read_bytes():
            return
    raise PermissionError("none could be read")


DENIED: set[str] = set()


def acts(about: Mapping[str, str]) -> dict[str, Callable[[], Any]]:
    parent = os.getppid()
    neighbour, outside = Path(about["neighbour"]), Path(about["outside"])
    return {
        "fork": forked,
        "clone": cloned,
        "thread": threaded,
        "exec": executed,
        "read another job's file": (neighbour / "source.stl").read_bytes,
        "write another job's result": lambda: (neighbour / "output.obj").write_bytes(b"forged"),
        "close another job's directory": lambda: neighbour.chmod(0o755),
        "remove another job's file": (neighbour / "spare").unlink,
        "rename another job's file": lambda: (neighbour / "spare2").rename(neighbour / "spare3"),
        "list the jobs": lambda: list(neighbour.parent.iterdir()),
        "read the parent's memory": lambda: memory_of(parent, write=False),
        "write the parent's memory": lambda: memory_of(parent, write=True),
        "open the parent's memory": lambda: memory_file(parent, "rb"),
        "open the parent's memory to write": lambda: memory_file(parent, "r+b"),
        "trace the parent": lambda: call(101, 117, 0x4206, parent, None, None),  # PTRACE_SEIZE
        "kill the parent": lambda: os.kill(parent, 0),
        "kill by a thread's number": lambda: call(200, 130, parent, 0),
        "kill by a queued signal": lambda: call(129, 138, parent, 0, ctypes.create_string_buffer(128)),
        "have the kernel kill": lambda: signalled_by_kernel(parent),
        "environments": environment_of_others,
        "accounts": lambda: Path("/etc/passwd").read_text(),
        "credentials": lambda: Path(about["credentials"]).read_text(),
        "internet socket": lambda: connect(socket.AF_INET, None),
        "internet socket 6": lambda: connect(socket.AF_INET6, None),
        "local socket": lambda: connect(socket.AF_UNIX, None),
        "kernel socket": lambda: connect(socket.AF_NETLINK, None),
        "pair of sockets": socket.socketpair,
        "metadata": lambda: connect(socket.AF_INET, ("127.0.0.1", 80)),  # a datagram's address, nothing is sent
        "ring of system calls": lambda: call(425, 425, 1, ctypes.create_string_buffer(120)),
        "keyring": lambda: call(250, 219, 0, -3, 0),
        "shared memory": lambda: call(29, 194, 0, 4096, 0o1600),
        "anonymous file": lambda: os.memfd_create("x"),
        "write outside": lambda: outside.write_bytes(b"x"),
        "make a directory": lambda: Path("inside").mkdir(),
        "link to a secret": lambda: Path("link").symlink_to(about["credentials"]),
        "second name of a file": lambda: os.link("source.json", "second"),
        "pipe with a name": lambda: os.mkfifo("fifo"),
        "other limits": limits_raised,
        "other root": lambda: os.chroot("."),
        "own namespaces": lambda: call(272, 97, 0x10000000),
    }


def tried(about: Mapping[str, str]) -> dict[str, str]:
    said = {}
    for name, act in acts(about).items():
        try:
            act()
            said[name] = "done"
        except OSError as exc:
            said[name] = f"{type(exc).__name__}: {os.strerror(exc.errno or 0) if exc.errno else exc}"
            DENIED.add(name)
    return said


def fill_disk() -> None:
    for number in range(10_000):
        with Path(f"file-{number}").open("wb") as stream:
            for _ in range(8):
                stream.write(bytes(1 << 20))


def eat_memory() -> None:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def eat_shared_memory() -> None:
    import mmap

    held = []
    while True:
        try:
            held.append(mmap.mmap(-1, 16 << 20))
        except OSError as exc:
            raise MemoryError from exc
        for page in range(0, 16 << 20, 4096):
            held[-1][page] = 1


def run_for_ever() -> None:
    while True:
        pass


def say_too_much() -> None:
    """Into every pipe that is open."""
    for descriptor in range(3, 64):
        try:
            while True:
                os.write(descriptor, b'{"triangles": 1}' * 4096)
        except OSError:
            continue


def say_nothing() -> None:
    """Close every pipe, and go on."""
    os.closerange(3, 64)
    time.sleep(1.5)


ENDINGS: dict[str, Callable[[], None]] = {
    "fill the disk": fill_disk,
    "eat memory": eat_memory,
    "eat shared memory": eat_shared_memory,
    "run for ever": run_for_ever,
    "say too much": say_too_much,
    "say nothing": say_nothing,
}


class Made(int):
    """What a converter gives back."""

    warnings: tuple[str, ...] = ()
    statistics: Mapping[str, int] = {}


def hostile(source: Path, src_format: str, target: Path, output_format: str, options: Mapping[str, Any]) -> Made:
    """In the converter's place."""
    about = json.loads(source.read_text())
    if about["act"] == "all":
        target.write_text(json.dumps(tried(about)))
    elif about["act"] in ENDINGS:
        ENDINGS[about["act"]]()
    elif about["act"] == "two lines":
        from conversion.errors import InputError

        raise InputError("one\nTraceback \x1b[31m" + "x" * 5000)
    else:
        target.write_text("honest")
    return Made(1)


def main() -> int:
    import types

    # The real converter takes a second to load and is not what is tried here
    stand_in = types.ModuleType("conversion.geometry.convert")
    stand_in.convert = hostile  # type: ignore[attr-defined]
    sys.modules["conversion.geometry.convert"] = stand_in
    import conversion.geometry
    from conversion.worker import zygote

    conversion.geometry.convert = stand_in  # type: ignore[attr-defined]
    if "--first-fork-fails" in sys.argv:
        fork, left = os.fork, [2]  # the first is the sandbox's own trial, the second is the first job

        def failing() -> int:
            left[0] -= 1
            if left[0] == 0:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return fork()

        os.fork = failing
    if "--a-sandbox-fails" in sys.argv:
        from conversion.worker import sandbox

        confine = sandbox.confine

        def refusing(directory: Path, **more: Any) -> None:
            if "sandbox-fails" in directory.name:
                raise OSError(28, "No space left on device")
            confine(directory, **more)

        sandbox.confine = refusing
    return zygote.main()


if __name__ == "__main__":
    sys.exit(main())
