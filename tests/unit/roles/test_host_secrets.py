# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the role host_secrets, told by what the role's user_data renders, against a stand-in for IMDSv2 and SSM on loopback
that checks every signature by botocore.
"""

from __future__ import annotations

import getpass
import json
import os
import runpy
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import parameter_store
from tests.unit.plugins.playbook_runs import ROOT, run_playbook

NATS, REDIS = "correct-horse-battery-staple-nats", 'with "quotes" and a \\ in it'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[parameter_store.Server]:
    folder = tmp_path / "store"
    folder.mkdir()
    values = {"/main/nats": NATS, "/main/redis": REDIS, "/main/tls": "two\nlines\n"}
    values |= {f"/main/{number}": f"value {number}" for number in range(12)}
    (folder / "parameters.json").write_text(json.dumps(values))
    server = parameter_store.Server("127.0.0.1", folder)
    yield server
    server.shutdown()
    server.server_close()


class Host:
    """A boot of a host with some files wanted; `systemctl` only notes what it is told."""

    def __init__(self, folder: Path, server: parameter_store.Server, files: list[dict[str, Any]], **more: Any) -> None:
        self.folder, self.store = folder, folder / "store"
        variables = {
            "host_secrets_files": files,
            "host_secrets_endpoint": server.url,
            "host_secrets_metadata": server.url,
        }
        tasks = [
            {
                "ansible.builtin.include_role": {"name": "boring.fleet.host_secrets", "tasks_from": "user_data"},
                "vars": {"host_secrets_seconds": 1, **variables, **more},
            },
            {
                "ansible.builtin.copy": {
                    "dest": str(folder / "wanted.json"),
                    "content": "{{ host_secrets_user_data[0].content }}",
                    "mode": "0644",
                }
            },
        ]
        code, self.output = run_playbook(folder, [{"hosts": "h1", "tasks": tasks}])
        if code:
            return
        text = (ROOT / "roles" / "host_secrets" / "files" / "host-secrets").read_text()
        assert '"/etc/host-secrets/wanted.json"' in text
        program = folder / "host-secrets"
        program.write_text(text.replace('"/etc/host-secrets/wanted.json"', f'"{folder / "wanted.json"}"'))
        systemctl = folder / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" >> {folder / "systemctl.log"}\n')
        systemctl.chmod(0o755)

    def __call__(self) -> tuple[int, str, str]:
        """Its code, what it said, and what it told systemd."""
        log = self.folder / "systemctl.log"
        log.write_text("")
        done = subprocess.run(
            [sys.executable, self.folder / "host-secrets"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "http_proxy": "http://127.0.0.1:9"},
        )  # fmt: skip
        said = done.stdout + done.stderr
        for secret in (NATS, REDIS, parameter_store.SECRET, parameter_store.SESSION):
            assert secret not in said
        return done.returncode, said, log.read_text()


Made = Callable[..., Host]


@pytest.fixture
def host(tmp_path: Path, store: parameter_store.Server) -> Made:
    return lambda *files, **more: Host(
        tmp_path, store, [{"owner": getpass.getuser(), **file} for file in files], **more
    )


def test_secrets_come_to_files_that_only_their_services_read(host: Made, tmp_path: Path) -> None:
    env, raw, many = tmp_path / "new" / "api.env", tmp_path / "tls.key", tmp_path / "many.env"
    booted = host(
        {"path": str(env), "environment": {"B_REDIS": "/main/redis", "A_NATS": "/main/nats"}, "restart": ["api.service"]},
        {"path": str(raw), "parameter": "/main/tls"},
        {"path": str(many), "environment": {f"V{number}": f"/main/{number}" for number in range(12)}},
    )  # fmt: skip
    wanted = (tmp_path / "wanted.json").read_text()
    assert "/main/nats" in wanted
    assert NATS not in wanted + booted.output, "user data names it and does not have it"
    raw.write_text("old")
    raw.chmod(0o644)
    code, said, systemd = booted()
    assert (code, said) == (0, "3 files have their secrets, of which 3 changed\n")
    assert env.read_text() == f'A_NATS="{NATS}"\nB_REDIS="with \\"quotes\\" and a \\\\ in it"\n'
    assert raw.read_text() == "two\nlines\n"
    assert many.read_text().count("value") == 12
    assert [path.stat().st_mode & 0o777 for path in (env, raw, many)] == [0o600] * 3
    assert systemd == "restart --no-block api.service\n"
    assert [len(json.loads(line)) for line in (tmp_path / "store" / "asked").read_text().splitlines()] == [10, 5]
    before = env.stat().st_mtime_ns
    assert booted()[1:] == ("3 files have their secrets, of which 0 changed\n", "")
    assert env.stat().st_mtime_ns == before
    parameters = tmp_path / "store" / "parameters.json"
    parameters.write_text(parameters.read_text().replace(NATS, "another"))
    assert booted()[1:] == ("3 files have their secrets, of which 1 changed\n", "restart --no-block api.service\n")
    assert env.read_text().startswith('A_NATS="another"\n')
    assert not list(env.parent.glob(".host-secrets-*")), "nothing half written stays"


def test_a_systemd_that_does_not_answer_is_named(host: Made, tmp_path: Path) -> None:
    env = tmp_path / "api.env"
    booted = host({"path": str(env), "environment": {"A": "/main/nats"}, "restart": ["api.service"]})
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexec sleep 30\n")
    program = tmp_path / "host-secrets"
    program.write_text(program.read_text().replace("SECONDS = 10 ", "SECONDS = 1 "))
    code, said, _ = booted()
    assert (code, said.splitlines()[0]) == (
        0, "systemd did not take the restart of api.service in 1 s: restart it, it has the old secret",
    )  # fmt: skip
    assert env.read_text() == f'A="{NATS}"\n'


def test_why_secrets_do_not_come(host: Made, tmp_path: Path, store: parameter_store.Server) -> None:
    env = tmp_path / "api.env"
    env.write_text("what was there")
    booted = host({"path": str(env), "environment": {"A": "/main/nats"}})
    for mark, sentence in (
        ("denied", "SSM refused with 400 AccessDeniedException: This is AccessDeniedException."),
        ("no-role", "this instance has no role: give it an instance profile that may ssm:GetParameters"),
    ):
        (tmp_path / "store" / mark).touch()
        code, said, _ = booted()
        assert (code, sentence in said) == (75, True), said
        (tmp_path / "store" / mark).unlink()
    parameters = tmp_path / "store" / "parameters.json"
    there = parameters.read_text()
    parameters.write_text("{}")
    code, said, _ = booted()
    assert (code, "SSM in eu-central-1 has no parameter /main/nats: put it there as a SecureString" in said) == (
        75,
        True,
    )
    parameters.write_text(there.replace(NATS, "two\\nlines"))
    code, said, _ = booted()
    assert (code, "the parameter /main/nats has several lines" in said) == (78, True), said
    parameters.write_text(there.replace(NATS, "x\\ufffe"))
    code, said, _ = booted()
    assert (code, "the parameter /main/nats has a character that systemd does not take" in said) == (78, True), said
    parameters.write_text(there)
    wanted = json.loads((tmp_path / "wanted.json").read_text())
    for changed, status, sentence in (
        ({"metadata": "http://127.0.0.1:9"}, 75, "the instance metadata service does not answer"),
        ({"endpoint": "http://127.0.0.1:9"}, 75, "SSM does not answer"),
        ({"region": "eu-west-1"}, 75, "InvalidSignatureException"),
        ({"files": [{**wanted["files"][0], "owner": "nobody-here"}]}, 78, "is for nobody-here:"),
    ):
        (tmp_path / "wanted.json").write_text(json.dumps(wanted | changed))
        code, said, _ = booted()
        assert (code, sentence in said) == (status, True), said
    assert env.read_text() == "what was there", "a file is replaced by the right one or not at all"


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ({}, f"https://ssm.eu-central-1.{parameter_store.DOMAIN}/"),
        ({"region": "cn-north-1"}, f"https://ssm.cn-north-1.{parameter_store.DOMAIN}/"),
        ({"endpoint": "http://10.0.0.1:5"}, "http://10.0.0.1:5/"),
    ],
)
def test_where_ssm_is(store: parameter_store.Server, wanted: dict[str, str], address: str) -> None:
    """In the partition of the instance, as in China, or at the address that was given."""
    program = runpy.run_path(str(ROOT / "roles" / "host_secrets" / "files" / "host-secrets"))
    outside = program["parameters"].__globals__
    ask, urls = outside["ask"], []

    def asked(request: urllib.request.Request, what: str) -> bytes:
        if what == "SSM":
            urls.append(request.full_url)
            return b'{"Parameters": [{"Name": "/a", "Value": "b"}]}'
        return bytes(ask(request, what))

    outside["ask"] = asked
    assert program["parameters"](["/a"], {**wanted, "metadata": store.url}) == {"/a": "b"}
    assert urls == [address]


@pytest.mark.parametrize(
    "file",
    [{"path": "relative", "parameter": "/a"}, {"path": "/etc/x"}, {"path": "/etc/x", "parameter": "/a", "environment": {"A": "/b"}}],
)  # fmt: skip
def test_what_user_data_refuses(host: Made, file: dict[str, Any]) -> None:
    assert f"{file['path']} needs an absolute path and either environment" in " ".join(host(file).output.split())
