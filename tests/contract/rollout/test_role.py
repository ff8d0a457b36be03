# SPDX-License-Identifier: GPL-3.0-or-later
"""The role and the playbook over the real module, as processes, against the simulated cloud over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.autoscaling.simulation import SimulatedCloud
from tests.contract.rollout.simulated_aws import SimulatedAws

ROOT = Path(__file__).resolve().parents[3]
QUICK = {"min_healthy_time": 0, "poll_interval": 0.3, "batch_timeout": 30}


@pytest.fixture
def aws() -> Iterator[SimulatedAws]:
    """Group "web" with three instances of version 1, and version 2 of its template."""
    cloud = SimulatedCloud(
        boot=0.4, healthy_after=0, deregistration_delay=0.2, shutdown=0.1, zones=1, start=time.time()
    )
    cloud.create_group("web", size=3)
    cloud.new_template_version("web")
    with SimulatedAws(cloud) as served:
        yield served


def play(aws: SimulatedAws, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"), "boring.fleet.roll",
            "-e", json.dumps({"fleet_region": "eu-central-1"} | settings), *arguments,
        ],
        env={
            **os.environ,
            "AWS_ENDPOINT_URL": aws.endpoint,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "ANSIBLE_NOCOLOR": "1",
        },
        cwd=ROOT, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def versions(aws: SimulatedAws, group: str = "web") -> list[str]:
    with aws.lock:
        shape = aws.cloud.shape(group)
    return [one["LaunchTemplate"]["Version"] for one in shape["Instances"] if one["LifecycleState"] == "InService"]


def test_check_mode_shows_the_real_plan_and_writes_nothing(aws: SimulatedAws, tmp_path: Path) -> None:
    before = dict(aws.cloud.shape("web"))
    done = play(aws, "--check", "--diff", rollout_group="web", rollout_report_dir=str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout + done.stderr
    for instance in before["Instances"]:
        assert instance["InstanceId"] in done.stdout
    assert aws.cloud.shape("web") == before
    assert not any(not name.startswith("Describe") for name in aws.cloud.calls), aws.cloud.calls


def test_tasks_of_the_user_around_every_batch(aws: SimulatedAws, tmp_path: Path) -> None:
    for name, line in (
        ("before", "before {{ rollout_batch | map(attribute='instance_id') | join(',') }}"),
        ("after", "after {{ rollout_result.replaced | map(attribute='old') | join(',') }}"),
        ("verify", "verify {{ rollout_replaced | length }}"),
    ):
        task = {
            "name": name,
            "ansible.builtin.shell": {"cmd": f"echo {line} >> {tmp_path}/notes"},
        }
        (tmp_path / f"{name}.yml").write_text(json.dumps([task]))
    old = [one["InstanceId"] for one in aws.cloud.shape("web")["Instances"]]
    done = play(
        aws,
        rollout_groups=[{"group": "web", "batch_size": 2, **QUICK}],
        rollout_report_dir=str(tmp_path / "report"),
        rollout_before_batch=str(tmp_path / "before.yml"),
        rollout_after_batch=str(tmp_path / "after.yml"),
        rollout_verify=str(tmp_path / "verify.yml"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(aws) == ["2"] * 3
    notes = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert [note[0] for note in notes] == ["before", "after"] * 2 + ["verify"], "the canary, then two"
    assert notes[-1] == ["verify", "3"]
    assert [set(note[1].split(",")) for note in notes[:-1:2]] == [set(note[1].split(",")) for note in notes[1:-1:2]]
    assert sorted(",".join(note[1] for note in notes[1:-1:2]).split(",")) == sorted(old)
    assert (tmp_path / "report" / "web.eu-central-1.html").is_file()
    assert f"{old[0]}" in done.stdout, "the plan is shown"


@pytest.mark.parametrize(("on_failure", "left"), [("stop", ["1", "1", "2"]), ("rollback", ["1", "1", "1"])])
def test_a_failed_task_of_the_user_ends_the_roll(
    aws: SimulatedAws, tmp_path: Path, on_failure: str, left: list[str]
) -> None:
    (tmp_path / "after.yml").write_text(
        json.dumps([{"name": "Look at the dashboard", "ansible.builtin.fail": {"msg": "latency doubled"}}])
    )
    done = play(
        aws,
        rollout_groups=[{"group": "web", "on_failure": on_failure, **QUICK}],
        rollout_after_batch=str(tmp_path / "after.yml"),
    )
    assert done.returncode != 0
    assert "Look at the dashboard: latency doubled; " in done.stdout
    assert ("stopped there, with 1 replaced" in done.stdout) == (on_failure == "stop")
    assert sorted(versions(aws)) == left
    shape = aws.cloud.shape("web")
    assert (shape["MinSize"], shape["DesiredCapacity"], shape["MaxSize"]) == (3, 3, 3)


def test_the_first_group_that_fails_stops_the_wave(aws: SimulatedAws) -> None:
    with aws.lock:
        aws.cloud.create_group("engine", size=1)
        aws.cloud.new_template_version("engine")
    done = play(aws, rollout_groups=[{"group": "web", "batch_size": "nine"}, {"group": "engine", **QUICK}])
    assert done.returncode != 0
    assert "batch_size is 'nine'" in done.stdout
    assert versions(aws, "engine") == ["1"]


def test_several_groups_in_order_and_a_second_run_changes_nothing(aws: SimulatedAws) -> None:
    with aws.lock:
        aws.cloud.create_group("engine", size=1)
        aws.cloud.new_template_version("engine")
    groups = [{"group": "engine", **QUICK}, {"group": "web", "batch_size": 3, **QUICK}]
    done = play(aws, rollout_groups=groups)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (versions(aws, "engine"), versions(aws)) == (["2"], ["2"] * 3)
    assert done.stdout.index("engine: ") < done.stdout.index("web: ")
    again = play(aws, rollout_groups=groups)
    assert again.returncode == 0
    assert "changed=0" in again.stdout


def test_an_option_that_the_module_does_not_know_is_refused_by_name(aws: SimulatedAws) -> None:
    done = play(aws, rollout_groups=[{"group": "web", "batch_sise": 2}])
    assert done.returncode != 0
    assert "batch_sise" in done.stdout
    assert versions(aws) == ["1"] * 3


def test_a_group_with_a_slash_in_its_name_gets_its_report(aws: SimulatedAws, tmp_path: Path) -> None:
    with aws.lock:
        aws.cloud.create_group("team/web", size=1)
        aws.cloud.new_template_version("team/web")
    done = play(aws, rollout_groups=[{"group": "team/web", **QUICK}], rollout_report_dir=str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(aws, "team/web") == ["2"]
    written = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert written == ["team%2Fweb.eu-central-1.events.jsonl", "team%2Fweb.eu-central-1.html"]


def fleet(**services: Any) -> dict[str, Any]:
    """A fleet file of services that are roles."""
    machine = {"cpu": {"profile": "cpu", "instance_type": "t3.medium"}}
    return {"fleet_name": "shop", "fleet_machines": machine, "fleet_services": {name: {"roles": ["acme.shop.any"], **values} for name, values in services.items()}}  # fmt: skip


SHOP = fleet(
    web={"uses": ["thumbs"], "roll": {**QUICK, "batch_size": 2, "canary": 0}},
    thumbs={"port": 9000, "roll": QUICK},
)


@pytest.fixture
def shop(aws: SimulatedAws) -> SimulatedAws:
    """The groups of the fleet, both behind."""
    for name in ("shop-web", "shop-thumbs"):
        aws.cloud.create_group(name, size=2)
        aws.cloud.new_template_version(name)
    return aws


def test_a_fleet_is_rolled_in_the_order_of_uses_with_the_options_of_each_service(
    shop: SimulatedAws, tmp_path: Path
) -> None:
    (tmp_path / "before.yml").write_text(json.dumps([{"name": "note", "ansible.builtin.shell": {"cmd": f"echo {{{{ rollout_group }}}} {{{{ rollout_batch | length }}}} >> {tmp_path}/notes"}}]))  # fmt: skip
    before = {"rollout_before_batch": str(tmp_path / "before.yml")}
    done = play(shop, **SHOP, **before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "notes").read_text().splitlines() == ["shop-thumbs 1", "shop-thumbs 1", "shop-web 2"]
    assert [versions(shop, name) for name in ("shop-web", "shop-thumbs", "web")] == [["2"] * 2, ["2"] * 2, ["1"] * 3]
    again = play(shop, **SHOP, **before)
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout
    assert len((tmp_path / "notes").read_text().splitlines()) == 3


def test_one_group_of_a_fleet(shop: SimulatedAws) -> None:
    done = play(shop, **SHOP, rollout_group="web")
    assert done.returncode != 0
    assert "The group of web is called shop-web: say -e rollout_group=shop-web" in done.stdout
    done = play(shop, **SHOP, rollout_group="shop-web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [versions(shop, name) for name in ("shop-web", "shop-thumbs")] == [["2"] * 2, ["1"] * 2]


def test_a_fleet_that_is_wrong_is_refused_before_anything_runs(shop: SimulatedAws) -> None:
    wrong = fleet(web={"size": {"min": 2, "max": 1}, "prot": 8000})
    done = play(shop, **wrong)
    assert done.returncode != 0
    assert "fleet_services.web.prot: there is no such key; did you mean port?" in done.stdout
    assert "fleet_services.web.size.max: 1 is less than min 2" in done.stdout
    assert not shop.cloud.calls
