# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a roll goes: what the instances are to be launched from, with numbers. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import floating, named
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Group, RolloutError, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import TAG_RECORD, Journal, Record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Policy, Request, Target

Pins = tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """What to roll to, and the floating versions that the group and its overrides are to have in the end.

    ``pins`` are those of overrides, by their place in the policy.
    """

    target: Target
    spec: str = ""  # "" a number
    pins: Pins = ()


class Templates(Protocol):
    """Who knows launch templates: the cloud of a roll, and whoever looks at many groups at once."""

    def resolve(self, template: Template) -> Template:
        """The launch template with its id, name and version number. Raises AwsError or RolloutError when there is none such."""


class Destinations:
    """Finds out where a roll goes."""

    def __init__(self, cloud: Templates, request: Request, policy: Policy) -> None:
        self._cloud = cloud
        self._request = request
        self._policy = policy

    def of(self, group: Group, left: Journal | None, record: Record | None) -> Destination:
        """Of the roll that is asked for, or of the one that was ``left`` behind. Raises RolloutError and AwsError."""
        if self._request.state == "rolled_back":
            if record is None:
                raise RolloutError(
                    f"the group {group.name} has no record of a roll (tag {TAG_RECORD}): "
                    "name the template to return to in launch_template instead"
                )
            return self.before(record, group)
        target, spec = self._target(group, left, record)
        return Destination(self._mixed(target, group), spec, _pins(group))

    def before(self, record: Record, group: Group) -> Destination:
        """What there was before the last roll. Raises RolloutError or AwsError where it is no more."""
        template = self._cloud.resolve(record.template) if record.template.id else record.template
        own = {name: has for name, has in group.overrides.items() if has is not None}
        versions = record.own.by_id(has.id for has in own.values())
        if record.own.versions and not versions:
            raise RolloutError(
                f"the overrides of the group {group.name} name other launch templates than before its last roll: "
                "name what to return to in launch_template, and the versions in the overrides"
            )
        target = self._mixed(Target(template), group)
        if not versions:
            return Destination(target, pins=_pins(group))
        numbers = {has.id: self._cloud.resolve(replace(has, version=versions[has.id])) for has in own.values()}
        same = {name for name, has in own.items() if numbers[has.id].same(target.by_type[name])}
        stay = {place for place, name in enumerate(group.overrides) if name in same}
        by_type = {name: numbers[has.id] for name, has in own.items()}
        pins = tuple(pin for pin in _pins(group) if pin[0] in stay)
        return Destination(replace(target, by_type=by_type), pins=pins)

    def _target(self, group: Group, left: Journal | None, record: Record | None) -> tuple[Target, str]:
        if left is not None and left.back and self._policy.rollback:
            return _left_target(left, group, record), ""
        asked = self._request.template
        if asked is not None:
            return Target(self._cloud.resolve(asked)), asked.version if floating(asked.version) else ""
        if left is not None:
            return _left_target(left, group, record), left.spec
        if group.template is None:
            raise RolloutError(
                f"the group {group.name} has no launch template: give it one, or name it in launch_template"
            )
        if not floating(group.template.version):
            return Target(group.template), ""
        return Target(self._cloud.resolve(group.template)), group.template.version

    def _mixed(self, target: Target, group: Group) -> Target:
        """A target with what a mixed instances policy says of instance types."""
        if not group.overrides:
            return target
        own = {name: template for name, template in group.overrides.items() if template is not None}
        numbers = {
            template: self._cloud.resolve(template) if floating(template.version) else template
            for template in set(own.values())
        }
        by_type = {name: numbers[template] for name, template in own.items()}
        types = frozenset() if group.any_type else frozenset(group.overrides)
        return replace(target, by_type=by_type, types=types)


def merged_pins(left: Pins, now: Pins) -> Pins:
    """The floating versions that a killed run replaced by numbers, and those that there are still."""
    return tuple(sorted({**dict(left), **dict(now)}.items()))


def _left_target(left: Journal, group: Group, record: Record | None) -> Target:
    known = (group.template, record.template if record else None, *(i.template for i in group.instances))
    return replace(left.target, template=named(left.target.template, known))


def _pins(group: Group) -> Pins:
    """The floating versions of the group's overrides, by their place in the policy."""
    return tuple(
        (place, template.version)
        for place, template in enumerate(group.overrides.values())
        if template is not None and floating(template.version)
    )
