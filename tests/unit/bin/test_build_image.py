# SPDX-License-Identifier: GPL-3.0-or-later
"""`make image`: one image for people, with the lock of its profile."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, **env: str) -> dict[str, Any]:
    """What ansible-playbook is given."""
    calls: list[list[str]] = []

    def fake(argv: list[str], **dummy: Any) -> SimpleNamespace:
        calls.append(argv)
        return SimpleNamespace(returncode=0)

    for name in ("LOCK", "VARIABLES", "AWS_REGION", "FLEET_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["build-image", *arguments])
    monkeypatch.setattr(subprocess, "run", fake)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "bin" / "build-image"), run_name="__main__")
    if ended.value.code != 0:
        raise ValueError(ended.value.code)
    (argv,) = calls
    assert argv[1:3] == ["boring.fleet.build_images", "-e"]
    return dict(json.loads(argv[3]))


def test_a_profile_and_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    given = run(monkeypatch, "gpu", "engine", AWS_REGION="eu-west-3")
    assert given["fleet_image_profile"] == "gpu"
    assert given["fleet_image_services"] == ["engine"]
    assert given["fleet_image_lock"] == str(ROOT / "packer/locks/debian-13-amd64-proprietary.lock.json")
    assert given["fleet_region"] == "eu-west-3"


def test_another_lock_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "cpu", "data")["fleet_image_lock"].endswith("debian-13-amd64-none.lock.json")
    assert run(monkeypatch, "cpu", "data", LOCK="")["fleet_image_lock"] == ""


def test_variables_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fleet_image_variables" not in run(monkeypatch, "gpu", "engine")
    given = run(monkeypatch, "gpu", "engine", VARIABLES='{"unsupported_driver": true}')
    assert given["fleet_image_variables"] == {"unsupported_driver": True}
    for wrong in ("true", "[]", '[["a", 1]]', "{", "null"):
        with pytest.raises(ValueError, match=f"VARIABLES is {re.escape(wrong)}, and has to be a JSON object"):
            run(monkeypatch, "gpu", "engine", VARIABLES=wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("gpus", "engine"), "PROFILE is gpus, and there are cpu, cpu-arm64, cpu-debian-12, gpu"),
        (("gpu", "platform"), "SERVICE is platform, and there are api, data, engine"),
        (("gpu",), "give a profile and a service"),
    ],
)
def test_what_there_is_not(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(monkeypatch, *arguments)
