# SPDX-License-Identifier: GPL-3.0-or-later
"""asg_rollout against its peers: the same emulated group, the same virtual seconds, measured in one run.

The peers are ``amazon.aws.autoscaling_group`` of its newest release, its own code with only its clock and clients
replaced, and AWS Instance Refresh, whose documented algorithm the emulation has; of the latter only the calls of
whoever waits for it are counted. ``make bench-rollout`` runs it, or the project's Python::

    build/venv/bin/python benchmarks/rollout.py            # N = 3, 10, 50 and 1,000
    build/venv/bin/python benchmarks/rollout.py 3 10 50    # only these

The bound is that of the module's guarantee 9: ceil(N / b) x (boot + min_healthy_time) + one drain, and the canary's
extra batch. It holds for whoever proves a new instance for min_healthy_time, and the first one alone; the peers do
neither, so they can be below it. An interruption: the process dies at its first call after the third instance was
terminated, and the same task runs again.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "collections")]

from benchmarks.newest import collection  # noqa: E402

PEER_PATH, PEER_VERSION = collection("amazon.aws")
sys.path.insert(0, str(PEER_PATH))

from ansible_collections.amazon.aws.plugins.modules import autoscaling_group as peer  # noqa: E402

from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.roll import Roll  # noqa: E402
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud  # noqa: E402
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Amount, Policy, Request  # noqa: E402
from localcloud.autoscaling.simulation import Call, SimulatedCloud  # noqa: E402

if not Path(peer.__file__).is_relative_to(PEER_PATH):
    sys.exit(f"bench: amazon.aws was taken from {peer.__file__}, not from {PEER_PATH}")

BOOT, DRAIN, MIN_HEALTHY = 90.0, 30.0, 10.0
SIZES = (3, 10, 50, 1000)
POLL = 15.0  # of whoever waits for an instance refresh


class Broken(BaseException):
    """The connection breaks, and the process with it."""


@dataclass(frozen=True)
class Row:
    """One roll."""

    who: str
    size: int
    batch: int
    calls: int
    seconds: float
    lowest: int
    launched: int
    sizes: tuple[int, int, int]
    interrupted: tuple[int, int, int]
    cpu: float  # of the undisturbed roll, emulation included

    @property
    def over_bound(self) -> float:
        return self.seconds / bound(self.size, self.batch)


class Owner:
    """An owner of locks; whoever had the lock before is dead."""

    name = "bench"

    def is_dead(self, _name: str) -> bool:
        return True


def bound(size: int, batch: int) -> float:
    """The shortest that a roll can take which launches first and proves the first replacement alone."""
    batches = 1 + math.ceil((size - 1) / batch) if batch > 1 else size
    return batches * (BOOT + MIN_HEALTHY) + DRAIN


def emulated(size: int) -> SimulatedCloud:
    """A group of this size on version 1 of its template, told to use version 2; one target group."""
    cloud = SimulatedCloud(boot=BOOT, healthy_after=0, deregistration_delay=DRAIN, zones=1)
    cloud.create_group("web", size=size, MaxSize=2 * size, HealthCheckType="ELB", version="1")
    cloud.new_template_version("web")
    to_version_2 = {"LaunchTemplateName": "web", "Version": "2"}
    update = {"AutoScalingGroupName": "web", "LaunchTemplate": to_version_2}
    cloud.handle("autoscaling", "UpdateAutoScalingGroup", update)
    return cloud


def ours(cloud: SimulatedCloud, batch: int) -> None:
    """asg_rollout with its defaults."""
    clients: dict[str, Any] = {}
    roll = Roll(
        Cloud(
            lambda service: clients.setdefault(service, cloud.client(service)),
            clock=cloud.now,
            sleep=cloud.sleep,
            patience=900.0,
        ),
        Request("web", "completed", None),
        Policy(batch_size=Amount(batch), min_healthy_time=MIN_HEALTHY),
        clock=cloud.now,
        sleep=cloud.sleep,
        owner=Owner(),  # type: ignore[arg-type]
        emit=lambda _event: None,
        stopped=lambda: "",
        prober=None,
        drainer=None,
    )
    result = roll.run(False)
    if result.failed:
        raise RuntimeError(result.message)


def autoscaling_group(cloud: SimulatedCloud, batch: int) -> None:
    """amazon.aws.autoscaling_group with replace_all_instances; sizes omitted, as its documentation has it."""

    class Module:
        params: dict[str, Any] = {  # noqa: RUF012 - as an AnsibleModule has it
            "name": "web",
            "replace_all_instances": True,
            "replace_instances": [],
            "replace_batch_size": batch,
            "wait_for_instances": True,
            "wait_timeout": 7200,
            "launch_config_name": None,
            "launch_template": {"launch_template_name": "web", "version": "2"},
            "lc_check": True,
            "lt_check": True,
            "health_check_type": "ELB",
            "decrement_desired_capacity": False,
            "min_size": None,
            "max_size": None,
            "desired_capacity": None,
        }

        def client(self, service: str, **_: Any) -> Any:
            return cloud.client(service)

        def debug(self, *_: Any) -> None: ...
        def fail_json(self, msg: str = "", **_: Any) -> None:
            raise RuntimeError(msg)

        def fail_json_aws(self, error: Exception, msg: str = "", **_: Any) -> None:
            raise RuntimeError(f"{msg}: {error}")

    class Time:
        sleep = staticmethod(cloud.sleep)
        time = staticmethod(cloud.now)

    peer.module, peer.time = Module(), Time
    peer.replace(cloud.client("autoscaling"))


def instance_refresh(cloud: SimulatedCloud, batch: int) -> None:
    """AWS Instance Refresh, launching first, as many at a time; its caller waits for it."""
    asg = cloud.client("autoscaling")
    size = cloud.shape("web")["DesiredCapacity"]
    name = {"AutoScalingGroupName": "web"}
    found = asg.describe_instance_refreshes(**name)["InstanceRefreshes"]
    if not found or found[0]["Status"] != "InProgress":
        preferences = {
            "MinHealthyPercentage": 100,
            "MaxHealthyPercentage": 100 + math.ceil(100 * batch / size),
            "InstanceWarmup": int(MIN_HEALTHY),
            "SkipMatching": True,
        }
        asg.start_instance_refresh(**name, Preferences=preferences)
    while asg.describe_instance_refreshes(**name, MaxRecords=1)["InstanceRefreshes"][0]["Status"] == "InProgress":
        cloud.sleep(POLL)


def measure(who: str, roll: Callable[[SimulatedCloud, int], None], size: int, batch: int) -> Row:
    """Roll a fresh group undisturbed, and another one with an interruption."""
    cloud = emulated(size)
    watch, began, cpu = cloud.watch("web"), cloud.now(), time.process_time()
    roll(cloud, batch)
    spent = time.process_time() - cpu
    return Row(
        who,
        size,
        batch,
        calls=sum(cloud.calls.values()),
        seconds=cloud.now() - began,
        lowest=watch.lowest_healthy,
        launched=len(watch.launched),
        sizes=sizes(cloud),
        interrupted=interrupted(roll, size, batch),
        cpu=spent,
    )


def interrupted(roll: Callable[[SimulatedCloud, int], None], size: int, batch: int) -> tuple[int, int, int]:
    """Sizes after a roll whose process died half way and was run again."""
    cloud = emulated(size)
    watch = cloud.watch("web")
    broken = False

    def die_after_the_third(_call: Call) -> None:
        nonlocal broken
        if not broken and len(watch.terminated) >= 3:
            broken = True
            raise Broken

    cloud.before_call.append(die_after_the_third)
    try:
        roll(cloud, batch)
    except Broken:
        cloud.sleep(300)
        roll(cloud, batch)
    cloud.sleep(600)
    return sizes(cloud)


def sizes(cloud: SimulatedCloud) -> tuple[int, int, int]:
    shape = cloud.shape("web")
    return shape["MinSize"], shape["MaxSize"], shape["DesiredCapacity"]


def plan_seconds(size: int) -> float:
    """Processor seconds to plan a roll of this many instances."""
    cloud = emulated(size)
    clients: dict[str, Any] = {}
    roll = Roll(
        Cloud(lambda s: clients.setdefault(s, cloud.client(s)), clock=cloud.now, sleep=cloud.sleep, patience=900.0),
        Request("web", "planned", None),
        Policy(batch_size=Amount(10)),
        clock=cloud.now,
        sleep=cloud.sleep,
        owner=Owner(),  # type: ignore[arg-type]
        emit=lambda _event: None,
        stopped=lambda: "",
        prober=None,
        drainer=None,
    )
    began = time.process_time()
    roll.run(True)
    return time.process_time() - began


def alone(size: int, batch: int) -> tuple[float, float, float]:
    """One roll of ours in a process of its own: processor seconds, those that were not the emulation's, peak MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--alone", str(size), str(batch)], capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    cpu, own, memory = json.loads(done.stdout)
    return cpu, own, memory


def _alone(size: int, batch: int) -> None:
    cloud = emulated(size)
    emulation = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal emulation
            started = time.process_time()
            try:
                return method(*arguments)
            finally:
                emulation += time.process_time() - started

        return run

    cloud.call, cloud.sleep = timed(cloud.call), timed(cloud.sleep)  # type: ignore[method-assign]
    began = time.process_time()
    ours(cloud, batch)
    cpu = time.process_time() - began
    # Not ru_maxrss, which begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024  # KiB
    print(json.dumps([cpu, cpu - emulation, memory]))


def table(wanted: list[int]) -> list[Row]:
    """Print the comparison."""
    print(
        f"boot {BOOT:g} s, deregistration {DRAIN:g} s, 1 target group; amazon.aws {PEER_VERSION}; virtual seconds; "
        "sizes are min/max/desired\n"
    )
    print(
        f"{'':22}{'N':>5}{'batch':>6}{'API calls':>11}{'seconds':>9}{'/bound':>8}{'lowest':>8}{'launched':>10}", end=""
    )
    print(f"  {'sizes after':<16}{'after interruption':<20}{'CPU s':>6}")
    rows: list[Row] = []
    for size in wanted:
        for batch in dict.fromkeys((1, 2, max(1, size // 10))):
            for who, roll in (
                ("asg_rollout", ours),
                ("amazon.aws replace", autoscaling_group),
                ("AWS instance refresh", instance_refresh),
            ):
                row = measure(who, roll, size, batch)
                rows.append(row)
                print(
                    f"{row.who:22}{row.size:5}{row.batch:6}{row.calls:11,}{row.seconds:9,.0f}{row.over_bound:8.2f}"
                    f"{row.lowest:8,}{row.launched:10,}  {'/'.join(map(str, row.sizes)):<16}"
                    f"{'/'.join(map(str, row.interrupted)):<20}{row.cpu:6.1f}",
                    flush=True,
                )
    return rows


def linearity() -> float:
    """Print what our side costs as groups grow; the seconds that a plan for 10,000 instances takes."""
    print("\nasg_rollout in processes of their own, CPU seconds; its own part is what is not the emulation's\n")
    print(f"{'N':>7}{'batch':>7}{'plan':>9}{'plan us/N':>11}{'roll':>8}{'its own':>9}{'own us/N':>10}{'peak MB':>9}")
    ten_thousand = 0.0
    for size, batch in ((1000, 1), (1000, 100), (2000, 200), (5000, 500), (10_000, 1000)):
        planned = min(plan_seconds(size) for _ in range(3))  # the least disturbed by the machine's other work
        ten_thousand = planned if size == 10_000 else ten_thousand
        cpu, own, memory = alone(size, batch)
        print(
            f"{size:7,}{batch:7,}{planned:9.3f}{1e6 * planned / size:11.1f}{cpu:8.2f}{own:9.2f}{1e6 * own / size:10.0f}"
            f"{memory:9.0f}",
            flush=True,
        )
    return ten_thousand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, metavar="N", help="sizes of groups; 50 is always among them")
    parser.add_argument("--alone", nargs=2, type=int, metavar=("N", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        _alone(*options.alone)
        return
    rows = table(sorted({50, *(options.sizes or SIZES)}))
    planned = linearity()
    fifty = {row.who: row for row in rows if (row.size, row.batch) == (50, 1)}
    mine, theirs = fifty["asg_rollout"], fifty["amazon.aws replace"]
    print(
        f"\nbench-rollout: calls ratio {mine.calls / theirs.calls:.2f}, time over bound {mine.over_bound:.2f}, "
        f"plan 10k {planned:.2f} s"
    )


if __name__ == "__main__":
    main()
