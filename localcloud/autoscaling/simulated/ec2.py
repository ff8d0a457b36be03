# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated EC2: instances, launch templates and subnets; the ports, and the part of the API that callers look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from localcloud.autoscaling import shapes
from localcloud.autoscaling.ports import HostStatus, LaunchOrder
from localcloud.autoscaling.simulated.world import TIMEOUT, Params, World
from localcloud.errors import ApiError


@dataclass
class SimulatedHost:
    """An EC2 instance of the simulation."""

    id: str
    order: LaunchOrder
    type: str
    image_id: str
    address: str
    launched: float
    answering: set[str] = field(default_factory=set, repr=False)  # all hosts that do: kept up by each of them
    status: HostStatus = HostStatus.PENDING
    terminating: bool = False
    sick: bool = False  # up, but its application does not answer
    state_reason: str = ""  # EC2's code for why it ended
    ended: float | None = None

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name in ("status", "sick"):
            up = self.status is HostStatus.UP and not self.sick
            (self.answering.add if up else self.answering.discard)(self.id)


class SimulatedHosts:
    """EC2 instances: the port that the model drives, and the part of the EC2 API that callers look at."""

    def __init__(self, cloud: World, boot: float | Callable[[int], float], shutdown: float) -> None:
        self._cloud = cloud
        self._boot = boot
        self._shutdown = shutdown
        self.answering: set[str] = set()
        self.by_id: dict[str, SimulatedHost] = {}
        self.by_address: dict[str, SimulatedHost] = {}
        self._tokens: dict[str, str] = {}

    def __contains__(self, instance_id: object) -> bool:
        return instance_id in self.by_id

    def launch(self, order: LaunchOrder) -> str:
        if order.client_token in self._tokens:
            return self._tokens[order.client_token]
        data = self._cloud.templates.data(order.template_id, order.template_version)
        image_id = order.image_id or data["ImageId"]
        if image_id in self._cloud.templates.missing_images:
            raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        number = len(self.by_id) + 1
        host = SimulatedHost(
            id=f"i-{number:017x}",
            order=order,
            type=order.instance_type or data.get("InstanceType", "t3.micro"),
            image_id=image_id,
            address=self._cloud.address(number),
            launched=self._cloud.now(),
            answering=self.answering,
        )
        self.by_id[host.id] = self.by_address[host.address] = host
        if order.client_token:
            self._tokens[order.client_token] = host.id
        boot = self._boot(number) if callable(self._boot) else self._boot
        outcome = self._cloud.faults.boot_outcome()
        host.sick = self._cloud.faults.target_outcome() is not None
        if outcome is None:
            self._cloud.at(boot, lambda: self._up(host))
        elif outcome == "die":
            self._cloud.at(boot, lambda: self.die(host.id))
        for watch in self._cloud.watches:
            if watch.group == order.group:
                watch.launched.append(host.id)
        return host.id

    def _up(self, host: SimulatedHost) -> None:
        if host.status is HostStatus.PENDING and not host.terminating:
            host.status = HostStatus.UP

    def statuses(self, ids: Iterable[str]) -> dict[str, HostStatus]:
        return {i: self.by_id[i].status if i in self.by_id else HostStatus.GONE for i in ids}

    def terminate(self, instance_id: str) -> None:
        host = self.by_id.get(instance_id)
        if host is None or host.terminating or host.status is HostStatus.GONE:
            return
        host.terminating = True
        host.state_reason = "Client.UserInitiatedShutdown"
        for watch in self._cloud.watches:
            if watch.group == host.order.group:
                watch.terminated.append(instance_id)
        self._cloud.at(self._shutdown, lambda: self._end(host))

    def _end(self, host: SimulatedHost) -> None:
        host.status = HostStatus.GONE
        host.ended = host.ended or self._cloud.now()

    def stop(self, instance_id: str) -> None:
        def stopped() -> None:
            self.by_id[instance_id].status = HostStatus.STOPPED

        self._cloud.at(self._shutdown, stopped)

    def start(self, instance_id: str) -> None:
        host = self.by_id[instance_id]
        host.status = HostStatus.PENDING
        boot = self._boot(0) if callable(self._boot) else self._boot
        self._cloud.at(boot / 3, lambda: self._up(host))  # a stopped host has done its first boot

    def instance_type(self, instance_id: str) -> str:
        return self._known(instance_id).type

    def die(self, instance_id: str, why: str = "Client.InstanceInitiatedShutdown") -> None:
        """The host ends without a call to EC2 or the group; ``why`` is EC2's code for it."""
        host = self.by_id[instance_id]
        if host.status is not HostStatus.GONE:
            host.state_reason = host.state_reason or why
            self._end(host)
            self._cloud.health_changed(instance_id, TIMEOUT)

    def _known(self, instance_id: str) -> SimulatedHost:
        if instance_id not in self.by_id:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return self.by_id[instance_id]

    def ec2_describe_instances(self, params: Params) -> dict[str, Any]:
        hosts = [self._known(i) for i in params["InstanceIds"]] if params.get("InstanceIds") else self.by_id.values()
        return {"Reservations": [{"Instances": [self._shape(host) for host in hosts]}]}

    def _shape(self, host: SimulatedHost) -> dict[str, Any]:
        state = {
            HostStatus.PENDING: "pending",
            HostStatus.STOPPED: "stopped",
            HostStatus.GONE: "terminated",
        }.get(host.status, "running")
        if host.terminating and state != "terminated":
            state = "shutting-down"
        shape = {
            "InstanceId": host.id,
            "ImageId": host.image_id,
            "InstanceType": host.type,
            "LaunchTime": shapes.when(host.launched),
            "Placement": {"AvailabilityZone": host.order.zone},
            "SubnetId": host.order.subnet_id,
            "State": {"Name": state},
            "Tags": [{"Key": key, "Value": value} for key, value in host.order.tags.items()],
        }
        if host.state_reason:
            shape["StateReason"] = {"Code": host.state_reason, "Message": host.state_reason}
        if state == "terminated" or not host.address:
            return shape
        if ":" in host.address:
            return shape | {"Ipv6Address": host.address}
        return shape | {"PrivateIpAddress": host.address}

    def ec2_describe_instance_status(self, params: Params) -> dict[str, Any]:
        rows = []
        for host in [self._known(i) for i in params.get("InstanceIds") or self.by_id]:
            if host.status is HostStatus.UP or host.status is HostStatus.IMPAIRED:
                status = {"Status": "ok" if host.status is HostStatus.UP else "impaired"}
                row = {"InstanceId": host.id, "InstanceStatus": status, "SystemStatus": {"Status": "ok"}}
                rows.append(row | {"InstanceState": {"Name": "running"}})
        return {"InstanceStatuses": rows}

    def ec2_terminate_instances(self, params: Params) -> dict[str, Any]:
        hosts = [self._known(i) for i in params["InstanceIds"]]
        for host in hosts:
            self._cloud.at(self._shutdown, functools.partial(self.die, host.id))
            self.terminate(host.id)
        return {
            "TerminatingInstances": [
                {"InstanceId": host.id, "CurrentState": {"Name": "shutting-down"}} for host in hosts
            ]
        }

    def ec2_describe_images(self, params: Params) -> dict[str, Any]:
        images = params.get("ImageIds") or []
        for image in images:
            if image in self._cloud.templates.missing_images:
                raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        return {"Images": [{"ImageId": image, "State": "available", "Name": image} for image in images]}


class SimulatedSubnets:
    """One subnet a zone: subnet-a in the zone that ends in a, and so on."""

    def __init__(self, zones: list[str]) -> None:
        self._zones = {f"subnet-{zone[-1]}": zone for zone in zones}

    def zone(self, subnet_id: str) -> str:
        if subnet_id not in self._zones:
            raise ApiError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
        return self._zones[subnet_id]

    def default_subnet(self, zone: str) -> str:
        for subnet, its_zone in self._zones.items():
            if its_zone == zone:
                return subnet
        raise ApiError("InvalidParameterValue", f"No default subnet for availability zone: '{zone}'.")


@dataclass
class _Template:
    id: str
    name: str
    default: int
    versions: dict[int, dict[str, Any]]
    created: float


class SimulatedTemplates:
    """Launch templates: the port, and their part of the EC2 API."""

    def __init__(self, cloud: World) -> None:
        self._cloud = cloud
        self.names: dict[str, _Template] = {}
        self.missing_images: set[str] = set()

    def create(self, name: str, **data: Any) -> str:
        template = _Template(f"lt-{len(self.names) + 1:017x}", name, 1, {}, self._cloud.now())
        self.names[name] = template
        self.add_version(name, data)
        return template.id

    def add_version(self, name: str, data: dict[str, Any], *, default: bool = False) -> int:
        template = self.names[name]
        number = max(template.versions, default=0) + 1
        template.versions[number] = {"ImageId": f"ami-{number:017x}", "InstanceType": "t3.micro"} | data
        if default:
            template.default = number
        return number

    def data(self, template_id: str, version: int) -> dict[str, Any]:
        return self._find(template_id).versions[version]

    def resolve(self, id_or_name: str, version: str) -> tuple[str, str, int]:
        template = self._find(id_or_name)
        if version == "$Latest":
            number = max(template.versions)
        elif version == "$Default":
            number = template.default
        else:
            number = int(version) if version.isdigit() else 0
        if number not in template.versions:
            raise ApiError(
                "InvalidLaunchTemplateId.VersionNotFound", f"Could not find launch template version {version}"
            )
        return template.id, template.name, number

    def check(self, template_id: str, version: str, instance_type: str | None, image_id: str | None) -> None:
        """Everything can be launched here."""

    def _find(self, id_or_name: str) -> _Template:
        for template in self.names.values():
            if id_or_name in (template.id, template.name):
                return template
        if id_or_name.startswith("lt-"):
            message = f"The specified launch template, with template ID {id_or_name}, does not exist."
            raise ApiError("InvalidLaunchTemplateId.NotFound", message)
        message = f"The specified launch template, with template name {id_or_name}, does not exist."
        raise ApiError("InvalidLaunchTemplateName.NotFoundException", message)

    def _asked(self, params: Params) -> _Template:
        return self._find(params.get("LaunchTemplateId") or params.get("LaunchTemplateName") or "")

    def _shape(self, template: _Template) -> dict[str, Any]:
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "CreateTime": shapes.when(template.created),
            "DefaultVersionNumber": template.default,
            "LatestVersionNumber": max(template.versions),
        }

    def _version_shape(self, template: _Template, number: int) -> dict[str, Any]:
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "VersionNumber": number,
            "CreateTime": shapes.when(template.created),
            "DefaultVersion": number == template.default,
            "LaunchTemplateData": template.versions[number],
        }

    def ec2_describe_launch_templates(self, params: Params) -> dict[str, Any]:
        asked = [*(params.get("LaunchTemplateIds") or []), *(params.get("LaunchTemplateNames") or [])]
        templates = [self._find(one) for one in asked] if asked else list(self.names.values())
        return {"LaunchTemplates": [self._shape(template) for template in templates]}

    def ec2_describe_launch_template_versions(self, params: Params) -> dict[str, Any]:
        template = self._asked(params)
        if params.get("Versions"):
            numbers = [self.resolve(template.id, version)[2] for version in params["Versions"]]
        else:
            numbers = sorted(template.versions, reverse=True)
        return {"LaunchTemplateVersions": [self._version_shape(template, number) for number in numbers]}

    def ec2_create_launch_template(self, params: Params) -> dict[str, Any]:
        name = params["LaunchTemplateName"]
        if name in self.names:
            raise ApiError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
        self.create(name, **params["LaunchTemplateData"])
        return {"LaunchTemplate": self._shape(self.names[name])}

    def ec2_create_launch_template_version(self, params: Params) -> dict[str, Any]:
        template = self._asked(params)
        source = params.get("SourceVersion")
        base = template.versions[self.resolve(template.id, source)[2]] if source else {}
        number = self.add_version(template.name, base | params["LaunchTemplateData"])
        return {"LaunchTemplateVersion": self._version_shape(template, number)}

    def ec2_modify_launch_template(self, params: Params) -> dict[str, Any]:
        template = self._asked(params)
        template.default = self.resolve(template.id, params["DefaultVersion"])[2]
        return {"LaunchTemplate": self._shape(template)}
