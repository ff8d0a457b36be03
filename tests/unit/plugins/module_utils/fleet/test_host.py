# SPDX-License-Identifier: GPL-3.0-or-later
"""What the model writes for a host is what the host's own program reads, and all that it needs is allowed to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet
from ansible_collections.boring.fleet.plugins.module_utils.host import redis_config, told
from tests.unit.plugins.module_utils.fleet.fleets import shop


def text(found: dict[str, Any], name: str) -> str:
    group = next(group for group in found["groups"] if group["for"] == name)
    files = {file["path"]: file["content"] for file in group["template"]["files"]}
    return str(files.get(told.PATH, ""))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return lists(read_fleet(shop()), endpoint="http://172.31.0.1:4577")


@pytest.mark.parametrize("name", ["bus", "cache", "store", "web", "thumbs"])
def test_a_host_reads_what_the_model_writes(found: dict[str, Any], name: str) -> None:
    read = told.read(text(found, name))
    assert (read.fleet, read.service, read.endpoint) == ("shop", name, "http://172.31.0.1:4577")
    group = next(group for group in found["groups"] if group["for"] == name)
    assert {hook["name"]: hook["heartbeat_timeout"] for hook in group["lifecycle_hooks"]} == {
        read.enter_hook: read.heartbeat,
        read.leave_hook: read.heartbeat,
    }
    assert read.group == group["name"]


@pytest.mark.parametrize("name", ["bus", "cache", "store"])
def test_every_parameter_that_it_names_is_there_and_may_be_read(found: dict[str, Any], name: str) -> None:
    read = told.read(text(found, name))
    readable = {one["name"] for one in found["parameters"] if name in one["readers"]}
    wanted = {*read.parameters.values(), *(user.verifier for user in read.users)}
    assert wanted <= readable
    assert {"certificate", "key", "authority"} <= set(read.parameters)
    signed = next(one for one in found["certificates"] if one.get("host") == name)
    assert f"*.{read.domain}" in signed["dns_names"], "for which the certificate of each node is"


def test_only_the_master_serves_so_these_register_themselves(found: dict[str, Any]) -> None:
    read = {name: told.read(text(found, name)) for name in ("bus", "cache", "store")}
    mine = {target["for"]: target for target in found["target_groups"] if target["balancer"] == "data"}
    for name, one in read.items():
        if name in mine and not mine[name]["attached"]:
            assert one.target_group == mine[name]["name"]
            assert mine[name]["health"] == {"protocol": "HTTP", "port": redis_config.RESPONDER_PORT, "path": "/master"}
            (policy,) = [role["policy"] for role in found["roles"] if role["for"] == name]
            actions = {action for statement in policy["Statement"] for action in statement["Action"]}
            assert {"elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DescribeTargetGroups"} <= actions
        else:
            assert one.target_group == ""


def test_a_host_may_tag_itself_and_nothing_else(found: dict[str, Any]) -> None:
    (policy,) = [role["policy"] for role in found["roles"] if role["for"] == "bus"]
    (statement,) = [one for one in policy["Statement"] if one["Action"] == ["ec2:CreateTags"]]
    assert statement["Condition"] == {
        "StringEquals": {"aws:ResourceTag/boring:fleet": "shop", "aws:ResourceTag/boring:service": "bus"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["boring:lifecycle"]},
    }


def test_a_host_asks_its_container_where_it_listens() -> None:
    # What is for the service's port is sent on only when it comes from outside.
    given = shop()
    assert told.read(text(lists(read_fleet(given)), "web")).port == 8000
    given["fleet_services"]["web"]["container"]["port"] = 3000
    assert told.read(text(lists(read_fleet(given)), "web")).port == 3000


def test_an_isolated_host_gets_none(found: dict[str, Any]) -> None:
    assert text(found, "sandbox") == ""


def test_nothing_secret_is_in_it(found: dict[str, Any]) -> None:
    for name in ("bus", "store", "web"):
        for key in json.loads(text(found, name)):
            assert "password" not in key


@pytest.mark.parametrize(
    ("text_", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "no mapping"),
        ('{"fleet": "shop"}', "'service' is missing"),
        ('{"fleet": 1, "hooks": []}', "service"),
    ],
)
def test_a_file_of_another_hand_is_one_sentence(text_: str, reason: str) -> None:
    with pytest.raises(told.HostError, match=r"^/etc/fleet/host.json is not as deploy writes it") as caught:
        told.read(text_)
    assert reason in str(caught.value)
    assert caught.value.never
