# SPDX-License-Identifier: GPL-3.0-or-later
"""Access as data: what is rendered, that the test cases bite, and what the file may not say."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.boring.fleet.plugins.module_utils.access.judge import failures, untested
from ansible_collections.boring.fleet.plugins.module_utils.access.model import AccessError, read_access
from ansible_collections.boring.fleet.plugins.module_utils.access.tailnet import policy
from ansible_collections.boring.fleet.plugins.module_utils.access.twingate import resources

FILE: dict[str, Any] = yaml.safe_load("""
people:
  developers: [ana@example.org, ben@example.org]
  support: [eve@example.org]
machines:
  api: {}
  engine: {owners: [developers]}
  data:
  router: {routes: [10.9.0.0/16, "2001:db8:9::/48"]}
services:
  redis: {runs_on: data, ports: 6379}
  nats: {runs_on: data, ports: [4222, 6222]}
  conversion: {runs_on: engine, ports: 8081}
  grafana: {runs_on: [data, api], ports: 3000, address: grafana.internal}
  dns: {runs_on: data, ports: 53, protocol: udp, address: dns.internal}
  postgres: {behind: router, at: 10.9.4.7, ports: 5432, address: postgres.internal}
  printers: {behind: router, at: [10.9.8.0/24, "2001:db8:9:8::/64"], ports: 9100}
allow:
  - {from: api, to: [redis, nats, conversion]}
  - {from: engine, to: postgres}
  - {from: engine, to: [redis, nats]}
  - {from: [developers, eve@example.org], to: grafana}
  - {from: support, to: [grafana, dns]}
ssh:
  - {from: developers, to: [api, engine], as: admin, check: 12h}
tests:
  - {from: api, to: [redis, nats, conversion], not_to: [grafana, dns]}
  - {from: engine, to: [redis, postgres], not_to: [conversion, printers]}
  - {from: developers, to: [grafana, "ssh:admin@api"], not_to: [redis, nats, "ssh:admin@data", "ssh:root@api"]}
  - {from: eve@example.org, to: [grafana, dns], not_to: ["ssh:admin@api"]}
  - {from: mallory@example.org, not_to: [redis, nats, conversion, grafana, dns, postgres, printers, "ssh:admin@api"]}
""")


def test_the_policy_of_a_tailnet() -> None:
    made = policy(read_access(FILE), "headscale")
    assert made["groups"] == {
        "group:developers": ["ana@example.org", "ben@example.org"],
        "group:support": ["eve@example.org"],
    }
    assert made["tagOwners"] == {
        "tag:api": [],
        "tag:data": [],
        "tag:engine": ["group:developers"],
        "tag:router": [],
    }
    assert made["acls"][:2] == [
        {"action": "accept", "proto": "tcp", "src": ["tag:api"], "dst": ["tag:data:6379"]},
        {"action": "accept", "proto": "tcp", "src": ["tag:api"], "dst": ["tag:data:4222,6222"]},
    ]
    assert {"action": "accept", "proto": "udp", "src": ["group:support"], "dst": ["tag:data:53"]} in made["acls"]
    assert made["ssh"] == [
        {
            "action": "check",
            "src": ["group:developers"],
            "dst": ["tag:api", "tag:engine"],
            "users": ["admin"],
            "checkPeriod": "12h",
        }
    ]
    reached = {"action": "accept", "proto": "tcp", "src": ["group:developers"], "dst": ["tag:api:22", "tag:engine:22"]}
    assert made["acls"][-1] == reached, "a rule for SSH alone opens no port"
    assert "tests" not in made
    assert "*" not in str(made)


def test_what_is_behind_routers_is_named_and_their_routes_are_approved_in_advance() -> None:
    document = changed("machines.spare", {"routes": ["10.9.0.0/16"]})
    made = policy(read_access(document), "headscale")
    assert made["autoApprovers"] == {
        "routes": {"10.9.0.0/16": ["tag:router", "tag:spare"], "2001:db8:9::/48": ["tag:router"]}
    }
    assert made["hosts"] == {
        "postgres": "10.9.4.7/32",
        "printers_1": "10.9.8.0/24",
        "printers_2": "2001:db8:9:8::/64",
    }
    assert {"action": "accept", "proto": "tcp", "src": ["tag:engine"], "dst": ["postgres:5432"]} in made["acls"]
    del document["services"]["postgres"], document["services"]["printers"]
    document["machines"] = {name: {} for name in document["machines"]}
    document["allow"], document["tests"] = document["allow"][:1], []
    assert not {"hosts", "autoApprovers"} & set(policy(read_access(document), "headscale")), "no empty ones"


def test_tailscale_gets_the_cases_in_its_own_words() -> None:
    tests = policy(read_access(FILE), "tailscale")["tests"]
    assert tests[0] == {
        "src": "tag:api",
        "accept": ["tag:data:6379", "tag:data:4222", "tag:data:6222", "tag:engine:8081"],
        "deny": ["tag:data:3000", "tag:api:3000", "tag:data:53"],
    }
    assert tests[1]["accept"] == ["tag:data:6379", "postgres:5432"]
    assert tests[1]["deny"] == ["tag:engine:8081", "printers_1:9100", "printers_2:9100"]
    assert tests[2]["src"] == "ana@example.org"


def test_twingates_resources_are_for_people_only() -> None:
    made = resources(read_access(FILE), "production")
    assert [resource["name"] for resource in made["resources"]] == ["dns", "grafana"]
    dns, grafana = made["resources"]
    assert grafana["protocols"]["tcp"] == {"policy": "RESTRICTED", "ports": [{"start": 3000, "end": 3000}]}
    assert grafana["protocols"]["udp"] == {"policy": "RESTRICTED", "ports": []}
    assert not grafana["protocols"]["allowIcmp"]
    assert grafana["groups"] == ["developers", "support"]
    assert dns["protocols"]["udp"]["ports"] == [{"start": 53, "end": 53}]
    assert made["groups"]["support"] == ["eve@example.org"]


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(FILE)
    *keys, last = path.split(".")
    place = document
    for key in keys:
        place = place[int(key) if isinstance(place, list) else key]  # type: ignore[call-overload]
    place[int(last) if isinstance(place, list) else last] = value  # type: ignore[call-overload]
    return document


def test_nobody_comes_in_by_ssh_where_the_port_is_closed() -> None:
    access = read_access(FILE)
    made = policy(access, "headscale")
    made["acls"] = [rule for rule in made["acls"] if "tag:api:22" not in rule["dst"]]
    assert failures(access, made) == [f"{name}@example.org does not reach ssh:admin@api" for name in ("ana", "ben")]


def test_the_cases_hold() -> None:
    access = read_access(FILE)
    assert failures(access, policy(access, "headscale")) == []
    assert untested(access) == []
    assert untested(read_access(changed("tests.4.not_to", ["redis"]))) == ["postgres"]
    assert untested(read_access(changed("tests", FILE["tests"][:2]))) == ["nats", "postgres", "redis"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("allow.0.to", ["redis", "nats"], ["tag:api does not reach conversion"]),
        ("allow.0.to", ["redis", "nats", "conversion", "grafana"], ["tag:api reaches grafana"]),
        ("allow.2.to", ["nats"], ["tag:engine does not reach redis"]),
        ("allow.1.to", ["printers"], ["tag:engine does not reach postgres", "tag:engine reaches printers"]),
        ("services.printers.at", ["10.9.4.0/24"], []),
        ("services.postgres.at", ["10.9.4.7", "10.9.4.8"], []),
        ("allow.3.from", ["ana@example.org"], ["ben@example.org does not reach grafana"]),
        ("ssh.0.to", ["api", "data"], ["ana@example.org reaches ssh:admin@data", "ben@example.org reaches ssh:admin@data"]),
        ("ssh.0.from", ["support"], ["ana@example.org does not reach ssh:admin@api", "ben@example.org does not reach ssh:admin@api", "eve@example.org reaches ssh:admin@api"]),
        ("people.support", [], ["eve@example.org does not reach dns"]),
    ],
)  # fmt: skip
def test_a_change_that_breaks_a_case_is_named(path: str, value: Any, expected: list[str]) -> None:
    document = changed(path, value)
    if path == "people.support":
        document["allow"][3]["from"] = ["developers", "support"]
        expected = ["eve@example.org does not reach grafana", *expected]
    access = read_access(document)
    assert failures(access, policy(access, "headscale")) == expected


def test_a_rule_for_a_network_is_seen_by_the_judge_as_one_for_all_that_is_in_it() -> None:
    access = read_access(FILE)
    made = policy(access, "headscale")
    made["hosts"]["all-of-it"] = "10.9.0.0/16"
    made["acls"].append({"action": "accept", "src": ["tag:engine"], "dst": ["all-of-it:*"]})
    assert failures(access, made) == ["tag:engine reaches printers"]
    made["acls"][-1]["dst"] = ["tag:router:*"]
    assert failures(access, made) == [], "a router is not what is behind it"


def test_a_rule_for_everybody_would_be_seen_by_the_judge() -> None:
    access = read_access(FILE)
    made = policy(access, "headscale")
    made["acls"].append({"action": "accept", "src": ["*"], "dst": ["*:*"]})
    assert "mallory@example.org reaches redis" in failures(access, made)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("allow.0.from", "*", r"allow\[0\].from is everybody: name who it is for"),
        ("allow.0.from", "apis", r"allow\[0\].from names apis, which is not declared among people or machines"),
        ("allow.0.from", [], r"allow\[0\].from is missing"),
        (
            "allow.0.to",
            ["reddis"],
            r"allow\[0\].to names reddis, which is not declared among services; there are redis, nats",
        ),
        ("allow.0.to", [], r"allow\[0\] must name the services"),
        ("allow.3.from", "zoe@example.org", "who is in no group of people"),
        ("allow", {}, "allow must be a list"),
        ("services.redis.runs_on", "dota", "services.redis.runs_on names dota, which is not declared among machines"),
        ("services.redis.ports", 0, "services.redis must say"),
        ("services.redis.ports", [True], "services.redis must say"),
        ("services.redis.ports", None, "services.redis must say"),
        ("services.redis.protocol", "icmp", "must be tcp or udp"),
        (
            "services.redis",
            {"runs_on": "data", "port": 1},
            "services.redis has port, which means nothing; it may have runs_on, behind, at, ports",
        ),
        ("machines.engine.owners", ["api"], "machines.engine.owners names api, which is not declared among people"),
        ("machines.developers", {}, "developers names both people and machines"),
        ("machines.Data", {}, "machines has the name Data"),
        ("people.support", ["eve"], "people.support has eve, which is no address"),
        ("ssh.0.from", ["api"], r"ssh\[0\].from names api, which is not declared among people"),
        ("ssh.0.as", "root", r"ssh\[0\].as must not be root"),
        ("ssh.0.as", None, r"ssh\[0\] must name machines"),
        ("ssh.0.check", "often", r"ssh\[0\].check must be a period"),
        ("tests.0.from", ["api", "engine"], r"tests\[0\].from must be one"),
        ("tests.0.to", ["ssh:admin@nowhere"], r"tests\[0\] names ssh:admin@nowhere, which is neither"),
        ("tests.4.not_to", [], r"tests\[4\] tests nothing"),
        ("hosts", {}, "the access file has hosts, which means nothing"),
        ("machines.router.routes", ["10.9.0.1/16"], "machines.router.routes has 10.9.0.1/16, which is no network"),
        ("machines.router.routes", ["0.0.0.0/0"], "has 0.0.0.0/0: name networks of your own, and not the internet"),
        ("machines.router.routes", ["100.80.0.0/16"], "has 100.80.0.0/16: name networks of your own"),
        ("machines.router.routes", [], "postgres.at has 10.9.4.7/32, and router leads to nowhere: see machines.router"),
        (
            "services.postgres.at",
            "10.8.4.7",
            "postgres.at has 10.8.4.7/32, and router leads to 10.9.0.0/16, 2001:db8:9::/48",
        ),
        ("services.postgres.at", "2001:db8::7", "postgres.at has 2001:db8::7/128, and router leads to"),
        ("services.postgres.at", [], "services.postgres.at must have an address or a network"),
        ("services.postgres.behind", "data", "services.postgres.at has 10.9.4.7/32, and data leads to nowhere"),
        ("services.postgres", {"behind": "router", "ports": 1}, "must say either runs_on"),
        ("services.postgres", {"at": "10.9.4.7", "runs_on": "data", "ports": 1}, "must say either runs_on"),
    ],
)
def test_what_the_file_may_not_say(path: str, value: Any, words: str) -> None:
    with pytest.raises(AccessError, match=words):
        read_access(changed(path, value))


NAMES = ["api", "engine", "data"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["redis", "nats", "conversion"])), max_size=6))
def test_exactly_what_is_written_down_is_reached(pairs: list[tuple[str, str]]) -> None:
    services = ["redis", "nats", "conversion"]
    document = changed("allow", [{"from": source, "to": target} for source, target in pairs])
    document["tests"] = [
        {
            "from": name,
            "to": [s for s in services if (name, s) in pairs],
            "not_to": [s for s in services if (name, s) not in pairs],
        }
        for name in NAMES
    ]
    access = read_access(document)
    assert failures(access, policy(access, "tailscale")) == []
