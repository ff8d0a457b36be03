# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup stack_output with tools that are small programs which note each call, in process and in real runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError

from ansible_collections.boring.fleet.plugins.lookup.stack_output import DOCUMENTATION, LookupModule
from tests.unit.plugins.playbook_runs import HOSTS, loaded, run_playbook

OUTPUTS = {
    "vpc_id": {"sensitive": False, "type": "string", "value": "vpc-1"},
    "subnet_ids": {"sensitive": False, "type": ["list", "string"], "value": ["a", "b"]},
    "port": {"sensitive": False, "type": "number", "value": 443},
    "db_password": {"sensitive": True, "type": "string", "value": "hunter2hunter2"},
}
PULUMI = """case "$*" in
*--show-secrets*) echo '{"vpcId": "vpc-1", "password": "hunter2hunter2"}' ;;
*) echo '{"vpcId": "vpc-1", "password": "[secret]"}' ;;
esac"""
Tool = Callable[[str, str], Path]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Put a program on PATH that notes its arguments in `calls` and then does what `body` says."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "infra").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)

    def make(name: str, body: str) -> Path:
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{body}\n')
        program.chmod(0o755)
        return tmp_path

    return make


def prints(document: Any) -> str:
    return f"cat <<'END'\n{json.dumps(document)}\nEND"


def lookup(*terms: Any, **options: Any) -> list[Any]:
    plugin = loaded(LookupModule, "boring.fleet.stack_output", DOCUMENTATION)
    result: list[Any] = plugin.run(list(terms), variables={}, **options)
    return result


@pytest.mark.parametrize("name", ["tofu", "terraform"])
def test_outputs_with_their_types(tool: Tool, name: str) -> None:
    here = tool(name, prints(OUTPUTS))
    assert lookup("vpc_id", "subnet_ids", "port", tool=name, dir="infra") == ["vpc-1", ["a", "b"], 443]
    assert (here / "calls").read_text() == f"{name} -chdir={here}/infra output -json\n"
    tool(name, prints({output: shape for output, shape in OUTPUTS.items() if not shape["sensitive"]}))
    whole = lookup(tool=name, dir=str(here / "infra"), workspace="other")
    assert whole == [{"vpc_id": "vpc-1", "subnet_ids": ["a", "b"], "port": 443}]


def test_pulumi(tool: Tool) -> None:
    tool("pulumi", PULUMI)
    assert lookup("vpcId", tool="pulumi", dir="infra") == ["vpc-1"]
    assert lookup("password", tool="pulumi", dir="infra", stack="o/p/s", allow_secrets=True) == ["hunter2hunter2"]


def test_schema_and_types(tool: Tool) -> None:
    here = tool("tofu", prints(OUTPUTS))
    (here / "infra" / "schema.json").write_text(json.dumps({"properties": {"port": {"type": "integer"}}}))
    options = {"tool": "tofu", "dir": "infra", "schema": "infra/schema.json"}
    assert lookup("port", types="{vpc_id: str, subnet_ids: list[str], port: int}", **options) == [443]
    with pytest.raises(AnsibleError, match="the output port must be str and is int"):
        lookup("port", types={"port": "str"}, **options)
    with pytest.raises(AnsibleError, match="the output port must be string and is int"):
        lookup("port", tool="tofu", dir="infra", schema={"properties": {"port": {"type": "string"}}})


def test_saved_outputs_need_no_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved.json").write_text(json.dumps(OUTPUTS))
    assert lookup("port", tool="file", path="saved.json") == [443]
    assert lookup("db_password", tool="file", path="saved.json", allow_secrets=True) == ["hunter2hunter2"]


@pytest.mark.parametrize(
    ("terms", "options", "words"),
    [
        (["vpcid"], {}, r"infra \(tofu\) has no output vpcid; the closest name is vpc_id"),
        (["db_password"], {}, "the output db_password .* is secret: set allow_secrets=true"),
        (["x"], {"dir": "nowhere"}, "there is no directory nowhere beside the playbook"),
        (["x"], {"tool": "pulumi"}, "pulumi is not on this controller's PATH: install it, or save its outputs"),
        (["x"], {"stack": "o/p/s"}, "the option stack means nothing to tofu, only to pulumi"),
        (["x"], {"tool": "pulumi", "workspace": "w"}, "the option workspace means nothing to pulumi"),
        (["x"], {"path": "saved.json"}, "the option path means nothing to tofu"),
        (["x"], {"tool": "file"}, "tool=file needs the option path"),
        (
            ["x"],
            {"tool": "file", "path": "absent.json"},
            "the saved outputs .*absent.json cannot be read: no such file",
        ),
        (["x"], {"tool": "file", "path": "calls"}, "the saved outputs calls cannot be used: it is not a JSON object"),
        (["x"], {"schema": "absent.json"}, "the schema .*absent.json cannot be read: no such file"),
        (
            ["x"],
            {"schema": "calls"},
            "the schema calls cannot be read: it is no JSON, or only a part of it: save it again",
        ),
        (
            ["x"],
            {"schema": "twice.json"},
            "the schema twice.json cannot be read: it names type twice: take one of them out",
        ),
        (["x"], {"schema": "more.json"}, "the schema more.json cannot be read: it is no JSON, or only a part"),
        (["x"], {"schema": "wide.json"}, "the schema .*wide.json cannot be used: it is UTF-16"),
        (["x"], {"tool": "file", "path": "wide.json"}, "the saved outputs .*wide.json cannot be used: it is UTF-16"),
        (
            ["x"],
            {"tool": "file", "path": "empty.json"},
            "empty.json has no outputs at all: nothing was applied yet, or another",
        ),
        (["x"], {"public": ["x"]}, "the option public means nothing to tofu, only to pulumi and file"),
        (["x"], {"types": "{x: strin}"}, "'strin' is none of"),
        (["x"], {"timeout": 0}, "timeout must be more than 0 seconds"),
    ],
)
def test_errors(tool: Tool, terms: list[str], options: dict[str, Any], words: str) -> None:
    here = tool("tofu", prints(OUTPUTS))
    (here / "calls").write_text("hunter2\n")
    (here / "wide.json").write_text('{"a": "hunter2"}', encoding="utf-16")
    (here / "empty.json").write_text("{}")
    (here / "twice.json").write_text('{"type": "object", "type": "hunter2"}')
    (here / "more.json").write_text('{"type": "object"} hunter2')
    with pytest.raises(AnsibleError, match=words) as refusal:
        lookup(*terms, **{"tool": "tofu", "dir": "infra", **options})
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None


def test_a_tool_that_hangs_is_ended_with_all_that_it_started(tool: Tool) -> None:
    here = tool("tofu", "sleep 600 & echo $! > child; wait")
    with pytest.raises(AnsibleError, match=r"did not give the outputs of .* within 0.5 s"):
        lookup("x", tool="tofu", dir="infra", timeout=0.5)
    child = int((here / "infra" / "child").read_text())
    for dummy in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split(") ")[1].startswith("Z"):
            return
        time.sleep(0.05)
    os.kill(child, 9)
    pytest.fail("what the tool had started was still there")


def test_an_empty_stack_says_which_workspace_was_asked(tool: Tool) -> None:
    """The tool prints what Terraform 1.11 does."""
    tool("tofu", 'case "$*" in *workspace*) printf "* default\\n  prod\\n\\n" ;; *) echo "{}" ;; esac')
    options = {"tool": "tofu", "dir": "infra"}
    with pytest.raises(
        AnsibleError, match=r"has no outputs at all: .* its workspace default yet, .*\(there are also prod\)"
    ):
        lookup("vpc_id", **options)
    with pytest.raises(AnsibleError, match="has no outputs at all"):
        lookup(types="{vpc_id: str}", **options)
    with pytest.raises(AnsibleError, match="there is no workspace prd; there are default, prod"):
        lookup("vpc_id", workspace="prd", **options)
    assert lookup(**options) == [{}]


ASK = "lookup('boring.fleet.stack_output', {})"
SECRET = ASK.format("'db_password', tool='tofu', dir='infra', allow_secrets=true")


def test_one_run_a_stack_and_play_however_many_ask(tool: Tool) -> None:
    """Three hosts at once, several tasks, a failing stack, two plays."""
    here = tool("tofu", "sleep 0.2\n" + prints(OUTPUTS))
    tool("terraform", "sleep 0.2; echo 'Error: no backend' >&2; exit 1")
    tofu, terraform = (ASK.format(f"'vpc_id', tool='{name}', dir='infra'") for name in ("tofu", "terraform"))
    both = {"ansible.builtin.debug": {"msg": f"{{{{ {tofu} }}}} {{{{ {tofu} }}}}"}}
    failing = {"ansible.builtin.debug": {"msg": f"{{{{ {terraform} }}}}"}, "ignore_errors": True}
    code, output = run_playbook(
        here,
        [{"tasks": [both, failing, both, failing]}, {"serial": 1, "tasks": [both]}],
        env={"PATH": os.environ["PATH"]},
    )
    assert code == 0, output
    calls = (here / "calls").read_text().splitlines()
    assert (
        sorted(calls)
        == [f"terraform -chdir={here}/infra output -json"] + [f"tofu -chdir={here}/infra output -json"] * 2
    )
    assert output.count('"msg": "vpc-1 vpc-1"') == 9
    assert "stack_output: terraform gave no outputs of" in output
    assert "no backend" in output
    assert not list((here / "home" / "tmp").glob("**/boring-fleet-stack-*")), "Ansible takes its directory away"


def test_a_secret_output_is_used_and_not_shown(tool: Tool) -> None:
    """In arguments, loops, conditions, templates with diff, facts, and by way of a lazy variable, at -vvv."""
    here = tool("tofu", prints(OUTPUTS))
    tool("pulumi", PULUMI)
    (here / "config.j2").write_text("password={{ secret }}\n")
    asked = ASK.format("'password', tool='pulumi', dir='infra', allow_secrets=true")
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.debug": {"msg": "{{ secret }}"}},
        {"ansible.builtin.debug": {"var": "secret"}},
        {"ansible.builtin.debug": {"msg": f"{{{{ {asked} }}}}"}},
        {"ansible.builtin.command": "echo {{ secret }}", "changed_when": False},
        {"ansible.builtin.command": "echo {{ item }}", "loop": ["{{ secret }}", "b"], "changed_when": False},
        {"ansible.builtin.command": "echo {{ secret }}{{ item }}", "loop": ["a", "b"], "changed_when": False},
        {"ansible.builtin.command": "false {{ secret }}", "ignore_errors": True},
        {"ansible.builtin.template": {"src": "config.j2", "dest": "{{ playbook_dir }}/{{ inventory_hostname }}", "mode": "0600"}},
        {"ansible.builtin.set_fact": {"kept": "{{ secret }}"}},
        {"ansible.builtin.assert": {"that": ["kept | length == 14", "secret == kept"], "quiet": True}, "no_log": True},
        {"ansible.builtin.debug": {"msg": "plain {{ lookup('boring.fleet.stack_output', 'port', tool='tofu', dir='infra', allow_secrets=true) }}"}},
    ]  # fmt: skip
    plays = [{"vars": {"secret": f"{{{{ {SECRET} }}}}"}, "tasks": tasks}]
    code, output = run_playbook(here, plays, "--diff", env={"PATH": os.environ["PATH"]})
    assert code == 0, output
    assert "hunter2" not in output
    assert output.count('"msg": "plain 443"') == 3, "an output that is not secret is shown"
    for host in HOSTS:
        assert (here / host).read_text() == "password=hunter2hunter2\n"


SAVED = "tool='file', path='saved.json', public=['vpc_id'], allow_secrets=true"


def test_a_saved_file_of_pulumi_is_used_and_not_shown(tmp_path: Path) -> None:
    """Marked as any secret is: no task shows it, and where Ansible shows things in spite of no_log it is refused."""
    (tmp_path / "saved.json").write_text(json.dumps({"vpc_id": "vpc-1", "password": "hunter2hunter2"}))
    (tmp_path / "config.j2").write_text("password={{ secret }}\n")
    (tmp_path / "included.yml").write_text("[{ansible.builtin.debug: {msg: 'included {{ passed }}'}}]")
    whole = ASK.format(SAVED)
    builtin = "ansible.builtin."
    used: list[dict[str, Any]] = [
        {builtin + "debug": {"msg": "{{ secret }}"}},
        {builtin + "debug": {"var": "secret"}},
        {builtin + "debug": {"msg": "{{ item }}"}, "loop": "{{ query('boring.fleet.stack_output', 'password', 'vpc_id', " + SAVED + ") }}"},
        {builtin + "debug": {"msg": "{{ item }}"}, "loop": f"{{{{ {whole} | dict2items }}}}"},
        {builtin + "command": "echo {{ secret }}", "register": "done", "until": "done.rc == 0", "changed_when": "secret == done.stdout"},
        {builtin + "command": "false {{ secret }}", "ignore_errors": True},
        {builtin + "assert": {"that": ["secret == 'x'"]}, "ignore_errors": True},
        {builtin + "debug": {"msg": "x"}, "when": "(secret | int(default='x')) + 1 > 0", "ignore_errors": True},
        {builtin + "include_tasks": "included.yml", "vars": {"passed": "{{ secret }}"}},
        {builtin + "debug": {"msg": "x"}, "loop": [1], "loop_control": {"label": "{{ secret }}"}, "ignore_errors": True},  # ansible-core 2.21 hides it, others would not
        {builtin + "template": {"src": "config.j2", "dest": "{{ playbook_dir }}/out", "mode": "0600"}},
        {builtin + "set_fact": {"kept": "{{ secret }}"}},
        {builtin + "debug": {"msg": "public {{ lookup('boring.fleet.stack_output', 'vpc_id', tool='file', path='saved.json', public=['vpc_id']) }}"}},
        {builtin + "debug": {"msg": "{{ lookup('boring.fleet.stack_output', 'vpc_id', tool='file', path='saved.json') }}"}, "ignore_errors": True},
    ]  # fmt: skip
    refused: list[dict[str, Any]] = [
        {builtin + "fail": {"msg": "{{ secret }}"}},
        {builtin + "assert": {"that": ["true"], "success_msg": "{{ secret }}"}},
        {builtin + "command": "env", "environment": {"PASSWORD": "{{ secret }}"}, "changed_when": False},
        {builtin + "include_tasks": "included.yml", "loop": ["{{ secret }}"], "loop_control": {"loop_var": "passed"}},
        {builtin + "include_tasks": "{{ secret }}.yml"},
        {builtin + "debug": {"msg": "x"}, "delegate_to": "{{ secret }}"},
        {builtin + "add_host": {"name": "{{ secret }}"}},
        {builtin + "group_by": {"key": "{{ secret }}"}},
        {builtin + "set_stats": {"data": {"secret": "{{ secret }}"}}},
        {builtin + "command": "true", "notify": "{{ secret }}", "changed_when": True},
    ]
    blocks = [{"block": [task], "rescue": [{builtin + "debug": {"msg": "refused"}}]} for task in refused]
    named = [{"name": "called {{ secret }}", builtin + "debug": {"msg": "x"}}]
    plays = [
        {"hosts": "h1", "vars": {"secret": f"{{{{ lookup('boring.fleet.stack_output', 'password', {SAVED}) }}}}"}, "tasks": tasks}
        for tasks in (used + named, blocks)
    ]  # fmt: skip
    code, output = run_playbook(tmp_path, plays, "--diff")
    assert code == 0, output
    assert "hunter2" not in output
    assert (tmp_path / "out").read_text() == "password=hunter2hunter2\n"
    assert '"msg": "public vpc-1"' in output
    assert (
        "the output vpc_id of saved.json is secret as far as anybody can tell: a saved file of Pulumi does not say"
        in output
    )
    assert output.count('"msg": "refused"') == len(refused)
    assert "cannot be in the arguments of fail, which Ansible shows even with no_log" in output
    assert "set_fact and register keep a secret output of saved.json as ordinary data" in " ".join(output.split())
