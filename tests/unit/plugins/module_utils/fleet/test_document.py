# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schema and the tables that are shipped: what the code gives, and what the code takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from ansible_collections.boring.fleet.plugins.module_utils.fleet import keys
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import ARGUMENTS
from tests.unit.plugins.module_utils.fleet.fleets import changed, shop
from tests.unit.plugins.module_utils.fleet.test_broken import BROKEN

ROOT = Path(__file__).resolve().parents[5]
EXAMPLES = [ROOT / "playbooks" / "vars" / f"{name}.yml" for name in ("conversion", "shop")]
SHIPPED: dict[str, Any] = json.loads((ROOT / "docs" / "fleet.schema.json").read_text())
SCHEMA = Draft202012Validator(SHIPPED)
# The sentences of `shapes`: what has the wrong type, is missing, unknown, or out of range wherever it stands.
SHAPES = re.compile(
    r"there is no such key|is missing: (?!name the region)|is empty: give|is an empty list|must be (a list|a mapping|a whole number|true or false)"
    r"|the name must|\S+ is less than [01]$|\S+ is more than (5000|65535)$"
)


def test_they_are_what_the_code_gives() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin" / "fleet-docs"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SHIPPED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_read_and_fit_the_schema(path: Path) -> None:
    variables = yaml.safe_load(path.read_text())
    assert [error.message for error in SCHEMA.iter_errors(variables)] == []
    # What Ansible computes is for a run of Ansible.
    plain = json.loads(json.dumps(variables).replace("{{ fleet_name }}", variables["fleet_name"]))
    assert lists(read_fleet({"fleet_region": "eu-central-1", **plain}))["groups"]


def test_a_file_that_is_laid_over_another_fits_the_schema_too() -> None:
    staging = yaml.safe_load((ROOT / "playbooks" / "vars" / "shop_staging.yml").read_text())
    assert SCHEMA.is_valid(staging)
    assert not SCHEMA.is_valid({**staging, "fleet_overrides": []})


def test_a_file_that_is_taken_fits_the_schema_and_may_hold_templates() -> None:
    assert SCHEMA.is_valid(shop())
    assert SCHEMA.is_valid(changed("fleet_services.web.port", "{{ lookup('env', 'PORT') }}"))
    assert SCHEMA.is_valid({**shop(), "somebody_elses": 1})


@pytest.mark.parametrize(("where", "value", "path", "words"), BROKEN)
def test_the_schema_refuses_what_has_the_wrong_shape(where: str, value: Any, path: str, words: str) -> None:
    # One twice, and options of a roll, are beyond it.
    if SHAPES.match(words) and not (".roll." in path and "such key" not in words):
        assert not SCHEMA.is_valid(json.loads(json.dumps(changed(where, value)))), f"{path}: {words}"


def test_every_key_is_in_a_table_and_every_option_of_a_roll_is_known() -> None:
    text = (ROOT / "docs" / "fleet.md").read_text()
    for table in keys.TABLES:
        assert all(f"| `{name}` |" in text for name in table.keys)
        assert all(key.words.endswith(".") for key in table.keys.values())
    assert set(ARGUMENTS) - set(keys.ROLL.keys) == {"group", "state", "launch_template", "events_path"}


def test_the_contract_is_kept() -> None:
    """The keys that are promised, with their names."""
    assert set(keys.SERVICE.keys) >= {
        "machine", "roles", "container", "role_variables", "inputs", "version", "size", "port", "health", "expose", "uses", "environment", "secrets",
        "files", "isolated", "egress", "roll", "tls", "scale",
    }  # fmt: skip
    assert set(keys.DATA.keys) >= {
        "kind",
        "nodes",
        "purpose",
        "machine",
        "disk",
        "limits",
        "may_lose_data",
        "plaintext",
    }
    assert set(keys.FILE.keys) >= {
        "fleet_name",
        "fleet_region",
        "fleet_network",
        "fleet_machines",
        "fleet_data",
        "fleet_services",
    }


def test_a_refusal_is_never_of_nothing() -> None:
    with pytest.raises(FleetError, match=r"^fleet_name: is missing: name of the fleet$"):
        read_fleet({"fleet_region": "eu-central-1", "fleet_data": {"bus": {"kind": "nats"}}})
