# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a module's parameters to its return values: everything between AnsibleModule and the roll."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.aws.session import Aws, AwsOptions
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import parse_policy, parse_request
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.result import Result
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.roll import Roll
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.checks import Place, ask_all
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.cloud import Cloud
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.events import EventFile
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.interrupt import Interrupt
from ansible_collections.boring.fleet.plugins.module_utils.rollout.edge.owner import Owner
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError


def run(params: Mapping[str, Any], check_mode: bool) -> Result:
    """Roll as the parameters say. Never raises for bad options or for what AWS answers: the Result has failed then."""
    try:
        request = parse_request(params)
        policy, checks, drain = parse_policy(params)
        aws = Aws(AwsOptions.from_params(params), attempts=1)  # Cloud tries again, with the roll's own patience
        for service in ("autoscaling", "ec2", "elbv2"):
            aws.client(service)
        events = EventFile(None if check_mode else params.get("events_path"))
    except (AwsError, RolloutError) as exc:
        return Result(str(params["group"]), "failed", str(exc), failed=True)
    interrupt = Interrupt()
    interrupt.install()

    def probe(places: Iterable[Place]) -> dict[str, str]:
        return ask_all(checks, places)

    def ask_to_drain(places: Iterable[Place]) -> dict[str, str]:
        return ask_all((drain,) if drain else (), places)

    with events:
        cloud = Cloud(aws.client, clock=time.time, sleep=interrupt.sleep, patience=policy.batch_timeout)
        roll = Roll(
            cloud,
            request,
            policy,
            clock=time.time,
            sleep=interrupt.sleep,
            owner=Owner.this_process(),
            emit=events.emit,
            stopped=interrupt.why,
            prober=probe if checks else None,
            drainer=ask_to_drain if drain else None,
        )
        return roll.run(check_mode)
