# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolls in a simulated cloud: the real runner, core and AWS side, with a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.places import Prober
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.result import Result
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.roll import Roll
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_RECORD
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Amount, Policy, Request
from localcloud.autoscaling.simulation import Call, SimulatedCloud

BOOT = 90.0
DRAIN = 30.0
HEALTHY = 10.0  # the policy's min_healthy_time


class Killed(BaseException):
    """SIGKILL: nothing of the process may run after it."""


class Someone:
    """An owner of locks; the dead are known by name."""

    def __init__(self, name: str, dead: Iterable[str] = ()) -> None:
        self.name = name
        self.dead = {name, *dead}

    def is_dead(self, name: str) -> bool:
        return name in self.dead


class World:
    """A group "web" that runs version 1 of its template, and version 2 to roll to."""

    def __init__(
        self,
        size: int = 3,
        *,
        new_version: bool = True,
        cloud: SimulatedCloud | None = None,
        zones: int = 1,  # with more, AZRebalance acts after a roll that stopped half way
        **group: Any,
    ) -> None:
        self.cloud = cloud or SimulatedCloud(boot=BOOT, healthy_after=0, deregistration_delay=DRAIN, zones=zones)
        self.cloud.create_group("web", size=size, **group)
        if new_version:
            self.cloud.new_template_version("web")
        self.size = size
        self.watch = self.cloud.watch("web")
        self.events: list[dict[str, Any]] = []
        self.last: Result | None = None  # of the last roll that nobody killed
        self.forget_calls()

    def forget_calls(self) -> None:
        self.cloud.calls.clear()
        self.cloud.log.clear()

    def roll(
        self,
        state: str = "completed",
        *,
        check: bool = False,
        owner: str = "one",
        dead: Iterable[str] = (),
        template: Template | None = None,
        stopped: Callable[[], str] = lambda: "",
        prober: Prober | None = None,
        drainer: Prober | None = None,
        **policy: Any,
    ) -> Result:
        for name in ("batch_size", "max_unavailable"):
            if name in policy:
                policy[name] = Amount.parse(policy[name], name, 0)
        clients: dict[str, Any] = {}
        aws = Cloud(
            lambda service: clients.setdefault(service, self.cloud.client(service)),
            clock=self.cloud.now,
            sleep=self.cloud.sleep,
            patience=policy.get("batch_timeout", 900.0),
        )
        settings = Policy(
            **policy,
            one_batch=state == "advanced",
            checked=prober is not None,
            drained=drainer is not None,
        )
        roll = Roll(
            aws,
            Request("web", state, template),
            settings,
            clock=self.cloud.now,
            sleep=self.cloud.sleep,
            owner=Someone(owner, dead),  # type: ignore[arg-type]
            emit=self.events.append,
            stopped=stopped,
            prober=prober,
            drainer=drainer,
        )
        result = roll.run(check)
        assert "mistake in asg_rollout" not in result.message, result.message
        self.last = result
        return result

    def killed_at(self, number: int, *, after: bool, **options: Any) -> Call | None:
        """Roll, and be killed at this call, before or after it took effect; the call, None when the roll ended first."""

        def die(call: Call) -> None:
            if call.number == number:
                raise Killed

        hooks = self.cloud.after_call if after else self.cloud.before_call
        hooks.append(die)
        try:
            self.roll(**options)
        except Killed:
            return self.cloud.log[-1]
        finally:
            hooks.remove(die)
        return None

    @property
    def group(self) -> Mapping[str, Any]:
        return self.cloud.shape("web")

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.group["MinSize"], self.group["MaxSize"], self.group["DesiredCapacity"]

    @property
    def versions(self) -> list[str]:
        """Template versions of the instances in service."""
        return sorted(
            i["LaunchTemplate"]["Version"] for i in self.group["Instances"] if i["LifecycleState"] == "InService"
        )

    @property
    def suspended(self) -> list[str]:
        return sorted(item["ProcessName"] for item in self.group["SuspendedProcesses"])

    @property
    def tags(self) -> set[str]:
        return {tag["Key"] for tag in self.group["Tags"]}

    @property
    def writes(self) -> list[str]:
        return [call.operation for call in self.cloud.log if not call.operation.startswith("Describe")]

    def settle(self, seconds: float = 900) -> None:
        """Let everything come to rest, AZRebalance included."""
        self.cloud.sleep(seconds)

    def assert_as_found(self, *, size: int | None = None, suspended: Iterable[str] = ()) -> None:
        size = self.size if size is None else size
        assert self.sizes == (self.size, self.size, size) or self.sizes[2] == size
        assert self.suspended == sorted(suspended)
        assert self.tags <= {TAG_RECORD}
        assert self.group["LaunchTemplate"]["Version"] == "$Latest"


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World
