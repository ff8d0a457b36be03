# SPDX-License-Identifier: GPL-3.0-or-later
"""What Redis and NATS say of a file that they refuse is said to the user without the passwords in it.

The real programs judge, as the roles' tasks let them; then the roles' own variables make the sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.programs import nats_server, redis_server
from tests.unit.plugins.playbook_runs import ROOT, run_playbook

HASH = "5ec2e7" * 10 + "abcd"
BCRYPT = "$2b$04$abcdefghijklmnopqrstuu" + "5ec2e7" * 5
SECRETS = ("hunter2", "5ec2e75ec2e7")


def judge(role: str, fault: str, program: str, text: str, here: Path) -> str:
    """What the role would say of a file with this text."""
    written = fault.replace("fault", "written")
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.copy": {"content": text, "dest": str(here / "file"), "mode": "0600", "validate": program},
            "register": written, "no_log": True, "failed_when": False,
        },
        {"ansible.builtin.assert": {"that": f"{written}.msg is not defined", "fail_msg": f"it stays: {{{{ {fault} }}}}"}},
    ]  # fmt: skip
    files = [str(ROOT / "roles" / role / part / "main.yml") for part in ("defaults", "vars")]
    code, output = run_playbook(here, [{"hosts": "h1", "vars_files": files, "tasks": tasks}], "--diff")
    assert code == 2, output
    assert not (here / "file").exists()
    assert not [line for line in output.splitlines() if any(secret in line for secret in SECRETS)]
    return next(line for line in output.splitlines() if line.startswith("[ERROR]"))


def redis(here: Path, options: str) -> str:
    # as __redis_try, with a socket of its own
    return f"timeout --preserve-status --signal=TERM 5 {redis_server(here)} {options} --port 0 --unixsocket {here}/s --daemonize no --save ''"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"user app reset on #{HASH} +@nosuch\n", "Unknown command or category name in ACL"),
        (f"user app reset on #{HASH} #{HASH}x\n", "password hash must be exactly 64"),
        (f"usr app on #{HASH}\n", "file:1 should start with user keyword|should start with"),
    ],
)
def test_users_that_redis_refuses(tmp_path: Path, text: str, words: str) -> None:
    said = judge("redis", "__redis_acl_fault", redis(tmp_path, "--aclfile %s"), text, tmp_path)
    assert any(word in said for word in words.split("|")), said
    assert "monotonic clock" not in said, "what Redis says at every start"


def test_users_that_a_sentinel_refuses(tmp_path: Path) -> None:
    """Which knows other commands than Redis. Hidden as a whole, nobody saw why."""
    # as __redis_try_sentinel_acl, with a socket of its own
    program = (
        f'/bin/sh -c \'own=$(mktemp -p {tmp_path}) && exec timeout --preserve-status --signal=TERM 5 {redis_server(tmp_path)} "$own"'
        f' --sentinel --port 0 --unixsocket {tmp_path}/s --daemonize no --aclfile "$0"\' %s'
    )
    text = f"user app reset on #{HASH} +ping +get\n"
    said = judge("redis", "__redis_sentinel_acl_fault", program, text, tmp_path)
    assert "Unknown command or category name in ACL" in said, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('port 0\nmasterauth "hunter2" too much\n', ">>> 'masterauth (password)"),
        ("maxmemory-policy foo\nmasterauth hunter2\n", ">>> 'maxmemory-policy foo' argument"),
    ],
)
def test_a_configuration_that_redis_refuses(tmp_path: Path, text: str, words: str) -> None:
    assert words in judge("redis", "__redis_config_fault", redis(tmp_path, "%s"), text, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'authorization {{ users: [ {{ user: a, password: "{BCRYPT}" }} ], nosuch: 1 }}\n', 'unknown field "nosuch"'),
        (f'authorization {{ users: [ {{ user: a, password: "{BCRYPT}\n" }} ]\n', "error"),
        ('leafnodes { remotes: [ { url: "tls://u:hunter2@h:port" } ] }\n', "://(password)@"),
    ],
)
def test_a_configuration_that_nats_refuses(tmp_path: Path, text: str, words: str) -> None:
    assert words in judge("nats", "__nats_config_fault", f"{nats_server()} -t -c %s", text, tmp_path)
