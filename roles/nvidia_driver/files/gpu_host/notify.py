# SPDX-License-Identifier: GPL-3.0-or-later
"""Notify Auto Scaling that this instance is no good: SetInstanceHealth, with the credentials of the instance's own role (IMDSv2).

An instance that is not in service yet is left to the launch hook, which is completed by whoever runs /etc/fleet/enter.d.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.host.aws import METADATA, Aws, Http, Metadata, http_request


def unhealthy(
    told: Mapping[str, Any],
    monotonic: Callable[[], float],
    now: Callable[[], float],
    metadata: str = "",
    http: Http = http_request,
) -> str:
    """Mark this instance Unhealthy if it is in service; says what was done. `told` is what the host was given when it was launched, empty
    for one that is not of a fleet file; `now` is in unix seconds; `metadata` is "" for AWS's own service. Raises HostError."""
    here = Metadata(http, monotonic, metadata or METADATA)
    instance = here.need("instance-id")
    region = str(told.get("region") or here.need("placement/region"))
    aws = Aws(http, here, region, str(told.get("endpoint") or ""), now)
    state = aws.lifecycle_states([instance]).get(instance, "")
    if not state:
        return f"{instance} belongs to no Auto Scaling group: nobody replaces it"
    if state != "InService":
        return f"{instance} is {state}: the launch hook decides, which asks /etc/fleet/enter.d"
    aws.unhealthy(instance)
    return f"{instance} is marked Unhealthy: its group replaces it"
