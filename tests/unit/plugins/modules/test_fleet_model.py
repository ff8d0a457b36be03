# SPDX-License-Identifier: GPL-3.0-or-later
"""The module fleet_model in one real run: variables of files laid over each other, a refusal, warnings, its own example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.boring.fleet.plugins.modules.fleet_model import EXAMPLES
from tests.unit.plugins.playbook_runs import ROOT, run_playbook

VARIABLES = yaml.safe_load(EXAMPLES)[1]["vars"]
GIVEN = yaml.safe_load(EXAMPLES)[1]["boring.fleet.fleet_model"]


def test_files_laid_over_each_other_and_one_that_is_refused(tmp_path: Path) -> None:
    wrong = {
        "fleet_services": {
            "web": {"size": {"min": 2, "max": 1}, "prot": 8000, "roles": ["acme.shop.web"], "port": 8000}
        }
    }
    (tmp_path / "wrong.yml").write_text(yaml.safe_dump({"fleet_name": "shop", "fleet_region": "eu-central-1", **wrong}))

    def task(register: str, **options: Any) -> dict[str, Any]:
        made = {"boring.fleet.fleet_model": {**GIVEN, **options}, "register": register, "vars": VARIABLES}
        return made | {"ignore_errors": register.startswith("not_")}

    packer = str(ROOT / "packer")
    checks = [
        "read is not changed and read.fleet.name == 'shop-staging'",
        "read.fleet.groups[-1].template.secrets.SECRET_KEY_BASE == '/shop-staging/secret_key_base'",
        "read.fleet.load_balancers[0].listeners[1].rules[0].host == 'shop-staging.example.org'",
        "read.fleet.roles[0].policy.Statement[0].Resource[0] is search(':123456789012:')",
        "only.fleet.images | map(attribute='family') | list == ['shop--staging-thumbs']",
        "not_there.msg == 'fleet_only: there is no thumb; did you mean thumbs?'",
        "again.fleet == read.fleet",
    ]
    tasks = [
        task("read", packer_dir=packer, account="123456789012"),
        task("again", packer_dir=packer, account="123456789012", numbers="{{ read.fleet.numbers }}"),
        task("only", only=["thumbs"]),
        task("not_there", only=["thumb"]),
        {"ansible.builtin.assert": {"that": checks}},
    ]
    shop = [f"@{ROOT}/playbooks/vars/{name}.yml" for name in ("shop", "shop_staging")]
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}], "-e", shop[0], "-e", shop[1])
    assert code == 0, output

    refused = [
        "fleet_services.web.prot: there is no such key; did you mean port?",
        "fleet_services.web.size.max: 1 is less than min 2",
    ]
    mistakes = [dict(zip(("path", "words"), line.split(": ", 1), strict=True)) for line in refused]
    tasks = [
        task("not_read"),
        {"ansible.builtin.assert": {"that": ["not_read.mistakes == wanted", "not_read.msg.splitlines() == lines"]}},
    ]
    play = {"hosts": "h1", "vars": {"wanted": mistakes, "lines": refused}, "tasks": tasks}
    code, output = run_playbook(tmp_path, [play], "-e", "@wrong.yml")
    assert code == 0, output
    assert "Traceback" not in output


def test_the_first_example_of_its_own_documentation(tmp_path: Path) -> None:
    code, output = run_playbook(tmp_path, [{"hosts": "h1", "tasks": yaml.safe_load(EXAMPLES)[::2]}])
    assert code == 0, output
    assert "shop.public" in output and "expose has no certificate" not in output
