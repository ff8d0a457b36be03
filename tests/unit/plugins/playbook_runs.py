# SPDX-License-Identifier: GPL-3.0-or-later
"""Real runs of ansible-playbook for the tests of plugins: three hosts over the local connection, as wordy as it gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible import constants

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("h1", "h2", "h3")


def loaded(plugin: type[Any], name: str, documentation: str) -> Any:
    """A lookup plugin with the options that its documentation declares, as Ansible's loader makes it."""
    constants.config.initialize_plugin_configuration_definitions(
        "lookup", name, yaml.safe_load(documentation)["options"]
    )
    made = plugin()
    made._load_name = name
    return made


def run_playbook(
    folder: Path, plays: list[dict[str, Any]], *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """The exit code and all output of plays that are written to `folder`."""
    for play in plays:
        play.setdefault("hosts", "all")
        play.setdefault("gather_facts", False)
        play.setdefault("connection", "ansible.builtin.local")
    (folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    (folder / "ansible.cfg").write_text("[defaults]\nretry_files_enabled = False\n")
    program = [sys.executable, str(Path(sys.executable).parent / "ansible-playbook")]
    done = subprocess.run(
        [*program, "-vvv", "-i", ",".join((*HOSTS, "")), "-e", f"ansible_python_interpreter={sys.executable}", *arguments, "play.yml"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "LC_ALL": "C.UTF-8",
            **(env or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout
