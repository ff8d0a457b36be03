# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what would be made, changed and removed, which rolls would be due, and nothing secret."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet.facts import resources
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.plan import KINDS, Plan, plan
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from tests.unit.plugins.module_utils.fleet.fleets import GONE, changed, shop

IMAGES = {f"shop-{name}": f"ami-{name}" for name in ("bus", "cache", "sandbox", "thumbs", "web")}
ADDRESSES = {"data": "data.elb.example", "internal": "inside.elb.example"}


def made(variables: dict[str, Any], images: dict[str, str] | None = None) -> dict[str, Any]:
    return dict(resources(lists(read_fleet(variables), addresses=ADDRESSES), IMAGES if images is None else images))


def planned(variables: dict[str, Any], found: dict[str, Any] | None = None, **options: Any) -> Plan:
    order = [group["name"] for group in lists(read_fleet(variables))["groups"]]
    return plan(
        made(variables, options.pop("images", None)), made(shop()) if found is None else found, order, **options
    )


def test_nothing_to_do() -> None:
    assert planned(shop()) == Plan((), ())
    assert planned(shop()).text == "Nothing to do.\n"


def test_a_new_fleet_is_all_additions_in_the_order_in_which_they_are_made() -> None:
    found = planned(shop(), {})
    assert {change.sign for change in found.changes} == {"+"} and not found.rolls
    kinds = [change.kind for change in found.changes]
    assert kinds == sorted(kinds, key=KINDS.index)
    lines = [str(change) for change in found.changes]
    assert "+ security group shop.public: open to 0.0.0.0/0 on 80, open to 0.0.0.0/0 on 443" in lines
    assert "+ group shop-web: 2 to 10 hosts" in lines
    # Those that people write themselves are not ours to make.
    assert not [line for line in lines if "secret_key_base" in line and line.startswith("+ parameter")]


def test_a_size_is_a_change_and_no_roll() -> None:
    found = planned(changed("fleet_services.web.size.max", 12))
    assert [str(change) for change in found.changes] == ["~ group shop-web: max 10 -> 12"]
    assert found.rolls == ()


def test_desired_is_for_new_groups_only() -> None:
    assert planned(changed("fleet_services.web.size.desired", 5)) == Plan((), ())


def test_environment_and_secrets_are_named_and_never_shown() -> None:
    variables = changed("fleet_services.web.environment", {"RAILS_ENV": "hunter2", "NEW": "hunter3"})
    variables["fleet_services"]["web"]["secrets"] = {"SECRET_KEY_BASE": "/shop/hunter4"}
    found = planned(variables)
    details = ("+ variable NEW", "~ variable RAILS_ENV", "~ variable SECRET_KEY_BASE")
    assert [(change.kind, change.details) for change in found.changes][-1] == ("launch template", details)
    assert [(roll.group, roll.reasons) for roll in found.rolls] == [("shop-web", details)]
    assert not [word for word in ("hunter2", "hunter3", "production") if word in found.text]


def test_a_new_image_is_a_roll() -> None:
    found = planned(shop(), images={**IMAGES, "shop-web": "ami-new"})
    assert [str(roll) for roll in found.rolls] == ["roll shop-web: image ami-web -> ami-new"]
    unbuilt = planned(shop(), images={key: value for key, value in IMAGES.items() if key != "shop-thumbs"})
    assert [str(roll) for roll in unbuilt.rolls] == ["roll shop-thumbs: image ami-thumbs -> to be built"]


def test_hosts_that_were_left_behind_are_a_roll_too() -> None:
    found = planned(shop(), behind={"shop-web": 1, "shop-bus": 3, "shop-thumbs": 0, "other": 4})
    assert [str(roll) for roll in found.rolls] == [
        "roll shop-bus: 3 hosts run an older template",
        "roll shop-web: 1 host runs an older template",
    ]


def test_uses_open_and_close() -> None:
    found = planned(changed("fleet_services.web.uses", ["bus", "thumbs", "store"]))
    lines = {str(change) for change in found.changes}
    assert "+ target group shop-store" in lines and "- target group shop-cache" in lines
    (data,) = [change for change in found.changes if change.name == "shop.data"]
    assert [detail.split(" on ")[0] for detail in data.details] == [
        "+ ingress shop-web",
        "- ingress shop-web",
        *["+ egress shop-store"] * 2,
        "- egress shop-cache",
    ]


def test_a_service_that_left_is_removed_last_and_backwards() -> None:
    variables = changed("fleet_services.sandbox", GONE)
    found = planned(variables)
    removed = [(change.kind, change.name) for change in found.changes if change.sign == "-"]
    assert removed == [
        ("group", "shop-sandbox"),
        ("launch template", "shop-sandbox"),
        ("security group", "shop-sandbox"),
    ]
    assert found.text.endswith(
        "0 to make, 0 to change, 3 to remove, 0 to roll then. What is to be removed stays until -e fleet_remove=true.\n"
    )


def test_what_aws_does_not_tell_is_not_compared() -> None:
    found = copy.deepcopy(made(shop()))
    del found["launch template"]["shop-web"]["disk"]
    assert planned(shop(), found) == Plan((), ())


def test_a_rule_by_hand_is_found() -> None:
    found = copy.deepcopy(made(shop()))
    web = found["security group"]["shop-web"]
    web["ingress"] = (*web["ingress"], "0.0.0.0/0 on 22")
    assert [str(change) for change in planned(shop(), found).changes] == [
        "~ security group shop-web: - ingress 0.0.0.0/0 on 22"
    ]
