# SPDX-License-Identifier: GPL-3.0-or-later
"""The health of instances in service, and the replacement of those that are ill or too old."""

from __future__ import annotations

from localcloud.autoscaling import words
from localcloud.autoscaling.activities import NEVER
from localcloud.autoscaling.capacity import Capacity
from localcloud.autoscaling.lifecycle import traffic_places
from localcloud.autoscaling.ports import HostStatus, TargetHealth
from localcloud.autoscaling.state import IN_SERVICE, PENDING_STATES, Group, Instance
from localcloud.errors import ApiError


class Health(Capacity):
    """Looks at instances in service."""

    def look_at_health(self, group: Group) -> None:
        """Have the next tick look at instances in service, whenever that would have been due."""
        group.health_due = self.clock.now()

    def _check_health(self, group: Group, now: float) -> None:
        group.health_due = NEVER
        serving = [i for i in group.instances.values() if i.state == IN_SERVICE]
        if not serving:
            return
        group.health_due = now + self.timing.health_interval
        if not group.runs("HealthCheck"):
            return
        statuses = self.hosts.statuses([i.id for i in serving])
        verdicts = self._target_verdicts(group) if "ELB" in group.health_check_type else []
        for instance in serving:
            if not instance.healthy:
                continue
            grace_over = (instance.in_service_since or now) + group.grace
            status = statuses[instance.id]
            if status is HostStatus.GONE or status is HostStatus.STOPPED:  # even within the grace period
                self.unhealthy(group, instance, "an EC2 health check indicating it has been terminated or stopped")
            elif now < grace_over:
                # An unhealthy verdict now would count only then.
                group.health_due = min(group.health_due, grace_over)
            elif status is HostStatus.IMPAIRED:
                self.unhealthy(group, instance, "an EC2 instance status check failure")
            elif any(instance.id in verdict and verdict[instance.id].state == "unhealthy" for verdict in verdicts):
                self.unhealthy(group, instance, "an ELB system health check failure")

    def _target_verdicts(self, group: Group) -> list[dict[str, TargetHealth]]:
        verdicts = []
        for place in traffic_places(group):
            try:
                verdicts.append(self.targets.health(place))
            except ApiError:
                continue
        return verdicts

    @staticmethod
    def unhealthy(group: Group, instance: Instance, reason: str) -> None:
        """Mark for replacement. ``reason``: what the termination was in response to, in the words of a Cause."""
        instance.healthy = False
        instance.health_reason = reason
        group.ailing.append(instance.id)

    def _replace_unhealthy(self, group: Group, now: float) -> None:
        if not (group.runs("ReplaceUnhealthy") and group.runs("Terminate")):
            return
        stamp = words.stamp(now)
        ailing = [group.instances[i] for i in group.ailing if i in group.instances]
        # Who was declared unhealthy before it was in service goes when it is.
        group.ailing = [i.id for i in ailing if not i.healthy and i.state in PENDING_STATES]
        for instance in ailing:
            if instance.state == IN_SERVICE and not instance.healthy:
                reason = instance.health_reason
                self._terminate(
                    group, instance, f"At {stamp} an instance was taken out of service in response to {reason}.", now
                )
                cause = (
                    f"At {stamp} an instance was launched in response to an unhealthy instance needing to be replaced."
                )
                if cause not in group.causes:
                    group.causes.append(cause)
        if group.max_lifetime:
            for instance in list(group.instances.values()):
                if instance.state == IN_SERVICE and now - instance.launched >= group.max_lifetime:
                    cause = f"At {stamp} an instance was taken out of service in response to a max instance lifetime violation."
                    self._terminate(group, instance, cause, now)
