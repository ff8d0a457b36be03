# SPDX-License-Identifier: GPL-3.0-or-later
"""Launches: which template, where, from the warm pool or anew, and what a refused one means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.autoscaling import placement, pool, underway, words
from localcloud.autoscaling.activities import details
from localcloud.autoscaling.lifecycle import Lifecycle
from localcloud.autoscaling.ports import LaunchOrder
from localcloud.autoscaling.state import PENDING, WARMED, WARMED_STOPPED, Group, Instance, TemplateRef
from localcloud.errors import ApiError

# Refusals of a launch that another zone, or the same zone later, may not repeat.
CAPACITY_CODES = frozenset({"InsufficientInstanceCapacity", "InsufficientHostCapacity", "Unsupported"})


@dataclass(frozen=True)
class Offer:
    """What would be launched next: a template and, from a mixed instances policy, one of its overrides."""

    template: TemplateRef
    instance_type: str | None
    image_id: str | None
    weight: int
    spot: bool


class Launching(Lifecycle):
    """Launches instances into groups."""

    def launch(
        self,
        group: Group,
        now: float,
        *,
        zone: str | None = None,
        cause: str | None = None,
        warm: bool = False,
        capacity: int | None = None,
    ) -> Instance | None:
        """Launch one instance into the group, from its warm pool if that has one, or into the pool (``warm``).

        :param capacity: the group's, where the caller knows it.
        :returns: None when the launch was refused (its activity says why).
        """
        zone = zone or placement.launch_zone(group, now)
        stamp = words.stamp(now)
        if cause is None:
            before = group.capacity() if capacity is None else capacity
            cause = "".join(f"{cause}  " for cause in group.causes)
            cause += (
                f"At {stamp} an instance was started in response to a difference between desired and actual capacity, "
                f"increasing the capacity from {before} to {before + 1}."
            )
        if not warm and not group.extra:
            drawn = self._draw(group, zone, cause, now)
            if drawn is not None:
                return drawn
        what = "Launching a new EC2 instance into warm pool" if warm else "Launching a new EC2 instance"
        activity = self._begin(group, what, cause, zone=zone, now=now)
        try:
            offer = self.offer(group)
            subnet = placement.launch_subnet(group, zone) or self.subnets.default_subnet(zone)
            instance_id = self.hosts.launch(
                LaunchOrder(
                    group=group.name,
                    template_id=offer.template.id,
                    template_version=int(offer.template.version),
                    zone=zone,
                    subnet_id=subnet,
                    instance_type=offer.instance_type,
                    tags=self._instance_tags(group, offer.template),
                    client_token=activity.id,
                    spot=offer.spot,
                    image_id=offer.image_id,
                )
            )
            instance_type = offer.instance_type or self.hosts.instance_type(instance_id)
        except ApiError as refusal:
            self._fail(group, activity.id, f"{_sentence(refusal.message)} Launching EC2 instance failed.", now)
            if refusal.code in CAPACITY_CODES:
                group.shunned_zones[zone] = now + self.timing.shun_zone
                if any(group.shunned_zones.get(other, 0.0) <= now for other in group.zones):
                    return None  # another zone may have room, at once
            self._postpone_launches(group, now)
            return None
        activity.description = f"{what}: {instance_id}"
        activity.instance_id = instance_id
        activity.details = details(subnet, zone)
        self._progress(group, activity.id, "PreInService", 30)
        instance = Instance(
            id=instance_id,
            zone=zone,
            subnet=subnet,
            type=instance_type,
            template=offer.template,
            state=PENDING,
            since=now,
            launched=now,
            activity=activity.id,
            protected=group.protect_new,
            spot=offer.spot,
            weight=offer.weight,
            image_id=offer.image_id,
        )
        if warm:
            instance.state = WARMED + PENDING
            group.warm[instance_id] = instance
        else:
            group.instances[instance_id] = instance
        return instance

    def _draw(self, group: Group, zone: str, cause: str, now: float) -> Instance | None:
        """Take a prepared instance into the group, from this zone if there is one; None when the pool has none ready."""
        ready = [i for i in group.warm.values() if i.state in pool.READY]
        if underway.running(group) is not None:  # it would only have to be replaced again
            ready = list(filter(self.is_current(group), ready))
        if not ready:
            return None
        instance = min(ready, key=lambda i: (i.zone != zone, i.since, i.id))
        del group.warm[instance.id]
        activity = self.begin(
            group, f"Launching a new EC2 instance from warm pool: {instance.id}", cause, instance=instance, now=now
        )
        activity.status, activity.progress = "PreInService", 30
        instance.activity = activity.id
        if instance.state == WARMED_STOPPED:
            self.hosts.start(instance.id)
        instance.enter(PENDING, now)
        group.instances[instance.id] = instance
        return instance

    def _instance_tags(self, group: Group, template: TemplateRef) -> dict[str, str]:
        own = {
            "aws:autoscaling:groupName": group.name,
            "aws:ec2launchtemplate:id": template.id,
            "aws:ec2launchtemplate:version": template.version,
        }
        return {key: tag.value for key, tag in group.tags.items() if tag.propagate} | own

    def offer(self, group: Group) -> Offer:
        """What a launch would start now. Raises ApiError where a template cannot be resolved."""
        own, mixed = underway.configuration(group)
        if mixed is None:
            if own is None:
                raise words.bad_template(f"AutoScalingGroup {group.name} has none.")
            return Offer(self.resolve(own), None, None, 1, False)
        spec = mixed["LaunchTemplate"]["LaunchTemplateSpecification"]
        choices = placement.overrides(mixed)
        choice = choices[0] if choices else {}
        template = template_of(choice.get("LaunchTemplateSpecification") or spec)
        return Offer(
            self.resolve(template),
            choice.get("InstanceType"),
            choice.get("ImageId"),
            int(choice.get("WeightedCapacity", 1)),
            self._wants_spot(group, mixed),
        )

    @staticmethod
    def _wants_spot(group: Group, mixed: dict[str, Any]) -> bool:
        policy = mixed.get("InstancesDistribution") or {}
        base = int(policy.get("OnDemandBaseCapacity", 0))
        above = int(policy.get("OnDemandPercentageAboveBaseCapacity", 100))
        counted = [i for i in group.instances.values() if i.counted]
        on_demand = sum(i.weight for i in counted if not i.spot)
        wanted = base + -(-(sum(i.weight for i in counted) + 1 - base) * above // 100)
        return on_demand >= max(wanted, base)

    def resolve(self, template: TemplateRef) -> TemplateRef:
        """The same template with ``$Latest`` and ``$Default`` turned into a number."""
        template_id, name, number = self.templates.resolve(template.id, template.version)
        return TemplateRef(template_id, name, str(number))

    def is_current(self, group: Group) -> Callable[[Instance], bool]:
        """Whether an instance runs what the group would launch now (template, version and instance type)."""
        specs: dict[str, TemplateRef] = {}
        wanted: list[TemplateRef] = []
        allowed: set[str] = set()
        own, mixed = underway.configuration(group)
        if mixed is not None:
            main = mixed["LaunchTemplate"]["LaunchTemplateSpecification"]
            for choice in placement.overrides(mixed) or [{}]:
                ref = template_of(choice.get("LaunchTemplateSpecification") or main)
                specs[f"{ref.id}:{ref.version}"] = ref
                if choice.get("InstanceType"):
                    allowed.add(choice["InstanceType"])
        elif own is not None:
            specs[""] = own
        for ref in specs.values():
            try:
                wanted.append(self.resolve(ref))
            except ApiError:
                continue  # a template that was deleted matches nothing
        keys = {(ref.id, ref.version) for ref in wanted}

        def current(instance: Instance) -> bool:
            if instance.template is None or (instance.template.id, instance.template.version) not in keys:
                return False
            return not allowed or instance.type in allowed

        return current


def template_of(spec: dict[str, Any]) -> TemplateRef:
    """A LaunchTemplateSpecification (id and name filled in) as a reference."""
    return TemplateRef(spec["LaunchTemplateId"], spec.get("LaunchTemplateName", ""), spec.get("Version", "$Default"))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
