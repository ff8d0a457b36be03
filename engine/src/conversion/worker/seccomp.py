# SPDX-License-Identifier: GPL-3.0-or-later
"""Which system calls a job may make: a filter for the kernel, for x86_64 and arm64.

A list of what is allowed, so that what nobody thought of (io_uring, keyrings, message queues, next year's calls) is
refused. Written by hand as the few instructions that it takes, because the alternatives (libseccomp and a binding) are a
library more in an image for the same list; a unit test compares the numbers with those of libseccomp.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

#: Number by name on x86_64 and on arm64; None where an architecture has no such call.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # files that are open, and opening more: which ones is for Landlock to say
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, None),
    "close": (3, 57),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, None),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "ftruncate": (77, 46),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "fadvise64": (221, 223),
    "fallocate": (285, 47),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "faccessat": (269, 48),
    "statx": (332, 291),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "umask": (95, 166),
    "pipe2": (293, 59),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    # its own memory
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "msync": (26, 227),
    "mincore": (27, 232),
    "madvise": (28, 233),
    # time, chance, and what it is
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "getcpu": (309, 168),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    # signals to itself, locks, the end
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}

#: Libraries ask for the newer call first and take the older one when there is none.
ABSENT: dict[str, tuple[int, int]] = {
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "faccessat2": (439, 439),
    "memfd_create": (319, 279),
}

#: Allowed for some values of one argument only: number of the argument, and the values.
SOME: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    # duplicate, flags, locks; not F_SETOWN and F_SETSIG, which have the kernel send a signal to another process
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)),
    "ioctl": ((16, 29), 1, (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)),  # is it a terminal; how much; close on exec
    "prctl": ((157, 167), 0, (15, 16)),  # the name of a thread
    "tgkill": ((234, 131), 0, ()),  # itself: abort(); the process id is filled in by program()
    "prlimit64": ((302, 261), 2, (0,)),  # ask for limits; not set any
}

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def program(machine: str, pid: int) -> bytes:
    """The filter as the kernel takes it, for a process `pid`; OSError for an architecture that it is not written for."""
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOTSUP, f"no list of system calls for {machine}")
    column, audit = _ARCHITECTURES[machine]
    code: list[bytes] = []

    def add(operation: int, value: int, yes: int = 0, no: int = 0) -> None:
        code.append(struct.pack("<HBBI", operation, yes, no, value))

    def add_return(number: int | None, verdict: int) -> None:
        if number is not None:
            add(_EQUAL, number, 0, 1)
            add(_RETURN, verdict)

    add(_LOAD, _ARCHITECTURE_AT)
    add(_EQUAL, audit, 1, 0)
    add(_RETURN, _KILL)  # the numbers of another architecture mean other calls
    add(_LOAD, _NUMBER_AT)
    for numbers in ALLOWED.values():
        add_return(numbers[column], _ALLOW)
    for absent in ABSENT.values():
        add_return(absent[column], _ERROR | errno.ENOSYS)
    for name, (some, argument, values) in SOME.items():
        wanted = (pid,) if name == "tgkill" else values
        at = _ARGUMENTS_AT + 8 * argument
        whole = name == "prlimit64"  # a pointer: its upper half counts as well; the others are int
        add(_EQUAL, some[column], 0, 2 * whole + 1 + 2 * len(wanted) + 1)
        if whole:
            add(_LOAD, at + 4)
            add(_EQUAL, 0, 0, 1 + 2 * len(wanted))
        add(_LOAD, at)
        for value in wanted:
            add_return(value, _ALLOW)
        add(_RETURN, _ERROR | errno.EPERM)
    add(_RETURN, _ERROR | errno.EPERM)
    return b"".join(code)


def enforce() -> None:
    """Hold this process, which must have one thread only, to the list from here on; OSError when that cannot be."""
    code = program(platform.machine(), os.getpid())
    libc = ctypes.CDLL(None, use_errno=True)
    filter_ = _Program(len(code) // 8, code)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _FILTER, ctypes.byref(filter_), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")
