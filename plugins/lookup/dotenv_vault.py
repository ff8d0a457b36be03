# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup dotenv_vault: variables out of an encrypted dotenv file, decrypted on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: dotenv_vault
short_description: Read variables from an encrypted dotenv file
version_added: 0.1.0
author: boring.fleet contributors (@boring-fleet)
description:
  - Decrypts C(.env.vault) as dotenv-vault wrote it, and C(.env) files whose values dotenvx encrypted. Which of the two a
    file is shows in the file. Everything happens on the controller; nothing is fetched, and nothing is written.
  - The plain text follows dotenv's own grammar, with comments, quotes, C(export) and values of several lines.
  - Each file follows the rules of the tool that wrote it. Values of a C(.env.vault) are taken as they are, as dotenv does.
    In values of dotenvx C(\$) means C($), references to variables are replaced and commands run, if the value does not
    stand in single quotes. Here references and commands are refused unless O(references) and O(commands) say otherwise.
  - A warning names variables whose value means something else to dotenv, python-dotenv or C(docker run --env-file).
    One is C(PW=abc#def), which ends at C(#) for dotenv alone.
  - A message of this lookup names the file, the environment and the reason, never a key or a value. Values that it
    returns are ordinary data to Ansible, so tasks that would print them need C(no_log).
  - dotenv itself no longer reads C(.env.vault). M(boring.fleet.dotenv_vault) writes such files and changes their keys.
requirements:
  - The Python library C(cryptography) on the controller. ansible-core needs it too.
options:
  _terms:
    description: Names to return. None means the whole environment as one dictionary.
    type: list
    elements: str
  file:
    description:
      - The encrypted file, looked for beside the playbook or role, then in the current directory.
    type: str
    default: .env.vault
  environment:
    description:
      - The environment to decrypt, as in C(DOTENV_VAULT_PRODUCTION).
      - The default is what the key's URI names; for dotenvx, what the file's public key or its name says.
    type: str
  key:
    description:
      - A C(DOTENV_KEY) URI, or several separated by commas or in a list, tried in order. While a key is changed, give
        the new one and the old one.
      - For dotenvx its private keys, 64 hexadecimal digits each.
      - The default is the environment variable C(DOTENV_KEY); for dotenvx C(DOTENV_PRIVATE_KEY_<ENVIRONMENT>) and
        C(DOTENV_PRIVATE_KEY). After these comes O(key_file).
      - Keep it in a variable, a file or the environment, never in the expression itself. ansible-core shows the lines of
        the playbook where an expression failed; before 2.19 the task is hidden then, and a warning says the reason.
    type: raw
  key_file:
    description:
      - A file with keys, read when neither O(key) nor the environment has one. Nobody but its owner may read it.
      - It holds keys, a line each, or assignments such as dotenvx's C(.env.keys).
    type: str
  references:
    description:
      - What to do about C($NAME) and C(${NAME}) in a value of dotenvx.
      - V(refuse) fails and names the variable; V(expand) puts the value of a variable above in the same file there, never
        one of the controller's environment; V(keep) takes them as a part of the value.
    type: str
    choices: [refuse, expand, keep]
    default: refuse
  commands:
    description:
      - What to do about a command in a value of dotenvx, which C($() begins and a closing parenthesis ends.
      - V(refuse) fails and names the variable; V(run) runs it with C(/bin/sh) on the controller each time the look-up is
        evaluated, for 30 seconds at most; V(keep) takes it as a part of the value.
    type: str
    choices: [refuse, run, keep]
    default: refuse
seealso:
  - module: boring.fleet.dotenv_vault
  - plugin: boring.fleet.stack_output
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: One password; the key comes from the environment variable DOTENV_KEY
  ansible.builtin.copy:
    content: "{{ lookup('boring.fleet.dotenv_vault', 'DB_PASSWORD', environment='production') }}"
    dest: /etc/app/db-password
    mode: "0600"
  no_log: true

- name: The whole environment, while the key is being changed
  ansible.builtin.set_fact:
    app_environment: "{{ lookup('boring.fleet.dotenv_vault', file='.env.vault', key=[new_key, old_key]) }}"
  no_log: true

- name: A file of dotenvx, with the keys that it keeps beside it
  ansible.builtin.set_fact:
    app_token: "{{ lookup('boring.fleet.dotenv_vault', 'TOKEN', file='.env.production', key_file='.env.keys') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The values in the order of the names, or one dictionary of all.
  type: list
  elements: raw
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.release import __version__

from ansible_collections.boring.fleet.plugins.module_utils.dotenv.access import read_key_file, read_text
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.errors import DotenvError
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.evaluate import Rules
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.keys import (
    Key,
    keys_in_file,
    keys_in_variables,
    read_keys,
)
from ansible_collections.boring.fleet.plugins.module_utils.dotenv.reader import key_variables, open_file
from ansible_collections.boring.fleet.plugins.plugin_utils.controller_files import find, names_in
from ansible_collections.boring.fleet.plugins.plugin_utils.processes import run_to_end
from ansible_collections.boring.fleet.plugins.plugin_utils.running_task import hide_result, source_holds

# ansible-core before 2.19 puts the text of the expression into the message of a lookup that failed
_TELLS_TEMPLATE = tuple(map(int, __version__.split(".")[:2])) < (2, 19)
_SECONDS = 30.0  # that a command in a value may take
_TELLING = 16  # characters of a key that nobody may see; host names and environments are shorter


def _long_words(key: Any) -> list[str]:
    parts = key if isinstance(key, (list, tuple)) else [key or ""]
    return [word for part in parts for word in re.split(r"[^0-9A-Za-z]", str(part)) if len(word) >= _TELLING]


def _shell(command: str, above: Mapping[str, str]) -> str | None:
    try:
        done = run_to_end(["/bin/sh", "-c", command], {**os.environ, **above}, None, _SECONDS)
    except (OSError, ValueError):  # no shell, or a variable that no environment can hold
        return None
    if done is None or done[0]:
        return None
    return done[1].decode(errors="replace")


class LookupModule(LookupBase):
    """Options in, the pure core, errors translated once."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Give the values of `terms`, or one dictionary of the whole environment."""
        self.set_options(var_options=variables, direct=kwargs)
        problem = ""
        try:
            return self._read(names_in(terms), variables or {})
        except DotenvError as exc:
            problem = str(exc)
        if _TELLS_TEMPLATE and source_holds(_long_words(self.get_option("key"))):
            # The message would hold the expression, and with it the key. The result is hidden, a warning is not.
            hide_result()
            self._display.warning(f"dotenv_vault: {problem}; the task is hidden because its text holds a key")
        # Outside of the except block, so that nothing is chained to it.
        raise AnsibleLookupError(f"dotenv_vault: {problem}")

    def _read(self, names: list[str], variables: dict[str, Any]) -> list[Any]:
        file = self.get_option("file")
        environment = self.get_option("environment") or ""
        text = read_text(find(self, variables, file), "the file")
        opened = open_file(
            text,
            file,
            environment,
            self._keys(key_variables(text, file, environment), variables),
            wanted=names,
            rules=Rules(self.get_option("references"), self.get_option("commands"), _shell),
        )
        if opened.odd:
            self._display.warning(f"dotenv_vault: {file} {opened.odd}")
        if not names:
            return [dict(opened.values)]
        for name in names:
            if name not in opened.values:
                where = f"the environment {opened.environment} of {file}" if opened.environment else file
                raise DotenvError(f"{where} has no variable {name}")
        return [opened.values[name] for name in names]

    def _keys(self, wanted: list[str], variables: dict[str, Any]) -> list[Key]:
        given = self.get_option("key")
        if given:
            return read_keys(given, "the option key")
        found = {name: os.environ[name] for name in wanted if os.environ.get(name)}
        if found:
            return keys_in_variables(found, "the environment of ansible-playbook")
        key_file = self.get_option("key_file")
        if not key_file:
            return []
        path: Path = find(self, variables, key_file)
        return keys_in_file(read_key_file(path), f"the key file {key_file}")
