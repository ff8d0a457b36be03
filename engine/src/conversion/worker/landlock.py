# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a job may open and which ports the engine may call, by the kernel's Landlock (5.13 and later).

Landlock only ever takes away, needs no privilege, and holds for whatever a process starts. What a kernel does not know yet
is left out: `version` says what it knows (1: files; 4: TCP ports; 6: signals and abstract sockets).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on x86_64 and arm64
_ASK_VERSION = 1
_BENEATH, _PORT = 1, 2

WRITE_FILE, READ_FILE, READ_DIRECTORY, MAKE_FILE, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 8, 1 << 14
#: By version, all rights that are taken away unless a rule gives them back.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND, _CONNECT = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The version of Landlock in this kernel; 0 without it."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))))


def confine(directory: Path, readable: Iterable[Path]) -> bool:
    """Leave this process `directory`, where it may make, write and read files but remove none, and `readable`.

    False when the kernel has no Landlock; OSError when it has and refuses.
    """
    known = version()
    if not known:
        return False
    handled = max(rights for since, rights in _FILES.items() if since <= known)
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if known >= 6 else 0
    rules = [(path, (READ_FILE | READ_DIRECTORY) & handled) for path in readable]
    rules.append((directory, (READ_FILE | READ_DIRECTORY | WRITE_FILE | MAKE_FILE | TRUNCATE) & handled))
    ruleset = _ruleset(handled, 0, scoped)
    try:
        for path, rights in rules:
            _allow_path(ruleset, path, rights)
        _enforce(ruleset)
    finally:
        os.close(ruleset)
    return True


def confine_ports(connect: Iterable[int]) -> bool:
    """Leave this thread, and what it starts from now on, no TCP port to call but `connect`, and none to listen on anew.

    False when the kernel cannot.
    """
    if version() < 4:
        return False
    ruleset = _ruleset(0, _BIND | _CONNECT, 0)
    try:
        for port in connect:
            _call(_ADD, ruleset, _PORT, ctypes.create_string_buffer(struct.pack("<QQ", _CONNECT, port)), 0)
        _enforce(ruleset)
    finally:
        os.close(ruleset)
    return True


def _ruleset(files: int, ports: int, scoped: int) -> int:
    # Trailing zeros may be longer than what an older kernel knows
    attributes = struct.pack("<QQQ", files, ports, scoped)
    return _call(_CREATE, ctypes.create_string_buffer(attributes, 24), ctypes.c_size_t(24), 0)


def _allow_path(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            rights &= ~(READ_DIRECTORY | MAKE_FILE)
        _call(_ADD, ruleset, _BENEATH, ctypes.create_string_buffer(struct.pack("<Qi", rights, descriptor)), 0)
    finally:
        os.close(descriptor)


def _enforce(ruleset: int) -> None:
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock: no_new_privs is refused")
    _call(_RESTRICT, ruleset, 0)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
