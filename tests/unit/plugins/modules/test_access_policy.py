# SPDX-License-Identifier: GPL-3.0-or-later
"""The module access_policy in one real run: tested before it is written, validated, the same again changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.boring.fleet.plugins.modules.access_policy import EXAMPLES
from tests.unit.plugins.playbook_runs import run_playbook


def test_the_example_of_its_own_documentation(tmp_path: Path) -> None:
    access = yaml.safe_load(EXAMPLES)[0]["boring.fleet.access_policy"]["access"]
    (tmp_path / "access.yml").write_text(yaml.safe_dump(access))
    access["allow"].append({"from": "api", "to": "grafana"})
    (tmp_path / "wrong.yml").write_text(yaml.safe_dump(access))

    def task(register: str, file: str = "access.yml", **options: Any) -> dict[str, Any]:
        given = {"access": f"{{{{ lookup('ansible.builtin.file', '{file}') | from_yaml }}}}", "dialect": "headscale"}
        files = {"tailnet": "{{ playbook_dir }}/policy.json", "twingate": "{{ playbook_dir }}/twingate.json"}
        made = {"boring.fleet.access_policy": {**given, **files, **options}, "register": register, "diff": True}
        return made | {"check_mode": register == "dry", "ignore_errors": register.startswith("not_")}

    tasks = [
        task("dry"),
        {"ansible.builtin.stat": {"path": "{{ playbook_dir }}/policy.json"}, "register": "dry_file"},
        task("not_wrong", file="wrong.yml"),
        task("not_valid", validate="grep -q nothing %s"),
        task("first", validate="python3 -m json.tool %s"),
        task("again"),
        {
            "ansible.builtin.assert": {
                "that": [
                    "dry is changed and not dry_file.stat.exists",
                    "'nothing is written, as the test cases fail: tag:api reaches grafana' in not_wrong.msg",
                    "'policy.json is not written, as grep refuses it: it ended with 1' in not_valid.msg",
                    "first is changed and again is not changed and first.cases == 3",
                ]
            }
        },
    ]
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}])
    assert code == 0, output
    assert json.loads((tmp_path / "policy.json").read_text())["tagOwners"]["tag:engine"] == ["group:developers"]
    assert [one["name"] for one in json.loads((tmp_path / "twingate.json").read_text())["resources"]] == ["grafana"]
    assert '+    "tag:api": [],' in output
