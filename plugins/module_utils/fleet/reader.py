# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of a fleet file in, a fleet out, or all mistakes at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import keys, rules
from ansible_collections.boring.fleet.plugins.module_utils.fleet.mistakes import Report, shown, suggestion
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import (
    Certificate,
    Container,
    Data,
    Expose,
    Fleet,
    Machine,
    Network,
    Scale,
    Service,
    Size,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.values import CPU, REQUESTS

# How like a variable's name another one must be: fleet_servces and fleet_regoin are, fleet_images is not.
_NEAR: Final = 0.9


def read_fleet(variables: Mapping[str, Any], *, known: rules.Known | None = None) -> Fleet:
    """Read the variables of a fleet file. Raises FleetError.

    `variables` may hold others too, as the playbooks' own or a team's: they are ignored, unless one looks like a variable of this file
    that was misspelt. `known` is what this machine has; without it, names of profiles and lock files are not looked at.
    """
    report = Report()
    given = {}
    for name, value in variables.items():
        if name in keys.FILE.keys:
            given[name] = _from_command_line(value)
        elif near := misspelt(str(name)):
            report.add(shown(name), f"there is no such variable; did you mean {near}?")
            report.spoil(near)
    raw = keys.FILE.read(_laid_over(given, report), "", report)
    fleet = _fleet(raw)
    rules.check(fleet, raw, report, known)
    report.close()
    return rules.in_order(fleet)


def _from_command_line(given: Any) -> Any:
    """`-e 'fleet_data={...}'` gives text where a mapping is meant; JSON is read, other text stays as it is."""
    if isinstance(given, str) and given.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(given)
        except ValueError:
            return given
    return given


def holds_fleet(variables: Mapping[str, Any]) -> bool:
    """Whether the variables are those of a fleet file, or were meant to be; a name and a region alone are not."""
    alone = ("fleet_name", "fleet_region")
    return any((name in keys.FILE.keys and name not in alone) or misspelt(str(name)) for name in variables)


def misspelt(name: str) -> str:
    """The variable of this file that a name was meant to be; "" for a variable of somebody else's."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), keys.FILE.keys, n=1, cutoff=_NEAR)
    return near[0] if near and near[0] != name and name.startswith("fleet") else ""


def _laid_over(given: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The variables with `fleet_overrides` laid over them; one that is no mapping is for the shapes to refuse."""
    over = given.get("fleet_overrides")
    if not isinstance(over, Mapping):
        return dict(given)
    found = {**given, "fleet_overrides": {}}
    known = [name for name in keys.FILE.keys if name != "fleet_overrides"]
    for name, value in over.items():
        if name not in known:
            report.add(f"fleet_overrides.{shown(name)}", f"there is no such variable; {suggestion(str(name), known)}")
            continue
        found[name] = _merged(found.get(name), value)
        if value is None:
            del found[name]
    return found


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    found = dict(below)
    for key, value in above.items():
        found[key] = _merged(found.get(key), value)
        if value is None:
            found.pop(key)
    return found


def _fleet(raw: Mapping[str, Any]) -> Fleet:
    """Read values as a fleet. What was wrong is something of its type here."""
    network = raw["fleet_network"]
    machines = {name: _machine(name, one) for name, one in raw["fleet_machines"].items()}
    usual = next(iter(machines)) if len(machines) == 1 else "cpu"
    return Fleet(
        name=raw["fleet_name"],
        region=raw["fleet_region"] or "",
        network=Network(
            vpc_id=network["vpc_id"] or "",
            subnet_ids=tuple(network["subnet_ids"]),
            public_subnet_ids=tuple(network["public_subnet_ids"]),
            clients=tuple(network["clients"] or ()),
        ),
        machines=machines,
        data={name: _data(name, one, usual) for name, one in raw["fleet_data"].items()},
        services={name: _service(name, one, usual) for name, one in raw["fleet_services"].items()},
    )


def _machine(name: str, raw: Mapping[str, Any]) -> Machine:
    mig, clocks = raw["mig"], raw["clocks"]
    return Machine(
        name,
        raw["profile"],
        raw["lock"] or "",
        raw["instance_type"],
        raw["may_lack_gpu"],
        gpus=raw["gpus"] or 0,
        mig=None if mig is None else tuple(mig),
        power_limit=raw["power_limit"],
        clocks=(clocks["min"], clocks["max"]) if clocks else None,
    )


def _data(name: str, raw: Mapping[str, Any], usual: str) -> Data:
    kind = raw["kind"]
    purpose = raw["purpose"] or ("cache" if kind == "redis" else "")
    kept = kind == "nats" or purpose == "store"
    alone = not kept or raw["may_lose_data"]
    known = keys.LIMITS.get(kind, {})
    return Data(
        name=name,
        kind=kind,
        machine=raw["machine"] or usual,
        nodes=raw["nodes"] if raw["nodes"] is not None else 1 if alone else 3,
        purpose=purpose,
        disk=raw["disk"] if raw["disk"] is not None else 20 if kept else 0,
        limits={known[limit][0]: value for limit, value in raw["limits"].items() if limit in known},
        may_lose_data=raw["may_lose_data"],
        plaintext=raw["plaintext"],
    )


def _service(name: str, raw: Mapping[str, Any], usual: str) -> Service:
    port = raw["port"] or 0
    least = raw["size"]["min"] if raw["size"]["min"] is not None else 1
    desired = raw["size"]["desired"] if raw["size"]["desired"] is not None else least
    most = raw["size"]["max"] if raw["size"]["max"] is not None else max(least, desired, 1)
    container = _container(raw["container"], port) if raw["container"] else None
    return Service(
        name=name,
        machine=raw["machine"] or usual,
        roles=tuple(raw["roles"] or ()),
        container=container,
        role_variables=raw["role_variables"],
        role_files=raw["role_files"],
        inputs=tuple(raw["inputs"]),
        version=raw["version"] or "",
        size=Size(least, most, desired),
        scale=_scale(raw["scale"], container.port if container else port) if raw["scale"] else None,
        port=port,
        health=raw["health"] or "/",
        tls=raw["tls"],
        expose=_expose(raw["expose"]) if raw["expose"] else None,
        uses=tuple(raw["uses"]),
        environment=raw["environment"],
        secrets=raw["secrets"],
        files=tuple(
            {key: value for key, value in entry.items() if value not in (None, False)} for entry in raw["files"]
        ),
        isolated=raw["isolated"],
        egress=() if raw["isolated"] and raw["egress"] is None else _all(raw["egress"]),
        roll={name: value for name, value in raw["roll"].items() if value is not None},
    )


def _all(given: list[Any] | None) -> tuple[Any, ...] | None:
    return None if given is None else tuple(given)


def _container(raw: Mapping[str, Any], port: int) -> Container:
    return Container(raw["image"], tuple(raw["command"] or ()), raw["user"] or "", raw["port"] or port)


def _scale(raw: Mapping[str, Any], port: int) -> Scale:
    own = raw["metric"] not in (CPU, REQUESTS)
    return Scale(raw["metric"], raw["target"], raw["warmup"], (raw["port"] or port) if own else 0)


def _expose(raw: Mapping[str, Any]) -> Expose:
    given = raw["certificate"]
    certificate = Certificate(**given) if isinstance(given, Mapping) else Certificate(arn=given) if given else None
    return Expose(tuple(raw["hosts"]), tuple(raw["paths"]), certificate, raw["port"] or (443 if certificate else 80))
