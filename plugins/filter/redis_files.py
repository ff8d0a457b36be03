# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter redis_files: what the role redis writes, from its variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: redis_files
short_description: The files of a Redis and its Sentinel, from the variables of the role redis
version_added: 0.1.0
description:
  - Gives the text of each file that the role M(boring.fleet.redis#role) writes, and what its modules prove them by. Every value is
    written as the format wants it, whatever is in it.
  - What is not safe or not clear is in RV(_value.refusals), and then there are no files.
options:
  _input:
    description:
      - The role's variables, by their names without C(redis_). C(maxmemory) is a number of bytes.
      - C(master) besides is the address of the master at the host's first start.
    type: dict
    required: true
author: boring.fleet contributors (@boring-fleet)
"""

EXAMPLES = r"""
- name: Look at the users that a host would get
  ansible.builtin.debug:
    msg: "{{ ({'users': redis_users} | boring.fleet.redis_files).acl }}"
"""

RETURN = r"""
_value:
  description:
    - C(acl), C(config), C(member), C(sentinel_acl) and C(sentinel_config) are texts of files; C(users) the lines of C(acl);
      C(settings) and C(secret_settings) what C(CONFIG GET) must give; C(sentinel_settings) what C(SENTINEL MASTER) must.
    - C(own) and C(sentinel_own) are what Redis and the Sentinel find at their first start.
    - C(refusals) are sentences.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.boring.fleet.plugins.module_utils.redis import desired


def redis_files(variables: Mapping[str, object]) -> dict[str, Any]:
    """Everything that is made of the variables. Raises AnsibleFilterError, which repeats no value."""
    try:
        given = dict(variables)
        master = str(given.pop("master", ""))
        wanted = desired.desired(given)
    except (TypeError, ValueError) as exc:
        raise AnsibleFilterError("redis_files: a variable is missing, unknown or of another type") from exc
    refusals = desired.refusals(wanted)
    if refusals:
        return {"refusals": refusals}
    settings = desired.settings(wanted)
    users = desired.users(wanted)
    master = master or wanted.announce
    return {
        "refusals": [],
        "acl": "\n".join([*users, ""]),
        "config": desired.config_text(wanted),
        "member": desired.member_text(wanted),
        "own": desired.own_text(wanted, master),
        "secret_settings": {name: value for name, value in settings.items() if name in desired.SECRET_SETTINGS},
        "sentinel_acl": "\n".join([*desired.sentinel_users(wanted), ""]),
        "sentinel_config": desired.sentinel_config_text(wanted),
        "sentinel_own": desired.sentinel_own_text(wanted, master),
        "sentinel_settings": desired.sentinel_settings(wanted),
        "settings": {name: value for name, value in settings.items() if name not in desired.SECRET_SETTINGS},
        "users": list(users),
    }


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"redis_files": redis_files}
