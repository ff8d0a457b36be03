# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts get when they boot: readable back, in the form that the role host_secrets writes, and different whenever something is different."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.fleet import boot, names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.boot import HostSecrets
from ansible_collections.boring.fleet.plugins.module_utils.fleet.facts import Beside, resources
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from tests.unit.plugins.module_utils.fleet.fleets import changed, shop
from tests.unit.plugins.playbook_runs import run_playbook

HOSTILE = 'a "quoted" $HOME `x` \\ back\\slash \\" and another="no"'


def of(variables: dict[str, Any], service: str = "web") -> tuple[dict[str, Any], dict[str, Any]]:
    """The lists, and the group of a service."""
    found = lists(read_fleet(variables))
    return found, next(group for group in found["groups"] if group["for"] == service)


def test_the_role_writes_the_same(tmp_path: Path) -> None:
    secrets = {"CACHE_PASSWORD": "/boring/fleets/shop/password", "OTHER": "/shop/other"}
    out = tmp_path / "wanted.json"
    role = {"name": "boring.fleet.host_secrets", "tasks_from": "user_data"}
    given = {
        "host_secrets_files": [{"path": "/etc/fleet/secrets.env", "environment": secrets}],
        "host_secrets_endpoint": "http://172.31.0.1:4577",
    }
    tasks = [
        {"ansible.builtin.include_role": role, "vars": given},
        {
            "ansible.builtin.copy": {
                "dest": str(out),
                "content": "{{ host_secrets_user_data[0] | to_json }}",
                "mode": "0600",
            }
        },
    ]
    code, said = run_playbook(tmp_path, [{"hosts": "h1", "tasks": tasks}])
    assert code == 0, said[-2000:]
    written = json.loads(out.read_text())
    wanted = [{"path": "/etc/fleet/secrets.env", "environment": secrets}]
    ours = boot.wanted_json(wanted, HostSecrets(endpoint="http://172.31.0.1:4577"))
    assert json.loads(ours) == json.loads(written["content"]) and written["path"] == boot.WANTED_FILE


@pytest.mark.parametrize("value", ["", "plain", HOSTILE, "=", "\\", '"'])
def test_variables_are_read_back_whatever_is_in_them(value: str) -> None:
    found, group = of(changed("fleet_services.web.environment", {"ONE": value, "TWO": "2"}))
    data = Beside().template(found, group)
    seen = boot.facts(data, {})["variable"]
    assert seen["ONE"] == boot.digest(value) and seen["TWO"] == boot.digest("2")
    assert seen["SECRET_KEY_BASE"] == boot.digest("/shop/secret_key_base")


@pytest.mark.parametrize(
    "content", ["", "\U0001f600 \u00e9 \x07\t\n", "\\ud83d\\ude00", HOSTILE, "key: {a: [1, 'b']}\n#x"]
)
def test_cloud_init_reads_the_same_files(content: str) -> None:
    text = boot.user_data([{"path": "/x", "content": content}])
    assert yaml.safe_load(text) == {"write_files": [{"path": "/x", "content": content}]}


def test_user_data_of_somebody_else_is_no_error() -> None:
    for text in ("", "IyEvYmluL3NoCg==", "not base64", boot.user_data([])):
        assert boot.facts({"UserData": text}, {})["variable"] == {}


@pytest.mark.parametrize(
    "change",
    [
        ("fleet_services.web.environment", {"RAILS_ENV": "test"}),
        ("fleet_services.web.secrets", {"SECRET_KEY_BASE": "/shop/another"}),
        ("fleet_services.web.files", [{"path": "/etc/x", "content": "y"}]),
        ("fleet_services.web.version", "2"),
        ("fleet_machines.cpu.instance_type", "t3.large"),
    ],
)
def test_whatever_a_host_is_shows_in_a_plan(change: tuple[str, Any]) -> None:
    before, after = (resources(lists(read_fleet(given)), {})["launch template"] for given in (shop(), changed(*change)))
    differs = {name for name, fact in after["shop-web"].items() if before["shop-web"][name] != fact}
    assert len(differs) >= 2 and "settings" in differs
    assert change[0].startswith("fleet_machines") or before["shop-thumbs"] == after["shop-thumbs"]


def test_a_data_disk_is_encrypted_and_goes_with_its_host() -> None:
    data = Beside().template(*of(shop(), "store"))
    (disk,) = data["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"] and disk["Ebs"]["DeleteOnTermination"] and disk["Ebs"]["VolumeSize"] == 20
    assert data["MetadataOptions"]["HttpTokens"] == "required"


def test_numbers_of_what_left_the_file_are_not_given_again() -> None:
    alone = names.numbers(["new"], 1, 100, {})["new"]
    assert names.numbers(["new"], 1, 100, {"left": alone})["new"] == alone + 1
    assert lists(read_fleet(shop()), kept={"internal left": 24315})["numbers"]["internal thumbs"] != 24315
