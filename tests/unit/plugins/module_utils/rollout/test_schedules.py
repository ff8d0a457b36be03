# SPDX-License-Identifier: GPL-3.0-or-later
"""Random schedules of faults over the simulated cloud, with the contract's guarantees as invariants.

``make test`` runs the same few hundred every time; ``make prove-rollout`` runs 25,000 new ones. What they found is a
test of its own name at the end of this file, as small as Hypothesis could make it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, CredentialRetrievalError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import decode
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_JOURNAL, TAG_RECORD
from localcloud.autoscaling.simulation import Call, SimulatedCloud
from tests.unit.plugins.module_utils.rollout.others import FULL, QUOTA, keep_alive

# What `make prove-rollout` sets; without it the number is small, and the schedules are the same in every run.
PROVE = int(os.environ.get("ROLLOUT_SCHEDULES", "0"))
HEALTHY = 10.0
LONGEST_LAG = 26.0  # seconds by which descriptions are late
LONGEST = 6 * 3600.0  # no schedule here is a reason to roll for longer
MOST_CALLS = 4000

# What may happen, and whether it may cost the roll new instances or keep it from its end
HARMLESS = (
    "policy out",
    "policy in",
    "schedule",
    "person sets desired",
    "person sets max",
    "throttle",
    "lag",
    "shortage",
    "full zone",
    "second controller",
    "hand terminates old",
    "journal deleted",
    "record deleted",
    "no credentials for a while",
)
HARMFUL = (
    "kill",
    "interrupt",
    "interrupt new",
    "hand ends new in EC2",
    "flap",
    "bad boot",
    "hanging boot",
    "bad application",
    "impair",
    "hand terminates new",
    "quota",
    "process suspended",
    "health denied",
    "activities denied",
    "target group deleted",
    "credentials expire",
    "old image gone",
    "group deleted",
)
SCALINGS = ("policy out", "policy in", "schedule", "person sets desired", "person sets max")


@dataclass(frozen=True)
class Happening:
    """Something that happens so many seconds after the roll began; ``which`` picks among what there is then."""

    what: str
    at: float
    which: int = 0


@dataclass(frozen=True)
class Schedule:
    """One world, one policy, and what happens meanwhile."""

    size: int = 3
    least: int = 0  # MinSize
    room: int = 4  # MaxSize beyond size
    zones: int = 1
    target_groups: int = 1
    elb: bool = False  # HealthCheckType
    boots: tuple[float, ...] = (90.0,)
    drain: float = 30.0
    healthy_after: float = 0.0
    suspended: tuple[str, ...] = ()
    batch_size: int = 1
    max_unavailable: int = 0
    canary: int = 1
    bake_time: float = 0.0
    batch_timeout: float = 900.0
    max_failures: int = 1
    rollback: bool = False
    pinned: bool = False  # roll to a numbered version that is named, from a numbered one
    happenings: tuple[Happening, ...] = ()
    refused: bool = False  # the new version cannot be launched
    drains: bool = False  # instances are asked to drain; a sick one never answers
    ipv6: bool = False  # hosts have no other address
    checked: bool = False  # there are health checks of the application
    hook: float = 0.0  # a launch hook with a heartbeat timeout of 100 s is kept alive for so long; 0: none
    poll: float = 5.0
    stop_at: float = 0.0  # SIGTERM so long after the beginning; 0: never
    kills: tuple[tuple[int, bool], ...] = ()  # SIGKILL at these calls of successive runs; True: after they took effect


def _happenings() -> st.SearchStrategy[tuple[Happening, ...]]:
    one = st.builds(
        Happening,
        what=st.sampled_from(HARMLESS + HARMFUL),
        at=st.integers(0, 1200).map(float),
        which=st.integers(0, 7),
    )
    return st.lists(one, max_size=6).map(tuple)


def _order(schedule: Schedule) -> Schedule:
    """A group is deleted, or cannot be read any more, after all else."""
    last = ("group deleted", "credentials expire")
    return replace(schedule, happenings=tuple(sorted(schedule.happenings, key=lambda item: item.what in last)))


SCHEDULES = st.builds(
    Schedule,
    size=st.integers(1, 7),
    least=st.integers(0, 7),
    room=st.sampled_from([4, 0, 1, 6]),
    zones=st.sampled_from([1, 3]),
    target_groups=st.sampled_from([1, 0, 2]),
    elb=st.booleans(),
    boots=st.lists(st.integers(15, 150).map(float), min_size=1, max_size=4).map(tuple),
    drain=st.sampled_from([30.0, 0.0, 120.0]),
    healthy_after=st.sampled_from([0.0, 10.0, 35.0]),
    suspended=st.sampled_from([(), ("AZRebalance",), ("AlarmNotification", "ScheduledActions")]),
    batch_size=st.integers(1, 4),
    max_unavailable=st.sampled_from([0, 0, 1, 2]),
    canary=st.sampled_from([1, 0, 2]),
    bake_time=st.sampled_from([0.0, 0.0, 40.0]),
    batch_timeout=st.sampled_from([900.0, 300.0]),
    max_failures=st.sampled_from([1, 0, 3]),
    rollback=st.booleans(),
    pinned=st.booleans(),
    happenings=_happenings(),
    refused=st.sampled_from([False] * 9 + [True]),
    drains=st.sampled_from([False, False, True]),
    ipv6=st.booleans(),
    checked=st.sampled_from([False, False, True]),
    hook=st.sampled_from([0.0] * 5 + [60.0, 400.0]),
    poll=st.sampled_from([5.0, 5.0, 2.0, 15.0]),
    stop_at=st.one_of(st.just(0.0), st.just(0.0), st.integers(1, 900).map(float)),
    kills=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=2).map(tuple),
)


@dataclass
class Monitor:
    """Looks at the group from outside, at every call of the roll, and notes what breaks a guarantee."""

    world: Any
    schedule: Schedule
    wanted: int  # the user's own desired capacity at this moment
    broken: list[str] = field(default_factory=list)
    looked: set[str] = field(default_factory=set)  # healthy everywhere at the roll's last look
    looked_wanted: int = 0
    since: dict[str, float] = field(default_factory=dict)  # healthy at every look since
    proven: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)  # instances that the roll terminated, in order
    healthy_old: set[str] = field(default_factory=set)  # of these, those that served
    disturbed: int = 0  # happenings so far
    lagging: bool = False
    low: int = 0  # the user's own MinSize and MaxSize at this moment
    high: int = 0
    swallowed: int = 0  # by how much scaling in took the roll's surge, because the user's own size was at MinSize
    scaled: bool = False  # somebody changed a size since the roll's last look, or it does not show yet
    scaled_at: float = 0.0  # when
    overwritten: bool = False  # and the roll wrote over it: AWS has no compare-and-set
    untold: bool = False  # a policy changed the desired capacity, and no activity says so
    held: set[str] = field(default_factory=set)  # processes that somebody suspended
    deleted: bool = False
    unreadable: bool = False  # whether instances are healthy, nobody can say any more
    cut_off: int = 0  # how much of the desired capacity a kill left in doubt

    def somebody_scales(self) -> None:
        """Somebody changes a size."""
        self.scaled, self.scaled_at = True, self.world.cloud.now()

    def healthy(self) -> set[str]:
        """As the roll can see it: in service, Healthy, healthy in every target group. It checks the application of new ones only."""
        cloud = self.world.cloud
        found = {
            item["InstanceId"]
            for item in self.world.group["Instances"]
            if item["LifecycleState"] == "InService" and item["HealthStatus"] == "Healthy"
        }
        for place in cloud.targets.places.values():
            found &= place.healthy
        return {name for name in found if not self.schedule.checked or self.version(name) == "1" or cloud.answers(name)}

    def version(self, name: str) -> str:
        return str(self.world.cloud.hosts.by_id[name].order.template_version)

    def before(self, call: Call) -> None:
        if call.number > MOST_CALLS:
            raise AssertionError(f"more than {MOST_CALLS} calls")
        if call.operation == "UpdateAutoScalingGroup" and "MinSize" in call.params:
            self.broken.append(f"MinSize was written: {call.params}")
        if self.world.cloud.no_call is None and self.scaled and {"DesiredCapacity", "MaxSize"} & call.params.keys():
            self.overwritten = True
        if call.operation == "TerminateInstanceInAutoScalingGroup":
            self._terminates(call.params["InstanceId"])

    def after(self, call: Call) -> None:
        if self.deleted:
            return
        if call.operation == "TerminateInstanceInAutoScalingGroup":
            self.told.append(call.params["InstanceId"])  # one that AWS refuses terminates nobody
        if call.operation == "DescribeAutoScalingGroups":
            self.scaled = self.scaled and self.lagging and self.world.cloud.now() - self.scaled_at <= LONGEST_LAG
        looks = "DescribeTargetHealth" if self.schedule.target_groups else "DescribeAutoScalingGroups"
        if call.operation == looks:
            now = self.world.cloud.now()
            self.looked, self.looked_wanted = self.healthy(), self.wanted
            self.since = {name: self.since.get(name, now) for name in self.looked}

    def _terminates(self, name: str) -> None:
        """Guarantees 1 and 2, at the moment at which they count."""
        now = self.world.cloud.now()
        if name in self.told and not self.schedule.kills:
            self.broken.append(f"{name} was terminated twice")
        if name not in self.looked or self.lagging or self.unreadable:
            return  # it did not serve, as far as the roll could see
        if self.version(name) == "1":
            self.healthy_old.add(name)
        self.looked.discard(name)
        least = self.looked_wanted - self.schedule.max_unavailable - self.swallowed
        if len(self.looked) < least and not self.cut_off:
            self.broken.append(f"{name} was terminated with {len(self.looked)} others healthy, {least} are needed")
        self.proven |= {new for new, since in self.since.items() if now - since >= HEALTHY - 1e-6}


def simulate(world: Any, schedule: Schedule) -> Any:
    """Run a schedule and check every guarantee; the world afterwards."""
    boots = schedule.boots
    cloud = SimulatedCloud(
        boot=lambda number: boots[number % len(boots)],
        healthy_after=schedule.healthy_after,
        deregistration_delay=schedule.drain,
        zones=schedule.zones,
    )
    if schedule.ipv6:
        cloud.address = lambda number: f"2001:db8::{number:x}"
    least, most = min(schedule.least, schedule.size), schedule.size + schedule.room
    w = world(
        schedule.size,
        cloud=cloud,
        target_groups=schedule.target_groups,
        MinSize=least,
        MaxSize=most,
        version="1" if schedule.pinned else "$Latest",
        HealthCheckType="ELB" if schedule.elb and schedule.target_groups else "EC2",
    )
    if schedule.suspended:
        wanted = {"AutoScalingGroupName": "web", "ScalingProcesses": list(schedule.suspended)}
        cloud.handle("autoscaling", "SuspendProcesses", wanted)
    if schedule.refused:
        cloud.templates.missing_images.add(f"ami-{2:017x}")
    if schedule.hook:
        keep_alive(w, "LAUNCHING", heartbeat=100, alive=schedule.hook)
    monitor = Monitor(w, schedule, wanted=schedule.size, low=least, high=most)
    cloud.before_call.append(monitor.before)
    cloud.after_call.append(monitor.after)
    others: list[str] = []
    happened = _arrange(w, monitor, schedule, others)
    result = _roll(w, monitor, schedule, others)
    _check(w, monitor, schedule, result, happened)
    return w


@dataclass
class Others:
    """Everybody but the roll: what they do when a schedule says so. Each says whether it happened."""

    w: Any
    monitor: Monitor
    schedule: Schedule
    others: list[str]

    @property
    def cloud(self) -> SimulatedCloud:
        cloud: SimulatedCloud = self.w.cloud
        return cloud

    def acts(self) -> dict[str, Callable[[int], bool]]:
        """By its name in a schedule."""
        away = CredentialRetrievalError(provider="container-role", error_msg="connection refused")
        expired: Any = {
            "Error": {"Code": "ExpiredToken", "Message": "expired"},
            "ResponseMetadata": {"HTTPStatusCode": 403},
        }
        return {
            "policy out": lambda which: self.policy(1 + which % 2),
            "policy in": lambda which: self.policy(-1),
            "schedule": lambda which: self.sizes(min(which % 2, which % 5), which % 5 + which % 3, which % 5),
            "person sets desired": self.person,
            "person sets max": self.most,
            "throttle": lambda which: self.fault(kind="api", times=1 + which % 6),
            "lag": lambda which: self.lag(min(LONGEST_LAG, 5.0 + 3 * which)),
            "shortage": lambda which: self.fault(kind="launch", times=1 + which % 3),
            "full zone": lambda which: (
                self.schedule.zones > 1 and self.refused(FULL, 1 + which % 3, self.cloud.zones[0])
            ),
            "second controller": lambda which: self.second(),
            "hand terminates old": lambda which: self.hand("1", which),
            "hand terminates new": lambda which: self.hand("2", which),
            "journal deleted": lambda which: self.untag(TAG_JOURNAL),
            "record deleted": lambda which: self.untag(TAG_RECORD),
            "no credentials for a while": lambda which: self.no_calls(away, 40),
            "kill": lambda which: self.to(self.serving(), which, self.kill),
            "interrupt": lambda which: self.to(self.serving(), which, lambda name: self.cloud.interrupt(name, 120)),
            "interrupt new": lambda which: self.to(
                self.serving("2"), which, lambda name: self.cloud.interrupt(name, 1, rebalance=False)
            ),
            "hand ends new in EC2": lambda which: self.to(self.serving("2"), which, self.cloud.end_by_hand),
            "flap": lambda which: self.to(self.serving(), which, self.flap),
            "impair": lambda which: self.to(self.serving(), which, self.impair),
            "bad boot": lambda which: self.fault(kind="boot", outcome="die", times=1),
            "hanging boot": lambda which: self.fault(kind="boot", outcome="hang", times=1),
            "bad application": lambda which: self.fault(kind="target", outcome="unhealthy", times=1),
            "quota": lambda which: self.refused(QUOTA, 1),
            "process suspended": self.suspend,
            "health denied": lambda which: self.denied("DescribeTargetHealth"),
            "activities denied": lambda which: self.denied("DescribeScalingActivities"),
            "target group deleted": lambda which: self.clear_targets(),
            "credentials expire": lambda which: self.no_calls(ClientError(expired, "any"), 1e6),
            "old image gone": lambda which: not self.cloud.templates.missing_images.add(f"ami-{1:017x}"),
            "group deleted": lambda which: self.delete_group(),
        }

    def pick(self, names: list[str], which: int) -> str | None:
        return sorted(names)[which % len(names)] if names else None

    def serving(self, version: str = "") -> list[str]:
        return [name for name in self.cloud.in_service("web") if not version or self.monitor.version(name) == version]

    def policy(self, by: int) -> bool:
        shape = self.w.group
        to = shape["DesiredCapacity"] + by
        if not shape["MinSize"] <= to <= min(shape["MaxSize"], self.monitor.high):
            return False
        # First, for what is due at the same moment happens within the call.
        self.monitor.swallowed += max(0, shape["MinSize"] - (self.monitor.wanted + by))
        self.monitor.wanted = max(shape["MinSize"], self.monitor.wanted + by)
        self.monitor.somebody_scales()
        self.cloud.scale_by_policy("web", by)
        said = "".join(item.cause for item in self.cloud.autoscaling.group("web", "eu-central-1").activities.values())
        # Where capacity is short anyway, AWS does nothing, and so says nothing of it.
        self.monitor.untold = (
            self.monitor.untold or f"changing the desired capacity from {to - by} to {to}." not in said
        )
        return True

    def sizes(self, low: int, high: int, desired: int) -> bool:
        if desired == self.w.group["DesiredCapacity"] or self.raised(high):
            return False  # nothing tells that somebody wrote what was there
        self.monitor.low, self.monitor.high, self.monitor.wanted = low, high, desired
        self.monitor.swallowed = 0
        self.monitor.somebody_scales()
        self.cloud.scale_by_schedule("web", low=low, high=high, desired=desired)
        return True

    def person(self, to: int) -> bool:
        shape = self.w.group
        if not shape["MinSize"] <= to <= shape["MaxSize"] or to > self.monitor.high or to == shape["DesiredCapacity"]:
            return False  # refused, or nothing tells that somebody wrote what was there
        self.monitor.wanted, self.monitor.swallowed = to, 0
        self.monitor.somebody_scales()
        self.cloud.handle("autoscaling", "SetDesiredCapacity", {"AutoScalingGroupName": "web", "DesiredCapacity": to})
        return True

    def raised(self, to: int) -> bool:
        """Whether it is a MaxSize that the roll writes too, or is about to: nothing tells the one from the other."""
        return self.monitor.high < to <= max(self.w.group["MaxSize"], self.monitor.high + self.schedule.batch_size)

    def most(self, to: int) -> bool:
        if to < max(self.w.group["MinSize"], 1) or to == self.monitor.high or self.raised(to):
            return False  # refused, or nothing tells it from what the roll wrote
        self.monitor.high, self.monitor.wanted = to, min(self.monitor.wanted, to)
        self.monitor.somebody_scales()
        self.cloud.handle("autoscaling", "UpdateAutoScalingGroup", {"AutoScalingGroupName": "web", "MaxSize": to})
        return True

    def untag(self, key: str) -> bool:
        expire = any(item.what == "credentials expire" for item in self.schedule.happenings)
        if key not in self.w.tags or self.schedule.kills or self.cloud.no_call is not None or expire:
            return False  # what a run wrote that is no more, or that cannot write any more, nobody else knows
        tag = {"ResourceId": "web", "ResourceType": "auto-scaling-group", "Key": key}
        self.cloud.handle("autoscaling", "DeleteTags", {"Tags": [tag]})
        return True

    def suspend(self, which: int) -> bool:
        process = ("Launch", "Terminate", "AddToLoadBalancer")[which % 3]
        request = {"AutoScalingGroupName": "web", "ScalingProcesses": [process]}
        if process in self.monitor.held:
            return False

        def resume() -> None:
            if process in self.monitor.held and not self.monitor.deleted:
                self.monitor.held.discard(process)
                self.cloud.handle("autoscaling", "ResumeProcesses", request)

        self.monitor.held.add(process)
        self.cloud.handle("autoscaling", "SuspendProcesses", request)
        self.cloud.at(30.0 * (1 + which), resume)
        return True

    def delete_group(self) -> bool:
        if self.schedule.kills or self.cloud.no_call is not None:
            return False  # nobody would be there to say so
        self.monitor.deleted = True
        self.cloud.handle("autoscaling", "DeleteAutoScalingGroup", {"AutoScalingGroupName": "web", "ForceDelete": True})
        return True

    def no_calls(self, exc: Exception, seconds: float) -> bool:
        self.cloud.cannot_call(exc, seconds)
        return True

    def clear_targets(self) -> bool:
        self.monitor.unreadable = True
        self.cloud.targets.places.clear()
        return bool(self.schedule.target_groups)

    def denied(self, operation: str) -> bool:
        self.monitor.unreadable = True
        return self.fault(kind="api", operation=operation, code="AccessDenied", message="not allowed", times=None)

    def refused(self, message: str, times: int, zone: str | None = None) -> bool:
        return self.fault(kind="launch", code="Unsupported", message=message, times=times, zone=zone)

    def hand(self, version: str, which: int) -> bool:
        name = self.pick(self.serving(version), which)
        if name is None:
            return False
        self.cloud.handle(
            "autoscaling",
            "TerminateInstanceInAutoScalingGroup",
            {"InstanceId": name, "ShouldDecrementDesiredCapacity": False},
        )
        return True

    def to(self, names: list[str], which: int, act: Callable[[str], None]) -> bool:
        name = self.pick(names, which)
        if name is not None:
            act(name)
        return name is not None

    def flap(self, name: str) -> None:
        self.cloud.make_sick(name)
        self.cloud.at(25, lambda: self.cloud.cure(name))
        self.cloud.at(60, lambda: self.cloud.make_sick(name))
        self.cloud.at(95, lambda: self.cloud.cure(name))

    def kill(self, name: str) -> None:
        self.cloud.kill(name)
        self.cloud.at(20, self.cloud.autoscaling.look_at_health)

    def impair(self, name: str) -> None:
        self.cloud.impair(name)
        self.cloud.at(60, self.cloud.autoscaling.look_at_health)

    def fault(self, **data: Any) -> bool:
        self.cloud.faults.add(data)
        return True

    def lag(self, seconds: float) -> bool:
        self.monitor.lagging = True
        return self.fault(kind="lag", seconds=seconds)

    def second(self) -> bool:
        self.others.append("due")
        return True


def _arrange(w: Any, monitor: Monitor, schedule: Schedule, others: list[str]) -> list[str]:
    """Have the schedule's happenings happen; what did happen is in the list that is returned."""
    acts = Others(w, monitor, schedule, others).acts()
    happened: list[str] = []
    for item in schedule.happenings:

        def happen(item: Happening = item) -> None:
            if "over" not in others and not monitor.deleted and acts[item.what](item.which):
                happened.append(f"{item.what} at {item.at:g}")
                monitor.disturbed += 1

        w.cloud.at(item.at, happen)
    return happened


def _roll(w: Any, monitor: Monitor, schedule: Schedule, others: list[str]) -> Any:
    """The roll, with its kills, second controllers and signal; the result of the run that nobody killed."""
    cloud: SimulatedCloud = w.cloud
    began = cloud.now()
    end = began + schedule.stop_at if schedule.stop_at else float("inf")
    asked: dict[str, float] = {}

    def drain(places: Any) -> dict[str, str]:
        since = {place.instance_id: asked.setdefault(place.instance_id, cloud.now()) for place in places}
        deaf = {name for name in since if not cloud.answers(name)}
        return {
            name: "connection refused" if name in deaf else "" if cloud.now() - at >= 10 else "busy"
            for name, at in since.items()
        }

    def check(places: Any) -> dict[str, str]:
        return {place.instance_id: "" if cloud.answers(place.address) else "no answer" for place in places}

    options: dict[str, Any] = {
        "template": Template("", "web", "2") if schedule.pinned else None,
        "batch_size": schedule.batch_size,
        "max_unavailable": schedule.max_unavailable,
        "canary": schedule.canary,
        "min_healthy_time": HEALTHY,
        "bake_time": schedule.bake_time,
        "batch_timeout": schedule.batch_timeout,
        "max_failures": schedule.max_failures,
        "rollback": schedule.rollback,
        "poll_interval": schedule.poll,
        "drainer": drain if schedule.drains else None,
        "prober": check if schedule.checked else None,
    }

    def stopped() -> str:
        if cloud.now() - began > LONGEST:
            raise AssertionError(f"still rolling after {LONGEST:.0f} s")
        while "due" in others and TAG_JOURNAL in w.tags:  # before that, the other one would be the first
            others.remove("due")
            if monitor.lagging:  # it would have to be shown the lock
                continue
            writes = len(w.writes)
            second = w.roll(owner="another", **options)
            said = "is under way" in second.message or "cannot read" in second.message
            if not second.failed or not said or len(w.writes) > writes:
                monitor.broken.append(f"a second controller was not refused: {second.state} {second.message}")
        return "stopped by SIGTERM" if cloud.now() >= end else ""

    dead: list[str] = []
    for run, (number, after) in enumerate(schedule.kills):
        name = f"run-{run}"
        w.forget_calls()
        if w.killed_at(number, after=after, owner=name, dead=dead, stopped=stopped, **options) is None:
            return _ended(
                w, monitor, others, partial(w.roll, owner="last", dead=[*dead, name], stopped=stopped, **options)
            )
        dead.append(name)
        monitor.cut_off += _in_doubt(w)
        cloud.sleep(40 if monitor.lagging else 5)  # a new run has to be shown the journal of the last one
        others[:] = [item for item in others if item != "due"]  # nobody holds the lock: it would not be a second one
    w.forget_calls()
    w.roll(owner="last", dead=dead, stopped=stopped, **options)
    return _ended(w, monitor, others, partial(w.roll, owner="last", dead=dead, stopped=stopped, **options))


def _ended(w: Any, monitor: Monitor, others: list[str], again: Callable[..., Any]) -> Any:
    """The result of the last run, once others let it put the group back."""
    while "resume " in w.last.message and TAG_JOURNAL in w.tags:  # refused, before it could put anything back
        w.cloud.sleep(300)
        again()
    if w.cloud.no_call is not None and not monitor.deleted and TAG_JOURNAL in w.tags:
        return _abort_later(w, monitor, others, again)
    return _over(w, w.last, others)


def _abort_later(w: Any, monitor: Monitor, others: list[str], again: Callable[..., Any]) -> Any:
    """The credentials expired, so that nothing could be put back: it says so, and an abort with others does it."""
    result = w.last
    told = "was left with" in result.message and "state=aborted" in result.message
    if not told and "Nothing was changed" not in result.message:
        monitor.broken.append(f"it does not say how the group was left: {result.message}")
    _over(w, result, others)
    monitor.cut_off += _in_doubt(w)
    w.cloud.sleep(60 if monitor.lagging else 5)
    after = again("aborted", owner="after", dead=["last", "run-0", "run-1"])
    if after.failed:
        monitor.broken.append(f"the abort failed: {after.message}")
    return result


def _over(w: Any, result: Any, others: list[str]) -> Any:
    """Nothing happens any more. Another run now would be another roll: after a roll back that failed, one the other way."""
    others.append("over")
    w.cloud.faults.clear()
    w.cloud.no_call = None
    return result


def _in_doubt(w: Any) -> int:
    """By how much a write of the killed run may have changed the desired capacity, or not.

    Its size tells later; when somebody scales as well in the meantime, it cannot be told for certain.
    """
    left = next((tag["Value"] for tag in w.group["Tags"] if tag["Key"] == TAG_JOURNAL), "")
    journal = decode(left) if left else None
    return abs(journal.pending - journal.surge) if journal else 0


def _excused(w: Any, monitor: Monitor, names: list[str]) -> bool:
    """Whether the desired capacity may differ from the user's.

    Auto Scaling has no compare-and-set: a scaling that descriptions do not show yet is overwritten by whoever writes
    the capacity next, and so is one that comes between a kill in the middle of a write and the next run. Scaling in
    that took the roll's own surge is not seen when scaling out comes before the next look.
    """
    scaled = 2 * sum(names.count(name) for name in SCALINGS)
    if monitor.overwritten or monitor.untold or (scaled and (monitor.lagging or "activities denied" in names)):
        return True
    return abs(w.sizes[2] - monitor.wanted) <= min(scaled, monitor.cut_off) + monitor.swallowed


def _check(w: Any, monitor: Monitor, schedule: Schedule, result: Any, happened: list[str]) -> None:
    story = f"{happened}: {result.state}, {result.message}"
    assert not monitor.broken, f"{monitor.broken[:3]} {story}"
    assert result.state in ("completed", "failed", "aborted", "rolled_back"), story
    if monitor.deleted:
        said = ("deleted", "stopped", "there is no Auto Scaling group", "Nothing was changed")
        assert not result.failed or any(words in result.message for words in said), story
        return

    # 3. the group is left as found: at once, not only after a while; what others set, to the digit
    names = [item.what for item in schedule.happenings]
    final = w.sizes[2] if _excused(w, monitor, names) else min(monitor.high, monitor.wanted)
    high = w.sizes[1] if monitor.overwritten else monitor.high
    assert w.sizes == (monitor.low, high, final), story
    assert w.suspended == sorted({*schedule.suspended, *monitor.held}), story
    assert w.tags <= {TAG_RECORD}, story
    has = w.group["LaunchTemplate"]["Version"]
    assert has in (("1", "2") if schedule.pinned else ("$Latest", "1") if schedule.rollback else ("$Latest",)), story

    harmless = not any(name in HARMFUL for name in names) and not schedule.refused
    short = sum(1 + item.which % 3 for item in schedule.happenings if item.what == "shortage")
    harmless = harmless and short <= 3  # AWS tries again ever later: more can be a batch_timeout
    plain = not (schedule.drains or schedule.checked or schedule.hook)
    quiet = plain and not names and not schedule.refused and not schedule.stop_at and not schedule.kills

    # 6. others may act; 7. a refusal is told, and told soon
    if harmless and not schedule.stop_at:
        assert result.state == "completed", story
    if schedule.refused and not names and not schedule.stop_at and not schedule.kills:
        assert result.failed, story
        assert "does not exist" in result.message, story
        assert result.seconds < 300 or schedule.rollback, story
    if result.state == "completed":
        assert result.done, story

    # 2. with nothing missing allowed, whoever served had a proven successor of its own
    pairs = {pair.old: pair.new for pair in result.replaced}
    assert len(set(pairs.values())) == len(result.replaced), story
    taken = {"schedule", "person sets desired", "person sets max"} & {*names}
    certain = not schedule.kills and not monitor.lagging and not taken
    if schedule.max_unavailable == 0 and certain and result.state == "completed":
        # but for those whose place somebody took away, when AWS took another one that was booting
        assert len(monitor.healthy_old - set(pairs)) <= names.count("policy in"), story
        assert {pairs[old] for old in monitor.healthy_old & set(pairs)} <= monitor.proven, story

    _check_costs(w, schedule, result, story, quiet=quiet)
    w.settle(2700)  # AZRebalance moves one after the other, each with its boot and its drain
    stuck = "old image gone" in names and result.state in ("failed", "rolled_back")
    if schedule.refused or stuck:  # AWS goes on trying the group's own template, which cannot be launched
        assert len(w.versions) >= min(schedule.size, final) - schedule.max_unavailable - len(names), story
    else:
        hanging = [item for item in w.group["Instances"] if item["LifecycleState"] == "Pending"]
        evening_out = len(hanging) if schedule.zones > 1 else 0  # AZRebalance launches before it terminates
        assert final <= len(w.versions) + len(hanging) <= final + evening_out, story
        assert len(hanging) <= names.count("hanging boot"), story
    if result.state == "completed":  # one that was rolled back before it was killed has nothing to do afterwards
        assert set(w.versions) <= {"1" if has == "1" else "2"}, story
    if result.state == "rolled_back":
        assert set(w.versions) <= {"1"}, story


def _check_costs(w: Any, schedule: Schedule, result: Any, story: str, *, quiet: bool) -> None:
    """Calls, launches and time."""
    names = [item.what for item in schedule.happenings]
    # 8. cheap
    polls = w.cloud.calls["DescribeAutoScalingGroups"]
    throttled = 6 * names.count("throttle") + 60 * names.count("no credentials for a while")
    throttled += 60 * names.count("credentials expire")
    assert w.cloud.calls["DescribeTargetHealth"] <= (polls + 1) * schedule.target_groups + throttled, story
    if quiet:
        beside = sum(count for name, count in w.cloud.calls.items() if not name.startswith("Describe"))
        beside -= w.cloud.calls["TerminateInstanceInAutoScalingGroup"]
        batches = -(-schedule.size // schedule.batch_size) + 1
        assert beside <= 2 * batches + result.seconds / 300 + 15, f"{w.cloud.calls} {story}"

    # 1. not one more than needed; 9. fast
    if quiet:
        if schedule.zones == 1 or not schedule.max_unavailable:
            assert len(w.watch.launched) == schedule.size, story
        assert w.watch.lowest_healthy >= schedule.size - schedule.max_unavailable, story
        if (
            len(set(schedule.boots)) == 1
            and schedule.poll <= 5
            and not schedule.bake_time
            and schedule.room >= schedule.batch_size
        ):
            first = min(schedule.canary or schedule.batch_size, schedule.batch_size)
            batches = 1 + -(-max(0, schedule.size - first) // schedule.batch_size)
            bound = batches * (schedule.boots[0] + schedule.healthy_after + HEALTHY) + schedule.drain
            assert result.seconds <= 1.05 * bound + 90, f"{result.seconds:.0f} s, the bound is {bound:.0f} s {story}"


CI = settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
PROOF = settings(
    max_examples=PROVE or 1,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
)


@pytest.mark.timeout(7200 if PROVE else 300)
@(PROOF if PROVE else CI)
@given(schedule=SCHEDULES)
def test_the_guarantees_hold_whatever_happens(world: Any, schedule: Schedule) -> None:
    simulate(world, _order(schedule))


# ---- what the schedules found, shrunk ------------------------------------------------------------------------------


def test_zones_that_scaling_out_left_uneven_are_even_after_a_while(world: Any) -> None:
    """AWS's own work, after the roll: it is not held against it."""
    moments = (
        ("policy out", 0.0, 1),
        ("policy out", 23.0, 0),
        ("policy out", 218.0, 1),
        ("policy out", 1033.0, 0),
        ("shortage", 23.0, 1),
        ("shortage", 336.0, 1),
    )
    simulate(
        world,
        Schedule(size=4, room=6, zones=3, boots=(15.0, 15.0, 21.0, 78.0), drain=120.0,
                 happenings=tuple(Happening(*moment) for moment in moments)),
    )  # fmt: skip


def test_somebody_scales_in_to_min_size_while_a_stopped_roll_gives_back_what_is_its_own(world: Any) -> None:
    simulate(
        world,
        Schedule(size=2, least=2, boots=(66.0,), healthy_after=35.0, batch_size=2, max_unavailable=1, canary=0,
                 happenings=(Happening("policy in", 126.0), Happening("lag", 0.0)), stop_at=101.0),
    )  # fmt: skip


def test_an_old_instance_that_aws_replaced_itself_did_not_shrink_the_group_that_a_killed_run_left(world: Any) -> None:
    simulate(
        world,
        Schedule(size=7, least=0, room=4, boots=(15.0,), target_groups=0, batch_size=3, canary=0, bake_time=40.0,
                 happenings=(Happening("impair", 41.0),), kills=((27, False),)),
    )  # fmt: skip


def test_a_run_that_resumes_is_not_put_off_by_a_late_view_of_its_predecessors_lock(world: Any) -> None:
    simulate(world, Schedule(boots=(15.0,), happenings=(Happening("lag", 0.0),), kills=((8, True),)))


def test_a_max_size_that_cuts_off_the_surge_leaves_the_users_capacity(world: Any) -> None:
    happenings = (Happening("person sets max", 1.0, 5),)
    simulate(world, Schedule(size=4, room=4, boots=(15.0,), batch_size=2, canary=0, happenings=happenings))


def test_an_old_spot_instance_is_dead_before_aws_shows_it(world: Any) -> None:
    """Health checks of the application look at new ones only, so that only AWS can say it of an old one."""
    happenings = (Happening("interrupt", 0.0, 1),)
    simulate(world, Schedule(size=2, target_groups=0, boots=(101.0,), checked=True, happenings=happenings))


def test_an_old_instance_that_the_policy_launched_is_not_checked(world: Any) -> None:
    happenings = (Happening("policy out", 0.0), Happening("bad application", 0.0))
    simulate(world, Schedule(size=1, boots=(15.0,), target_groups=0, pinned=True, checked=True, happenings=happenings))


def test_a_drained_one_does_not_go_in_the_place_of_one_that_fell_sick(world: Any) -> None:
    happenings = (Happening("flap", 505.0, 1), Happening("process suspended", 1.0))
    simulate(
        world, Schedule(boots=(15.0,), max_unavailable=1, drains=True, hook=400.0, poll=2.0, happenings=happenings)
    )


def test_a_policy_in_the_second_in_which_a_killed_run_wrote_its_journal_counts_once(world: Any) -> None:
    happenings = (Happening("policy out", 100.0), Happening("hanging boot", 0.0))
    w = simulate(world, Schedule(size=1, boots=(15.0,), happenings=happenings, kills=((20, False),)))
    assert w.sizes[2] == 2


def test_a_max_size_that_no_view_shows_yet_is_written_over(world: Any) -> None:
    happenings = (Happening("person sets max", 533.0, 4), Happening("lag", 0.0, 6))
    schedule = Schedule(size=4, room=1, boots=(15.0,), batch_size=3, max_unavailable=1, bake_time=40.0, drains=True,
                        hook=60.0, kills=((1, False),), happenings=happenings)  # fmt: skip
    simulate(world, schedule)


def test_a_group_that_was_deleted_before_the_roll_began_to_write(world: Any) -> None:
    happenings = (Happening("no credentials for a while", 0.0), Happening("group deleted", 41.0))
    simulate(world, Schedule(size=1, boots=(15.0,), happenings=happenings))


def test_a_schedule_while_the_roll_looks_at_the_group_for_the_first_time(world: Any) -> None:
    w = simulate(world, Schedule(size=1, boots=(15.0,), happenings=(Happening("schedule", 0.0, 3),)))
    assert w.sizes == (1, 3, 3)


def test_a_schedule_that_undoes_a_policy_before_the_next_look(world: Any) -> None:
    """The capacity is as the roll left it, but it is all the user's now."""
    happenings = (Happening("policy out", 1.0), Happening("schedule", 2.0, 2))
    w = simulate(world, Schedule(size=1, boots=(15.0,), happenings=happenings))
    assert w.sizes == (0, 4, 2)


def test_a_person_sets_what_the_roll_just_took_back(world: Any) -> None:
    """The instance that left with the roll's own write is shown as leaving: the number in that view is not a late one."""
    happenings = (Happening("kill", 0.0), Happening("person sets desired", 81.0, 7))
    w = simulate(world, Schedule(size=5, boots=(15.0,), batch_size=2, happenings=happenings))
    assert w.sizes[2] == 7


def test_an_abort_after_expired_credentials_lets_the_one_go_that_does_not_answer(world: Any) -> None:
    """The run that aborts is a new one, which looks for itself."""
    happenings = (
        Happening("policy out", 0.0),
        Happening("bad application", 1.0),
        Happening("credentials expire", 541.0),
    )
    simulate(world, Schedule(size=1, boots=(15.0,), target_groups=0, pinned=True, checked=True, happenings=happenings))


def test_a_roll_back_lets_the_one_go_first_that_does_not_answer(world: Any) -> None:
    schedule = Schedule(size=2, boots=(15.0,), target_groups=0, max_failures=0, rollback=True, checked=True,
                        happenings=(Happening("bad application", 1.0),))  # fmt: skip
    simulate(world, schedule)


@pytest.mark.parametrize("others", [(), (Happening("policy out", 0.0),)])
def test_views_are_late_however_often_somebody_looks(world: Any, others: tuple[Happening, ...]) -> None:
    schedule = Schedule(size=3, room=0, boots=(15.0,), batch_size=2, poll=2.0)
    simulate(world, replace(schedule, room=4 if others else 0, happenings=(*others, Happening("lag", 0.0, 7))))


def test_a_group_whose_deletion_is_not_shown_yet(world: Any) -> None:
    happenings = (Happening("lag", 0.0), Happening("group deleted", 0.0))
    simulate(
        world, Schedule(size=1, least=0, boots=(15.0,), canary=1, suspended=("AZRebalance",), happenings=happenings)
    )


def test_a_roll_that_may_not_begin_does_not_see_that_its_group_is_deleted(world: Any) -> None:
    happenings = (Happening("health denied", 0.0), Happening("group deleted", 0.0))
    simulate(world, Schedule(size=1, boots=(15.0,), happenings=happenings))


def test_a_roll_back_does_not_wait_for_launches_of_what_it_rolls_back(world: Any) -> None:
    """The bad version cannot be launched, and the only instance is gone: the group has to have the old one at once."""
    schedule = Schedule(size=1, boots=(15.0,), max_unavailable=1, rollback=True, refused=True)
    w = simulate(world, schedule)
    assert w.versions == ["1"]


def test_a_scale_out_beside_a_refused_launch_is_told_from_the_rolls_own_surge(world: Any) -> None:
    schedule = Schedule(
        size=2, boots=(15.0,), batch_size=2, canary=0, refused=True, happenings=(Happening("policy out", 1.0, 1),)
    )
    w = simulate(world, schedule)
    assert w.sizes[2] == 4


def test_a_policy_that_aws_says_nothing_about_counts_as_a_number(world: Any) -> None:
    """Nothing was launched for the surge yet, so AWS had nothing to terminate, and no activity to give a cause."""
    schedule = Schedule(size=1, boots=(15.0,), refused=True, happenings=(Happening("policy in", 1.0),))
    w = simulate(world, schedule)
    assert w.sizes[2] == 1


def test_an_instance_that_was_sick_in_between_is_nobodys_second_successor(world: Any) -> None:
    simulate(world, Schedule(size=2, boots=(126.0,), max_unavailable=1, happenings=(Happening("flap", 166.0),)))


def test_a_roll_that_is_stopped_while_the_old_one_is_sick_leaves_the_healthy_one(world: Any) -> None:
    schedule = Schedule(size=1, boots=(15.0,), healthy_after=35.0, happenings=(Happening("flap", 0.0),), stop_at=71.0)
    w = simulate(world, schedule)
    assert w.versions == ["2"]


def test_killed_at_the_end_of_a_batch_that_somebody_made_smaller(world: Any) -> None:
    """A batch of two lost an old one by hand, gave up its successor, and was killed as the other one went."""
    schedule = Schedule(
        size=6,
        boots=(15.0,),
        batch_size=2,
        canary=0,
        bake_time=40.0,
        happenings=(Happening("hand terminates old", 228.0),),
    )
    for number in range(48, 60):
        for after in (False, True):
            w = simulate(world, replace(schedule, kills=((number, after),)))
            assert w.sizes[2] == 6


def test_an_old_one_that_aws_took_out_before_the_roll_could_see_it_shrinks_nothing(world: Any) -> None:
    schedule = Schedule(
        size=1,
        target_groups=2,
        elb=True,
        boots=(41.0,),
        healthy_after=35.0,
        happenings=(Happening("lag", 0.0, 2), Happening("flap", 111.0)),
        kills=((23, False),),
    )
    simulate(world, schedule)


def test_one_that_somebody_terminated_before_views_show_it_shrinks_nothing(world: Any) -> None:
    moments = (("lag", 71.0), ("kill", 271.0), ("hanging boot", 186.0), ("hand terminates new", 1046.0))
    simulate(
        world,
        Schedule(size=5, target_groups=2, boots=(29.0, 29.0, 146.0, 47.0), healthy_after=10.0, batch_size=4,
                 batch_timeout=300.0, max_failures=0, happenings=tuple(Happening(*moment) for moment in moments),
                 kills=((18, False), (53, False))),
    )  # fmt: skip


def test_a_scale_in_that_took_a_booting_successor_lets_its_old_one_go_without(world: Any) -> None:
    moments = (("policy in", 408.0), ("bad boot", 141.0), ("bad boot", 141.0))
    w = simulate(
        world,
        Schedule(size=7, boots=(66.0,), healthy_after=35.0, batch_size=3, canary=0, max_failures=3,
                 happenings=tuple(Happening(*moment) for moment in moments)),
    )  # fmt: skip
    assert set(w.versions) == {"2"}


def test_stopped_on_the_way_back_from_what_cannot_be_launched_leaves_what_can(world: Any) -> None:
    """Killed before it wrote the old version, resumed, and stopped at once."""
    schedule = Schedule(size=1, boots=(15.0,), rollback=True, refused=True, stop_at=6.0, kills=((16, False),))
    w = simulate(world, schedule)
    assert w.group["LaunchTemplate"]["Version"] == "1"


def test_who_is_told_to_stop_looks_who_serves_before_it_gives_back_what_is_its_own(world: Any) -> None:
    schedule = Schedule(size=3, boots=(96.0,), healthy_after=35.0, batch_size=2, canary=0, stop_at=191.0,
                        happenings=(Happening("interrupt", 0.0), Happening("flap", 81.0, 1)))  # fmt: skip
    simulate(world, schedule)


def test_a_termination_that_min_size_refuses_may_be_tried_again(world: Any) -> None:
    moments = (("lag", 0.0, 1), ("hanging boot", 0.0, 0), ("policy in", 68.0, 0))
    simulate(
        world,
        Schedule(
            size=1, least=1, boots=(15.0,), stop_at=41.0, happenings=tuple(Happening(*moment) for moment in moments)
        ),
    )
