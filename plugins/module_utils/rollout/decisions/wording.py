# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS says in English, and nowhere in a field: the only module that reads meaning out of its sentences. Pure.

The sentences are those of DescribeScalingActivities (Description, Cause, StatusMessage) and of refusals, as the Auto
Scaling user guide and its troubleshooting chapters show them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Activity

_INSTANCE_ID = re.compile(r"\bi-[0-9a-zA-Z]+\b")
_SENTENCE = re.compile(r"\bAt (\d{4}-\d\d-\d\dT[\d:.]+Z) (.*?)(?=\s+At \d{4}-\d\d-\d\dT|$)", re.DOTALL)
_DESIRED = re.compile(r"changing the desired capacity from (\d+) to (\d+)")
_CAPACITY = re.compile(r"in response to a user request\b.*?(?:shrinking|increasing) the capacity from (\d+) to (\d+)")
_BY_POLICY = re.compile(r"\b(policy|alarm|forecast)\b", re.IGNORECASE)

# How AWS says that an instance is on its way out or gone
_GONE_CODES = frozenset({"ValidationError", "InvalidInstanceID.NotFound", "InvalidInstanceID", "InvalidInstance"})
_GONE_WORDS = ("not found", "no managed instance", "does not exist", "terminating", "terminated")
_AT_MIN_SIZE = "min size"

# Launches that may succeed a little later
_PASSING = re.compile(
    r"insufficient\w*capacity|sufficient( [\w.-]+)? capacity|spot capacity|capacity-not-available"
    r"|rate exceeded|requestlimitexceeded|throttl|internal ?error|service ?unavailable",
    re.IGNORECASE,
)
# Not passing: the key of an encrypted volume that nobody may use
_BAD_KEY = "Client.InternalError"
# Refused in one zone or subnet, where another one may do
_OF_ONE_ZONE = re.compile(
    r"not supported in your requested availability zone|unsupported|configuration is currently not supported|free addresses in subnet|InsufficientFreeAddresses"
    r"|subnet ID '?[\w-]*'? does not exist|InvalidSubnetID|availability zone\b.*\b(constrained|not available|unavailable)"
    r"|in the availability zone you requested",
    re.IGNORECASE,
)
# Refused because of what runs already: it may be what this roll has just terminated
_QUOTA = re.compile(
    r"vcpu (capacity|limit)|VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded|quota allows for"
    r"|requested more (vcpu|instances)|max(imum)? spot instance count|AddressLimitExceeded",
    re.IGNORECASE,
)

# Why an instance was taken out of service, when that says nothing of what it runs
_OTHERS_DOING = re.compile(
    r"user request\b|difference between desired and actual|lifetime violation|instance refresh|rebalance|rebalancing"
    r"|balance instances in zones|\bspot\b|interruption|scheduled action|warm pool",
    re.IGNORECASE,
)
_FOUND_DEAD = re.compile(r"indicating it has been terminated or stopped|system health-?check", re.IGNORECASE)
# EC2's codes of why a host ended that are AWS's or somebody's doing and no failure of the host
_NO_FAILURE_CODES = (
    "Server.Spot",
    "Server.ScheduledStop",
    "Server.InsufficientInstanceCapacity",
    "Client.UserInitiated",
)


class Refusal(Enum):
    """What a launch that AWS refused may become."""

    FATAL = "waiting cannot help"
    PASSING = "may succeed later"
    ZONE = "may succeed in another zone"
    QUOTA = "may succeed when instances are gone"


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """One sentence about the group's capacity.

    ``absolute``: somebody wrote a number. ``exact``: the numbers are the desired capacity, not the instances there were.
    """

    sentence: str  # with the time at its head, so that no two changes have the same
    at: float
    before: int
    after: int
    absolute: bool
    exact: bool
    instance_id: str = ""  # the one that took its place with it

    @property
    def is_update(self) -> bool:
        """Whether somebody called UpdateAutoScalingGroup, as a roll does too."""
        return "user request update of AutoScalingGroup" in self.sentence

    @property
    def difference(self) -> int:
        return self.after - self.before


def is_launch(activity: Activity) -> bool:
    return activity.description.startswith("Launching")


def was_refused(activity: Activity) -> bool:
    """Whether it is a launch that came to nothing before there was an instance; a cancelled one was not refused."""
    return is_launch(activity) and activity.status == "Failed" and not subject(activity)


def subject(activity: Activity) -> str:
    """The instance that an activity is about; "" none."""
    return _first_id(activity.description.partition("Status Reason")[0])


def reason(activity: Activity) -> str:
    """AWS's own words for why: the StatusMessage, or the cause where there is none."""
    return activity.message or activity.cause or activity.description


def kind_of_refusal(message: str) -> Refusal:
    """What may help against a refused launch."""
    if _BAD_KEY in message:
        return Refusal.FATAL
    if _OF_ONE_ZONE.search(message) and not _PASSING.search(message):
        return Refusal.ZONE
    if _PASSING.search(message):
        return Refusal.PASSING
    return Refusal.QUOTA if _QUOTA.search(message) else Refusal.FATAL


def why_it_went(instance_id: str, activities: Iterable[Activity]) -> str:
    """AWS's words for why an instance left, or was never taken into service; "" it does not say."""
    about = [activity for activity in activities if subject(activity) == instance_id]
    for activity in about:
        if is_launch(activity) and activity.status in ("Failed", "Cancelled") and activity.message:
            return activity.message
    return next((reason(activity) for activity in about if not is_launch(activity)), "")


def is_others_doing(words: str) -> bool:
    """Whether an instance left for something that is no failure of what it runs."""
    return bool(_OTHERS_DOING.search(words))


def was_found_dead(words: str) -> bool:
    """Whether the group found the instance ended, so that only EC2 can say why."""
    return bool(_FOUND_DEAD.search(words))


def is_failure_code(code: str) -> bool:
    """Whether EC2's code for why an instance ended says that it failed; "" does."""
    return not code.startswith(_NO_FAILURE_CODES)


def says_gone(code: str, text: str) -> bool:
    """Whether a refused termination says that the instance is on its way out, or gone."""
    lower = text.lower()
    return code in _GONE_CODES and _AT_MIN_SIZE not in lower and any(words in lower for words in _GONE_WORDS)


def says_group_gone(text: str) -> bool:
    """Whether a refusal says that the group is being deleted, or was."""
    return re.search(r"AutoScalingGroup\b.*\bis pending delete|AutoScalingGroup name not found", text) is not None


def says_at_min_size(text: str) -> bool:
    """Whether a refusal says that the group would fall below MinSize."""
    return _AT_MIN_SIZE in text.lower()


def was_by_caller(cause: str, *, shrink: bool) -> bool:
    """Whether the activity that a termination answered with is the one that was asked for.

    Descriptions lag: where the instance was on its way out for another reason, the answer is that one's activity.
    """
    lower = cause.lower()
    by_hand = shrink and "user request" in lower and "shrinking" not in lower  # somebody's, with a replacement
    others = ("health check", "health-check", "spot", "rebalance", "lifetime violation", "instance refresh")
    return not (by_hand or any(words in lower for words in others))


def capacity_changes(activities: Iterable[Activity]) -> list[CapacityChange]:
    """Who changed the group's capacity, oldest first: each sentence once, whichever activities repeat it."""
    found: dict[str, CapacityChange] = {}
    for activity in reversed([*activities]):  # AWS gives the newest first
        text = " ".join(activity.cause.split())
        for stamp, words in _SENTENCE.findall(text):
            sentence = f"{stamp} {words}"
            if sentence in found:
                continue
            if match := _DESIRED.search(words):
                absolute, exact, named = not _BY_POLICY.search(words), True, ""
            elif match := _CAPACITY.search(words):
                absolute, exact, named = False, False, _first_id(words) or subject(activity)
            else:
                continue
            at = datetime.fromisoformat(stamp).timestamp()
            found[sentence] = CapacityChange(sentence, at, int(match[1]), int(match[2]), absolute, exact, named)
    return sorted(found.values(), key=lambda change: change.at)


def shrunk_by_terminations(activities: Iterable[Activity]) -> int:
    """By how many units terminations that somebody asked for shrank the group."""
    changes = capacity_changes(activity for activity in activities if activity.description.startswith("Terminating"))
    return sum(-change.difference for change in changes if not change.exact and change.difference < 0)


def _first_id(text: str) -> str:
    found = _INSTANCE_ID.search(text)
    return found.group() if found else ""
