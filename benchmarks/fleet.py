# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to deploy a fleet again that is as its file says, and to plan it: seconds and API calls, for fleets of 1, 10 and 100 services.

The account is moto's, in this process, and every call takes 50 ms more. The time is that of `fleet_deploy` itself; Ansible takes some
seconds to start before it. Then whatever the security groups and load balancers let through is compared with the file, by rules that are
written down here once more and share nothing with the collection's own. ``make bench-fleet`` runs it.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "collections")]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}
os.environ.pop("AWS_ENDPOINT_URL", None)

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402
from moto.ec2.models.security_groups import SecurityGroupBackend  # noqa: E402

from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls  # noqa: E402
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.drive import Deployment, Options  # noqa: E402
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.keeper import Keeper  # noqa: E402
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists  # noqa: E402
from ansible_collections.boring.fleet.plugins.module_utils.fleet.reader import read_fleet  # noqa: E402

# 100 services want an account whose quota of 60 rules a security group was raised.
SecurityGroupBackend._verify_group_will_respect_rule_count_limit = lambda *dummy, **more: None  # type: ignore[method-assign]
REGION = "eu-central-1"
LATENCY = 0.05
SIZES = (1, 10, 100)
CALLS_A_SERVICE = 3
PEERS = {"nats": {6222}, "redis": {6379, 26379}}
PORTS = {"nats": {4222}, "redis": {6379}}


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    seconds: float
    calls: Counter[str]
    changed: bool


def variables(size: int) -> dict[str, Any]:
    """A fleet of so many services: each uses the bus and the one before it, every third is exposed, every tenth has a way out to one network."""
    services: dict[str, Any] = {}
    for number in range(size):
        services[f"s{number}"] = {
            "roles": ["acme.shop.any"],
            "port": 8000 + number,
            "size": {"min": 1, "max": 3},
            "uses": ["bus", *([f"s{number - 1}"] if number else [])],
            **({"expose": {"hosts": [f"s{number}.example.org"]}} if number % 3 == 0 else {}),
            **({"egress": ["10.0.0.0/8:443"]} if number % 10 == 9 else {}),
        }
    return {
        "fleet_name": "bench",
        "fleet_region": REGION,
        "fleet_network": {"clients": ["203.0.113.0/24"]},
        "fleet_data": {"bus": {"kind": "nats", "nodes": 3}, "cache": {"kind": "redis"}},
        "fleet_services": services,
    }


class Account:
    """moto's, with hooks that stay on the groups they are made with, as on AWS."""

    def __init__(self, path: Path, given: dict[str, Any]) -> None:
        self._path, self._fleet, self._latency = path, read_fleet(given), 0.0
        self._clients: dict[str, Any] = {}
        image = self("ec2").register_image(Name="image", RootDeviceName="/dev/xvda")["ImageId"]
        self._images = dict.fromkeys((one["family"] for one in lists(self._fleet)["images"]), image)

    def __call__(self, service: str) -> Any:
        if service not in self._clients:
            client = boto3.client(service, region_name=REGION)
            client.meta.events.register("before-call", self._wait)
            self._clients[service] = client
        return self._clients[service]

    def _wait(self, **dummy: Any) -> None:
        time.sleep(self._latency)

    def deploy(self, *, latency: float = 0.0, check: bool = False) -> Cost:
        """Deploy or plan; with time that each call takes."""
        calls = Calls(self, clock=time.time, sleep=time.sleep)
        keeper = Keeper(self._path, self._path)
        self._latency, began = latency, time.monotonic()
        result = Deployment(self._fleet, calls, keeper, Options(images=self._images)).run(check=check)
        took = time.monotonic() - began
        self._latency = 0.0
        return Cost(took, calls.counted, result.changed)

    def keep_hooks(self) -> None:
        """The hooks that moto forgot."""
        groups = self("autoscaling")
        for group in lists(self._fleet)["groups"]:
            for hook in group["lifecycle_hooks"]:
                groups.put_lifecycle_hook(
                    AutoScalingGroupName=group["name"], LifecycleHookName=hook["name"],
                    LifecycleTransition=f"autoscaling:EC2_INSTANCE_{hook['transition'].upper()}",
                    HeartbeatTimeout=hook["heartbeat_timeout"], DefaultResult=hook["default_result"],
                )  # fmt: skip


# -- what is open, judged anew ---------------------------------------------------------------------------------------


def every(client: Any, operation: str, key: str, **given: Any) -> list[Any]:
    return [one for page in client.get_paginator(operation).paginate(**given) for one in page[key]]


def opened(account: Account) -> Iterator[tuple[str, str, int]]:
    """Who reaches which service, at which port of its hosts: `world` for an address range, `?` as the target for a port that leads nowhere."""
    ec2, elb = account("ec2"), account("elbv2")
    groups = {one["GroupId"]: one for one in every(ec2, "describe_security_groups", "SecurityGroups")}
    of = {identity: _tags(one.get("Tags")).get("boring:service", "") for identity, one in groups.items()}
    targets = {}
    for one in every(elb, "describe_target_groups", "TargetGroups"):
        tags = elb.describe_tags(ResourceArns=[one["TargetGroupArn"]])["TagDescriptions"][0]["Tags"]
        targets[one["TargetGroupArn"]] = _tags(tags)["boring:service"]
    behind: dict[str, dict[int, set[str]]] = {}
    for balancer in every(elb, "describe_load_balancers", "LoadBalancers"):
        for listener in every(elb, "describe_listeners", "Listeners", LoadBalancerArn=balancer["LoadBalancerArn"]):
            rules = elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
            actions = [*listener["DefaultActions"], *(action for rule in rules for action in rule["Actions"])]
            to = {targets[arn] for action in actions if (arn := action.get("TargetGroupArn"))}
            if any(action["Type"] in ("redirect", "fixed-response") for action in actions):
                to.add("")
            for group in balancer["SecurityGroups"]:
                behind.setdefault(group, {})[listener["Port"]] = to
    for identity, group in groups.items():
        if group["GroupName"] != "default" and identity not in behind:
            yield from _into(of[identity], group, of, behind, groups)
    for identity, listeners in behind.items():
        for who, first, last in _rules(groups[identity], of):
            yield from ((who, "?", port) for port in range(first, last + 1) if port not in listeners)


def _into(
    service: str,
    group: dict[str, Any],
    of: dict[str, str],
    behind: dict[str, dict[int, set[str]]],
    groups: dict[str, Any],
) -> Iterator[tuple[str, str, int]]:
    """Who comes to the hosts of a service: by itself, or through a load balancer that leads there."""
    for permission in group["IpPermissions"]:
        first, last = permission.get("FromPort", 0), permission.get("ToPort", 65535)
        for port in range(first, last + 1):
            for pair in permission["UserIdGroupPairs"]:
                through = behind.get(pair["GroupId"])
                if through is None:
                    yield of[pair["GroupId"]], service, port
                    continue
                for outside, start, end in _rules(groups[pair["GroupId"]], of):
                    leads = any(service in to for listening, to in through.items() if start <= listening <= end)
                    if leads:
                        yield outside, service, port
            if permission["IpRanges"] or permission.get("Ipv6Ranges"):
                yield "world", service, port


def _rules(group: dict[str, Any], of: dict[str, str]) -> Iterator[tuple[str, int, int]]:
    for permission in group["IpPermissions"]:
        ports = permission.get("FromPort", 0), permission.get("ToPort", 65535)
        for pair in permission["UserIdGroupPairs"]:
            yield of[pair["GroupId"]], *ports
        if permission["IpRanges"] or permission.get("Ipv6Ranges"):
            yield "world", *ports


def allowed(given: dict[str, Any]) -> set[tuple[str, str, int]]:
    """The same as the file means it."""
    services, data = given["fleet_services"], given["fleet_data"]
    found = set()
    for name, service in services.items():
        if "expose" in service:
            found.add(("world", name, service["port"]))
        for used in service["uses"]:
            ports = PORTS[data[used]["kind"]] if used in data else {services[used]["port"]}
            found |= {(name, used, port) for port in ports}
    for name, one in data.items():
        if one.get("nodes", 1) > 1:
            found |= {(name, name, port) for port in PEERS[one["kind"]]}
    return found


def _tags(listed: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in listed or ()}


# -- the run ---------------------------------------------------------------------------------------------------------


def measured(size: int, say: Callable[[str], None]) -> tuple[Cost, int]:
    """A fleet, made and then deployed again; what that cost, and how many ports are open beyond the file."""
    given = variables(size)
    with mock_aws(), tempfile.TemporaryDirectory() as path:
        account = Account(Path(path), given)
        first = account.deploy()
        account.keep_hooks()
        plan, again = account.deploy(latency=LATENCY, check=True), account.deploy(latency=LATENCY)
        if again.changed or plan.changed:
            raise SystemExit(f"bench-fleet: the second deploy of {size} services changed something")
        there, meant = set(opened(account)), allowed(given)
        closed = meant - there
        if closed:
            raise SystemExit(f"bench-fleet: {len(closed)} that the file opens are closed, as {sorted(closed)[0]}")
    for what, cost in (("first deploy", first), ("plan", plan), ("second deploy", again)):
        seconds = "        -" if what == "first deploy" else f"{cost.seconds:7.1f} s"
        calls = sum(cost.calls.values())
        say(f"{size:9} | {what:13} | {seconds} | {calls:9} | {calls / size:15.2f}")
    return again, len(there - meant)


def main() -> int:
    logging.disable(logging.WARNING)
    print("  services | run           | time      | API calls | calls a service")
    costs = {}
    beyond = 0
    for size in SIZES:
        costs[size], more = measured(size, print)
        beyond += more
    last = SIZES[-1]
    calls = {size: sum(cost.calls.values()) for size, cost in costs.items()}
    a_service = (calls[last] - calls[SIZES[0]]) / (last - SIZES[0])
    linear = calls[last] - calls[10] <= (calls[10] - calls[1]) * 1.1 * (last - 10) / 9
    print(
        f"\nThe first service costs {calls[1]} calls, each further one {a_service:.2f}; it grows {'at most linearly' if linear else 'faster than linearly'}."
    )
    print("most frequent:", ", ".join(f"{name} {count}" for name, count in costs[last].calls.most_common(5)))
    print(
        f"bench-fleet: unchanged N={last} {costs[last].seconds:.1f} s, calls {calls[last] / last:.2f} a service, open ports beyond the file {beyond}"
    )
    return 0 if linear and calls[last] <= CALLS_A_SERVICE * last and not beyond else 1


if __name__ == "__main__":
    raise SystemExit(main())
