# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks with a fleet file, against a local cloud whose hosts are entries of a dictionary: what is planned, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud import cloud as cloud_module
from tests.fakes.oci_image import Image, file, layer
from tests.fakes.registry import registry
from tests.unit.localcloud import fakes
from tests.unit.localcloud.test_server import REGION, Running, forget_moto

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


class Desk:
    """Somebody's directory, with a collection of theirs and a cloud."""

    def __init__(self, path: Path, cloud: Running) -> None:
        self.path, self.cloud = path, cloud
        cloud.base()
        self.role = path / "collections/ansible_collections/acme/shop/roles/web/tasks/install.yml"
        self.role.parent.mkdir(parents=True)
        self.role.write_text("[]\n")

    def play(self, playbook: str, *arguments: str, **fleet: Any) -> str:
        """All output, and how it ended as the last line."""
        done = subprocess.run(
            [BIN / "ansible-playbook", f"boring.fleet.{playbook}", "-e", json.dumps({"fleet_name": "shop", "fleet_region": REGION, **fleet}), *arguments],
            cwd=self.path, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL,
            env={
                "PATH": f"{BIN}:{ROOT / 'build' / 'bin'}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.path), "LC_ALL": "C.UTF-8", "PWD": str(self.path),
                "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / 'build' / 'collections'}{os.pathsep}{self.path / 'collections'}",
                "ANSIBLE_HOME": str(self.path / "ansible"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "ANSIBLE_NOCOLOR": "true",
                **self.cloud.cloud.settings.environment,
            },
        )  # fmt: skip
        return f"{done.stdout}{done.stderr}\nended with {done.returncode}"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    podman = fakes.FakePodman()
    fakes.install(monkeypatch, podman)
    monkeypatch.setattr(cloud_module, "TICK_SECONDS", 0.05)
    forget_moto()
    running = Running(tmp_path, podman)
    try:
        yield Desk(tmp_path, running)
    finally:
        running.end()


def fingerprints(said: str) -> dict[str, str]:
    """What was planned, by family; layers below by their lock."""
    assert said.endswith("ended with 0"), said[-3000:]
    rows = [line.split(" => ", 2)[2] for line in said.splitlines() if line.startswith("changed: [localhost] => (item=")]
    return {one["item"].get("family") or one["item"]["lock"]: one["fingerprint"] for one in map(json.loads, rows)}


def test_the_conversion_product_is_a_file_like_any_other(desk: Desk) -> None:
    (desk.path / "conversion.yml").write_text((ROOT / "playbooks" / "vars" / "conversion.yml").read_text())
    said = desk.play("build_images", "--check", "-v", "-e", "@conversion.yml")
    assert sorted(fingerprints(said)) == [
        "conversion-api",
        "conversion-bus",
        "conversion-cache",
        "conversion-engine",
        "locks/debian-13-amd64-proprietary.lock.json",
    ]


def test_images_of_a_fleet_are_planned_by_their_class_and_their_own_inputs(desk: Desk) -> None:
    services = {
        name: {"roles": ["acme.shop.web"], "version": "1.0", "role_variables": {"web_list": ["a", "b"]}}
        for name in ("web", "admin")
    }
    fleet = {
        "fleet_services": services,
        "fleet_data": {"cache": {"kind": "redis"}, "store": {"kind": "redis", "may_lose_data": True}},
    }

    first = fingerprints(desk.play("build_images", "--check", "-v", **fleet))
    assert sorted(first) == ["shop-admin", "shop-cache", "shop-web"] and len(set(first.values())) == 3
    desk.role.write_text("[]  # another\n")
    fleet["fleet_services"]["web"]["version"] = "1.1"
    one = fingerprints(desk.play("build_images", "--check", "-v", **fleet, fleet_only="web,cache"))
    assert sorted(one) == ["shop-cache", "shop-web"]
    assert one["shop-cache"] == first["shop-cache"] and one["shop-web"] != first["shop-web"]


def test_a_tag_is_built_by_what_it_stands_for(desk: Desk) -> None:
    with registry() as server:
        server.add(Image([layer(file("bin/web", "1"))]), "1")
        web = {"container": {"image": f"{server.address}/shop/web:1"}, "port": 8000, "expose": {}}
        fleet = {
            "fleet_services": {
                "web": web,
                "jobs": {"container": {"image": f"{server.address}/shop/web@sha256:{'0' * 64}"}},
            }
        }
        first = fingerprints(desk.play("build_images", "--check", "-v", **fleet))
        assert sorted(first) == ["shop-jobs", "shop-web"]
        server.add(Image([layer(file("bin/web", "2"))]), "1")
        again = fingerprints(desk.play("build_images", "--check", "-v", **fleet))
        assert again["shop-web"] != first["shop-web"] and again["shop-jobs"] == first["shop-jobs"]
        web["container"]["image"] = f"{server.address}/shop/web:2"
        said = desk.play("build_images", "--check", **fleet)
        assert f"there is no {server.address}/shop/web:2: {server.address} has no such tag" in said
        assert not said.endswith("ended with 0")
        assert not [
            path for _method, path, _login in server.asked if "000000" in path
        ]  # by digest there is nothing to ask


@pytest.mark.parametrize("playbook", ["build_images", "deploy", "roll", "status"])
def test_a_fleet_that_is_wrong_is_refused_before_anything_runs(desk: Desk, playbook: str) -> None:
    said = desk.play(
        playbook, fleet_services={"web": {"roles": ["acme.shop.web"], "size": {"min": 2, "max": 1}, "prot": 80}}
    )
    assert "fleet_services.web.prot: there is no such key; did you mean port?" in said
    assert "fleet_services.web.size.max: 1 is less than min 2" in said
    assert not said.endswith("ended with 0") and "changed=0" in said


def test_what_cannot_be_is_said(desk: Desk) -> None:
    said = desk.play("build_images", fleet_services={"web": {"roles": ["acme.shop.wbe"]}})
    assert (
        "fleet_services.web.roles[0]: there is no role acme.shop.wbe with tasks/install.yml: install its collection first"
        in said
    )


@pytest.mark.parametrize("playbook", ["deploy", "destroy"])
def test_without_a_file_there_is_nothing_to_guess(desk: Desk, playbook: str) -> None:
    said = desk.play(playbook)
    assert "Give the file of the fleet" in said
    assert not said.endswith("ended with 0") and "changed=0" in said
