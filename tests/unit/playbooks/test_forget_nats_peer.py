# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook forget_nats_peer against a real cluster, a server of which is gone and replaced under a new name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.boring.fleet.plugins.module_utils.nats.cluster import look
from tests.unit.plugins.module_utils.nats.loopback import (
    ADDRESSES,
    PASSWORD,
    PORT,
    SERVERS,
    Cluster,
    three_servers,
    until,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with three_servers(tmp_path) as made:
        yield made


def forget(folder: Path, servers: tuple[str, ...], peer: str) -> tuple[int, str]:
    hosts = {
        name: {
            "ansible_host": ADDRESSES[name], "ansible_connection": "local", "nats_server_name": name, "nats_monitor_host": ADDRESSES[name],
            "nats_listen_host": ADDRESSES[name],
        }
        for name in servers
    }  # fmt: skip
    common = {
        "ansible_become": False, "ansible_python_interpreter": sys.executable, "nats_port": PORT, "nats_monitor_port": PORT + 2,
        "nats_tls": True, "nats_tls_dir": str(folder), "nats_cluster_name": "c", "nats_cluster_hosts": [ADDRESSES[name] for name in servers],
        "nats_allow_public_monitoring": True,
        "nats_users": [
            {"user": "app", "password": PASSWORD, "salt": "app"}, {"user": "op", "password": PASSWORD, "salt": "op", "account": "SYS"},
            {"user": "reader", "password": PASSWORD, "salt": "r", "permissions": {"publish": []}},
        ],
    }  # fmt: skip
    (folder / "inventory.yml").write_text(yaml.safe_dump({"nats": {"hosts": hosts, "vars": common}}))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    done = subprocess.run(
        ["ansible-playbook", "-v", "-i", "inventory.yml", "boring.fleet.forget_nats_peer", "-e", f"nats_peer={peer}"],
        cwd=folder, capture_output=True, text=True, timeout=240,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "LC_ALL": "C.UTF-8",
        },
    )  # fmt: skip
    assert PASSWORD not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(290)
def test_a_server_that_is_gone_is_forgotten_and_one_that_is_there_is_not(cluster: Cluster, tmp_path: Path) -> None:
    leader = cluster.leader(*SERVERS)
    dead = next(name for name in SERVERS if name != leader)
    alive = tuple(name for name in SERVERS if name != dead)
    code, output = forget(tmp_path, SERVERS, dead)
    assert code == 2
    assert f"{dead} is there; only a server that never comes back is forgotten" in " ".join(output.split())
    cluster.kill(dead)
    cluster.start("n4", [*alive, "n4"])
    servers = (*alive, "n4")
    until(lambda: look(cluster.monitor(cluster.leader(*servers))).size == 4)
    code, output = forget(tmp_path, servers, dead)
    assert code == 0, output
    assert look(cluster.monitor(cluster.leader(*servers))).size == 3
