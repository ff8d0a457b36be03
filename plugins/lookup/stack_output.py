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
    description:
      - For O(tool=file), what C(output -json) or C(stack output --json) printed, in UTF-8. Found as O(dir) is.
      - What Terraform and OpenTofu print says of each output whether it is sensitive. What Pulumi prints does not, so every
        output of such a file counts as secret unless O(public) names it.
    type: str
  public:
    description:
      - Outputs that are not secret, of a saved file of Pulumi's or of O(tool=pulumi) with O(allow_secrets).
      - It is refused where the file itself says that one of them is secret.
    type: list
    elements: str
    default: []
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
      - It is refused where Ansible shows a value whatever C(no_log) says. These are names of plays and tasks, C(environment),
        C(delegate_to), C(notify), labels of loops, loops of C(include_tasks) and C(include_role), and the arguments of C(fail),
        C(add_host), C(group_by), C(set_stats), C(include_tasks) and C(include_role), and of C(assert) all but C(that).
      - What a task hands on by C(set_fact) or C(register) is ordinary data again, and a warning says so. Read the output
        where it is used, or give the tasks that print it C(no_log).
      - ansible-core 2.19 and newer show the message of a module that failed whatever C(no_log) says. No such message may
        hold an argument; most do not.
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

- name: What a pipeline saved of a stack of Pulumi; only what is listed is not secret
  ansible.builtin.debug:
    msg: "{{ lookup('boring.fleet.stack_output', 'vpc_id', tool='file', path='network.json', public=['vpc_id', 'port']) }}"

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

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.boring.fleet.plugins.module_utils.stack.errors import StackError
from ansible_collections.boring.fleet.plugins.module_utils.stack.outputs import (
    Output,
    decode,
    read_json,
    read_outputs,
)
from ansible_collections.boring.fleet.plugins.module_utils.stack.select import pick
from ansible_collections.boring.fleet.plugins.module_utils.stack.store import Store
from ansible_collections.boring.fleet.plugins.module_utils.stack.tools import (
    Finished,
    Run,
    Source,
    ask_known,
    why_empty,
)
from ansible_collections.boring.fleet.plugins.module_utils.stack.types import read_types
from ansible_collections.boring.fleet.plugins.plugin_utils.controller_files import find, names_in
from ansible_collections.boring.fleet.plugins.plugin_utils.processes import run_to_end
from ansible_collections.boring.fleet.plugins.plugin_utils.running_task import (
    hide_result,
    play_id,
    shown_anyway,
)

_GRACE = 10.0  # seconds beyond the tool's own time to wait for another process that runs it


@dataclass(frozen=True)
class _Stack:
    """What a stack gave; `shown` is its name in messages, `why_empty` says what to do where it gave nothing."""

    shown: str
    outputs: Mapping[str, Output]
    why_empty: Callable[[], str]


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
        stack = self._saved(variables) if self.get_option("tool") == "file" else self._asked(variables)
        picked = pick(
            stack.outputs,
            names,
            stack.shown,
            types=types,
            schema=schema,
            allow_secrets=self.get_option("allow_secrets"),
            why_empty=stack.why_empty,
        )
        if picked.secret:
            self._hide(stack.shown)
        return [picked.values[name] for name in names] if names else [dict(picked.values)]

    def _hide(self, shown: str) -> None:
        """Let nothing show the running task; say where that is not enough."""
        place = shown_anyway()
        if place:
            raise StackError(
                f"a secret output of {shown} cannot be in {place}, which Ansible shows even with no_log:"
                " use it in the arguments of the module that needs it"
            )
        if hide_result():
            self._display.warning(
                f"stack_output: set_fact and register keep a secret output of {shown} as ordinary data, which a later task may"
                " print: read it in vars where it is used, or give tasks that print it no_log"
            )

    def _refuse_mixtures(self) -> None:
        tool = self.get_option("tool")
        for option, tools in (
            ("stack", ("pulumi",)),
            ("workspace", ("terraform", "tofu")),
            ("path", ("file",)),
            ("public", ("pulumi", "file")),
        ):
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
        try:
            return read_json(
                _text(find(self, variables, given), "the schema"), "it is no JSON, or only a part of it: save it again"
            )
        except StackError as exc:
            problem = str(exc)
        raise StackError(
            problem if problem.startswith("the schema ") else f"the schema {given} cannot be read: {problem}"
        )

    def _saved(self, variables: dict[str, Any]) -> _Stack:
        path = self.get_option("path")
        text = _text(find(self, variables, path), "the saved outputs")
        return _Stack(
            path,
            _outputs(text, "any", f"the saved outputs {path}", public=self.get_option("public")),
            lambda: "nothing was applied yet, or another workspace or stack was selected when it was saved: look there",
        )

    def _asked(self, variables: dict[str, Any]) -> _Stack:
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

        def once(what: str, work: Callable[[Source, Run, Mapping[str, str], float], str]) -> str:
            name = json.dumps([play_id(), what, *vars(source).values()])
            return store.once(name, lambda: work(source, _run, os.environ, timeout), 2 * timeout + _GRACE)

        text = once("outputs", ask_known)
        outputs = _outputs(
            text,
            source.layout,
            f"the outputs of {source}",
            all_secret=source.with_secrets,
            public=self.get_option("public"),
        )
        return _Stack(str(source), outputs, lambda: once("why empty", why_empty))


def _run(argv: list[str], env: Mapping[str, str], directory: str, timeout: float) -> Finished | None:
    done = run_to_end(argv, env, directory, timeout)
    if done is None:
        return None
    code, out, err = done
    # What is no UTF-8 is refused where it is read; in an error text it does no harm.
    return Finished(code, out.decode("utf-8-sig", "surrogateescape"), err.decode(errors="replace"))


def _outputs(text: str, layout: str, what: str, **marks: Any) -> Mapping[str, Output]:
    problem = ""
    try:
        return read_outputs(text, layout, **marks)
    except StackError as exc:
        problem = str(exc)
    raise StackError(f"{what} cannot be used: {problem}")


def _text(path: Path, what: str) -> str:
    problem = ""
    try:
        return decode(path.read_bytes())
    except OSError as exc:
        problem = f"cannot be read: {(exc.strerror or type(exc).__name__).lower()}"
    except StackError as exc:
        problem = f"cannot be used: {exc}"
    raise StackError(f"{what} {path} {problem}")
