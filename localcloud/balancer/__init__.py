# SPDX-License-Identifier: GPL-3.0-or-later
"""ELBv2 as real HAProxy: ``create`` makes the service that localcloud's server and its Auto Scaling groups use."""

from __future__ import annotations

from pathlib import Path

from localcloud.balancer.ec2 import MotoInstances
from localcloud.balancer.haproxy import BalancerError, Haproxy
from localcloud.balancer.service import Balancer, Instance, Instances
from localcloud.balancer.upstream import MotoElbv2
from localcloud.clock import Clock, SystemClock
from localcloud.faults import Faults

__all__ = ["Balancer", "BalancerError", "Instance", "Instances", "create"]


def create(
    cloud: str,
    directory: Path,
    account: str = "123456789012",
    clock: Clock | None = None,
    faults: Faults | None = None,
    *,
    binary: str = "haproxy",
) -> Balancer:
    """The load balancers of one cloud, over moto's ELBv2 and EC2 of this process.

    :param cloud: the cloud's name.
    :param directory: where HAProxy's files live; made 0700 when it is first used.
    :param account: the AWS account id that moto keeps its state under.
    :param faults: where ``target`` faults are armed.
    """
    return Balancer(
        cloud=cloud,
        account=account,
        upstream=MotoElbv2(),
        proxy=Haproxy(directory, binary),
        instances=MotoInstances(account),
        clock=clock or SystemClock(),
        faults=faults,
    )
