# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tasks of the roles and playbooks handle a secret, found by following variables from where a secret comes in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[3]

# Where secrets come in, by role
SECRETS: Final[dict[str, set[str]]] = {
    "certificates": {"certificates_ca_passphrase"},
    "conversion_api": {"conversion_api_nats_password", "conversion_api_redis_password", "__conversion_service_user_data"},
    "conversion_engine": {"conversion_engine_nats_password", "conversion_engine_redis_password", "__conversion_service_user_data"},
    "conversion_service": {"conversion_service_environment", "__conversion_service_user_data"},
    "data_backup": {"data_backup_seal", "data_backup_secret_key", "data_backup_sources"},
    "nats": {"nats_leafnode_remotes", "nats_users"},
    "nvidia_driver": set(),
    "redis": {
        "redis_admin_password", "redis_exporter_password", "redis_replica_password", "redis_sentinel_password", "redis_settings",
        "redis_users",
    },
    "tailscale": set(),
    "twingate_connector": set(),
    "playbooks": {"nats_users", "redis_users", "restore_identity", "restore_password", "rotate_old"},
}  # fmt: skip
# Variables that name a file or directory whose content is secret
FILES: Final[dict[str, set[str]]] = {
    "certificates": {"certificates_files", "__certificates_ca_key", "__certificates_key"},
    "nvidia_driver": {"nvidia_driver_signing_key"},
    "redis": {"redis_tls_dir", "__redis_sentinel_own_config"},
    "tailscale": {"tailscale_auth_key_file"},
    "twingate_connector": {"__twingate_connector_scratch"},
    "playbooks": {"restore_identity_file", "rotate_path", "__rotate_path"},
}
# Options that sound so and hold names of secrets, or say something about them
SOUND_ONLY: Final = re.compile(r"(^|_)host_secrets(_|$)")
# What is made of a secret and is none
PLAIN: Final[dict[str, set[str]]] = {
    "certificates": {"__certificates_ca_made", "__certificates_ca_request", "__certificates_differ", "__certificates_signed"},
    # without passwords, and what the program says of that
    "data_backup": {"__data_backup_told", "__data_backup_written"},
    "nats": {"__nats_config_fault", "__nats_config_written", "__nats_refusals"},
    # names, addresses, sentences and yes or no; what its modules tell without secrets; and what was cleaned of passwords
    "redis": {
        "__redis_acl_fault", "__redis_acl_written", "__redis_as_wanted", "__redis_believed", "__redis_config_fault", "__redis_config_written",
        "__redis_is_in", "__redis_loaded", "__redis_own_text", "__redis_refusals", "__redis_seen", "__redis_sentinel_acl_fault", "__redis_sentinel_acl_written",
        "__redis_set", "redis_master", "__redis_starts_it",
    },
    "tailscale": {"__tailscale_needs_key"},
    "playbooks": {"__restore_host", "__restore_ready", "__restore_said", "__rotate_hers", "nats_unused_user"},
}  # fmt: skip
# Tasks that are given a secret and need no `no_log`, each with the reason
NEED_NONE: Final[dict[str, str]] = {
    "redis: Hand over | Let another be master": "the module marks its password, as its own test shows",
    "redis: Whole | Wait for it": "the module marks its password, as its own test shows",
    "redis: Certificates | Load the new ones": "the module marks its password, as its own test shows",
    "redis: Master | Ask the set's Sentinels": "the module marks its password, as its own test shows",
    "redis: Server | Users and settings": "the module marks its passwords and hashes, as its own test shows",
    "redis: Sentinel | Change what differs": "the module marks its passwords, as its own test shows",
    "playbooks: Refuse where the inventory does not take the secret from the file": "it says the user, of USER:PASSWORD",
}
READERS: Final = ("ansible.builtin.copy", "ansible.builtin.slurp", "ansible.builtin.fetch", "ansible.builtin.template")
FILE_LOOKUP: Final = re.compile(r"lookup\('ansible\.builtin\.file'[^)]*")
JINJA: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# Options whose names sound like it
SOUNDS_SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|auth_key|private_key|signing_key|(^|_)users$|user_data|write_files|credential|environment$"
)


@dataclass(frozen=True)
class Found:
    """A task: where it is, its module and what it was given."""

    role: str
    file: Path
    task: dict[str, Any]
    module: str

    @property
    def id(self) -> str:
        return f"{self.role}: {self.task.get('name', self.module)}"

    @property
    def arguments(self) -> Any:
        return self.task[self.module]


def tasks_of(role: str) -> Iterator[Found]:
    """All tasks of a role, or of the playbooks, blocks opened."""
    folder = ROOT / ("playbooks" if role == "playbooks" else f"roles/{role}")
    files = (
        [*folder.glob("*.yml"), *folder.glob("tasks/*.yml")]
        if role == "playbooks"
        else [*folder.glob("tasks/*.yml"), *folder.glob("handlers/*.yml")]
    )
    for file in sorted(files):
        for entry in yaml.safe_load(file.read_text()) or []:
            yield from _opened(entry, role, file)


def _opened(entry: Any, role: str, file: Path) -> Iterator[Found]:
    if not isinstance(entry, dict):
        return
    inside = [
        part
        for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers")
        for part in entry.get(key) or []
    ]
    if inside:
        handed_down = {key: entry[key] for key in ("no_log", "vars") if key in entry and "hosts" not in entry}
        for part in inside:
            yield from _opened({**handed_down, **part}, role, file)
        return
    module = next((key for key in entry if "." in key), "")
    if module:
        yield Found(role, file, entry, module)


def mentions(text: Any, names: set[str]) -> bool:
    """Whether one of the variables stands in an expression of a text, or in one of the texts of a structure."""
    if isinstance(text, dict):
        return any(mentions(value, names) for value in text.values())
    if isinstance(text, list):
        return any(mentions(value, names) for value in text)
    return isinstance(text, str) and any(names & set(re.findall(r"\w+", found)) for found in JINJA.findall(text))


def secret_variables(role: str) -> set[str]:
    """The variables that hold a secret, or something made of one."""
    names, plain = set(SECRETS[role]), PLAIN.get(role, set())
    folder = ROOT / "roles" / role
    known: dict[str, Any] = {}
    for file in (*folder.glob("defaults/*.yml"), *folder.glob("vars/*.yml")):
        known |= yaml.safe_load(file.read_text()) or {}
    assigned = [known]
    assigned += [found.task.get("vars") or {} for found in tasks_of(role)]
    assigned += [found.arguments for found in tasks_of(role) if found.module == "ansible.builtin.set_fact"]
    registered = {
        found.task["register"]: found for found in tasks_of(role) if isinstance(found.task.get("register"), str)
    }
    while True:
        before = len(names)
        for variables in assigned:
            names |= {
                name
                for name, value in variables.items()
                if name not in plain and (mentions(value, names) or _reads(value, role))
            }
        names |= {name for name, found in registered.items() if name not in plain and handles(found, names)}
        if len(names) == before:
            return names


def handles(found: Found, names: set[str]) -> bool:
    """Whether what the task's module is given, or may show, holds one of the variables, or what is in a secret file."""
    given = {key: found.task[key] for key in (found.module, "loop", "environment", "name") if key in found.task}
    if found.module.startswith(("ansible.builtin.include_", "ansible.builtin.import_")):
        given = {key: found.task[key] for key in ("loop", "name") if key in found.task}
    if isinstance(found.arguments, dict) and found.module == "ansible.builtin.assert":
        # conditions are looked at, and their text is shown, not what they hold
        given[found.module] = {key: value for key, value in found.arguments.items() if key != "that"}
    if mentions(given, names | set(found.task.get("vars") or {}) & names):
        return True
    if any(mentions(template.read_text(), names) for template in templates(found)):
        return True
    if found.module in READERS and mentions(given, FILES.get(found.role, set())):
        return True
    return _reads([given, found.task.get("vars") or {}], found.role)


def _reads(value: Any, role: str) -> bool:
    """Whether a look-up in it reads a secret file, or makes a password."""
    if isinstance(value, dict):
        return any(_reads(part, role) for part in value.values())
    if isinstance(value, list):
        return any(_reads(part, role) for part in value)
    files = FILES.get(role, set())
    if not isinstance(value, str):
        return False
    return "lookup('ansible.builtin.password'" in value or any(
        files & set(re.findall(r"\w+", found[0])) for found in FILE_LOOKUP.finditer(value)
    )


def templates(found: Found) -> list[Path]:
    """The templates that the task renders."""
    text = yaml.safe_dump({key: value for key, value in found.task.items() if key != "when"}, width=10**9)
    return [
        file
        for file in (ROOT / "roles" / found.role / "templates").glob("*.j2")
        if re.search(rf"\b{re.escape(file.name)}\b", text)
    ]


def secret_tasks() -> list[Found]:
    """Every task that handles a secret."""
    return [
        found
        for role in SECRETS
        for names in [secret_variables(role)]
        for found in tasks_of(role)
        if handles(found, names)
    ]
