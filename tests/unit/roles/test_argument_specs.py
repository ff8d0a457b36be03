# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role's defaults, argument specs, names and README agree. Read from the files: nothing is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir())
# Names that a task may give to what it sets, whatever the role: Ansible's own, and loop variables
SET_KEYWORDS = ("register", "loop_var", "index_var")


def load(role: str, path: str) -> Any:
    file = ROLES / role / path
    return yaml.safe_load(file.read_text()) or {} if file.exists() else {}


def entry_points(role: str) -> dict[str, Any]:
    specs: dict[str, Any] = load(role, "meta/argument_specs.yml").get("argument_specs", {})
    return specs


def options(role: str) -> dict[str, Any]:
    """The options of all entry points together; the same name has the same type and default everywhere."""
    found: dict[str, Any] = {}
    for point, spec in entry_points(role).items():
        for name, option in spec.get("options", {}).items():
            known = found.setdefault(name, option)
            for key in ("type", "elements", "default", "choices"):
                assert known.get(key) == option.get(key), f"{role}: {name} has another {key} in {point}"
    return found


def tasks(role: str) -> list[tuple[Path, dict[str, Any]]]:
    """Every task and handler of a role, those in blocks too."""

    def flat(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            each
            for entry in entries
            for each in [entry, *(flat([*entry.get("block", []), *entry.get("rescue", []), *entry.get("always", [])]))]
        ]

    return [
        (path, task)
        for folder in ("tasks", "handlers")
        for path in sorted((ROLES / role / folder).glob("*.yml"))
        for task in flat(yaml.safe_load(path.read_text()) or [])
    ]


def texts(role: str) -> list[Path]:
    folders = ("tasks", "handlers", "templates", "vars", "defaults")
    return [path for folder in folders for path in sorted((ROLES / role / folder).rglob("*")) if path.is_file()]


def test_there_are_roles() -> None:
    assert {"base", "redis", "nats"} <= set(NAMES)


@pytest.mark.parametrize("role", NAMES)
def test_defaults_and_argument_specs_agree(role: str) -> None:
    defaults = load(role, "defaults/main.yml")
    documented = {name: option.get("default") for name, option in options(role).items() if "default" in option}
    assert documented == defaults


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_required_or_has_a_default(role: str) -> None:
    """What has neither is undefined in a task sooner or later."""
    for name, option in options(role).items():
        assert option.get("required") or "default" in option, f"{role}: {name} has no default and is not required"
        assert not (option.get("required") and "default" in option), f"{role}: {name} is required and has a default"


@pytest.mark.parametrize("role", NAMES)
def test_every_entry_point_has_its_tasks(role: str) -> None:
    assert entry_points(role), f"{role} has no argument_specs"
    for point in entry_points(role):
        assert (ROLES / role / "tasks" / f"{point}.yml").exists(), f"{role}: {point} has no tasks"


@pytest.mark.parametrize("role", NAMES)
def test_public_names_carry_the_roles_name(role: str) -> None:
    for name in [*options(role), *load(role, "defaults/main.yml")]:
        assert name.startswith(f"{role}_"), f"{role}: {name}"


@pytest.mark.parametrize("role", NAMES)
def test_private_names_carry_the_roles_name_and_two_underscores(role: str) -> None:
    """vars/, register, and set_fact; a documented result is public, and named after the role."""
    private = f"__{role}_"
    for name in load(role, "vars/main.yml"):
        assert name.startswith(private), f"{role}: vars/main.yml: {name}"
    for path, task in tasks(role):
        names = [task[key] for key in SET_KEYWORDS if key in task]
        names += [task["loop_control"][key] for key in SET_KEYWORDS if key in task.get("loop_control", {})]
        for name in names:
            assert name.startswith(private) or name == f"{role}_result", f"{path}: {name}"
        for name in task.get("ansible.builtin.set_fact", {}):
            assert name.startswith((private, f"{role}_")) or name == "cacheable", f"{path}: {name}"


@pytest.mark.parametrize("role", NAMES)
def test_facts_are_asked_for_by_their_full_name(role: str) -> None:
    """With inject_facts_as_vars=false, ansible_distribution and its like do not exist."""
    magic = {
        "ansible_check_mode", "ansible_diff_mode", "ansible_facts", "ansible_loop", "ansible_managed",
        "ansible_parent_role_names", "ansible_play_hosts", "ansible_role_name", "ansible_version",
        "ansible_connection", "ansible_host", "ansible_become", "ansible_python_interpreter", "ansible_collections",
        "ansible_collection_name", "ansible_failed_result", "ansible_failed_task", "ansible_search_path",
        "ansible_play_hosts_all",
        "ansible_playbook_python",
    }  # fmt: skip
    for path in texts(role):
        for name in re.findall(r"\bansible_\w+", path.read_text()):
            assert name in magic, (
                f"{path}: {name} is an injected fact; write ansible_facts['{name.removeprefix('ansible_')}']"
            )


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_used(role: str) -> None:
    text = "\n".join(path.read_text() for path in texts(role))
    for name in [*options(role), *load(role, "vars/main.yml")]:
        uses = len(re.findall(rf"\b{name}\b", text)) - len(re.findall(rf"^{name}:", text, re.MULTILINE))
        assert uses > 0, f"{role}: {name} is never used"


def test_the_readmes_tell_every_variable_as_the_specs_have_it() -> None:
    """The tables are generated: a changed default or description that was not written into a README fails here."""
    script = ROLES.parent / "bin" / "role-readmes"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
