# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of Redis and NATS are changed by the very playbook that people use, while clients write and log in all the time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
import redis
import yaml
from testinfra.host import Host

pytestmark = pytest.mark.timeout(900)  # a test is several playbooks
FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])


def addresses() -> list[str]:
    return [one["address"] for one in yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text())]


def secret(service: str) -> str:
    return (FOLDER / "secrets" / service).read_text().strip()


def lets_in(service: str, address: str, given: str) -> bool:
    """Whether the server takes the secret."""
    if service == "redis":
        try:
            with redis.Redis(host=address, username="app", password=given, socket_timeout=5, retry=None) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return False

    async def attempt() -> bool:
        user, _, password = given.partition(":")

        async def quiet(_: Exception) -> None:
            """The exception is what is looked at."""

        try:
            client = await nats.connect(
                f"nats://{address}:4222", user=user, password=password, allow_reconnect=False, error_cb=quiet
            )
        except nats.errors.Error as exc:
            assert "authorization" in str(exc).lower(), exc
            return False
        await client.close()
        return True

    return asyncio.run(attempt())


Rotate = Callable[..., tuple[int, str]]


@pytest.fixture
def rotate(tmp_path: Path) -> Rotate:
    """Run the playbook; with a client's directory that client is in the inventory. Gives its status and what it said."""
    inventory = tmp_path / "inventory.yml"

    def run(service: str, client: Path | None, **extra: Any) -> tuple[int, str]:
        found: dict[str, Any] = {"all": {"vars": yaml.safe_load((SCENARIO / "vars" / "scenario.yml").read_text())}}
        if client is not None:
            load = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
            load |= {"rotate_client_tasks": str(SCENARIO / "tasks" / "client.yml"), "client_dir": str(client)}
            found["rotate_clients"] = {"hosts": {"load": load}}
        inventory.write_text(yaml.safe_dump(found))
        given = {
            "rotate_service": service, "rotate_user": "app", "rotate_file": str(FOLDER / "secrets" / service),
            "rotate_client_become": False, **extra,
        }  # fmt: skip
        done = subprocess.run(
            [
                "ansible-playbook", "-vv", "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--inventory", str(inventory),
                "--extra-vars", json.dumps(given), "boring.fleet.rotate_secret",
            ],
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


@contextmanager
def under_load(service: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Clients write meanwhile; what they saw is in the dictionary afterwards."""
    folder.mkdir()
    (folder / "secret").write_text(secret(service))
    found: dict[str, Any] = {}
    process = subprocess.Popen(
        ["timeout", "-k", "5", "900", sys.executable, SCENARIO / "tests" / "load.py", service, folder, *addresses()],
        stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "running\n"
        yield found
    finally:
        process.terminate()
        said = process.communicate(timeout=30)[0]
    found.update(json.loads(said.splitlines()[-1]))
    print(service, found)


@pytest.mark.parametrize("service", ["redis", "nats"])
def test_a_secret_changes_under_load(rotate: Rotate, service: str, tmp_path: Path, everywhere: dict[str, Host]) -> None:
    unit = f"{service}-server"
    running = {name: host.check_output(f"systemctl show -P MainPID {unit}") for name, host in everywhere.items()}
    old = secret(service)
    with under_load(service, tmp_path / "load") as seen:
        code, said = rotate(service, None)
        assert code == 0, said
        assert "are both valid on" in said
        new = secret(service)
        assert new != old
        assert all(lets_in(service, address, each) for address in addresses() for each in (old, new)), "both"
        # The rest, in a run of its own: it makes no third secret.
        code, said_then = rotate(service, tmp_path / "load")
        assert code == 0, said_then
        assert secret(service) == new
    assert seen["errors"] == []
    assert seen["writes"] > 1000
    assert seen["logins"] > 100
    assert seen["cut_off"] == 0, "no connection was closed by a server"
    reloads = 2 * len(everywhere) if service == "nats" else 0
    assert seen["resets"] <= reloads, "a login was cut short at most once a reload"
    assert seen["secrets"] == 1, "the clients were brought the new one"
    for address in addresses():
        assert lets_in(service, address, new)
        assert not lets_in(service, address, old)
    assert not list((FOLDER / "secrets").glob("*.old"))
    assert {
        name: host.check_output(f"systemctl show -P MainPID {unit}") for name, host in everywhere.items()
    } == running
    for each in (old, new):
        assert each.rpartition(":")[2] not in said + said_then, "in no output, at -vv"


def test_a_user_of_nats_that_is_still_in_use_is_not_taken_away(rotate: Rotate, tmp_path: Path) -> None:
    """Somebody says that all clients have the new secret, and one has not."""
    old = secret("nats")
    with under_load("nats", tmp_path / "load") as seen:
        code, said = rotate("nats", None, rotate_switched=True)
        assert code != 0
        assert f"of the user {old.partition(':')[0]}, from" in said
        assert all(lets_in("nats", address, old) for address in addresses())
        code, said = rotate("nats", tmp_path / "load")
        assert code == 0, said
    assert seen["errors"] == []
    assert not lets_in("nats", addresses()[0], old)


def test_a_secret_that_the_inventory_does_not_read_changes_nothing(rotate: Rotate, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("correct-horse-battery-staple-other")
    other.chmod(0o600)
    code, said = rotate("redis", None, rotate_file=str(other))
    assert code != 0
    assert "has no user app with the secret in" in said
    other.chmod(0o644)
    code, said = rotate("redis", None, rotate_file=str(other))
    assert code != 0
    assert "has the mode 0644; only its owner may read it" in said
    assert lets_in("redis", addresses()[0], secret("redis"))


def test_a_host_fetches_its_secrets_before_its_services_start(everywhere: dict[str, Host]) -> None:
    demo, changed = "correct-horse-battery-staple-demo", "correct-horse-battery-staple-changed"
    for host in everywhere.values():
        for name, owner in (("secrets.env", "root"), ("nats.secret", "nats")):
            file = host.file(f"/etc/demo/{name}")
            assert (file.user, file.group, file.mode) == (owner, owner, 0o600)
            assert demo in file.content_string
        assert demo not in host.file("/etc/host-secrets/wanted.json").content_string
        # In brackets, or sudo's note of this very search in the journal would be what is found.
        assert not host.run(f"journalctl --no-pager | grep '{demo[:-1]}[{demo[-1]}]'").stdout
        assert demo not in host.run("ps axww").stdout
        assert host.run("runuser -u nats -- cat /etc/demo/nats.secret").stdout == demo
        assert host.run("runuser -u nats -- cat /etc/demo/secrets.env").rc != 0
        # As at a boot: both are to start, and systemd knows in which order.
        host.check_output("systemctl stop demo host-secrets && rm /etc/demo/secrets.env")
        host.check_output("systemctl start --no-block host-secrets && systemctl start demo")
        assert host.service("demo").is_running
    before = {name: host.check_output("systemctl show -P MainPID demo") for name, host in everywhere.items()}
    (FOLDER / "store" / "parameters.json").write_text(json.dumps({"/rotate/demo": changed}))
    try:
        for name, host in everywhere.items():
            host.check_output("systemctl restart host-secrets")
            assert changed in host.file("/etc/demo/nats.secret").content_string
            deadline = time.monotonic() + 20
            while host.check_output("systemctl show -P MainPID demo") in (before[name], "0"):
                assert time.monotonic() < deadline, "the service was not started anew"
                time.sleep(0.2)
    finally:
        (FOLDER / "store" / "parameters.json").write_text(json.dumps({"/rotate/demo": demo}))
        for host in everywhere.values():
            host.check_output("systemctl restart host-secrets")
