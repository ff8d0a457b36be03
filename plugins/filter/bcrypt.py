# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter bcrypt: a password hash that stays the same from run to run."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bcrypt
short_description: Hash a password with bcrypt and a salt of the caller's
version_added: 0.1.0
description:
  - Gives the same hash for the same password and salt, on every controller, so that a configuration that holds it does
    not change from run to run. C(ansible.builtin.password_hash) takes its bcrypt from whatever the controller has, and
    does not give the same hash everywhere.
requirements:
  - The Python library C(bcrypt) on the controller.
positional: salt
options:
  _input:
    description: The password, at most 72 bytes of UTF-8; bcrypt looks at no more.
    type: str
    required: true
  salt:
    description:
      - Any text, not secret, different for each user and installation.
      - Never derive it from the password.
    type: str
    required: true
  rounds:
    description: Binary logarithm of the rounds. One more doubles the time that a guess, and each connection, takes.
    type: int
    default: 11
author: boring.fleet contributors (@boring-fleet)
"""

EXAMPLES = r"""
- name: Hash the password of a NATS user
  ansible.builtin.set_fact:
    nats_users:
      - user: conversion
        password_bcrypt: "{{ nats_password | boring.fleet.bcrypt('conversion ' ~ nats_salt) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description: The hash, in the C($2b$) form.
  type: str
"""

import base64
import hashlib
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

try:
    import bcrypt as _bcrypt
except ImportError:
    _bcrypt = None

# bcrypt writes its 16 bytes of salt with an alphabet of its own
_TO_BCRYPT = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
)
_LONGEST = 72


def bcrypt_hash(password: str, salt: str, rounds: int = 11) -> str:
    """Hash `password`; `salt` may be any text. Raises AnsibleFilterError."""
    if _bcrypt is None:
        raise AnsibleFilterError("bcrypt: the Python library bcrypt is missing on the controller; 'pip install bcrypt'")
    if not isinstance(password, str) or not isinstance(salt, str):
        raise AnsibleFilterError("bcrypt: password and salt must be text")
    if not password or not salt:
        raise AnsibleFilterError("bcrypt: neither password nor salt may be empty")
    secret = password.encode()
    if len(secret) > _LONGEST or b"\0" in secret:
        raise AnsibleFilterError(
            f"bcrypt: the password must have at most {_LONGEST} bytes and no NUL; bcrypt looks at no more"
        )
    if not 4 <= rounds <= 16:
        raise AnsibleFilterError(f"bcrypt: rounds must be from 4 to 16, not {rounds}")
    raw = hashlib.sha256(salt.encode()).digest()[:16]
    settings = f"$2b${rounds:02d}$".encode() + base64.b64encode(raw).rstrip(b"=").translate(_TO_BCRYPT)
    return str(_bcrypt.hashpw(secret, settings).decode())


class FilterModule:
    """Names the filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Give the filters of this file by name."""
        return {"bcrypt": bcrypt_hash}
