# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter file_name: any name as the name of a file."""

from __future__ import annotations

DOCUMENTATION = r"""
name: file_name
short_description: Make any name usable as the name of a file
version_added: 0.1.0
description:
  - Letters, digits, C(.), C(_) and C(-) stay; every other character is written as C(%) and hexadecimal digits, so that two
    names never become one. A name too long for a file ends in a digest of the whole.
  - Names of Auto Scaling groups may hold slashes, blanks and 255 characters.
options:
  _input:
    description: The name.
    type: str
    required: true
author: boring.fleet contributors (@boring-fleet)
"""

EXAMPLES = r"""
- name: Say where the report of a group is
  ansible.builtin.debug:
    msg: "reports/{{ 'team/web' | boring.fleet.file_name }}.html" # reports/team%2Fweb.html
"""

RETURN = r"""
_value:
  description: The name of the file, at most 180 characters.
  type: str
"""

import hashlib
from collections.abc import Callable
from urllib.parse import quote

from ansible.errors import AnsibleFilterError

_LONGEST = 180  # a file's name has at most 255 bytes, and gets a suffix


def file_name(name: str) -> str:
    """A file's name for ``name``. Raises AnsibleFilterError where there is none."""
    if not isinstance(name, str) or not name:
        raise AnsibleFilterError("file_name: give a name that is not empty")
    safe = quote(name, safe="").replace("~", "%7E")
    if safe.startswith("."):
        safe = f"%2E{safe[1:]}"  # neither hidden nor a directory
    if len(safe) <= _LONGEST:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{safe[: _LONGEST - len(digest) - 1]}-{digest}"


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., str]]:
        return {"file_name": file_name}
