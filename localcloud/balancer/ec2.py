# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's EC2 as a load balancer sees it."""

from __future__ import annotations

from moto.ec2.models import ec2_backends

from localcloud.balancer.service import Instance


class MotoInstances:
    """The instances that moto knows."""

    def __init__(self, account: str) -> None:
        self._account = account

    def find(self, region: str, instance_id: str) -> Instance | None:
        """The instance, or None if EC2 does not know it."""
        found = ec2_backends[self._account][region].get_instance_by_id(instance_id)
        if found is None or found.private_ip is None:
            return None
        return Instance(
            address=found.private_ip,
            state=found.state,
            zone=str(found.placement.zone),
            vpc=found.vpc_id or "",
        )
