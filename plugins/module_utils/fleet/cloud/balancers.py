# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers, target groups, listeners and their rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.boot import digest
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls, tag_list
from ansible_collections.boring.fleet.plugins.module_utils.fleet.facts import BALANCER_SETTINGS, TARGET_SETTINGS
from ansible_collections.boring.fleet.plugins.module_utils.fleet.facts import health as health_words
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import (
    SETTINGS,
    Balancer,
    Listener,
    ListenerRule,
    Seen,
    Target,
)

_BUSY: Final = ("ResourceInUse",)
_GONE: Final = ("LoadBalancerNotFound", "TargetGroupNotFound", "ListenerNotFound", "RuleNotFound")
_HEALTH: Final = {
    "HealthCheckIntervalSeconds": 5,
    "HealthCheckTimeoutSeconds": 4,
    "HealthyThresholdCount": 2,
    "UnhealthyThresholdCount": 2,
}


class BalancerMaker:
    """Makes, changes and removes them."""

    def __init__(self, calls: Calls, seen: Seen, patience: float) -> None:
        self._calls, self._seen, self._patience = calls, seen, patience

    # -- load balancers --------------------------------------------------------------------------------------------

    def make(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Make it, with its settings."""
        subnets = self._seen.public if wanted["subnets"] == "public" else self._seen.hosts
        made = self._calls.write(
            "elbv2", "CreateLoadBalancer", f"make the load balancer {name}",
            Name=name, Type=wanted["type"], Scheme=wanted["scheme"], Subnets=list(subnets),
            SecurityGroups=[self._seen.security[wanted["security_group"]].id], Tags=tag_list(tags),
        )["LoadBalancers"][0]  # fmt: skip
        self._seen.balancers[name] = Balancer(
            made["LoadBalancerArn"], made["DNSName"], wanted["type"], wanted["scheme"], self._seen.vpc,
            tuple(made.get("SecurityGroups") or ()), tags,
        )  # fmt: skip
        self.change(name, wanted)

    def change(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Bring its security group and settings to what is wanted."""
        now = self._seen.balancers[name]
        security = (self._seen.security[wanted["security_group"]].id,)
        if now.security != security:
            self._calls.write(
                "elbv2",
                "SetSecurityGroups",
                f"give {name} its security group",
                LoadBalancerArn=now.arn,
                SecurityGroups=list(security),
            )
        given = BALANCER_SETTINGS[wanted["type"]]
        tags = self._settings("LoadBalancer", name, now.arn, now.tags, given)
        self._seen.balancers[name] = dataclasses.replace(now, security=security, tags=tags)

    def remove(self, name: str) -> None:
        """Remove it."""
        arn = self._seen.balancers[name].arn
        self._delete("DeleteLoadBalancer", f"remove the load balancer {name}", LoadBalancerArn=arn)
        del self._seen.balancers[name]

    # -- target groups ---------------------------------------------------------------------------------------------

    def make_target(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Make it, with its settings."""
        made = self._calls.write(
            "elbv2", "CreateTargetGroup", f"make the target group {name}",
            Name=name, Protocol=wanted["protocol"], Port=wanted["port"], VpcId=self._seen.vpc, TargetType="instance",
            Tags=tag_list(tags), **_checks(wanted["health"]),
        )["TargetGroups"][0]  # fmt: skip
        self._seen.targets[name] = Target(
            made["TargetGroupArn"], self._seen.vpc, wanted["protocol"], wanted["port"], wanted["health"], tags
        )
        self.change_target(name, wanted)

    def change_target(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Bring health check and settings to what is wanted; its port cannot change."""
        now = self._seen.targets[name]
        if health_words(now.health) != health_words(wanted["health"]):
            self._calls.write(
                "elbv2",
                "ModifyTargetGroup",
                f"change the health check of {name}",
                TargetGroupArn=now.arn,
                **_checks(wanted["health"]),
            )
        tags = self._settings("TargetGroup", name, now.arn, now.tags, TARGET_SETTINGS)
        self._seen.targets[name] = dataclasses.replace(now, health=wanted["health"], tags=tags)

    def remove_target(self, name: str) -> None:
        """Remove it, and before that the rules that lead to it."""
        for balancer in self._seen.balancers.values():
            for listener in balancer.listeners.values():
                for rule in listener.rules:
                    if rule.action.get("target_group") == name:
                        self._delete("DeleteRule", f"remove the rule for {name}", RuleArn=rule.arn)
        self._delete(
            "DeleteTargetGroup", f"remove the target group {name}", TargetGroupArn=self._seen.targets[name].arn
        )
        del self._seen.targets[name]

    # -- listeners -------------------------------------------------------------------------------------------------

    def make_listener(self, balancer: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Make it, then its rules."""
        there = self._seen.balancers[balancer]
        certificates = self._certificates(wanted)
        made = self._calls.write(
            "elbv2", "CreateListener", f"make the listener {balancer}:{wanted['port']}",
            LoadBalancerArn=there.arn, Port=wanted["port"], Protocol=wanted["protocol"], Tags=tag_list(tags),
            DefaultActions=[self._action(wanted["default"])], **_tls(wanted, certificates),
        )["Listeners"][0]  # fmt: skip
        listener = Listener(
            made["ListenerArn"],
            wanted["port"],
            wanted["protocol"],
            wanted["tls_policy"],
            tuple(certificates[:1]),
            wanted["default"],
        )
        self._put(balancer, listener)
        self.change_listener(balancer, wanted, tags, frozenset())

    def change_listener(
        self, balancer: str, wanted: Mapping[str, Any], tags: Mapping[str, str], kept: frozenset[str]
    ) -> None:
        """Bring it and its rules to what is wanted; rules to the target groups `kept`, which left the file and are there yet, stay."""
        now = self._seen.balancers[balancer].listeners[wanted["port"]]
        certificates = self._certificates(wanted)
        doing = f"change the listener {balancer}:{wanted['port']}"
        plain = (now.protocol, now.policy, now.default, now.certificates[:1])
        default = tuple(one for one in now.certificates[:1] if one in certificates) or tuple(certificates[:1])
        if plain != (wanted["protocol"], wanted["tls_policy"], wanted["default"], default):
            self._calls.write(
                "elbv2", "ModifyListener", doing, ListenerArn=now.arn, Port=wanted["port"], Protocol=wanted["protocol"],
                DefaultActions=[self._action(wanted["default"])], **_tls(wanted, list(default)),
            )  # fmt: skip
        more = [arn for arn in certificates if arn not in {*now.certificates, *default}]
        gone = [arn for arn in now.certificates if arn not in certificates]
        if more:
            given = [{"CertificateArn": arn} for arn in more]
            self._calls.write("elbv2", "AddListenerCertificates", doing, ListenerArn=now.arn, Certificates=given)
        for arn in gone:
            if arn not in now.certificates[:1]:  # the default one went when it was replaced
                self._calls.write(
                    "elbv2",
                    "RemoveListenerCertificates",
                    doing,
                    ListenerArn=now.arn,
                    Certificates=[{"CertificateArn": arn}],
                )
        self._rules(now, wanted["rules"], tags, kept, doing)
        self._put(
            balancer,
            dataclasses.replace(
                now, protocol=wanted["protocol"], policy=wanted["tls_policy"], default=wanted["default"],
                certificates=tuple(dict.fromkeys((*default, *certificates))),
            ),
        )  # fmt: skip

    def remove_listener(self, balancer: str, port: int) -> None:
        """Remove it with its rules."""
        there = self._seen.balancers[balancer]
        self._delete("DeleteListener", f"remove the listener {balancer}:{port}", ListenerArn=there.listeners[port].arn)
        left = {other: listener for other, listener in there.listeners.items() if other != port}
        self._seen.balancers[balancer] = dataclasses.replace(there, listeners=left)

    def _rules(
        self,
        listener: Listener,
        wanted: Sequence[Mapping[str, Any]],
        tags: Mapping[str, str],
        kept: frozenset[str],
        doing: str,
    ) -> None:
        then = {(rule["host"], rule["path"]): rule for rule in wanted}
        now: dict[tuple[str, str], ListenerRule] = {}
        for there in listener.rules:
            key = (there.host, there.path)
            if key in then and key not in now and there.action["type"] != "other":
                now[key] = there
            elif there.action.get("target_group") not in kept:
                self._delete("DeleteRule", doing, RuleArn=there.arn)
        for key, rule in then.items():
            if key not in now:
                self._calls.write(
                    "elbv2", "CreateRule", doing, ListenerArn=listener.arn, Priority=rule["priority"], Tags=tag_list(tags),
                    Conditions=_conditions(rule), Actions=[self._action(rule["action"])],
                )  # fmt: skip
            elif now[key].action != rule["action"]:
                self._calls.write(
                    "elbv2", "ModifyRule", doing, RuleArn=now[key].arn, Actions=[self._action(rule["action"])]
                )

    def _put(self, balancer: str, listener: Listener) -> None:
        there = self._seen.balancers[balancer]
        self._seen.balancers[balancer] = dataclasses.replace(
            there, listeners={**there.listeners, listener.port: listener}
        )

    def _certificates(self, wanted: Mapping[str, Any]) -> list[str]:
        return [one if one.startswith("arn:") else self._seen.certificates[one].arn for one in wanted["certificates"]]

    def _action(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given["type"] == "forward":
            return {"Type": "forward", "TargetGroupArn": self._seen.targets[given["target_group"]].arn}
        if given["type"] == "redirect":
            about = {"Protocol": given["protocol"], "Port": str(given["port"]), "StatusCode": f"HTTP_{given['status']}"}
            return {"Type": "redirect", "RedirectConfig": about}
        about = {"StatusCode": str(given["status"]), "ContentType": "text/plain", "MessageBody": ""}
        return {"Type": "fixed-response", "FixedResponseConfig": about}

    def _settings(
        self, kind: str, name: str, arn: str, tags: Mapping[str, str], wanted: Mapping[str, str]
    ) -> dict[str, str]:
        """Write settings, and then the tag that says so."""
        if tags.get(SETTINGS) == digest(wanted):
            return dict(tags)
        attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
        doing = f"write settings of {name}"
        self._calls.write("elbv2", f"Modify{kind}Attributes", doing, **{f"{kind}Arn": arn, "Attributes": attributes})
        self._calls.write("elbv2", "AddTags", doing, ResourceArns=[arn], Tags=tag_list({SETTINGS: digest(wanted)}))
        return {**tags, SETTINGS: digest(wanted)}

    def _delete(self, operation: str, doing: str, **what: str) -> None:
        try:
            self._calls.patiently(lambda: self._calls.write("elbv2", operation, doing, **what), _BUSY, self._patience)
        except AwsError as exc:
            if exc.code not in _GONE:
                raise


def _checks(health: Mapping[str, Any]) -> dict[str, Any]:
    found = {"HealthCheckProtocol": health["protocol"], "HealthCheckPort": str(health["port"]), **_HEALTH}
    return {**found, "HealthCheckPath": health["path"], "Matcher": {"HttpCode": "200"}} if health["path"] else found


def _tls(wanted: Mapping[str, Any], certificates: Sequence[str]) -> dict[str, Any]:
    if not certificates:
        return {}
    return {"Certificates": [{"CertificateArn": certificates[0]}], "SslPolicy": wanted["tls_policy"]}


def _conditions(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [{"Field": "path-pattern", "PathPatternConfig": {"Values": list(rule["paths"])}}]
    if rule["hosts"]:
        found.append({"Field": "host-header", "HostHeaderConfig": {"Values": list(rule["hosts"])}})
    return found
