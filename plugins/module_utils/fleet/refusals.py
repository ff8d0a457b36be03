# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be deployed, found before anything is made. Pure: a file, what AWS has, and what would be done, in; sentences out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet.boot import MOST
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import Mistake
from ansible_collections.boring.fleet.plugins.module_utils.fleet.plan import Plan
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import FLEET, Seen


def place(lists: Mapping[str, Any], name: str) -> str:
    """Where a service or data service is in the file."""
    kinds = {group["for"]: group["kind"] for group in lists["groups"]}
    return f"fleet_{'data' if kinds.get(name) == 'data' else 'services'}.{name}"


def refused(lists: Mapping[str, Any], seen: Seen) -> Iterable[Mistake]:
    """What cannot be, whether it is only planned or done."""
    for kind, name in seen.foreign:
        yield Mistake(
            "fleet_name",
            f"the {kind} {name} is there and has no tag {FLEET}={lists['name']}, so that it is somebody else's: "
            "remove it, or give the fleet another name",
        )
    for name, group in seen.security.items():
        if group.vpc != seen.vpc:
            yield Mistake(
                "fleet_network.vpc_id",
                f"the fleet is in {group.vpc} ({name}), and this says {seen.vpc}: destroy it there first",
            )
    for balancer in lists["load_balancers"]:
        key = "public_subnet_ids" if balancer["subnets"] == "public" else "subnet_ids"
        if balancer["type"] == "application" and len(seen.public if key == "public_subnet_ids" else seen.hosts) < 2:
            yield Mistake(
                f"fleet_network.{key}",
                f"the load balancer {balancer['name']} needs subnets in two zones, and there is one",
            )
    for group in lists["groups"]:
        there = seen.groups.get(group["name"])
        if there and there.deleting:
            yield Mistake(
                place(lists, group["for"]), f"AWS is removing the group {group['name']}: deploy again when it is gone"
            )
    yield from _unchangeable(lists, seen)


def _unchangeable(lists: Mapping[str, Any], seen: Seen) -> Iterable[Mistake]:
    way_out = (
        "take it out of the file, deploy with -e fleet_remove=true, and put it back; or give the service another name"
    )
    for wanted in lists["target_groups"]:
        there = seen.targets.get(wanted["name"])
        for key, now in (("port", there.port), ("protocol", there.protocol)) if there else ():
            if now != wanted[key]:
                yield Mistake(
                    f"{place(lists, wanted['for'])}.{'port' if key == 'port' else 'tls'}",
                    f"the target group {wanted['name']} has {key} {now}, which AWS cannot change to {wanted[key]} under hosts that run: {way_out}",
                )
    for wanted in lists["load_balancers"]:
        balancer = seen.balancers.get(wanted["name"])
        if balancer and balancer.scheme != wanted["scheme"]:
            yield Mistake(
                "fleet_network.clients",
                f"the load balancer {wanted['name']} is {balancer.scheme}, and AWS cannot make it {wanted['scheme']}: "
                "deploy once without expose and with -e fleet_remove=true, then with it again",
            )


def unready(lists: Mapping[str, Any], seen: Seen, sizes: Mapping[str, int]) -> Iterable[Mistake]:
    """What may be planned and not done yet. `sizes` are bytes of user data by group."""
    for image in lists["images"]:
        if image["family"] not in seen.images:
            for name in image["for"]:
                yield Mistake(
                    place(lists, name),
                    f"there is no image of the family {image['family']}: run boring.fleet.build_images first",
                )
    for parameter in lists["parameters"]:
        if parameter["name"] in seen.missing_secrets:
            for name in parameter["readers"]:
                yield Mistake(
                    f"{place(lists, name)}.secrets",
                    f"there is no parameter {parameter['name']}: write it with aws ssm put-parameter --type SecureString",
                )
    for group in lists["groups"]:
        if sizes[group["name"]] > MOST:
            yield Mistake(
                f"{place(lists, group['for'])}.files",
                f"the user data of its hosts has {sizes[group['name']]} bytes, and AWS takes {MOST}: put large files into the image",
            )


def warned(lists: Mapping[str, Any], seen: Seen, planned: Plan) -> Iterable[str]:
    """What should be known."""
    if planned.removes:
        return
    left = [change.name for change in planned.changes if change.sign == "-" and change.kind == "group"]
    if left:
        yield f"not in the file any more, and there until -e fleet_remove=true: {', '.join(left)}"
    for group in lists["groups"]:
        there = seen.groups.get(group["name"])
        if there and there.rolling:
            yield f"{group['name']} is being rolled: its min and max stay as they are until the next deploy"
