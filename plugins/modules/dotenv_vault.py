#!/usr/bin/python
# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dotenv_vault
short_description: Write an encrypted dotenv file and change its key
version_added: 0.1.0
author:
  - boring.fleet contributors (@boring-fleet)
description:
  - Writes one environment of a C(.env.vault) and keeps its key in a file, since the format's original tool dropped it.
    P(boring.fleet.dotenv_vault#lookup) reads it.
  - The key file holds the present key first and former ones after it, separated by commas, which is what C(DOTENV_KEY)
    may be. Neither a key nor a value is returned or shown.
  - To change a key without a moment in which a reader has none that fits, run with O(rotate=true), bring the key file to
    the readers, then run with O(old_keys=0) and bring it again.
requirements:
  - The Python library C(cryptography) where the module runs.
attributes:
  check_mode:
    description: Says what would change, and writes nothing.
    support: full
  diff_mode:
    description: Shows the names of variables that come, go or change, never their values.
    support: full
options:
  file:
    description: The vault. It is made if it is not there.
    type: path
    default: .env.vault
  environment:
    description: The environment to write, as V(production) for C(DOTENV_VAULT_PRODUCTION).
    type: str
    required: true
  key_file:
    description:
      - The file of the environment's keys, which only its owner may read. It is made, with a new key, if it is not there.
    type: path
    required: true
  src:
    description:
      - A plain dotenv file, whose text becomes the environment as it is. Without O(src) and O(values) it stays.
      - A warning names variables whose value means something else to python-dotenv or C(docker run --env-file).
    type: path
  values:
    description: The variables of the environment, in place of O(src).
    type: dict
  rotate:
    description: Make a new key and encrypt the environment with it. Each run makes one.
    type: bool
    default: false
  old_keys:
    description: How many former keys stay in O(key_file) behind the present one.
    type: int
    default: 1
seealso:
  - plugin: boring.fleet.dotenv_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Encrypt what is in .env.production
  boring.fleet.dotenv_vault:
    file: "{{ playbook_dir }}/.env.vault"
    environment: production
    key_file: "{{ playbook_dir }}/secrets/production.key"
    src: "{{ playbook_dir }}/.env.production"
  delegate_to: localhost
  run_once: true

- name: Change the key; the old one is still read
  boring.fleet.dotenv_vault:
    environment: production
    key_file: secrets/production.key
    rotate: true

- name: Forget the old key, now that every reader has the new one
  boring.fleet.dotenv_vault:
    environment: production
    key_file: secrets/production.key
    old_keys: 0
"""

RETURN = r"""
environment:
  description: The environment.
  returned: success
  type: str
  sample: production
names:
  description: The names of its variables, sorted.
  returned: success
  type: list
  elements: str
  sample: [DB_PASSWORD, TOKEN]
rotated:
  description: Whether a new key took the place of one that was there.
  returned: success
  type: bool
  sample: false
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.access import read_key_file, read_text, write_text
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.readings import differing
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.writer import Files, Plan, Wish, plan, render


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "default": ".env.vault"},
            "environment": {"type": "str", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "src": {"type": "path"},
            "values": {"type": "dict", "no_log": True},
            "rotate": {"type": "bool", "default": False},
            "old_keys": {"type": "int", "default": 1, "no_log": False},
        },
        mutually_exclusive=[("src", "values")],
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except DotenvError as exc:
        result = {"failed": True, "msg": f"dotenv_vault: {exc}"}
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def run(module: AnsibleModule) -> dict[str, object]:
    """Read the files, plan, write what differs."""
    given = module.params
    file, key_file = Path(given["file"]), Path(given["key_file"])
    text = None
    if given["src"]:
        text = read_text(Path(given["src"]), "the plain file")
    elif given["values"] is not None:
        text = render(given["values"])
    if given["old_keys"] < 0:
        raise DotenvError(f"old_keys must be 0 or more, not {given['old_keys']}")
    files = Files(
        vault=read_text(file, "the file") if file.exists() else None,
        keys=read_key_file(key_file) if key_file.exists() else None,
    )
    made = plan(
        Wish(given["environment"], text, given["rotate"], given["old_keys"]),
        files,
        (str(file), str(key_file)),
        os.urandom,
    )
    writes = [
        (key_file, made.keys, files.keys, 0o600),
        (file, made.vault, files.vault, 0o644),
        (key_file, made.keys_at_last or made.keys, made.keys, 0o600),
    ]
    wanted = [(path, new, mode) for path, new, old, mode in writes if new != old]
    if not module.check_mode:
        for path, new, mode in wanted:
            write_text(path, new, mode)
    if text is not None and given["src"]:
        odd = differing(text, made.after, made.after, ("python-dotenv", "Docker"))
        if odd:
            module.warn(f"{given['src']} {odd}")
    return {
        "changed": bool(wanted),
        "environment": given["environment"],
        "names": sorted(made.after),
        "rotated": made.rotated,
        "diff": diff(str(file), made),
    }


def diff(file: str, made: Plan) -> dict[str, str]:
    """The names before and after; a star marks one whose value changes."""

    def listed(names: dict[str, str], other: dict[str, str]) -> str:
        return "".join(
            f"{name}{' *' if name in other and other[name] != value else ''}\n" for name, value in sorted(names.items())
        )

    before, after = dict(made.before), dict(made.after)
    return {
        "before_header": file,
        "after_header": file,
        "before": "".join(f"{name}\n" for name in sorted(before)),
        "after": listed(after, before),
    }


if __name__ == "__main__":
    main()
