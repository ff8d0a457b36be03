# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's own repository: what apt is told of it, and what is refused before apt is told anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "nvidia_driver"
LOCK = ROOT / "packer/locks/debian-13-amd64-proprietary.lock.json"
URL = "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: ["{{ role }}/defaults/main.yml", "{{ role }}/vars/main.yml"]
  vars:
    ansible_facts: {architecture: x86_64, distribution: Debian, distribution_major_version: "13"}
  tasks:
    - ansible.builtin.include_tasks: "{{ role }}/tasks/preflight.yml"
    - ansible.builtin.template: {src: "{{ role }}/templates/{{ item }}.j2", dest: "{{ to }}/{{ item }}", mode: "0644"}
      loop: [sources, preferences]
"""


def play(tmp_path: Path, **given: Any) -> subprocess.CompletedProcess[str]:
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "key.asc").write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n")
    values = {"role": str(ROLE), "to": str(tmp_path), "nvidia_driver_lock": str(LOCK), **given}
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    return subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), str(tmp_path / "play.yml"), "-e", json.dumps(values)],
        env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_only_what_the_lock_names_comes_from_it(tmp_path: Path) -> None:
    done = play(tmp_path, nvidia_driver_repository=URL, nvidia_driver_repository_key=str(tmp_path / "key.asc"))
    assert done.returncode == 0, done.stdout
    stanza = (tmp_path / "sources").read_text().split("\n\n")[-1]
    assert stanza == f"Types: deb\nURIs: {URL}\nSuites: /\nSigned-By: /usr/share/keyrings/boring-fleet-nvidia.asc\n"
    pins = [stanza.splitlines()[-3:] for stanza in (tmp_path / "preferences").read_text().strip().split("\n\n")]
    assert pins[-1] == ["Package: *", "Pin: origin developer.download.nvidia.com", "Pin-Priority: -1"]
    assert all(priority == "Pin-Priority: 1001" for *dummy, priority in pins[:-1])
    assert ["Package: nvidia-smi", "Pin: version 550.163.01-2", "Pin-Priority: 1001"] in pins


def test_without_it_there_is_nothing_of_it(tmp_path: Path) -> None:
    assert play(tmp_path).returncode == 0
    assert "nvidia.com" not in (tmp_path / "sources").read_text()
    assert "Package: *" not in (tmp_path / "preferences").read_text()


@pytest.mark.parametrize(
    "given",
    [
        {"nvidia_driver_repository": URL},
        {"nvidia_driver_repository_key": "KEY"},
        {"nvidia_driver_repository": URL.rstrip("/"), "nvidia_driver_repository_key": "KEY"},
        {"nvidia_driver_repository": URL, "nvidia_driver_repository_key": "NOT A KEY"},
    ],
)
def test_half_of_it_is_refused(tmp_path: Path, given: dict[str, str]) -> None:
    (tmp_path / "other").write_text("no key")
    paths = {"KEY": str(tmp_path / "key.asc"), "NOT A KEY": str(tmp_path / "other")}
    done = play(tmp_path, **{name: paths.get(value, value) for name, value in given.items()})
    assert done.returncode != 0
    assert "goes together with nvidia_driver_repository_key" in " ".join(done.stdout.split())


def test_a_lock_of_that_repository_needs_it(tmp_path: Path) -> None:
    lock = json.loads(LOCK.read_text()) | {"repository": URL}
    (tmp_path / "nvidia.lock.json").write_text(json.dumps(lock))
    given = {"nvidia_driver_lock": str(tmp_path / "nvidia.lock.json")}
    done = play(tmp_path, **given)
    assert done.returncode != 0
    assert f"was made of {URL}: give that as nvidia_driver_repository" in " ".join(done.stdout.split())
    done = play(tmp_path, **given, nvidia_driver_repository=URL, nvidia_driver_repository_key=str(tmp_path / "key.asc"))
    assert done.returncode == 0, done.stdout
