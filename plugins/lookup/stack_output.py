# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup stack_output: outputs of Terraform, OpenTofu and Pulumi, with their types."""

from __future__ import annotations

DOCUMENTATION = r"""
name: stack_output
short_description: Read typed outputs of a Terraform, OpenTofu or Pulumi stack
version_added: 0.1.0
author: boring.fleet contributors (@boring-fleet)
description:
  - Returns outputs of another stack with the types that they were exported with, and refuses a missing, renamed,
    mistyped or secret one before anything else runs.
  - The tool itself is asked, so state may be in any backend that it knows. It runs once a stack and play, however many
    hosts, tasks and look-ups ask, and whether it succeeds or not; the next play asks again. Pulumi prints secrets only on
    demand, so a play that reads with and without O(allow_secrets) runs it twice.
  - Between tasks the outputs are kept in Ansible's temporary directory of this run, encrypted with a key that is only
    in memory.
requirements:
  - C(terraform), C(tofu) or C(pulumi) on the controller, unless O(tool=file).
  - The Python library C(cryptography) on the controller. ansible-core needs it too.
  - The Python library C(jsonschema) 4.18 or newer on the controller, for O(schema).
options:
  _terms:
    description: Names of outputs. None means all as one dictionary.
    type: list
    elements: str
  tool:
    description: The tool that owns the stack, or V(file) for what it printed before.
    type: str
    choices: [terraform, tofu, pulumi, file]
    required: true
  dir:
    description:
      - Directory of the stack's code, looked for beside the playbook or role, then in the current directory.
    type: str
    default: .
  stack:
    description: Pulumi's stack, as in C(organization/project/stack). The default is the one that is selected in O(dir).
    type: str
  workspace:
    description: Terraform's or OpenTofu's workspace. The default is the one that is selected in O(dir).
    type: str
  path:
    description: For O(tool=file), what C(output -json) or C(stack output --json) printed. Found as O(dir) is.
    type: str
  schema:
    description:
      - A JSON Schema over the outputs by name, as a file or a dictionary. It is held against all outputs.
      - References must stay inside the schema; nothing is fetched.
    type: raw
  types:
    description:
      - Types of outputs by name, as a dictionary or as text. Such an output must be there, whether it is asked for or not.
      - >-
        The types are C(str), C(int), C(float), C(bool), C(null), C(any), C(list[T]), C(dict[T]), C({name: T}) and
        C(T | T). C(T?) allows null and an output that is not there. Terraform's words, as C(string) and C(number),
        mean the same.
    type: raw
  timeout:
    description: Seconds that the tool may take.
    type: float
    default: 60
  allow_secrets:
    description:
      - Return secret (sensitive) outputs too. The task that reads one is then treated as if it had C(no_log).
      - What such a task hands on by C(set_fact) or C(register) is ordinary data again. Read the output where it is used,
        or give the tasks that print it C(no_log).
    type: bool
    default: false
seealso:
  - plugin: boring.fleet.dotenv_vault
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Use what the network stack made
  ansible.builtin.debug:
    msg: "{{ network.vpc_id }} has {{ network.subnet_ids | length }} subnets"
  vars:
    network: >-
      {{ lookup('boring.fleet.stack_output', tool='tofu', dir='infra',
                types='{vpc_id: str, subnet_ids: list[str], port: int}') }}

- name: A stack of Pulumi, held against a schema
  ansible.builtin.debug:
    msg: "{{ query('boring.fleet.stack_output', 'vpc_id', 'port', tool='pulumi', dir='infra',
                   stack='organization/network/production', schema='infra/outputs.schema.json') }}"

- name: A secret output; this task is not logged
  ansible.builtin.copy:
    content: "{{ lookup('boring.fleet.stack_output', 'db_password', tool='terraform', dir='infra', allow_secrets=true) }}"
    dest: /etc/app/db-password
    mode: "0600"
"""

RETURN = r"""
_raw:
  description: The outputs in the order of the names, or one dictionary of all.
  type: list
  elements: raw
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.outputs import Output, read_outputs
from ansible_collections.boring.fleet.plugins.module_utils.stack.select import pick
from ansible_collections.boring.fleet.plugins.module_utils.stack.store import Store
from ansible_collections.boring.fleet.plugins.module_utils.stack.tools import Finished, Source, ask
from ansible_collections.boring.fleet.plugins.module_utils.stack.types import read_types
from ansible_collections.boring.fleet.plugins.plugin_utils.controller_files import find, names_in
from ansible_collections.boring.fleet.plugins.plugin_utils.running_task import hide_result, play_id

_GRACE = 10.0  # seconds beyond the tool's own time to wait for another process that runs it


class LookupModule(LookupBase):
    """Options in, the pure core, errors translated once."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Give the outputs `terms`, or one dictionary of all."""
        self.set_options(var_options=variables, direct=kwargs)
        problem = ""
        try:
            return self._read(names_in(terms), variables or {})
        except StackError as exc:
            problem = str(exc)
        # Outside of the except block, so that nothing is chained to it.
        raise AnsibleLookupError(f"stack_output: {problem}")

    def _read(self, names: list[str], variables: dict[str, Any]) -> list[Any]:
        self._refuse_mixtures()
        given = self.get_option("types")
        types = read_types(given) if given else None
        schema = self._schema(variables)
        shown, outputs = self._saved(variables) if self.get_option("tool") == "file" else self._asked(variables)
        picked = pick(outputs, names, shown, types=types, schema=schema, allow_secrets=self.get_option("allow_secrets"))
        if picked.secret:
            hide_result()
        return [picked.values[name] for name in names] if names else [dict(picked.values)]

    def _refuse_mixtures(self) -> None:
        tool = self.get_option("tool")
        for option, tools in (("stack", ("pulumi",)), ("workspace", ("terraform", "tofu")), ("path", ("file",))):
            if self.get_option(option) and tool not in tools:
                raise StackError(
                    f"the option {option} means nothing to {tool}, only to {' and '.join(tools)}: leave it out"
                )
        if tool == "file" and not self.get_option("path"):
            raise StackError("tool=file needs the option path: a file with what 'output -json' printed")

    def _schema(self, variables: dict[str, Any]) -> Any:
        given = self.get_option("schema")
        if not isinstance(given, str) or not given:
            return given or None
        document = _json(_text(find(self, variables, given), "the schema"))
        if document is None:
            raise StackError(f"the schema {given} is not JSON")
        return document

    def _saved(self, variables: dict[str, Any]) -> tuple[str, Mapping[str, Output]]:
        path = self.get_option("path")
        text = _text(find(self, variables, path), "the saved outputs")
        return path, _outputs(text, "any", f"the saved outputs {path}")

    def _asked(self, variables: dict[str, Any]) -> tuple[str, Mapping[str, Output]]:
        tool = self.get_option("tool")
        directory = find(self, variables, self.get_option("dir"))
        if not directory.is_dir():
            raise StackError(
                f"there is no directory {self.get_option('dir')} beside the playbook or below {Path.cwd()}"
            )
        source = Source(
            tool=tool,
            directory=str(directory.resolve()),
            stack=self.get_option("stack") or "",
            workspace=self.get_option("workspace") or "",
            with_secrets=tool == "pulumi" and self.get_option("allow_secrets"),
        )
        timeout = self.get_option("timeout")
        if timeout <= 0:
            raise StackError(f"timeout must be more than 0 seconds, not {timeout:g}")
        store = Store(Path(constants.DEFAULT_LOCAL_TMP), bytes(current_process().authkey))
        name = json.dumps([play_id(), *vars(source).values()])
        text = store.once(name, lambda: ask(source, _run, os.environ, timeout), timeout + _GRACE)
        return str(source), _outputs(text, source.layout, f"the outputs of {source}", all_secret=source.with_secrets)


def _run(argv: list[str], env: Mapping[str, str], directory: str, timeout: float) -> Finished | None:
    """Run a tool in a group of its own, so that what it started ends with it."""
    process = subprocess.Popen(
        argv,
        cwd=directory,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException as exc:  # also an interrupt: nothing of the tool stays behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(exc, subprocess.TimeoutExpired):
            return None
        raise
    return Finished(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _outputs(text: str, layout: str, what: str, *, all_secret: bool = False) -> Mapping[str, Output]:
    problem = ""
    try:
        return read_outputs(text, layout, all_secret=all_secret)
    except StackError as exc:
        problem = str(exc)
    raise StackError(f"{what} cannot be used: {problem}")


def _text(path: Path, what: str) -> str:
    problem = ""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as exc:
        problem = (exc.strerror or type(exc).__name__).lower()
    raise StackError(f"{what} {path} cannot be read: {problem}")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
