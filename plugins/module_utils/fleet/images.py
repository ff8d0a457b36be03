# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images a fleet needs: one a service, one for all data services of a kind on a class of machines, and the layers below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.fleet import names
from ansible_collections.boring.fleet.plugins.module_utils.fleet.model import (
    KINDS,
    Container,
    Fleet,
    Machine,
    Service,
)

_GPU_FOR_CONTAINERS: Final = "boring.fleet.nvidia_container"
# On every host, before what it is for.
_EVERYWHERE: Final = ("boring.fleet.base", "boring.fleet.host_secrets", "boring.fleet.host_lifecycle")
CONTAINER_ROLE: Final = "boring.fleet.container_service"
# Of Redis's image: it may be that of a set, where a Sentinel is beside each node.
_DATA_VARIABLES: Final[dict[str, dict[str, Any]]] = {"nats": {}, "redis": {"redis_sentinel": True}}


def images(fleet: Fleet) -> list[dict[str, Any]]:
    """One entry an image, in the order in which the fleet is brought up."""
    found: dict[str, dict[str, Any]] = {}
    roles: tuple[str, ...]
    own: dict[str, Any]
    for name in fleet.order:
        if name in fleet.data:
            data = fleet.data[name]
            machine, roles, own = (
                fleet.machines[data.machine],
                (KINDS[data.kind].role,),
                {"role_variables": dict(_DATA_VARIABLES[data.kind])},
            )
            alike = [
                other.name for other in fleet.data.values() if (other.kind, other.machine) == (data.kind, data.machine)
            ]
        else:
            service = fleet.services[name]
            machine, roles, alike = fleet.machines[service.machine], service.roles, [name]
            container = service.container
            if container:
                roles = (_GPU_FOR_CONTAINERS, CONTAINER_ROLE) if machine.gpu else (CONTAINER_ROLE,)
            own = {
                "role_variables": _container_variables(service, container)
                if container
                else dict(service.role_variables),
                "role_files": dict(service.role_files),
                "inputs": list(service.inputs),
                "version": service.version,
                "container": {
                    "image": container.image,
                    "command": list(container.command),
                    "user": container.user,
                    "port": container.port,
                }
                if container
                else None,
            }
        first = min(alike)
        entry = {"role_variables": {}, "role_files": {}, "inputs": [], "version": "", "container": None, **own}
        found[first] = {
            "family": names.family(fleet.name, first),
            "for": sorted(alike),
            "machine": machine.name,
            **_base(machine),
            "roles": [*_EVERYWHERE, *roles],
            **entry,
        }
    return list(found.values())


def _container_variables(service: Service, container: Container) -> dict[str, Any]:
    """Of the role. An image by tag is not what it takes: who builds puts the digest there."""
    return {
        "container_service_image": container.image,
        "container_service_command": list(container.command),
        "container_service_user": container.user,
        "container_service_port": service.port,
        "container_service_container_port": container.port if container.port != service.port else 0,
        "container_service_health": service.health,
        "container_service_tls": service.tls,
        "container_service_isolated": service.isolated,
        # Of others the security group alone knows what they use beside it.
        "container_service_egress": [str(one) for one in service.egress or ()] if service.isolated else [],
    }


def layers(fleet: Fleet) -> list[dict[str, Any]]:
    """Kernel and driver of each lock that a used class has, which the images rest on. A class that nothing names is not among them."""
    used = {entry["machine"] for entry in images(fleet)}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in sorted(used):
        machine = fleet.machines[name]
        if machine.lock:
            layer = found.setdefault((machine.profile, machine.lock), {**_base(machine), "machines": []})
            layer["machines"].append(name)
    return list(found.values())


def _base(machine: Machine) -> dict[str, Any]:
    return {"profile": machine.profile, "lock": machine.lock, "gpu": machine.gpu}


def role_directory(name: str, collections: Sequence[Path]) -> Path | None:
    """Where a role is, by its full name, in Ansible's paths of collections; None for one that makes no image."""
    namespace, collection, role = name.split(".")
    for path in collections:
        found = path / "ansible_collections" / namespace / collection / "roles" / role
        if (found / "tasks" / "install.yml").is_file():
            return found
    return None


def only(found: list[dict[str, Any]], wanted: tuple[str, ...]) -> list[dict[str, Any]]:
    """The images of some services and data services."""
    return [entry for entry in found if not wanted or set(entry["for"]) & set(wanted)]
