# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers of AWS mean, as tables: hosts, groups, rolls, certificates."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.judge import ago, judge, last_roll
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.lines import lines
from ansible_collections.boring.fleet.plugins.module_utils.fleet.status.values import Machine
from ansible_collections.boring.fleet.plugins.module_utils.rollout.decisions.tags import encode, encode_record
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Activity, Template
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.journal import (
    TAG_JOURNAL,
    TAG_RECORD,
    Journal,
    Record,
)
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.policy import Match, Policy, Target
from tests.unit.plugins.module_utils.fleet.status.seen import ARN, NOW, found, host, judged, model, of, seen

OLD, NEW = Template("lt-web", "shop-web", "1"), Template("lt-web", "shop-web", "2")


def test_a_fleet_that_is_well() -> None:
    status = judged()
    assert status.well and not [one for one in status.services if one.ill or one.behind]
    web = of("web", status)
    assert (web.version, web.image, web.image_name, web.in_service, web.desired) == (
        "1.4.2",
        "ami-2",
        "shop-web-20261130",
        2,
        2,
    )
    assert web.zones == {"eu-central-1a": 1, "eu-central-1b": 1}
    assert web.uses == ("bus", "cache", "thumbs") and web.exposed and web.roll.words == "never rolled"
    assert [one.service for one in status.services] == model()["order"]
    assert json.loads(json.dumps(status.as_dict()))["services"][0]["in_file"] is True
    assert lines(status)[0].endswith("every group is well")


@pytest.mark.parametrize(
    ("changes", "machine", "why"),
    [
        ({"state": "Pending:Wait"}, {}, "it is Pending:Wait"),
        ({"state": "Pending:Wait"}, {"tags": {"boring:lifecycle": "not in step with bus"}}, "it is Pending:Wait: not in step with bus"),
        ({"state": "InService"}, {"tags": {"boring:lifecycle": "entered"}}, ""),
        ({"healthy": False}, {}, "Auto Scaling reports it as Unhealthy"),
        ({}, {"trouble": "EC2's system check fails"}, "EC2's system check fails"),
        ({}, {"tags": {"boring:gpu": "lost: 7 of 8 GPUs"}}, "GPU: lost: 7 of 8 GPUs"),
        ({}, {"tags": {"boring:gpu": "ok"}}, ""),
        ({}, {"tags": {"boring:gpu": "ok: 8 of 8"}}, ""),
    ],
)  # fmt: skip
def test_why_a_host_is_not_well(changes: dict[str, Any], machine: dict[str, Any], why: str) -> None:
    group = found("web", hosts=(host("web", 0), host("web", 1, **changes)))
    status = of("web", judged(group, machines={"i-web1": Machine("ami-2", NOW - 60, **machine)}))
    assert (status.hosts[1].why, status.ill, status.in_service) == (why, bool(why), 1 if why else 2)


def test_a_target_that_is_not_healthy_and_one_that_is_not_registered() -> None:
    health = {"i-web0": "target group shop-web reports unhealthy (Target.ResponseCodeMismatch: [503])"}
    status = judged(found("web", group_target_groups=(ARN,), health=health))
    assert [one.why for one in of("web", status).hosts] == [
        "target group shop-web reports unhealthy (Target.ResponseCodeMismatch: [503])",
        "it is not registered with the group's load balancer",
    ]
    assert "web is not well" in lines(status)[0]
    assert (
        "      i-web0 in eu-central-1a: target group shop-web reports unhealthy (Target.ResponseCodeMismatch: [503])"
        in lines(status)
    )


def test_a_host_on_its_way_out_is_no_illness() -> None:
    hosts = (host("web", 0), host("web", 1), host("web", 2, state="Terminating:Wait"))
    status = of("web", judged(found("web", hosts=hosts)))
    assert (status.in_service, status.ill, status.hosts[2].why) == (2, False, "it is Terminating:Wait")


@pytest.mark.parametrize(("scaling", "ill"), [(("busy at 0.7",), True), ((), False)])
def test_a_group_that_does_not_hear_what_it_follows(scaling: tuple[str, ...], ill: bool) -> None:
    said = {"boring:lifecycle": "in service: web at port 9100, /metrics, has no busy"}
    machines = {f"i-web{number}": Machine("ami-2", NOW - 60, said) for number in (0, 2)}
    machines["i-web1"] = Machine("ami-2", NOW - 60, {"boring:lifecycle": "in service"})
    status = of("web", judged(found("web", 3, scaling=scaling), machines=machines))
    words = "i-web0 and 1 more, in service: web at port 9100, /metrics, has no busy"
    assert (status.problems, status.ill, status.in_service) == ((words,) if ill else (), ill, 3)


def test_a_machine_that_may_lack_a_gpu() -> None:
    given = dict(model())
    given["groups"] = [
        {**one, "template": {**one["template"], "may_lack_gpu": one["for"] == "thumbs"}} for one in given["groups"]
    ]
    answers = seen(machines={"i-thumbs0": Machine("ami-2", 0.0, {"boring:gpu": "none"})})
    assert not of("thumbs", judge(answers, NOW, fleet="shop", region="r", model=given)).ill
    assert of("thumbs", judge(answers, NOW, fleet="shop", region="r", model=model())).hosts[0].why == "GPU: none"


@pytest.mark.parametrize(
    ("version", "behind"),
    [("2", ""), ("1", "runs version 1, not 2"), ("3", "runs version 3, not 2")],
)
def test_who_is_behind(version: str, behind: str) -> None:
    status = judged(found("web", hosts=(host("web", 0), host("web", 1, version=version))))
    web = of("web", status)
    assert ([one.behind for one in web.hosts], web.behind, web.ill) == (["", behind], int(bool(behind)), False)
    assert ("1 host is behind, roll it" in lines(status)[0]) == bool(behind)


def test_hosts_behind_are_counted_for_a_launch_template_that_is_another() -> None:
    other = host("web", 1, template=Template("lt-old", "before", "2"))
    web = of("web", judged(found("web", hosts=(host("web", 0), other, host("web", 2, template=None)))))
    assert [one.behind for one in web.hosts] == [
        "",
        "runs launch template before version 2, not launch template shop-web version 2",
        "was not launched from launch template shop-web version 2",
    ]


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (found("web", group_status="Delete in progress"), "AWS is deleting the group (Delete in progress)"),
        (replace(found("web"), target=None, no_target="there is no launch template"), "there is no launch template"),
        (found("web", group_suspended={"Launch": "somebody's", "AZRebalance": "a roll's"}), "suspended, so that AWS does not replace what dies: Launch (somebody's); resume them"),
        (found("web", idle=("the target group shop-web is used by no load balancer",)), "the target group shop-web is used by no load balancer"),
        (
            found("web", 1, group_desired=2, activities=(
                Activity("2", "Launching a new EC2 instance", "Failed", "c", "We have no t3.medium here.", started=NOW - 300),
                Activity("1", "Launching a new EC2 instance: i-web0", "Successful", "c", started=NOW - 400),
            )),
            "the last activity that failed, 5 min ago: We have no t3.medium here.",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_group(group: Any, problem: str) -> None:
    web = of("web", judged(group))
    assert (web.problems, web.ill) == ((problem,), True)


def test_an_activity_that_failed_before_one_that_succeeded_is_history() -> None:
    activities = (
        Activity("2", "Launching a new EC2 instance: i-web0", "Successful", "c", started=NOW - 300),
        Activity("1", "Launching a new EC2 instance", "Failed", "c", "none left", started=NOW - 400),
    )
    assert of("web", judged(found("web", 1, group_desired=2, activities=activities))).problems == ()


def test_hosts_of_one_version_with_different_images() -> None:
    web = of("web", judged(machines={"i-web1": Machine("ami-9", NOW)}))
    assert web.problems == (
        "hosts of the same launch template version run different images (ami-2, ami-9): roll with match=all",
    )


def test_what_the_file_has_and_aws_does_not_and_the_other_way_round() -> None:
    answers = seen(found("gone"))
    answers = replace(answers, groups=tuple(one for one in answers.groups if one.group.name != "shop-web"))
    status = judge(answers, NOW, fleet="shop", region="r", model=model())
    assert of("web", status).exposed and of("web", status).uses == ("bus", "cache", "thumbs")
    assert of("web", status).problems == ("it is in the file, and there is no group of it: run boring.fleet.deploy",)
    assert of("gone", status).problems == (
        "it is not in the file any more: deploy takes it away with -e fleet_remove=true",
    )
    assert status.services[-1].service == "gone"
    tagged = replace(answers, groups=(found("store", group_tags={"boring:kind": "data"}), found("web")))
    kinds = {one.service: one.kind for one in judge(tagged, NOW, fleet="shop", region="r", model={}).services}
    assert kinds == {"store": "data", "web": "service"}
    without = judge(answers, NOW, fleet="shop", region="r", model={})
    assert (of("gone", without).problems, of("gone", without).in_file) == ((), None)
    assert [one.service for one in without.services] == ["bus", "cache", "gone", "sandbox", "store", "thumbs"]


def test_a_fleet_that_is_not_there() -> None:
    status = judge(replace(seen(), groups=()), NOW, fleet="shop", region="r", model={})
    assert lines(status) == [
        "The fleet shop in r, 2027-01-15 08:00:00 UTC: it has no Auto Scaling group with the tag boring:fleet=shop"
    ]


def test_two_groups_of_one_service_are_both_shown() -> None:
    other = found("web", group_name="shop-web-other")
    answers = seen()
    status = judge(replace(answers, groups=(*answers.groups, other)), NOW, fleet="shop", region="r", model={})
    assert {"web", "shop-web-other"} <= {one.service for one in status.services}


def journal(**changes: Any) -> dict[str, str]:
    return {TAG_JOURNAL: encode(replace(Journal("ann@box:1", NOW - 30, NOW - 240, Target(NEW)), **changes))}


def test_a_roll_of_all_hosts_that_is_under_way_does_not_want_those_that_it_made() -> None:
    group = found("web", group_tags=journal(started=NOW - 240), policy=Policy(match=Match.ALL))
    web = of("web", judged(group, machines={"i-web1": Machine("ami-2", NOW - 120)}))
    assert [one.behind for one in web.hosts] == ["all instances were asked for", ""]


def record(**changes: Any) -> dict[str, str]:
    return {TAG_RECORD: encode_record(replace(Record(OLD, NOW - 7200), **changes))}


@pytest.mark.parametrize(
    ("tags", "state", "words"),
    [
        ({}, "none", "never rolled"),
        (record(), "done", "last roll 2 h ago"),
        (record(unfinished=True), "unfinished", "the last roll, 2 h ago, did not replace all hosts: see its report, mend the reason, roll again"),
        (record(unfinished=True, stopped=NOW - 7000), "stopped", "the last roll, 2 h ago, was stopped by state=aborted: see its report, mend the reason, roll again"),
        (record() | journal(), "under way", "a roll to version 2 by ann@box:1 began 4 min ago"),
        (journal(failed=1, back=True), "under way", "a roll back to version 2 by ann@box:1 began 4 min ago, 1 host failed so far"),
        (journal(beat=NOW - 1000, started=NOW - 2000), "cut off", "a roll to version 2 by ann@box:1 began 33 min ago and was cut off 16 min ago: roll again, which goes on, or give it up with state=aborted"),
        ({TAG_JOURNAL: "rubbish"}, "unreadable", "the group's tag boring:rollout cannot be read as the journal of a roll ('rubbish'): if no roll is under way, delete the tag and run again"),
        ({TAG_RECORD: "rubbish"}, "unreadable", "its tag boring:rollout-record cannot be read"),
    ],
)  # fmt: skip
def test_the_last_roll(tags: dict[str, str], state: str, words: str) -> None:
    group = found("web", group_tags=tags).group
    roll = last_roll(group, NOW, 900)
    assert (roll.state, roll.words) == (state, words)
    assert of("web", judged(found("web", group_tags=tags))).ill == (
        state in ("unfinished", "stopped", "cut off", "unreadable")
    )


@pytest.mark.parametrize(
    ("left", "days", "words"),
    [
        (-3600, -1, "the certificate x ended 60 min ago: renew it now"),
        (3600, 0, "the certificate x ends in 0 days: renew it"),
        (86400 * 1.5, 1, "the certificate x ends in 1 day: renew it"),
        (86400 * 30, 30, "the certificate x ends in 30 days: renew it"),
        (86400 * 30 + 1, 30, ""),
        (86400 * 31, 31, ""),
    ],
)
def test_certificates_that_end(left: float, days: int, words: str) -> None:
    status = judged(ends={"the certificate x": NOW + left})
    (certificate,) = status.certificates
    assert (certificate.days, certificate.words, status.well) == (days, words, not words)
    assert (f"! {words}" in lines(status)) == bool(words)


def test_what_could_not_be_asked_is_said() -> None:
    status = judged(unknown=("cannot read the certificate x: the credentials lack acm:DescribeCertificate",))
    assert lines(status)[-1] == "? cannot read the certificate x: the credentials lack acm:DescribeCertificate"


def test_a_data_service_that_nobody_can_connect_to() -> None:
    status = judged(silent={"store": "no host takes connections"})
    assert of("store", status).problems == ("no host takes connections",)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7199, "119 min ago"), (7200, "2 h ago"), (172800, "2 d ago")],
)  # fmt: skip
def test_how_long_ago(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_many_sick_hosts_are_counted() -> None:
    hosts = tuple(host("web", number, healthy=False) for number in range(9))
    said = [line for line in lines(judged(found("web", hosts=hosts))) if "i-web" in line or "more hosts" in line]
    assert len(said) == 6 and said[-1] == "      and 4 more hosts are not well"
