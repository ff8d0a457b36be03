# SPDX-License-Identifier: GPL-3.0-or-later
"""No task of a role or playbook shows a secret, whether it succeeds or fails, at -vvv --diff.

Two checks. One follows variables from where secrets come in, and finds tasks that handle one and are not hidden. The other plays
every hidden task as it stands, with a module in place of its own that tells everything which it was given: in its result, as a
diff, in loops, and when it fails.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.playbook_runs import run_playbook
from tests.unit.roles import secret_tasks as known
from tests.unit.roles.secret_tasks import (
    FILES,
    NEED_NONE,
    PLAIN,
    ROOT,
    SECRETS,
    Found,
    mentions,
    secret_tasks,
    secret_variables,
    tasks_of,
)

TASKS = secret_tasks()
ROLES = sorted(file.parts[-3] for file in (ROOT / "roles").glob("*/meta/argument_specs.yml"))


def hidden(found: Found) -> bool:
    no_log = found.task.get("no_log")
    return no_log is True or str(no_log).endswith("_secure_logging | bool }}")  # whose default is true


def test_the_tasks_are_found() -> None:
    """Some of each kind: by a variable, a template, a look-up, a file, a registered answer."""
    names = {found.id for found in TASKS}
    assert {
        "redis: Configure | Write the users, if Redis finds them valid",
        "redis: Configure | Say that this is a node of a set",
        "nats: User data | Render what configure would write",
        "tailscale: User data | Render what a host needs to join",
        "twingate_connector: Tokens | Bring them to the host",
        "conversion_service: Configure | Write the environment",
        "redis: Sentinel | Whom to watch",
    } <= names
    assert len(names) >= 35


@pytest.mark.parametrize("found", TASKS, ids=lambda found: found.id)
def test_who_handles_a_secret_is_hidden(found: Found) -> None:
    copies = (
        found.module == "ansible.builtin.copy" and found.task.get("diff") is False and "content" not in found.arguments
    )
    assert hidden(found) or found.id in NEED_NONE or copies, f"{found.file}: {found.id} needs no_log: true"


def test_reasons_are_about_tasks_that_there_are() -> None:
    assert set(NEED_NONE) <= {found.id for found in TASKS if not hidden(found)}
    for role, plain in PLAIN.items():
        text = "".join(file.read_text() for file in (ROOT / "roles" / role).rglob("*.yml")) if role != "playbooks" else "".join(
            file.read_text() for file in (ROOT / role).rglob("*.yml")
        )  # fmt: skip
        assert not [name for name in plain | FILES.get(role, set()) | SECRETS[role] if name not in text], role


@pytest.mark.parametrize("role", sorted(SECRETS))
def test_no_name_no_message_and_no_environment_holds_a_secret(role: str) -> None:
    """Ansible shows these whatever no_log says; since ansible-core 2.19 also what `fail` and `assert` say."""
    names = secret_variables(role)
    for found in tasks_of(role):
        shown = [found.task.get(key) for key in ("name", "environment", "delegate_to", "loop_control")]
        if (
            found.module in ("ansible.builtin.assert", "ansible.builtin.fail", "ansible.builtin.debug")
            and found.id not in NEED_NONE
        ):
            shown.append({key: value for key, value in found.arguments.items() if key != "that"})
        assert not any(mentions(part, names) for part in shown), found.id


@pytest.mark.parametrize("role", ROLES)
def test_every_option_that_sounds_like_a_secret_is_known(role: str) -> None:
    entries = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    for name in {name for entry in entries.values() for name in entry.get("options") or {}}:
        if known.SOUNDS_SECRET.search(name) and not known.SOUND_ONLY.search(name):
            assert name in SECRETS.get(role, set()) | FILES.get(role, set()), (
                f"add {name} to tests/unit/roles/secret_tasks.py"
            )


# The module tells in every field of its result but `msg`, which ansible-core 2.19 and newer show always.
TELLING = """\
#!/bin/sh
# WANT_JSON
printf '%s\\n' "$(cat "$1")" >> {seen}
exec {python} - "$1" {failed} <<'END'
import json, sys
text = open(sys.argv[1]).read()
told = {{"stdout": text, "stderr": text, "stdout_lines": [text], "cmd": [text], "content": text, "ansible_facts": {{"told": text}}}}
diff = [{{"before": text, "after": text + "more"}}, {{"prepared": text}}]
print(json.dumps({{**told, "diff": diff, "changed": True, "failed": sys.argv[2] == "1", "msg": "it has told",
                  "invocation": {{"module_args": json.loads(text)}}}}))
END
"""
SECRET = "hunter2hunter2hunter2"
# As it is, in base64 wherever it begins, and a hash of a password
FORMS = (
    SECRET,
    *(base64.b64encode(b"x" * skip + SECRET.encode())[4:-4].decode() for skip in range(3)),
    "5ec2e75ec2e75ec2e7",
)
USERS = [
    {
        "name": "app",
        "user": "app",
        "password": SECRET + "-user",
        "salt": "salt",
        "rules": ["+@read"],
        "password_sha256": "5ec2e7" * 10 + "abcd",
    }
]
VALUES: dict[str, Any] = {
    "redis_users": USERS,
    "nats_users": [{"user": "app", "password_bcrypt": "$2b$04$" + SECRET + "a" * 32}],
    "nats_leafnode_remotes": [{"url": "tls://h:7422", "user": "u", "password": SECRET + "-leaf"}],
    "redis_settings": {},
    "redis_nodes": ["a", "b", "c"],
    "redis_master": "a",
    "redis_tls": True,
    "redis_sentinel": True,
    "conversion_service_environment": {"PASSWORD": SECRET + "-environment"},
    "__conversion_service_user_data": [{"content": SECRET + "-user-data"}],
    # what other tasks found out
    "__rotate_read": {"results": [{"content": "aHVudGVyMmh1bnRlcjJodW50ZXIyLXJlYWQ="}] * 2},
    "__certificates_request": {"stdout": "request"},
    "__certificates_ca_request": {"csr": "request"},
    "__certificates_trust_text": "trust",
    "rotate_service": "nats",
    "ansible_check_mode": False,
}  # fmt: skip


def required(role: str) -> dict[str, Any]:
    """Something for each variable that a role must be given."""
    something = {"str": "x", "path": "/x", "int": 1, "float": 1, "bool": True, "list": [], "dict": {}}
    file = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    entries = yaml.safe_load(file.read_text())["argument_specs"].values() if file.exists() else []
    return {
        name: (option.get("choices") or [something[option.get("type", "str")]])[0]
        for entry in entries
        for name, option in (entry.get("options") or {}).items()
        if option.get("required")
    }


def given(role: str, folder: Path) -> dict[str, Any]:
    """Values for all variables that a role's hidden tasks need, with a secret wherever one comes in."""
    secret_file = folder / "secrets" / "nats"
    secret_file.parent.mkdir()
    secret_file.write_text(SECRET + "-file\n")
    return {
        **required(role),
        **{name: SECRET + "-" + name.replace("_", "-") for name in SECRETS[role]},
        **dict.fromkeys(FILES.get(role, set()), str(secret_file)),
        **VALUES,
        "certificates_files": {"key": str(secret_file), "cert": "c", "ca": "a"},
        "__rotate_random": SECRET + "-random",
        "__rotate_suffix": "suffix",
        "__twingate_connector_scratch": {"path": str(folder)},
    }


def played(found: Found, module: str, values: dict[str, Any]) -> dict[str, Any]:
    """The task with another module, without what depends on other tasks."""
    kept = {
        key: found.task[key] for key in ("no_log", "loop", "loop_control", "diff", "environment") if key in found.task
    }
    own = {name: value for name, value in (found.task.get("vars") or {}).items() if name not in values}
    arguments = found.arguments if isinstance(found.arguments, dict) else {"given": found.arguments}
    seen = {
        f"rendered_{file.stem}": f"{{{{ lookup('ansible.builtin.template', '{file}') }}}}"
        for file in known.templates(found)
    }
    if found.module in known.READERS and not seen and ("content" not in arguments or "src" in arguments):
        seen["read"] = SECRET + "-file"
    return {
        "name": "played",
        module: {**arguments, **seen, "task": found.id},
        "vars": own,
        **kept,
        "ignore_errors": True,
    }


MODULES = {"tells_and_succeeds": "0", "tells_and_fails": "1"}
HIDDEN = [found for found in TASKS if hidden(found)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, list[str]]]:
    """Play all hidden tasks in one run: its output, and by module what it was given, a line each."""
    here = tmp_path_factory.mktemp("secrets")
    (here / "library").mkdir()
    (here / "templates").mkdir()
    for name, failed in MODULES.items():
        text = TELLING.format(seen=here / f"seen-{name}", python=sys.executable, failed=failed)
        (here / "library" / name).write_text(text)
    plays: list[dict[str, Any]] = []
    for role in sorted({found.role for found in HIDDEN}):
        (here / role).mkdir()
        values = given(role, here / role)
        (here / role / "values.yml").write_text(yaml.safe_dump(values))
        folder = ROOT / "roles" / role
        for template in folder.glob("templates/*.j2"):  # for look-ups by name
            if not (here / "templates" / template.name).exists():
                (here / "templates" / template.name).symlink_to(template)
        files = [str(file) for part in ("defaults", "vars") for file in sorted((folder / part).glob("*.yml"))]
        tasks = [played(found, module, values) for found in HIDDEN if found.role == role for module in MODULES]
        plays.append({"hosts": "h1", "vars_files": [*files, str(here / role / "values.yml")], "tasks": tasks})
    rotated = here / "playbooks" / "secrets" / "nats"  # which the play for localhost remembers
    code, output = run_playbook(here, plays, "--diff", "-e", f"rotate_path={rotated}")
    assert code == 0, output[-3000:]
    return output, {module: (here / f"seen-{module}").read_text().splitlines() for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_every_hidden_task_was_played_and_was_given_a_secret(
    run: tuple[str, dict[str, list[str]]], module: str
) -> None:
    output, told = run
    said = [line for line in output.splitlines() if line.startswith("[ERROR]") and "it has told" not in line]
    seen = [(json.loads(line)["task"], line) for line in told[module]]
    assert {name for name, dummy in seen} == {found.id for found in HIDDEN}, said
    assert not [name for name, line in seen if not any(form in line for form in FORMS)]


def test_they_show_nothing_whatever_their_module_tells(run: tuple[str, dict[str, list[str]]]) -> None:
    output, dummy = run
    assert "it has told" in output, "what a module says of its failure is shown"
    assert not [line for line in output.splitlines() if any(form in line for form in FORMS)]


def test_a_role_that_is_given_a_secret_in_a_wrong_way_does_not_repeat_it(tmp_path: Path) -> None:
    """Its arguments are of a wrong type, then refused by the role, then right. Nothing here touches the host."""
    password = SECRET + "-longer-than-16"
    user = {"name": "app", "password": password, "rules": ["+@read"]}
    (tmp_path / "key").write_text(SECRET)
    nats_user = {"user": "app", "password": password, "salt": "0123456789012345678901"}
    redis_right = {"redis_users": [user], "redis_admin_password": password, "redis_maxmemory": "1G"}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("redis", {**redis_right, "redis_users": SECRET}),
        ("redis", {**redis_right, "redis_users": [SECRET]}),
        ("redis", {**redis_right, "redis_users": [{**user, "rules": {"a": SECRET}}]}),
        ("redis", {**redis_right, "redis_users": [{**user, "pasword": SECRET}]}),
        ("redis", {**redis_right, "redis_users": [{"password": SECRET}]}),
        ("redis", {**redis_right, "redis_admin_password": [SECRET]}),
        ("redis", {**redis_right, "redis_admin_password": SECRET[:8]}),
        ("redis", {**redis_right, "redis_users": [{**user, "password": SECRET[:8]}]}),
        ("redis", {**redis_right, "redis_users": [user, user]}),
        ("redis", {**redis_right, "redis_replica_password": SECRET[:8]}),
        ("redis", {**redis_right, "redis_settings": {"requirepass": SECRET}}),
        ("redis", {**redis_right, "redis_settings": SECRET}),
        ("nats", {"nats_users": SECRET}),
        ("nats", {"nats_users": [SECRET]}),
        ("nats", {"nats_users": [{"user": "app", "password": SECRET}]}),
        ("nats", {"nats_users": [nats_user, nats_user]}),
        ("nats", {"nats_users": [nats_user], "nats_leafnode_remotes": [{"url": f"tls://u:{SECRET}@h:7422", "user": "u", "password": SECRET}]}),
        ("conversion_api", {"conversion_api_nats_url": "nats://127.0.0.1:4222", "conversion_api_nats_user": "u", "conversion_api_nats_password": [SECRET]}),
        ("conversion_api", {"conversion_api_nats_url": "nats://127.0.0.1:4222", "conversion_api_nats_user": "u", "conversion_api_nats_password": SECRET, "conversion_api_host_secrets": True}),
        ("conversion_engine", {"conversion_engine_nats_url": "nats://127.0.0.1:4222", "conversion_engine_nats_user": "u", "conversion_engine_nats_password": {"a": SECRET}}),
        ("tailscale", {"tailscale_auth_key_file": "{{ playbook_dir }}/key", "tailscale_tags": ["no tag"]}),
    ]  # fmt: skip
    right: list[tuple[str, dict[str, Any]]] = [
        ("redis", redis_right),
        ("nats", {"nats_users": [nats_user]}),
        (
            "conversion_api",
            {
                "conversion_api_nats_url": "nats://127.0.0.1:4222",
                "conversion_api_nats_user": "u",
                "conversion_api_nats_password": SECRET,
            },
        ),
        (
            "conversion_engine",
            {
                "conversion_engine_nats_url": "nats://127.0.0.1:4222",
                "conversion_engine_nats_user": "u",
                "conversion_engine_nats_password": SECRET,
            },
        ),
        ("tailscale", {"tailscale_auth_key_file": "{{ playbook_dir }}/key"}),
    ]
    plays = []
    for number, (role, values) in enumerate(wrong + right):
        (tmp_path / f"values-{number}.yml").write_text(yaml.safe_dump(values))
        tasks: list[dict[str, Any]] = [
            {"ansible.builtin.include_role": {"name": f"boring.fleet.{role}", "tasks_from": "user_data"}},
            {"ansible.builtin.debug": {"msg": f"accepted {number} {role}"}},
        ]
        block = {"block": tasks, "rescue": [{"ansible.builtin.debug": {"msg": f"refused {number} {role}"}}]}
        plays.append({"hosts": "h1", "vars_files": [f"values-{number}.yml"], "tasks": [block]})
    code, output = run_playbook(tmp_path, plays, "--diff")
    assert code == 0, output[-3000:]
    for number, (role, dummy) in enumerate(right, len(wrong)):
        assert f'"msg": "accepted {number} {role}"' in output, output[-6000:]
    assert output.count('"msg": "refused ') >= len(wrong) - 3, "a few that are odd are taken"
    assert not [line for line in output.splitlines() if any(form in line for form in (*FORMS, SECRET[:8]))]
