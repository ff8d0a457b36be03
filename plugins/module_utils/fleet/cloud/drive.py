# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a fleet up, or take it away: look, plan, and do just what the plan says, each step so that a run that ended anywhere is finished by the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet import boot, certificates, names, refusals
from ansible_collections.boring.fleet.plugins.module_utils.fleet.certificates import CertificateError, Pair
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.balancers import BalancerMaker
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.groups import GroupMaker
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.keeper import Keeper
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.observe import REGION, Observer, Where
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.roles import RoleMaker
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.secrets import (
    SecretMaker,
    need_bcrypt,
    refuse_another_authority,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.security import SecurityMaker
from ansible_collections.boring.fleet.plugins.module_utils.fleet.facts import (
    AUTHORITY,
    VALID,
    Beside,
    balancer_parts,
    certificate_of,
    numbers,
    resources,
    seen_resources,
    signed_state,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.lists import lists
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import FleetError, Mistake
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Fleet
from ansible_collections.boring.fleet.plugins.module_utils.fleet.plan import (
    KINDS,
    SETTINGS,
    Change,
    Plan,
    Resources,
    plan,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import DATA, FLEET, KIND, SERVICE, Seen

# In each of these steps, what the step before made is known.
_STEPS: Final = (
    ("security group", "load balancer", "role"),
    ("certificate", "parameter", "target group", "listener"),
    ("launch template", "group"),
)
_TO_BE_SIGNED: Final = "to be signed"


@dataclass(frozen=True)
class Options:
    """`images` are ids by family as they were built; `patience` is for hosts and for what AWS takes its time with, in seconds."""

    remove: bool = False
    destroy_data: bool = False
    images: Mapping[str, str] = field(default_factory=dict)
    secrets: boot.HostSecrets = field(default_factory=boot.HostSecrets)
    patience: float = 900.0


@dataclass
class Result:
    """`addresses` of load balancers by their part; `text` is the plan for people."""

    planned: Plan
    text: str
    changed: bool
    warnings: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)


class Deployment:
    """One fleet, brought up. ``look`` comes first."""

    def __init__(self, fleet: Fleet, calls: Calls, keeper: Keeper, options: Options) -> None:
        self._fleet, self._calls, self._keeper, self._options = fleet, calls, keeper, options
        self._tags = {FLEET: fleet.name}
        plain = lists(fleet)
        self._services = {one["name"]: one["for"] for one in plain["target_groups"]}
        self._observer = Observer(
            calls,
            Where(
                fleet.name,
                fleet.region,
                fleet.network.vpc_id,
                fleet.network.subnet_ids,
                fleet.network.public_subnet_ids,
                [image["family"] for image in plain["images"]],
                options.images,
                [one["name"] for one in plain["parameters"] if not one["made"]],
                {
                    **{kind: tuple(found) for kind, found in resources(plain, {}).items()},
                    "parameter": [one["name"] for one in plain["parameters"] if one["made"]],
                },
            ),
        )

    def run(self, *, check: bool) -> Result:
        """Look, plan, and unless ``check``, do. Raises FleetError before anything is made, AwsError, CertificateError."""
        self._seen = self._observer.look()
        self._files = self._read_files()
        self._model = self._listed()
        mistakes = [*refusals.refused(self._model, self._seen)]
        planned = self._plan() if not mistakes else Plan((), ())
        if not check and not mistakes:
            mistakes += [*refusals.unready(self._model, self._seen, self._sizes()), *self._unable(planned)]
        if mistakes:
            raise FleetError(sorted(set(mistakes)))
        warnings = [*self._model["warnings"], *refusals.warned(self._model, self._seen, planned)]
        done = [change for change in planned.changes if change.sign != "-" or self._options.remove]
        if not check and done:
            self._apply(planned)
        addresses = {
            part: self._seen.balancers[name].address for name, part in self._parts() if name in self._seen.balancers
        }
        groups = [group["name"] for group in self._model["groups"]]
        return Result(planned, planned.text, bool(done), warnings, addresses, groups)

    # -- what is wanted --------------------------------------------------------------------------------------------

    def _parts(self) -> Iterable[tuple[str, str]]:
        return balancer_parts(self._fleet.name).items()

    def _service_of(self, target: str) -> str:
        there = self._seen.targets.get(target)
        return self._services.get(target) or (there.tags.get(SERVICE, "") if there else "")

    def _listed(self) -> dict[str, Any]:
        """The lists of the fleet, with addresses and numbers as AWS has them."""
        seen = self._seen
        inside = {name: part for name, part in self._parts() if part != "public"}
        addresses = {part: seen.balancers[name].address for name, part in inside.items() if name in seen.balancers}
        kept = numbers(seen, inside, self._service_of)
        endpoint = self._options.secrets.endpoint
        found = lists(self._fleet, account=seen.account, addresses=addresses, kept=kept, endpoint=endpoint)
        for group in found["security_groups"]:
            for way in ("ingress", "egress"):
                group[way] = [each for rule in group[way] for each in self._in_networks(rule)]
        known = {part: addresses.get(part) or f"{name}.invalid" for name, part in inside.items()}
        for one in found["certificates"]:
            if one["kind"] == "signed":
                one["dns_names"] = [name.format(**known) for name in one["dns_names"]]
        named = {one["name"]: one["arn"] for one in found["certificates"] if one["kind"] == "named"}
        for balancer in found["load_balancers"]:
            for listener in balancer["listeners"]:
                listener["certificates"] = [named.get(name, name) for name in listener["certificates"]]
        return found

    def _in_networks(self, rule: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        """The rule, for each of the VPC's own ranges where it is for those."""
        if "vpc" not in rule["peer"]:
            yield rule
        else:
            yield from ({**rule, "peer": {"cidr": cidr}} for cidr in self._seen.networks)

    def _beside(self) -> Beside:
        ids = {name: group.id for name, group in self._seen.security.items()}
        there = self._seen.parameters.get(self._model["authority"]["certificate"])
        files = {name: certificates.digest(pair.certificate) for name, pair in self._files.items()}
        hosts = [one for one in self._model["certificates"] if one["kind"] == "signed" and one["host"]]
        signed = {one["name"]: self._signed(one) for one in hosts}
        authority = there.value if there else ""
        return Beside(self._seen.images, files, signed, ids, authority, self._options.secrets)

    def _signed(self, wanted: Mapping[str, Any]) -> str:
        """Which certificate hosts take from now on: a digest of what there is, as long as that is good."""
        authority = self._model["authority"]["certificate"]
        names_there, state = signed_state(self._seen, wanted, authority, self._calls.clock())
        if state != VALID or names_there != tuple(sorted(wanted["dns_names"])):
            return _TO_BE_SIGNED
        return certificates.digest(self._seen.parameters[wanted["certificate"]].value)

    def _read_files(self) -> dict[str, Pair]:
        found, mistakes = {}, []
        for one in lists(self._fleet)["certificates"]:
            if one["kind"] == "imported":
                try:
                    found[one["name"]] = self._keeper.exposed(one["certificate_file"], one["key_file"])
                except CertificateError as exc:
                    mistakes.append(
                        Mistake(f"fleet_services.{one['name'].partition('/')[2]}.expose.certificate", str(exc))
                    )
        if mistakes:
            raise FleetError(mistakes)
        return found

    def _sizes(self) -> dict[str, int]:
        beside = self._beside()
        found = {group["name"]: beside.template(self._model, group)["UserData"] for group in self._model["groups"]}
        return {name: len(text) * 3 // 4 for name, text in found.items()}

    def _plan(self) -> Plan:
        wanted = resources(self._model, self._seen.images, self._beside())
        digests = {name: str(facts[SETTINGS]) for name, facts in wanted["launch template"].items()}
        self._observer.read_templates(self._seen, digests)
        found = seen_resources(self._seen, wanted, self._model, self._calls.clock())
        behind = {
            name: sum(version != str(self._seen.templates[name].latest) for version in group.instances)
            for name, group in self._seen.groups.items()
            if name in self._seen.templates
        }
        made = plan(wanted, found, [group["name"] for group in self._model["groups"]], behind)
        return Plan(made.changes, made.rolls, self._options.remove)

    def _unable(self, planned: Plan) -> Iterable[Mistake]:
        """What this machine cannot make, and certificates that are named and not there."""
        made = {change.name for change in planned.changes if change.sign != "-"}
        signs = [one["name"] for one in self._model["certificates"] if one["kind"] == "signed" and one["name"] in made]
        if signs and (why := refuse_another_authority(self._keeper, self._seen)):
            yield Mistake("fleet_name", why)
        if any(one["name"] in made and one["made"].startswith("bcrypt") for one in self._model["parameters"]):
            try:
                need_bcrypt()
            except AwsError as exc:
                yield Mistake("fleet_data", str(exc))
        listeners = {change.name for change in planned.changes if change.sign != "-" and change.kind == "listener"}
        for one in self._model["certificates"] if listeners else ():
            if one["kind"] == "named":
                try:
                    self._calls.read("acm", "DescribeCertificate", f"look for {one['arn']}", CertificateArn=one["arn"])
                except AwsError as exc:
                    if exc.code in ("ResourceNotFoundException", "InvalidArnException"):
                        service = one["name"].partition("/")[2]
                        words = f"there is no certificate {one['arn']} in ACM: import it, or name another"
                        yield Mistake(f"fleet_services.{service}.expose.certificate", words)
                    elif not exc.not_offered:
                        raise

    # -- doing it --------------------------------------------------------------------------------------------------

    def _apply(self, planned: Plan) -> None:
        seen, patience = self._seen, self._options.patience
        self._security = SecurityMaker(self._calls, seen, patience)
        self._roles = RoleMaker(self._calls, seen)
        self._balancers = BalancerMaker(self._calls, seen, patience)
        self._secrets = SecretMaker(self._calls, seen, self._keeper)
        self._groups = GroupMaker(self._calls, seen, self._observer, patience)
        makers: dict[str, Callable[[list[Change]], None]] = {
            "security group": self._make_security,
            "load balancer": self._make_balancers,
            "role": self._make_roles,
            "certificate": self._make_certificates,
            "parameter": self._make_parameters,
            "target group": self._make_targets,
            "listener": self._make_listeners,
            "launch template": self._make_templates,
            "group": self._make_groups,
        }
        for number, kinds in enumerate(_STEPS):
            if number:
                self._model = self._listed()
                planned = self._plan()
            for kind in kinds:
                makers[kind]([change for change in planned.changes if change.kind == kind and change.sign != "-"])
        self._groups.wait_for_all()
        if self._options.remove:
            Removal(self._calls, seen, self._observer, self._secrets, patience).remove(
                [change for change in self._plan().changes if change.sign == "-"]
            )

    def _by_name(self, key: str) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self._model[key]}

    def _tagged(self, name: str) -> dict[str, str]:
        """Tags of what is there for one service or data service; "" for what is everybody's."""
        if not name:
            return self._tags
        return {**self._tags, SERVICE: name, KIND: DATA if name in self._fleet.data else "service"}

    def _make_security(self, changes: list[Change]) -> None:
        wanted = self._by_name("security_groups")
        for change in changes:  # all of them first, since they name each other
            if change.sign == "+":
                one = wanted[change.name]
                self._security.make(change.name, one, self._tagged(one["for"]))
        kept = [name for name in self._seen.security if name not in wanted]
        for change in changes:
            self._security.change(change.name, wanted[change.name], kept)

    def _make_balancers(self, changes: list[Change]) -> None:
        wanted = self._by_name("load_balancers")
        for change in changes:
            if change.sign == "+":
                self._balancers.make(change.name, wanted[change.name], self._tags)
            else:
                self._balancers.change(change.name, wanted[change.name])

    def _make_roles(self, changes: list[Change]) -> None:
        wanted = self._by_name("roles")
        for change in changes:
            one = wanted[change.name]
            make = self._roles.make if change.sign == "+" else self._roles.change
            make(change.name, one, {**self._tagged(one["for"]), REGION: self._fleet.region})

    def _make_certificates(self, changes: list[Change]) -> None:
        wanted = self._by_name("certificates")
        for change in sorted(changes, key=lambda change: change.name != AUTHORITY):
            if change.name == AUTHORITY:
                self._secrets.authority(self._model["authority"])
            elif wanted[change.name]["kind"] == "signed":
                self._secrets.signed(wanted[change.name])
            else:
                self._secrets.imported(change.name, self._files[change.name])

    def _make_parameters(self, changes: list[Change]) -> None:
        wanted = self._by_name("parameters")
        for change in sorted(changes, key=lambda change: " of " in wanted[change.name]["made"]):
            self._secrets.parameter(wanted[change.name])

    def _make_targets(self, changes: list[Change]) -> None:
        wanted = self._by_name("target_groups")
        for change in changes:
            one = wanted[change.name]
            if change.sign == "+":
                self._balancers.make_target(change.name, one, self._tagged(one["for"]))
            else:
                self._balancers.change_target(change.name, one)

    def _make_listeners(self, changes: list[Change]) -> None:
        wanted = {
            f"{balancer['name']}:{listener['port']}": listener
            for balancer in self._model["load_balancers"]
            for listener in balancer["listeners"]
        }
        left = frozenset(set(self._seen.targets) - {one["name"] for one in self._model["target_groups"]})
        for change in changes:
            balancer = change.name.rpartition(":")[0]
            if change.sign == "+":
                self._balancers.make_listener(balancer, wanted[change.name], self._tags)
            else:
                self._balancers.change_listener(balancer, wanted[change.name], self._tags, left)

    def _make_templates(self, changes: list[Change]) -> None:
        wanted, beside = self._by_name("groups"), self._beside()
        for change in changes:
            group = wanted[change.name]
            data = beside.template(self._model, group)
            if change.sign == "+":
                self._groups.make_template(change.name, data, self._tagged(group["for"]))
            else:
                self._groups.change_template(change.name, data)

    def _make_groups(self, changes: list[Change]) -> None:
        wanted = self._by_name("groups")
        for change in changes:
            group = wanted[change.name]
            tags = {**group["tags"], **self._tagged(group["for"])}
            if change.sign == "+":
                uses = [names.group(self._fleet.name, used) for used in group["uses"]]
                self._groups.make(change.name, group, tags, uses)
            else:
                self._groups.change(change.name, group, tags)


class Removal:
    """Takes away, in the order of the changes that it is given, which is the opposite of that in which things are made."""

    def __init__(self, calls: Calls, seen: Seen, observer: Observer, secrets: SecretMaker, patience: float) -> None:
        self._seen, self._secrets, self._patience = seen, secrets, patience
        self._security = SecurityMaker(calls, seen, patience)
        self._roles = RoleMaker(calls, seen)
        self._balancers = BalancerMaker(calls, seen, patience)
        self._groups = GroupMaker(calls, seen, observer, patience)

    def remove(self, changes: Iterable[Change]) -> None:
        """Remove what the changes name. Hosts are waited for before anything that they use goes."""
        by_kind: dict[str, list[str]] = {kind: [] for kind in reversed(KINDS)}
        for change in changes:
            by_kind[change.kind].append(change.name)
        self._remove_groups(by_kind.pop("group"))
        for kind, found in by_kind.items():
            if kind == "parameter":
                self._secrets.remove_parameters(found)
                continue
            for name in found:
                self._remove_one(kind, name)

    def _remove_groups(self, found: list[str]) -> None:
        if not found:
            return
        services = [self._seen.groups[name].tags.get(SERVICE, "") for name in found]
        for name in found:
            self._groups.remove(name)
        self._groups.gone(self._seen.fleet, services, found)

    def _remove_one(self, kind: str, name: str) -> None:
        if kind == "launch template":
            self._groups.remove_template(name)
        elif kind == "listener":
            balancer, dummy, port = name.rpartition(":")
            self._balancers.remove_listener(balancer, int(port))
        elif kind == "target group":
            self._groups.detach(self._seen.targets[name].arn)
            self._balancers.remove_target(name)
        elif kind == "load balancer":
            self._balancers.remove(name)
        elif kind == "certificate":
            self._secrets.remove_certificate(name, self._patience)
        elif kind == "role":
            self._roles.remove(name)
        else:
            self._security.remove(name)


def destroy(name: str, region: str, calls: Calls, keeper: Keeper, options: Options, *, check: bool) -> Result:
    """Take a fleet away, all that carries its tags. What holds data stays unless ``options`` say otherwise."""
    observer = Observer(calls, Where(name, region))
    seen = observer.look(network=False)
    kept = set() if options.destroy_data else _holds_data(seen)
    nothing: Resources = {kind: {} for kind in KINDS}
    left = {"certificates": [], "parameters": [], "authority": {"certificate": ""}}
    found = seen_resources(seen, nothing, left, calls.clock())
    going = {kind: {one: facts for one, facts in of.items() if (kind, one) not in kept} for kind, of in found.items()}
    planned = Plan(plan(nothing, going, ()).changes, (), removes=True)
    if planned.changes and not check:
        secrets = SecretMaker(calls, seen, keeper)
        Removal(calls, seen, observer, secrets, options.patience).remove(planned.changes)
    text = planned.text
    stays = sorted(one for kind, one in kept if kind == "group")
    if kept:
        text += f"What holds data and secrets stays until -e fleet_destroy_data={name}{': ' if stays else ''}{', '.join(stays)}.\n"
    return Result(planned, text, bool(planned.changes))


def _holds_data(seen: Seen) -> set[tuple[str, str]]:
    """What a removal leaves unless it is asked for by name: groups of data with all that they need, and everything secret."""
    kept = {("parameter", name) for name in seen.parameters}
    for kind, of in (
        ("security group", seen.security),
        ("launch template", seen.templates),
        ("group", seen.groups),
        ("role", seen.roles),
    ):
        kept |= {(kind, name) for name, one in of.items() if one.tags.get(KIND) == DATA}
    return kept | {("certificate", name) for name in _in_parameters(seen)}


def _in_parameters(seen: Seen) -> set[str]:
    return {one for name in seen.parameters if (one := certificate_of(name))}
