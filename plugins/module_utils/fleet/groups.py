# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto Scaling groups and what their launch templates hold: all that a host is and knows when it boots, nothing secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import (
    access,
    balancers,
    environment,
    host,
    images,
    names,
    scaling,
)
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import Fleet, Machine

GPU_FILE: Final = "/etc/fleet/gpu.json"
ENVIRONMENT_FILE: Final = "/etc/fleet/environment"
SECRETS_FILE: Final = "/etc/fleet/secrets.env"


def groups(
    fleet: Fleet, addresses: Mapping[str, str], kept: Mapping[str, int], account: str, endpoint: str = ""
) -> list[dict[str, Any]]:
    """One entry a group, in the order in which they are brought up and rolled. `addresses` are the load balancers', by their part;
    `endpoint` is where hosts reach AWS, "" for AWS's own."""
    families = {name: entry["family"] for entry in images.images(fleet) for name in entry["for"]}
    targets: dict[str, list[str]] = {}
    for target in filter(itemgetter("attached"), balancers.target_groups(fleet)):
        targets.setdefault(target["for"], []).append(target["name"])
    profiles = {role["for"]: role["name"] for role in access.roles(fleet, account)}
    ports = balancers.ports(fleet, kept)
    known = {
        part: addresses.get(part) or f"{names.balancer(fleet.name, part)}.invalid"
        for part in (balancers.INTERNAL, balancers.DATA)
    }
    found = []
    for name in fleet.order:
        behind = sorted(targets.get(name, []))
        template, own = _data(fleet, name) if name in fleet.data else _service(fleet, name, known, ports)
        if not template["isolated"]:  # such a host reaches no metadata, and its group has no hooks
            template["files"].insert(1, _file(host.PATH, host.text(fleet, name, endpoint) + "\n"))
        size, roll, hooks, version = own["size"], own["roll"], own["hooks"], own["version"]
        machine = fleet.machines[own["machine"]]
        group = names.group(fleet.name, name)
        tags = {"Name": group, "boring:fleet": fleet.name, "boring:service": name}
        found.append(
            {
                "name": group,
                "for": name,
                "kind": "data" if name in fleet.data else "service",
                "size": size,
                "scale": scaling.wanted(fleet, fleet.services[name]) if name in fleet.services else None,
                "target_groups": behind,
                "health_check": "ELB" if behind else "EC2",
                "lifecycle_hooks": _hooks() if hooks else [],
                "tags": {**tags, **({"boring:version": version} if version else {})},
                "roll": roll,
                "uses": list(fleet.services[name].uses) if name in fleet.services else [],
                "template": {
                    "name": group,
                    "image_family": families[name],
                    "instance_type": machine.instance_type,
                    "may_lack_gpu": machine.may_lack_gpu,
                    "security_group": group,
                    "instance_profile": profiles.get(name, ""),
                    # A container in a network of its own is one hop further away than the host.
                    "metadata": {"tokens": "required", "hop_limit": 1},
                    **template,
                },
            }
        )
    return found


def _service(
    fleet: Fleet, name: str, addresses: Mapping[str, str], ports: Mapping[str, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    service = fleet.services[name]
    variables = {**service.environment, **environment.made(fleet, service, addresses, ports)}
    secrets = environment.secret(fleet, service)
    machine = fleet.machines[service.machine]
    release = f"FLEET={fleet.name}\nSERVICE={name}\n" + (f"VERSION={service.version}\n" if service.version else "")
    template = {
        "environment": dict(sorted(variables.items())),
        "secrets": dict(sorted(secrets.items())),
        "secrets_file": SECRETS_FILE if secrets else "",
        "files": [
            _file("/etc/fleet-release", release),
            *([_file(ENVIRONMENT_FILE, environment.file(variables))] if variables else []),
            *([_file(GPU_FILE, _declared(machine))] if machine.gpu else []),
            *map(dict, service.files),
        ],
        "authority": access.authority(fleet)["certificate"] if access.checks_tls(fleet, name) else "",
        "isolated": service.isolated,
        "disk": 0,
        "variables": {},
    }
    own = {
        "machine": service.machine,
        "size": {"min": service.size.min, "max": service.size.max, "desired": service.size.desired},
        "roll": dict(service.roll),
        "hooks": not service.isolated,  # its hosts cannot complete one: they have no way to AWS
        "version": service.version,
    }
    return template, own


def _data(fleet: Fleet, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    data = fleet.data[name]
    template = {
        "environment": {},
        "secrets": {},
        "secrets_file": "",
        "files": [_file("/etc/fleet-release", f"FLEET={fleet.name}\nSERVICE={name}\n")],
        "authority": access.authority(fleet)["certificate"] if access.checks_tls(fleet, name) else "",
        "isolated": False,
        "disk": data.disk,
        "variables": {
            "kind": data.kind,
            "nodes": data.nodes,
            "purpose": data.purpose,
            "plaintext": data.plaintext,
            **dict(data.limits),
        },
    }
    size = {"min": data.nodes, "max": data.nodes, "desired": data.nodes}
    return template, {"machine": data.machine, "size": size, "roll": {"batch_size": "1"}, "hooks": True, "version": ""}


def _declared(machine: Machine) -> str:
    """What gpu-ready of the role nvidia_driver brings about and checks, as it reads it."""
    declared: dict[str, Any] = {"gpus": 0 if machine.may_lack_gpu else machine.gpus or 1}
    if machine.mig is not None:
        declared["mig"] = list(machine.mig)
    if machine.power_limit:
        declared["power_limit"] = machine.power_limit
    if machine.clocks:
        declared["clocks"] = list(machine.clocks)
    return json.dumps(declared, sort_keys=True) + "\n"


def _file(path: str, content: str) -> dict[str, Any]:
    return {"path": path, "owner": "root:root", "permissions": "0644", "content": content}


def _hooks() -> list[dict[str, Any]]:
    """A host completes both by itself: it enters service when it is of use, and leaves when it has finished."""
    return [
        {
            "name": host.ENTER,
            "transition": "launching",
            "heartbeat_timeout": host.HEARTBEAT,
            "default_result": "ABANDON",
        },
        {
            "name": host.LEAVE,
            "transition": "terminating",
            "heartbeat_timeout": host.HEARTBEAT,
            "default_result": "CONTINUE",
        },
    ]
