# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's life in its group, over a virtual clock: metadata, Auto Scaling and steps are stand-ins that say what a test wants."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.host.aws import AwayError, RefusedError
from ansible_collections.boring.fleet.plugins.module_utils.host.lifecycle import Lifecycle, Result
from ansible_collections.boring.fleet.plugins.module_utils.host.told import Told, read

HOST = {
    "fleet": "shop", "service": "bus", "kind": "nats", "region": "eu-central-1", "group": "shop-bus",
    "hooks": {"enter": "enter", "leave": "leave", "heartbeat": 120},
}  # fmt: skip
AWAY = AwayError("the API does not answer")


class KilledError(Exception):
    """The process or the host is gone."""


class World:
    """What there is around the process. `at` has what happens at which second."""

    def __init__(self, **host: Any) -> None:
        self.told: Told = read(json.dumps({**HOST, **host}))
        self.time = 1000.0
        self.state = "Pending:Wait"
        self.paths: dict[str, str] = {"instance-id": "i-1", "autoscaling/target-lifecycle-state": "InService"}
        self.results: dict[str, list[Result]] = {}
        self.takes: dict[str, float] = {}
        self.at: dict[float, Callable[[], None]] = {}
        self.api: Exception | None = None
        self.metadata: Exception | None = None
        self.text = ""
        self.boot = "boot-1"
        self.said: list[str] = []
        self.calls: list[tuple[str, ...]] = []
        self.ran: list[tuple[float, str]] = []
        self.tags: list[str] = []
        self.beats: list[tuple[float, str]] = []

    def run(self, until: float = 100_000) -> World:
        there: Any = self
        self.until = self.time + until
        life = Lifecycle(
            self.told, there, there, self.steps, there, self.boot, lambda: self.time, self.sleep, self.said.append
        )
        try:
            life.run()
        except KilledError:
            self.said.append("(killed)")
        return self

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        for moment in sorted(self.at):
            if moment <= self.time - 1000:
                self.at.pop(moment)()
        if self.time >= self.until:
            raise KilledError

    # -- steps and file ------------------------------------------------------------------------------------------------

    def steps(self, folder: str, tick: Callable[[], bool]) -> Result:
        self.ran.append((self.time - 1000, folder))
        left = self.takes.get(folder, 1.0)
        while left > 0:
            if not tick():
                return Result("50-fleet", None)
            self.sleep(1.0)
            left -= 1
        todo = self.results.get(folder)
        return todo.pop(0) if todo else Result()

    def read(self) -> str:
        return self.text

    def write(self, text: str) -> None:
        self.text = text

    # -- metadata and AWS ----------------------------------------------------------------------------------------------

    def get(self, path: str) -> str | None:
        if self.metadata:
            raise self.metadata
        return self.paths.get(path)

    def need(self, path: str) -> str:
        return self.get(path) or ""

    def lifecycle_states(self, ids: list[str]) -> dict[str, str]:
        if self.api:
            raise self.api
        return {"i-1": self.state} if self.state else {}

    def heartbeat(self, group: str, hook: str, instance: str) -> None:
        if self.api:
            raise self.api
        self.beats.append((self.time - 1000, hook))

    def complete(self, group: str, hook: str, instance: str, result: str) -> None:
        if self.api:
            raise self.api
        self.calls.append((group, hook, instance, result))
        if result == "ABANDON" or hook == "leave":
            self.terminate("Terminating:Proceed")
        else:
            self.state = "InService"

    def tag(self, instance: str, name: str, value: str) -> None:
        if self.api:
            raise self.api
        assert (instance, name, len(value) <= 256) == ("i-1", "boring:lifecycle", True)
        self.tags.append(value)

    def terminate(self, state: str = "Terminating:Wait") -> None:
        self.state = state
        self.paths["autoscaling/target-lifecycle-state"] = "Terminated"

    def fail(self, what: str, error: Exception | str | None) -> Callable[[], None]:
        return lambda: setattr(self, what, error)


def folders(world: World) -> list[str]:
    return [folder for dummy, folder in world.ran if folder != "keep.d"]


def test_a_host_enters_serves_and_leaves() -> None:
    world = World()
    world.at[300] = world.terminate
    world.run()
    assert folders(world) == ["enter.d", "leave.d"]
    assert world.calls == [("shop-bus", "enter", "i-1", "CONTINUE"), ("shop-bus", "leave", "i-1", "CONTINUE")]
    assert world.tags == ["in service", "left"]
    assert next(at for at, folder in world.ran if folder == "leave.d") <= 305, "it looks every few seconds"
    assert sum(folder == "keep.d" for dummy, folder in world.ran) in range(8, 11), "every 30 seconds or so"


def test_a_step_that_fails_is_tried_again_and_its_reason_is_in_the_tag() -> None:
    world = World()
    world.results["enter.d"] = [Result("50-fleet", 1, "waiting for i-2")] * 3
    world.results["leave.d"] = [Result("50-fleet", 1, "the replica on i-3 is not current")] * 4
    world.at[200] = world.terminate
    world.run()
    assert folders(world) == ["enter.d"] * 4 + ["leave.d"] * 5
    assert world.tags == [
        "entering: waiting for i-2", "in service", "leaving: the replica on i-3 is not current", "left",
    ]  # fmt: skip
    assert world.said.count("cannot leave yet: the replica on i-3 is not current") == 1, "said once, not each time"


def test_a_long_leave_sends_heartbeats_within_each_timeout() -> None:
    world = World()
    world.takes["leave.d"] = 1000
    world.at[50] = world.terminate
    world.run()
    beats = [at for at, hook in world.beats if hook == "leave"]
    assert max(after - before for before, after in itertools.pairwise(beats)) < 60
    assert beats[-1] > 1000


@pytest.mark.parametrize(
    ("result", "most"), [(Result("50-fleet", 78, "no certificate"), 5), (Result("50-fleet", 1, "no certificate"), 1850)]
)
def test_a_host_that_is_of_no_use_gives_itself_up(result: Result, most: float) -> None:
    world = World()
    world.results["enter.d"] = [result] * 1000
    world.run()
    assert world.calls == [("shop-bus", "enter", "i-1", "ABANDON")]
    assert "this host is of no use: no certificate; it gives itself up" in world.said
    assert world.ran[-2][0] <= most
    assert folders(world)[-1] == "leave.d", "what it joined by then it leaves"


@pytest.mark.parametrize("state", ["InService", ""])
def test_a_host_whose_hook_was_deleted_says_so_and_goes_on(state: str) -> None:
    world = World()
    world.state = state
    world.at[60] = lambda: world.terminate("Terminating")
    world.at[100] = world.fail("state", "")
    world.run(400)
    assert world.calls == []
    assert any(
        "somebody deleted the lifecycle hook" in line or "in no Auto Scaling group" in line for line in world.said
    )
    assert folders(world) == ["enter.d", "leave.d"]


def test_the_hook_is_completed_once_the_group_waits_for_it() -> None:
    """The metadata tells of the end before the load balancer has let go; only then the hook begins."""
    world = World()
    world.at[50] = lambda: world.terminate("Terminating")
    world.at[150] = lambda: world.terminate("Terminating:Wait")
    world.run()
    assert world.calls[-1] == ("shop-bus", "leave", "i-1", "CONTINUE")
    assert 150 <= world.time - 1000 < 160


def test_aws_away_for_minutes_is_waited_for() -> None:
    world = World()
    world.api, world.metadata = AWAY, AWAY
    world.at[120] = world.fail("metadata", None)
    world.at[300] = world.fail("api", None)
    world.at[400] = world.fail("api", AWAY)
    world.at[410] = world.terminate
    world.at[900] = world.fail("api", None)
    world.run()
    assert world.calls == [("shop-bus", "enter", "i-1", "CONTINUE"), ("shop-bus", "leave", "i-1", "CONTINUE")]
    assert world.said.count("the API does not answer; trying again") == 2


def test_a_role_without_the_rights_says_so_and_goes_on_trying() -> None:
    world = World()
    world.api = RefusedError(
        "CompleteLifecycleAction was refused with AccessDenied: no policy allows it", "AccessDenied"
    )
    world.run(3000)
    assert [line for line in world.said if "AccessDenied" in line]
    assert "i-1 is of use" in world.said


def test_the_time_of_the_hook_ends_and_says_what_is_lost() -> None:
    world = World()
    world.results["leave.d"] = [Result("50-fleet", 1, "the replica on i-3 is not current")] * 10_000
    world.at[50] = world.terminate
    world.run(14_000)
    assert (
        "the time to leave is over, and the replica on i-3 is not current; what it holds may be lost with it"
        in world.said
    )
    assert len(world.calls) == 1, "the hook is not completed before it is safe"


def test_spot_is_left_at_once() -> None:
    world = World()
    world.takes["keep.d"] = 1000
    world.at[100] = lambda: world.paths.update(
        {"spot/instance-action": '{"action": "terminate", "time": "2026-11-30T23:00:00Z"}'}
    )
    world.run(300)
    began = [at for at, folder in world.ran if folder == "leave.d"]
    assert len(began) == 1
    assert began[0] < 105, "a step of keep.d is stopped for it"
    assert "i-1 leaves: Spot takes it back (terminate at 2026-11-30T23:00:00Z)" in world.said


def test_a_rebalance_recommendation_is_said_once() -> None:
    world = World()
    world.paths["events/recommendations/rebalance"] = '{"noticeTime": "2026-11-30T23:00:00Z"}'
    world.run(300)
    assert sum("expects to take this Spot instance back" in line for line in world.said) == 1
    assert folders(world) == ["enter.d"]


@pytest.mark.parametrize("dies", range(1, 120, 3))
def test_killed_at_any_moment_it_goes_on_where_it_was(dies: int) -> None:
    world = World()
    world.takes.update({"enter.d": 10, "leave.d": 10})
    world.at[60] = world.terminate
    world.run(dies)
    world.run()
    assert world.calls == [("shop-bus", "enter", "i-1", "CONTINUE"), ("shop-bus", "leave", "i-1", "CONTINUE")]
    assert folders(world)[-1] == "leave.d"


def test_after_a_boot_it_enters_again() -> None:
    world = World()
    world.run(100)
    world.boot = "boot-2"
    world.run(100)
    assert folders(world) == ["enter.d", "enter.d"]


def test_ended_while_it_enters_it_leaves() -> None:
    world = World()
    world.takes["enter.d"] = 1000
    world.at[50] = world.terminate
    world.run()
    assert folders(world) == ["enter.d", "leave.d"]
    assert world.calls == [("shop-bus", "leave", "i-1", "CONTINUE")]


def test_an_isolated_host_asks_nobody() -> None:
    world = World(hooks={})
    world.api = RefusedError("nothing is allowed", "AccessDenied")
    world.at[50] = world.terminate
    world.run()
    assert folders(world) == ["enter.d", "leave.d"]
    assert (world.calls, world.beats, world.tags) == ([], [], [])
    assert not any("nothing is allowed" in line for line in world.said)


def test_a_reason_is_never_longer_than_a_tag() -> None:
    world = World()
    world.results["enter.d"] = [Result("50-fleet", 1, "x" * 400)]
    world.run(100)
    assert world.tags[0].endswith("...")
