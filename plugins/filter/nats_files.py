# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter nats_files: what the role nats writes, from its variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nats_files
short_description: The configuration of a NATS server, from the variables of the role nats
version_added: 0.1.0
description:
  - Gives the text of the file that the role M(boring.fleet.nats#role) writes. Every value is written as the format wants it, whatever is in it.
  - What is not safe or not clear is in RV(_value.refusals), and then there is no file.
options:
  _input:
    description: The role's variables, by their names without C(nats_).
    type: dict
    required: true
requirements:
  - The Python library C(bcrypt) on the controller, for users that have a C(password).
author: boring.fleet contributors (@boring-fleet)
"""

EXAMPLES = r"""
- name: See why a configuration would be refused
  ansible.builtin.debug:
    msg: "{{ ({'users': nats_users, 'account_limits': nats_account_limits} | boring.fleet.nats_files).refusals }}"
"""

RETURN = r"""
_value:
  description: C(config) is the text of C(nats.conf); C(refusals) are sentences.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.boring.fleet.plugins.filter.bcrypt import bcrypt_hash
from ansible_collections.boring.fleet.plugins.module_utils.nats import desired
from ansible_collections.boring.fleet.plugins.module_utils.quoting.control import control_character


def _hashed(user: Mapping[str, Any]) -> dict[str, Any]:
    """The user with a hash in place of its password; one that is refused keeps it, so that its control character is named."""
    found = dict(user)
    password, salt = found.get("password"), found.get("salt")
    if (
        found.get("nkey") is None
        and found.get("password_bcrypt") is None
        and password
        and salt
        and not control_character(password)
    ):
        found["password_bcrypt"] = bcrypt_hash(found.pop("password"), salt)
    return found


def nats_files(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is made of the variables. Raises AnsibleFilterError, which repeats no value."""
    users = [_hashed(user) for user in variables.get("users", ())]
    try:
        wanted = desired.desired({**variables, "users": users})
    except (TypeError, ValueError) as exc:
        raise AnsibleFilterError("nats_files: a variable is missing, unknown or of another type") from exc
    refusals = desired.refusals(wanted)
    return {"refusals": refusals} if refusals else {"refusals": [], "config": desired.config_text(wanted)}


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"nats_files": nats_files}
