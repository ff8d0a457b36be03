# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two sides of a plan as resources: the lists that a file gives, and what AWS was seen to have. Pure, and nothing secret in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.fleet import boot, certificates, names, scaling
from ansible_collections.boring.fleet.plugins.module_utils.fleet.boot import HostSecrets, digest
from ansible_collections.boring.fleet.plugins.module_utils.fleet.plan import KINDS, SETTINGS, Fact, Facts
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import SERVICE, Balancer, Rule, Seen
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import SETTINGS as SETTINGS_TAG

AUTHORITY = "authority"
VALID = "valid"
TO_BE_BUILT = "to be built"
# What is set beside what the lists say, of every target group and load balancer.
DRAIN = 30  # seconds that requests in flight are given
TARGET_SETTINGS = {"deregistration_delay.timeout_seconds": str(DRAIN)}
BALANCER_SETTINGS = {
    "application": {"routing.http.drop_invalid_header_fields.enabled": "true"},
    "network": {"load_balancing.cross_zone.enabled": "true"},
}


@dataclass(frozen=True)
class Beside:
    """What belongs to the wanted side and is in no list.

    `images` are ids by family, `files` digests of the certificates that come from files, `signed` of those of hosts, `ids` those of security
    groups by name, `authority` the PEM of the fleet's own.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    signed: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    authority: str = ""
    secrets: HostSecrets = field(default_factory=HostSecrets)

    def template(self, lists: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
        """Launch template data of a group; a name stands where there is no id yet."""
        template = group["template"]
        mine = [one for one in lists["certificates"] if one["kind"] == "signed" and one["host"] == group["for"]]
        own = mine[0] if mine else None
        written = boot.files(group, self.secrets, own, self.authority, self.signed.get(own["name"], "") if own else "")
        text = boot.user_data(written)
        security = self.ids.get(template["security_group"], template["security_group"])
        image = self.images.get(template["image_family"], TO_BE_BUILT)
        return boot.template_data(group, text, image=image, security_group=security)


def resources(
    lists: Mapping[str, Any], images: Mapping[str, str], beside: Beside | None = None
) -> dict[str, dict[str, Facts]]:
    """The lists of a fleet as resources. `images` are the ids of the images by family; one that is not built yet is `to be built`."""
    beside = beside or Beside(images=images)
    found: dict[str, dict[str, Facts]] = {kind: {} for kind in KINDS}
    for group in lists["security_groups"]:
        found["security group"][group["name"]] = {
            way: tuple(_rule(rule) for rule in group[way]) for way in ("ingress", "egress")
        }
    for one in lists["parameters"]:
        if one["made"] == "password" or " of " in one["made"]:
            found["parameter"][one["name"]] = {"type": one["type"], "state": VALID}
        elif one["made"] == AUTHORITY:
            found["certificate"][AUTHORITY] = {}
    for one in lists["certificates"]:
        if one["kind"] == "signed":
            found["certificate"][one["name"]] = {"names": tuple(sorted(one["dns_names"])), "state": VALID}
        elif one["kind"] == "imported":
            found["certificate"][one["name"]] = {"file": beside.files.get(one["name"], "")}
    for one in lists["roles"]:
        found["role"][one["name"]] = {
            "rights": tuple(_rights(one["policy"])),
            "profile": True,
            SETTINGS: digest([one["trust"], one["policy"]]),
        }
    _balancers(lists, found)
    names_of = {identity: name for name, identity in beside.ids.items()}
    for one in lists["groups"]:
        template = one["template"]
        data = beside.template(lists, one)
        found["launch template"][template["name"]] = {**boot.facts(data, names_of), SETTINGS: digest(data)}
        found["group"][one["name"]] = {
            "min": one["size"]["min"],
            "max": one["size"]["max"],
            "scale": scaling.words(one["scale"]),
            "target_group": tuple(sorted(one["target_groups"])),
            "health_check": one["health_check"],
            "hook": tuple(sorted(_hook(**hook) for hook in one["lifecycle_hooks"])),
            "tag": {key: value for key, value in one["tags"].items() if key != "Name"},
        }
    return found


def _balancers(lists: Mapping[str, Any], found: dict[str, dict[str, Facts]]) -> None:
    arns = {one["name"]: one["arn"] for one in lists["certificates"] if one["kind"] == "named"}
    for one in lists["load_balancers"]:
        found["load balancer"][one["name"]] = {
            **{key: one[key] for key in ("type", "scheme", "security_group")},
            SETTINGS: digest(BALANCER_SETTINGS[one["type"]]),
        }
        for listener in one["listeners"]:
            found["listener"][listener_name(one["name"], listener["port"])] = {
                "protocol": listener["protocol"],
                "certificates": tuple(sorted(arns.get(name, name) for name in listener["certificates"])),
                "tls_policy": listener["tls_policy"],
                "default": _action(listener["default"]),
                "rule": tuple(sorted(_route(rule["host"], rule["path"], rule["action"]) for rule in listener["rules"])),
            }
    for one in lists["target_groups"]:
        found["target group"][one["name"]] = {
            "protocol": one["protocol"],
            "port": one["port"],
            "health": health(one["health"]),
            SETTINGS: digest(TARGET_SETTINGS),
        }


def seen_resources(
    seen: Seen, wanted: Mapping[str, Mapping[str, Facts]], lists: Mapping[str, Any], now: float
) -> dict[str, dict[str, Facts]]:
    """What was seen as resources, at the time `now`.

    Rules, whether of security groups or of listeners, that are for what left the file are not among the facts unless it is gone too: they go
    with it.
    """
    fleet = _Names(seen)
    found: dict[str, dict[str, Facts]] = {kind: {} for kind in KINDS}
    for name, group in seen.security.items():
        found["security group"][name] = {
            way: _rules(rules, fleet, set(seen.security) - set(wanted["security group"]))
            for way, rules in (("ingress", group.ingress), ("egress", group.egress))
        }
    for name, role in seen.roles.items():
        found["role"][name] = {
            "rights": tuple(_rights(role.policy or {})),
            "profile": role.profile,
            SETTINGS: digest([role.trust, role.policy]),
        }
    _seen_parameters(seen, found, lists, now)
    for name, balancer in seen.balancers.items():
        _seen_balancer(name, balancer, fleet, wanted, found)
    for name, target in seen.targets.items():
        found["target group"][name] = {
            "protocol": target.protocol,
            "port": target.port,
            "health": health(target.health),
            SETTINGS: target.tags.get(SETTINGS_TAG, ""),
        }
    for name, template in seen.templates.items():
        same = wanted["launch template"].get(name, {})
        if template.data is None:
            found["launch template"][name] = same
        else:
            found["launch template"][name] = {
                **boot.facts(template.data, fleet.security),
                SETTINGS: digest(template.data),
            }
    scales = {one["name"]: one["scale"] for one in lists.get("groups", ()) if one["scale"]}
    for name, one in seen.groups.items():
        resource = scaling.label(seen, scales[name]) if name in scales else ""
        sizes: dict[str, Fact] = {} if one.rolling else {"min": one.min, "max": one.max}
        found["group"][name] = {
            **sizes,
            "scale": scaling.seen_words(one.scale, seen.fleet, one.tags.get(SERVICE, ""), resource),
            "target_group": tuple(sorted(fleet.targets.get(arn, arn) for arn in one.targets)),
            "health_check": one.health_check,
            "hook": tuple(
                sorted(
                    _hook(
                        name=hook,
                        transition=about.transition,
                        heartbeat_timeout=about.heartbeat,
                        default_result=about.default,
                    )
                    for hook, about in one.hooks.items()
                )
            ),
            "tag": {key: value for key, value in one.tags.items() if key in _tags(wanted, name)},
        }
    return found


def _tags(wanted: Mapping[str, Mapping[str, Facts]], group: str) -> Mapping[str, str]:
    found = wanted["group"].get(group, {}).get("tag")
    return found if isinstance(found, Mapping) else {}


class _Names:
    """Names of the fleet's own by their ids."""

    def __init__(self, seen: Seen) -> None:
        self.security = {group.id: name for name, group in seen.security.items()}
        self.targets = {target.arn: name for name, target in seen.targets.items()}
        self.certificates = {one.arn: name for name, one in seen.certificates.items()}


def _seen_parameters(seen: Seen, found: dict[str, dict[str, Facts]], lists: Mapping[str, Any], now: float) -> None:
    made = {one["name"]: one["made"].partition(" of ")[2] for one in lists["parameters"]}
    for name, parameter in seen.parameters.items():
        one = certificate_of(name)
        if one:
            found["certificate"][one] = {}
        else:
            of = seen.parameters.get(made.get(name, ""))
            state = "older than the password" if of and of.changed > parameter.changed else VALID
            found["parameter"][name] = {"type": parameter.type, "state": state}
    for wanted in lists["certificates"]:
        if wanted["kind"] == "signed" and wanted["name"] in found["certificate"]:
            names_there, state = signed_state(seen, wanted, lists["authority"]["certificate"], now)
            found["certificate"][wanted["name"]] = {"names": names_there, "state": state}
    for name, imported in seen.certificates.items():
        if name not in found["certificate"]:
            found["certificate"][name] = {"file": imported.digest}


def signed_state(seen: Seen, wanted: Mapping[str, Any], authority: str, now: float) -> tuple[tuple[str, ...], str]:
    """The names that a certificate is for, and `valid` or why it must be made anew. `authority` is the parameter of that."""
    there, key = seen.parameters.get(wanted["certificate"]), seen.parameters.get(wanted["key"])
    if there is None or key is None:
        return certificates.names_of(there.value) if there else (), "half made"
    trusted = seen.parameters.get(authority)
    state = certificates.state_of(there.value, trusted.value if trusted else "", now)
    if state == VALID and key.changed > there.changed:
        state = "older than its key"
    if state == VALID and not wanted["host"]:
        imported = seen.certificates.get(wanted["name"])
        if imported is None or imported.digest != certificates.digest(there.value):
            state = "not in ACM"
    return certificates.names_of(there.value), state


def certificate_of(parameter: str) -> str:
    """The name of the certificate that a parameter holds a part of: `data/bus` for .../data/bus/certificate and .../data/bus/key."""
    parts = parameter.split("/")[4:]
    if parts == [AUTHORITY, "certificate"]:
        return AUTHORITY
    return "/".join(parts[:2]) if len(parts) == 3 and parts[2] in ("certificate", "key") else ""


def _seen_balancer(
    name: str,
    balancer: Balancer,
    fleet: _Names,
    wanted: Mapping[str, Mapping[str, Facts]],
    found: dict[str, dict[str, Facts]],
) -> None:
    found["load balancer"][name] = {
        "type": balancer.type,
        "scheme": balancer.scheme,
        "security_group": ", ".join(fleet.security.get(one, one) for one in balancer.security),
        SETTINGS: balancer.tags.get(SETTINGS_TAG, ""),
    }
    left = set(fleet.targets.values()) - set(wanted["target group"])
    for listener in balancer.listeners.values():
        found["listener"][listener_name(name, listener.port)] = {
            "protocol": listener.protocol,
            "certificates": tuple(sorted(fleet.certificates.get(arn, arn) for arn in listener.certificates)),
            "tls_policy": listener.policy,
            "default": _action(listener.default),
            "rule": tuple(
                sorted(
                    _route(rule.host, rule.path, rule.action)
                    for rule in listener.rules
                    if rule.action.get("target_group") not in left
                )
            ),
        }


def _rules(rules: Iterable[Rule], fleet: _Names, left: set[str]) -> tuple[str, ...]:
    found = []
    for rule in sorted(rules):
        peer = fleet.security.get(rule.peer, rule.peer)
        if peer not in left:
            found.append(_opened(peer, rule.protocol, rule.first, rule.last))
    return tuple(sorted(found))


def _opened(peer: str, protocol: str, first: int, last: int) -> str:
    if protocol == "all":
        return f"{peer} on everything"
    ports = f"{first}-{last}" if first != last else f"{first}"
    return f"{peer} on {ports}" if protocol == "tcp" else f"{peer} on {protocol} {ports}"


def _rule(rule: Mapping[str, Any]) -> str:
    peer = rule["peer"]
    whom = peer.get("group") or peer.get("cidr") or "the VPC"
    return _opened(whom, rule["protocol"], rule["from_port"], rule["to_port"])


def _rights(policy: Mapping[str, Any]) -> Iterable[str]:
    for statement in policy.get("Statement", ()):
        for action in _several(statement.get("Action")):
            for resource in _several(statement.get("Resource")):
                yield f"{action} {resource.split(':', 5)[-1]}"


def _several(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _action(action: Mapping[str, Any]) -> str:
    if action["type"] == "forward":
        return str(action["target_group"])
    if action["type"] == "redirect":
        return f"{action['protocol']} {action['port']}"
    return f"status {action['status']}" if action["type"] == "fixed" else "something else"


def _route(host: str, path: str, action: Mapping[str, Any]) -> str:
    return f"{host or 'any host'}{path} to {_action(action)}"


def _hook(**hook: Any) -> str:
    return f"{hook['name']} ({hook['transition']}, {hook['heartbeat_timeout']} s, {hook['default_result']})"


def health(check: Mapping[str, Any]) -> str:
    """A health check in words."""
    return f"{check['protocol']} {check['port']}{check['path']}"


def listener_name(balancer: str, port: int) -> str:
    """A listener as a plan names it."""
    return f"{balancer}:{port}"


def numbers(seen: Seen, parts: Mapping[str, str], service: Callable[[str], str]) -> dict[str, int]:
    """Ports and priorities that AWS has, as `lists` takes them in `kept`.

    `parts` are the load balancers of ports inside (data, internal) by name; `service` gives the service of a target group.
    """
    found: dict[str, int] = {}
    for name, balancer in seen.balancers.items():
        for listener in balancer.listeners.values():
            if name in parts:
                if to := service(str(listener.default.get("target_group", ""))):
                    found[f"{parts[name]} {to}"] = listener.port
            else:
                found |= {f"rule {listener.port} {rule.host}{rule.path}": rule.priority for rule in listener.rules}
    return found


def balancer_parts(fleet: str) -> dict[str, str]:
    """The names of a fleet's load balancers, with their parts."""
    return {names.balancer(fleet, part): part for part in ("public", "internal", "data")}
