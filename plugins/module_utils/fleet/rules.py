# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet file must not say, beyond the shape of single values. A rule speaks only about what could be read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any, Final

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.boring.fleet.plugins.module_utils.fleet import access, environment, keys, scaling, values
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import Report, shown, suggestion
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Data, Fleet, Machine, Service
from ansible_collections.boring.fleet.plugins.module_utils.rollout.drive.options import ARGUMENTS, parse_policy
from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import RolloutError

# Of AWS's 16 KiB for user data; the rest is for what this collection writes there.
_USER_DATA: Final = 12_000
_SSH: Final = 22
_RULES: Final = 100  # of one load balancer: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html


@dataclass(frozen=True)
class Known:
    """What the machine has that images are built on: names of profiles, whether there is a lock file of some path, a role of some name.
    What is None is not looked at."""

    profiles: frozenset[str] | None = None
    has_lock: Callable[[str], bool] | None = None
    has_role: Callable[[str], bool] | None = None


def check(fleet: Fleet, raw: Mapping[str, Any], report: Report, known: Known | None) -> None:
    """Note every mistake that needs more than one value to see."""
    if not fleet.region:
        _say(report, "fleet_region", "is missing: name the region, such as eu-central-1")
    if not fleet.services and not fleet.data:
        _say(report, "fleet_services", "there is none, and no fleet_data either: name at least one", "fleet_data")
    _network(fleet, report)
    _machines(fleet, report, known)
    for data in fleet.data.values():
        _data(fleet, data, raw["fleet_data"][data.name], report)
    for service in fleet.services.values():
        _service(fleet, service, raw["fleet_services"][service.name], report, known)
    _exposed(fleet, report)
    circles = [
        circle for circle in _circles(fleet) if report.sound(*(f"fleet_services.{name}.uses" for name in circle))
    ]
    for circle in circles:
        chain = f"{circle[0]} uses " + ", which uses ".join((*circle[1:], circle[0]))
        report.add(
            f"fleet_services.{circle[0]}.uses", f"goes round in a circle: {chain}; one of them must not use the next"
        )


def _say(report: Report, path: str, words: str, *others: str) -> None:
    if report.sound(path, *others):
        report.add(path, words)


def _network(fleet: Fleet, report: Report) -> None:
    for key in ("subnet_ids", "public_subnet_ids"):
        if len(getattr(fleet.network, key)) == 1:
            _say(
                report, f"fleet_network.{key}", "is one subnet: load balancers and groups need two, in different zones"
            )


def _machines(fleet: Fleet, report: Report, known: Known | None) -> None:
    if not fleet.machines:
        _say(report, "fleet_machines", "has no class: name one, or leave it out for a cpu of t3.medium")
    for machine in fleet.machines.values():
        at = f"fleet_machines.{machine.name}"
        if known and known.profiles is not None and machine.profile not in known.profiles:
            _say(
                report,
                f"{at}.profile",
                f"there is no profile {machine.profile}; {suggestion(machine.profile, known.profiles)}",
            )
        if known and known.has_lock and machine.lock and not known.has_lock(machine.lock):
            _say(report, f"{at}.lock", f"there is no file {machine.lock}, neither below packer/ nor from where you are")
        gpu = values.has_nvidia(machine.instance_type)
        if machine.gpu and not gpu and not machine.may_lack_gpu:
            _say(
                report,
                f"{at}.instance_type",
                f"{machine.instance_type} has no GPU of NVIDIA, for which the profile {machine.profile} is: "
                "take one such as g5.xlarge, or say may_lack_gpu: true",
                f"{at}.profile",
                f"{at}.may_lack_gpu",
            )
        if not machine.gpu and gpu:
            _say(
                report,
                f"{at}.instance_type",
                f"{machine.instance_type} has a GPU, and the profile {machine.profile} no driver for it: take the profile gpu, or a machine without a GPU",
                f"{at}.profile",
            )
        _gpu_keys(machine, at, report)


def _gpu_keys(machine: Machine, at: str, report: Report) -> None:
    """What is declared of GPUs, on a class that has them and can do it."""
    given = {
        "may_lack_gpu": machine.may_lack_gpu,
        "gpus": machine.gpus,
        "mig": machine.mig is not None,
        "power_limit": machine.power_limit,
        "clocks": machine.clocks,
    }
    if not machine.gpu:
        for key in filter(given.__getitem__, given):
            words = f"means nothing for the profile {machine.profile}, which has no GPU"
            _say(report, f"{at}.{key}", words, f"{at}.profile")
        return
    if machine.mig and not values.has_mig(machine.instance_type):
        _say(
            report,
            f"{at}.mig",
            f"{machine.instance_type} has GPUs without MIG: take one such as p4d.24xlarge, or leave mig out",
            f"{at}.instance_type",
        )
    if machine.clocks and machine.clocks[0] > machine.clocks[1]:
        low, high = machine.clocks
        _say(report, f"{at}.clocks.max", f"{high} is less than min {low}", f"{at}.clocks.min")
    if machine.gpus and machine.may_lack_gpu:
        _say(
            report, f"{at}.gpus", "and may_lack_gpu contradict each other: leave one of them out", f"{at}.may_lack_gpu"
        )


def _machine_of(fleet: Fleet, name: str, at: str, report: Report, *, given: bool) -> None:
    if name in fleet.machines or not report.readable(f"fleet_machines.{name}"):
        return
    if given:
        _say(
            report,
            f"{at}.machine",
            f"there is no class {shown(name)}; {suggestion(name, fleet.machines)}",
        )
    else:
        _say(
            report,
            f"{at}.machine",
            f"is missing, and no class of fleet_machines is called cpu; {suggestion('', fleet.machines)}",
        )


def _data(fleet: Fleet, data: Data, raw: Mapping[str, Any], report: Report) -> None:
    at = f"fleet_data.{data.name}"
    _machine_of(fleet, data.machine, at, report, given=raw["machine"] is not None)
    machine = fleet.machines.get(data.machine)
    if machine is not None and machine.gpu:
        _say(
            report,
            f"{at}.machine",
            f"{data.machine} is a class with a GPU, which a data service has no use for: name another class",
            f"fleet_machines.{data.machine}",
        )
    if data.nodes not in (1, 3, 5):
        even = (
            f"{data.nodes} is even, and half of them is no majority"
            if data.nodes % 2 == 0
            else f"there are no clusters of {data.nodes} here"
        )
        _say(report, f"{at}.nodes", f"{even}: give 1, 3 or 5")
    if data.nodes == 1 and data.kept and not data.may_lose_data:
        what = "NATS keeps messages" if data.kind == "nats" else "a store keeps its data"
        _say(
            report,
            f"{at}.nodes",
            f"1 is not enough, as {what}, and they go with the one host: give 3 or 5, or say may_lose_data: true",
            f"{at}.kind",
            f"{at}.purpose",
            f"{at}.may_lose_data",
        )
    if data.kind == "nats" and data.purpose:
        _say(report, f"{at}.purpose", "is for Redis: leave it out, NATS always keeps its messages", f"{at}.kind")
    if data.name in fleet.services:
        _say(
            report,
            at,
            f"fleet_services has a {data.name} too: call one of them something else",
            f"fleet_services.{data.name}",
        )
    if report.sound(f"{at}.kind"):
        known = keys.LIMITS[data.kind]
        for name, value in raw["limits"].items():
            if name in known:
                known[name][1].read(value, f"{at}.limits.{name}", report)
            else:
                report.add(f"{at}.limits.{name}", f"{data.kind} has no such limit; {suggestion(name, known)}")


def _service(fleet: Fleet, service: Service, raw: Mapping[str, Any], report: Report, known: Known | None) -> None:
    at = f"fleet_services.{service.name}"
    _machine_of(fleet, service.machine, at, report, given=raw["machine"] is not None)
    if bool(service.roles) == bool(service.container):
        both = (
            "has both roles and a container: leave one of them out"
            if service.roles
            else "has neither roles nor a container: give one of them"
        )
        _say(report, at, both)
    _size(service, raw["size"], at, report)
    scaling.check(fleet, service, raw["scale"] or {}, at, report)
    _port(service, raw, at, report)
    for key in ("role_variables", "role_files"):
        if service.container and getattr(service, key):
            _say(
                report,
                f"{at}.{key}",
                "are for roles, and this service is a container: use environment",
                f"{at}.container",
            )
    if known and known.has_role:
        for number, role in enumerate(service.roles):
            if role and not known.has_role(role):
                _say(
                    report,
                    f"{at}.roles[{number}]",
                    f"there is no role {role} with tasks/install.yml: install its collection first",
                )
    _uses(fleet, service, at, report)
    _environment(fleet, service, at, report)
    _files(service, at, report)
    _isolated(fleet, service, at, report)
    _roll(service, at, report)


def _size(service: Service, raw: Mapping[str, Any], at: str, report: Report) -> None:
    size, path = service.size, f"{at}.size"
    if not report.sound(path):
        return
    if size.max < size.min:
        report.add(f"{path}.max", f"{size.max} is less than min {size.min}")
    elif raw["desired"] is not None and size.desired < size.min:
        report.add(f"{path}.desired", f"{size.desired} is less than min {size.min}")
    elif size.desired > size.max:
        report.add(f"{path}.desired", f"{size.desired} is more than max {size.max}")


def _port(service: Service, raw: Mapping[str, Any], at: str, report: Report) -> None:
    if service.port == _SSH:
        _say(report, f"{at}.port", "22 is SSH's: take another one")
    if service.port:
        return
    needs = {"expose": "clients come to", "health": "can be asked", "tls": "is encrypted"}
    for key, why in needs.items():
        if raw[key]:
            _say(report, f"{at}.{key}", f"needs port: without it there is none that {why}", f"{at}.port")
    if raw["container"] and raw["container"]["port"]:
        _say(report, f"{at}.container.port", "needs the service's port too: without it nobody is let in", f"{at}.port")


def _uses(fleet: Fleet, service: Service, at: str, report: Report) -> None:
    for number, name in enumerate(service.uses):
        path = f"{at}.uses[{number}]"
        if name == service.name:
            _say(report, path, f"{name} cannot use itself")
        elif name not in fleet.data and name not in fleet.services:
            if report.readable(f"fleet_data.{name}", f"fleet_services.{name}"):
                _say(report, path, f"there is no {name}; {suggestion(name, [*fleet.data, *fleet.services])}")
        elif name in fleet.services and not fleet.services[name].port:
            _say(
                report,
                path,
                f"{name} has no port, and so nothing to use",
                f"fleet_services.{name}.port",
                f"fleet_services.{name}",
            )
        elif name in fleet.data and service.name in access.TAKEN.get(fleet.data[name].kind, ()):
            taken = f"{name} has a user {service.name} of its own, so that no service of that name can use it"
            _say(report, path, f"{taken}: give the service another name")


def _environment(fleet: Fleet, service: Service, at: str, report: Report) -> None:
    made = environment.names(fleet, service)
    for key in ("environment", "secrets"):
        for name in getattr(service, key):
            if name in made:
                _say(
                    report,
                    f"{at}.{key}.{name}",
                    f"comes from uses already, for {made[name]}: leave it out",
                    f"{at}.uses",
                )
    for name in service.secrets:
        if name in service.environment:
            _say(report, f"{at}.secrets.{name}", "is in environment too: leave one of them out")
    for name, where in service.secrets.items():
        if where.startswith("/boring/"):
            _say(
                report,
                f"{at}.secrets.{name}",
                "is below /boring/, where fleets keep their own: name uses instead, or another path",
            )


def _files(service: Service, at: str, report: Report) -> None:
    seen: dict[str, int] = {}
    size = sum(len(name) + len(value.encode()) for name, value in service.environment.items())
    for number, entry in enumerate(service.files):
        path, content = f"{at}.files[{number}]", entry.get("content", "")
        if not isinstance(content, str):
            _say(report, f"{path}.content", f"must be text, not {shown(content)}")
            continue
        size += len(content.encode(errors="replace"))
        if re.match(r"/etc/fleet(/|-release$)", entry["path"]):
            _say(
                report,
                f"{path}.path",
                "is written by this collection: take another path than /etc/fleet/ and /etc/fleet-release",
            )
        if entry["path"] in seen:
            _say(
                report,
                f"{path}.path",
                f"is the path of files[{seen[entry['path']]}] too",
                f"{at}.files[{seen[entry['path']]}]",
            )
        seen.setdefault(entry["path"], number)
    if size > _USER_DATA:
        _say(
            report,
            f"{at}.files",
            f"are {size} bytes together with the environment, and user data takes {_USER_DATA}: put them into the image",
            f"{at}.environment",
        )


def _isolated(fleet: Fleet, service: Service, at: str, report: Report) -> None:
    reaches = service.egress is None or any(one.first <= 443 <= one.last for one in service.egress)
    if service.isolated and service.uses:
        _say(
            report,
            f"{at}.uses",
            "is not for an isolated service, which reaches nothing of the fleet: leave one of them out",
            f"{at}.isolated",
        )
    elif not reaches and (service.secrets or any(name in fleet.data for name in service.uses)):
        why = "an isolated service" if service.isolated else "a service whose egress has no port 443"
        key = "secrets" if service.secrets else "egress"
        _say(
            report,
            f"{at}.{key}",
            f"{why} cannot fetch secrets from Parameter Store: add its address with port 443 to egress",
            f"{at}.egress",
            f"{at}.isolated",
            f"{at}.secrets",
        )


def _roll(service: Service, at: str, report: Report) -> None:
    path = f"{at}.roll"
    if not service.roll or not report.sound(path):
        return
    for name, value in service.roll.items():
        argument = ARGUMENTS[name]
        if not ArgumentSpecValidator({name: argument}).validate({name: value}).error_messages:
            continue
        words = {
            "int": "a whole number",
            "float": "a number",
            "bool": "true or false",
            "list": "a list of what asg_rollout takes",
        }
        must = (
            " or ".join(argument["choices"])
            if "choices" in argument
            else words.get(argument["type"], "what asg_rollout takes")
        )
        report.add(f"{path}.{name}", f"must be {must}, not {shown(value)}")
    if report.sound(path):
        found = ArgumentSpecValidator(ARGUMENTS).validate({"group": "any", **service.roll}).validated_parameters
        try:
            parse_policy(found)
        except RolloutError as exc:
            named = re.fullmatch(r"(\w+)([\w.\[\]]*):? (.*)", str(exc))
            if named and named[1] in service.roll:
                report.add(f"{path}.{named[1]}{named[2]}", named[3])
            else:
                report.add(path, str(exc))


def _exposed(fleet: Fleet, report: Report) -> None:
    """Rules about what all exposed services share: ports, hosts and paths of one load balancer."""
    taken: dict[tuple[int, str, str], str] = {}
    ports: dict[int, tuple[bool, str]] = {}
    wildcards: dict[str, str] = {}
    for service in fleet.services.values():
        expose, at = service.expose, f"fleet_services.{service.name}.expose"
        if expose is None or not report.sound(at):
            continue
        secure = expose.certificate is not None
        if secure and expose.port == 80:
            report.add(f"{at}.port", "80 is where plain HTTP is redirected to HTTPS: take another one")
            continue
        if ports.setdefault(expose.port, (secure, service.name))[0] != secure:
            other = ports[expose.port][1]
            report.add(
                f"{at}.port",
                f"{expose.port} is {'plain HTTP' if secure else 'HTTPS'} for {other} already: one port cannot be both",
            )
            continue
        arn = expose.certificate.arn if expose.certificate else ""
        if arn and fleet.region and (region := arn.split(":")[3]) != fleet.region:
            _say(
                report,
                f"{at}.certificate",
                f"is in {region}, and a load balancer in {fleet.region} takes only one of its own region",
                "fleet_region",
            )
        for host in expose.hosts or ("",):
            for other, owner in _overlapping(host, service.name, wildcards):
                _say(
                    report, at, f"{host} and {other} of {owner} stand for some of the same names: write those names out"
                )
            if host.startswith("*"):
                wildcards.setdefault(host, service.name)
            for path, port in itertools.product(expose.paths, {expose.port, 80} if secure else {expose.port}):
                other = taken.setdefault((port, host, path), service.name)
                if other != service.name:
                    _say(report, at, f"{host or 'any host'} with the path {path} is exposed by {other} already")
    most = max((sum(port == one for port, *dummy in taken) for one in {port for port, *dummy in taken}), default=0)
    if most > _RULES:
        _say(
            report,
            "fleet_services",
            f"expose {most} hosts and paths on one port, and a load balancer takes {_RULES} rules: use a wildcard host or fewer paths",
        )


def _overlapping(host: str, service: str, wildcards: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Wildcards of other services that stand for some of the names of this one, and whose they are."""
    if not host.startswith("*"):
        return
    for other, owner in wildcards.items():
        if owner != service and host != other and (host.endswith(other[1:]) or other.endswith(host[1:])):
            yield other, owner


def _circles(fleet: Fleet) -> Iterator[tuple[str, ...]]:
    """Each circle of `uses` once, from its first service by name. One that uses itself is for another rule."""
    after = {name: sorted((set(one.uses) & fleet.services.keys()) - {name}) for name, one in fleet.services.items()}
    done: set[str] = set()
    for start in sorted(after):
        trail: list[str] = []
        todo: list[tuple[str, Iterator[str]]] = [("", iter([start]))]
        while todo:
            name = next(todo[-1][1], None)
            if name is None:
                left, dummy = todo.pop()
                if left:
                    done.add(trail.pop())
            elif name in trail:
                circle = trail[trail.index(name) :]
                least = circle.index(min(circle))
                yield (*circle[least:], *circle[:least])
            elif name not in done:
                trail.append(name)
                todo.append((name, iter(after[name])))


def in_order(fleet: Fleet) -> Fleet:
    """The fleet with data services first and each service after all that it uses; by name where that leaves a choice."""
    order = sorted(fleet.data)
    left = TopologicalSorter({name: set(one.uses) & fleet.services.keys() for name, one in fleet.services.items()})
    left.prepare()
    while left.is_active():
        ready = sorted(left.get_ready())
        order += ready
        left.done(*ready)
    return replace(fleet, order=tuple(order))
