# SPDX-License-Identifier: GPL-3.0-or-later
"""moto's EC2 with a fleet behind it.

What moto leaves out and callers rely on is added here: pending and stopping until the host really is there or gone,
AWS's refusals of unknown images, key pairs and templates, client tokens, root device type ``ebs``, images that are
commits of hosts.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import ipaddress
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, cast

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from moto.core.utils import utcnow
from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidAMIIdError,
    InvalidLaunchTemplateNameAlreadyExistsError,
    OperationDisableApiStopNotPermitted,
    OperationNotPermitted4,
    UnvailableAMIIdError,
)
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.elastic_block_store import VolumeAttachment
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociation
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceState, MetadataOptions, Reservation, StateReason
from moto.ec2.models.key_pairs import KeyPair
from moto.ec2.models.subnets import Subnet
from moto.ec2.models.vpcs import VPC

from localcloud.clock import Clock
from localcloud.ec2 import filters as ec2_filters
from localcloud.ec2 import launch
from localcloud.ec2.launch import ACCOUNT
from localcloud.ec2.security import SecurityGroups
from localcloud.ec2.templates import Template
from localcloud.faults import Faults
from localcloud.hosts import seed
from localcloud.hosts.base import DEBIAN_OWNER, Base
from localcloud.hosts.fence import hardware_address
from localcloud.hosts.fleet import Fleet, Goal, Host, Observer, Phase
from localcloud.hosts.podman import HostError
from localcloud.metadata import Notice

ZONES = ("a", "b", "c")
TERMINATED_SECONDS = 3600
"""How long a terminated instance is still described, and its address not given to another."""

_STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_BY_USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
_BY_ITSELF = ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
_METADATA_OPTIONS = {
    "http_tokens": "http_tokens", "http_put_response_hop_limit": "hop_limit", "http_endpoint": "http_endpoint",
    "http_protocol_ipv6": "http_protocol", "instance_metadata_tags": "metadata_tags",
}  # fmt: skip
"""What moto calls them where they are kept, and as parameters."""
_BY_SPOT = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
_NO_TOKEN = "ABCDE"  # noqa: S105 - what moto takes for a missing client token


def _own_address(interface: NetworkInterface) -> None:
    """The public address of a host is its private one: moto would make up an address that belongs to somebody else."""
    if str(interface.public_ip_auto_assign).lower() == "true":
        interface.public_ip = interface.private_ip_address


setattr(NetworkInterface, "check_auto_public_ip", _own_address)  # noqa: B010 - a method of moto's, replaced


@dataclass
class World:
    """What stands behind EC2 in one cloud. ``clock`` and ``fleet`` move; the rest is fixed when the cloud is made."""

    cloud: str
    region: str
    subnet: ipaddress.IPv4Network
    fleet: Fleet
    clock: Clock
    faults: Faults
    lock: Any  # the cloud's

    @property
    def images(self) -> str:
        """What the podman images of this cloud's own AMIs begin with."""
        return f"localhost/lc-{self.cloud}/"


class HostBackend(SecurityGroups):
    """EC2 of one region."""

    world: ClassVar[World]

    def __init__(self, region_name: str, account_id: str) -> None:
        self.podman_images: dict[str, str] = {}  # by AMI id
        self.ended: dict[str, float] = {}  # when instances were terminated, unix seconds
        super().__init__(region_name, account_id)

    @property
    def notices(self) -> dict[str, Notice]:
        """What is said of Spot instances that are taken, or that it is recommended to leave."""
        found: dict[str, Notice] = vars(self).setdefault("_notices", {})  # states of earlier versions have none
        return found

    # -- network ---------------------------------------------------------------------------------------------------

    def create_default_vpc(self) -> VPC:
        """As AWS: a default VPC with a default subnet in each zone; here it is the cloud's own network."""
        network = self.world.subnet
        vpc = self.create_vpc(cidr_block=str(network), is_default=True)
        for zone, block in zip(ZONES, network.subnets(prefixlen_diff=4), strict=False):
            self.create_subnet(vpc.id, str(block), availability_zone=f"{self.region_name}{zone}")
        return vpc

    def create_subnet(self, vpc_id: str, cidr_block: str, *args: Any, **kwargs: Any) -> Subnet:
        """As moto's; hosts in it do not get the address of a load balancer."""
        made = super().create_subnet(vpc_id, cidr_block, *args, **kwargs)
        for address in self.balancers():
            if ipaddress.IPv4Address(address) in made.cidr:
                made.request_ip(address, cast(Instance, None))
        return made

    def zone_subnet(self, zone: str) -> str:
        """The default subnet of a zone. Raises EC2ClientError."""
        subnet = self.get_default_subnets().get(zone)
        if subnet is None:
            raise EC2ClientError("InvalidParameterValue", f"Value ({zone}) for parameter availabilityZone is invalid.")
        return str(subnet.id)

    # -- instances -------------------------------------------------------------------------------------------------

    def _place(self, kwargs: dict[str, Any], template: dict[str, Any]) -> None:
        """Fill in the interfaces and the subnet of a launch, out of its template where it does not name them."""
        if not kwargs.get("nics") and template.get("NetworkInterfaces"):
            kwargs["nics"] = [{"DeviceIndex": 0, **nic} for nic in template["NetworkInterfaces"]]
        for nic in kwargs.get("nics") or []:
            if nic.get("NetworkInterfaceId"):
                kwargs["subnet_id"] = self.get_network_interface(nic["NetworkInterfaceId"]).subnet.id
        if not kwargs.get("subnet_id") and not any("SubnetId" in nic for nic in kwargs.get("nics") or []):
            zone = kwargs.get("placement") or (template.get("Placement") or {}).get("AvailabilityZone")
            kwargs["subnet_id"] = self.zone_subnet(zone or f"{self.region_name}{ZONES[0]}")

    def run_instances(
        self, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Reservation:
        """Instances are pending and have their addresses; their hosts begin to boot."""
        world = self.world
        if self.region_name != world.region:
            raise EC2ClientError(
                "OptInRequired", f"This local cloud has hosts in {world.region} only, not in {self.region_name}."
            )
        if (again := self._launched_with(kwargs.get("client_token"))) is not None:
            return again
        template = self._template_data(kwargs.get("launch_template") or {})
        wanted = {
            **template,
            **({"ImageId": image_id} if image_id else {}),
            **({} if kwargs.get("is_instance_type_default") else {"InstanceType": kwargs.get("instance_type")}),
            **({"KeyName": kwargs["key_name"]} if kwargs.get("key_name") else {}),
            **({"SecurityGroupIds": kwargs["security_group_ids"]} if kwargs.get("security_group_ids") else {}),
            **({"SecurityGroups": security_group_names} if security_group_names else {}),
            **({"NetworkInterfaces": kwargs["nics"]} if kwargs.get("nics") else {}),
            **({"UserData": user_data} if user_data else {}),
        }
        launch.check(self, wanted)
        image = launch.resolved_image(self, wanted["ImageId"])
        podman_image = self.podman_image(image)
        kwargs["metadata_options"] = {
            "HttpTokens": "required",  # the metadata here is IMDSv2 only
            "HttpPutResponseHopLimit": 2,
            **(template.get("MetadataOptions") or {}),
            **(kwargs.get("metadata_options") or {}),
        }
        if kwargs["metadata_options"].get("InstanceMetadataTags") == "enabled":
            launch.check_shown_tags((kwargs.get("tags") or {}).get("instance") or {})
        self._place(kwargs, template)
        self._require_network(kwargs)
        profile = self._require_profile(kwargs, template)
        kwargs["block_device_mappings"] = self._devices(self.amis[image], template, kwargs)
        before = set(self.reservations)
        try:
            reservation = super().run_instances(image, count, user_data, security_group_names, **kwargs)
        except BaseException as error:
            for reservation_id in set(self.reservations) - before:  # moto keeps it although there is nothing in it
                del self.reservations[reservation_id]
            if isinstance(error, StopIteration):
                raise EC2ClientError(
                    "InsufficientFreeAddressesInSubnet", "There are not enough free addresses in the subnet."
                ) from None
            raise
        setattr(self.amis[image], "last_launched_time", f"{utcnow():%Y-%m-%dT%H:%M:%S}.000Z")  # noqa: B010 - not moto's
        for instance in reservation.instances:
            _set_state(instance, "pending")
            setattr(instance, "cpu_options", _cpu_options(instance.instance_type, template))  # noqa: B010 - not moto's
            instance.security_groups = list(instance.nics[0].group_set)
            instance.nics[0].mac_address = hardware_address(str(instance.private_ip))
            for spec in kwargs.get("nics") or []:
                _describe_interface(instance.nics[int(spec["DeviceIndex"])], spec)
            if profile:
                self.associate_iam_instance_profile(instance.id, iam_instance_profile_arn=profile)
            self._launch(instance, podman_image)
        self.settle_disks()
        return reservation

    def modify_instance_metadata_options(self, instance_id: str, **given: Any) -> MetadataOptions:  # type: ignore[override]
        """What is left out stays as it is."""
        instance = self.get_instance(instance_id)
        if given.get("metadata_tags") == "enabled":
            launch.check_shown_tags(tag["key"] for tag in instance.get_tags())
        before = vars(instance.metadata_options).copy()
        changed = super().modify_instance_metadata_options(instance_id, **given)
        for name, parameter in _METADATA_OPTIONS.items():
            if given.get(parameter) is None:
                setattr(changed, name, before[name])
        return changed

    def create_tags(self, resource_ids: list[str], tags: dict[str, str]) -> bool:
        for resource_id in resource_ids:
            instance = self.get_instance_by_id(resource_id)
            if instance is not None and instance.metadata_options.instance_metadata_tags == "enabled":
                launch.check_shown_tags(tags)
        return bool(super().create_tags(resource_ids, tags))

    # -- volumes ---------------------------------------------------------------------------------------------------

    def settle_disks(self) -> None:
        """Put the disks of hosts where the API says that they are. Root devices are the hosts' own."""
        wanted: dict[str, tuple[str, str] | None] = {}
        for volume in self.volumes.values():
            attachment = volume.attachment
            if attachment is None or not attachment.instance:
                wanted[volume.id] = None
            elif attachment.device != attachment.instance.root_device_name:
                wanted[volume.id] = (attachment.instance.id, str(attachment.device).removeprefix("/dev/"))
        hosts = self.world.fleet.hosts()
        leaving = {host.id for host in hosts if host.goal is Goal.GONE and host.phase is not Phase.NEW}
        self.world.fleet.disks.settle(wanted, leaving, {host.id for host in hosts})

    def attach_volume(
        self, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
    ) -> VolumeAttachment | None:
        launch.check_device(device_path)
        volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
        if volume.attachment is not None:
            raise EC2ClientError("VolumeInUse", f"{volume_id} is already attached to an instance")
        if str(volume.zone.name) != str(instance.availability_zone):
            raise EC2ClientError(
                "InvalidVolume.ZoneMismatch",
                f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'",
            )
        if device_path in instance.block_device_mapping:
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Invalid value '{device_path}' for unixDevice. Attachment point {device_path} is already in use",
            )
        return super().attach_volume(volume_id, instance_id, device_path, delete_on_termination)

    def detach_volume(self, volume_id: str, instance_id: str, device_path: str) -> VolumeAttachment:
        """The instance may be left out."""
        attachment = self.get_volume(volume_id).attachment
        if attachment is None:
            raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
        return super().detach_volume(volume_id, instance_id or attachment.instance.id, device_path)

    @staticmethod
    def _devices(image: Ami, template: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
        """The image's root device, and what template and request say of it and of further devices."""
        root = {
            "VolumeSize": 8, "VolumeType": "gp3", "DeleteOnTermination": True, "SnapshotId": image.ebs_snapshot.id,
        }  # fmt: skip
        devices: dict[str, dict[str, Any]] = {str(image.root_device_name): root}
        for given in [*(template.get("BlockDeviceMappings") or []), *(wanted.get("block_device_mappings") or [])]:
            name = str(given["DeviceName"])
            launch.check_device(name)
            if given.get("NoDevice") is not None:
                devices.pop(name, None)
            elif given.get("Ebs"):
                own = {key: value for key, value in given["Ebs"].items() if value is not None}
                devices[name] = {**devices.get(name, {"VolumeType": "gp3"}), **own}
        return [{"DeviceName": name, "Ebs": device} for name, device in devices.items()]

    def _require_profile(self, wanted: dict[str, Any], template: dict[str, Any]) -> str:
        """The ARN of the instance profile that the launch template names; moto's answer sees to the request's own."""
        if wanted.get("iam_instance_profile_name") or wanted.get("iam_instance_profile_arn"):
            return ""
        return launch.profile(template.get("IamInstanceProfile") or {})

    def replace_iam_instance_profile_association(
        self,
        association_id: str,
        iam_instance_profile_name: str | None = None,
        iam_instance_profile_arn: str | None = None,
    ) -> IamInstanceProfileAssociation:
        """As moto's, and the instance has the new one."""
        changed = super().replace_iam_instance_profile_association(
            association_id, iam_instance_profile_name, iam_instance_profile_arn
        )
        self._show_profile(changed)
        return changed

    def associate_iam_instance_profile(
        self,
        instance_id: str,
        iam_instance_profile_name: str | None = None,
        iam_instance_profile_arn: str | None = None,
    ) -> IamInstanceProfileAssociation:
        made = super().associate_iam_instance_profile(instance_id, iam_instance_profile_name, iam_instance_profile_arn)
        self._show_profile(made)
        return made

    def _show_profile(self, association: IamInstanceProfileAssociation) -> None:
        profile = association.iam_instance_profile
        about = {"Arn": profile.arn, "Id": profile.id}
        self.modify_instance_attribute(association.instance_id, "iam_instance_profile", about)

    def resolved_image(self, image_id: str) -> str:
        """The image that ``resolve:ssm:...`` names. Raises EC2ClientError."""
        return launch.resolved_image(self, image_id)

    def create_launch_template(
        self, name: str, description: str, template_data: dict[str, Any], tag_spec: dict[str, Any]
    ) -> Template:
        if name in self.launch_template_name_to_ids:
            raise InvalidLaunchTemplateNameAlreadyExistsError
        template = Template(self, name, template_data, description, tag_spec)  # type: ignore[abstract] # as moto's own
        self.launch_templates[template.id] = template
        self.launch_template_name_to_ids[template.name] = template.id
        return template

    def all_reservations(self, filters: Any = None) -> list[Reservation]:
        return self._filtered([copy.copy(one) for one in self.reservations.values()], filters)

    def get_reservations_by_instance_ids(self, instance_ids: list[str], filters: Any = None) -> list[Reservation]:
        return self._filtered(super().get_reservations_by_instance_ids(instance_ids), filters)

    @staticmethod
    def _filtered(reservations: list[Reservation], wanted: dict[str, list[str]] | None) -> list[Reservation]:
        """Reservations with the instances that pass, as DescribeInstances shows them."""
        if wanted:
            everyone = [instance for one in reservations for instance in one.instances]
            passed = {
                instance.id
                for instance in ec2_filters.chosen(everyone, wanted, ec2_filters.instance, "DescribeInstances")
            }
            for one in reservations:
                one.instances = [instance for instance in one.instances if instance.id in passed]
        return [one for one in reservations if one.instances]

    def _require_network(self, wanted: dict[str, Any]) -> None:
        """Hosts can have addresses of the cloud's own network only, whatever VPCs there are."""
        for subnet_id in [wanted.get("subnet_id"), *[nic.get("SubnetId") for nic in wanted.get("nics") or []]]:
            if subnet_id and self.get_subnet(subnet_id).cidr.network_address not in self.world.subnet:
                raise EC2ClientError(
                    "InvalidParameterValue",
                    f"The subnet '{subnet_id}' is outside {self.world.subnet}, where this local cloud's hosts are.",
                )

    def _launched_with(self, token: str | None) -> Reservation | None:
        if not token or token == _NO_TOKEN:
            return None
        found = (r for r in self.reservations.values() if any(i.client_token == token for i in r.instances))
        return next(found, None)

    def _template_data(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if not wanted:
            return {}
        if wanted.get("LaunchTemplateId"):
            template = self.get_launch_template(wanted["LaunchTemplateId"])
        else:
            template = self.get_launch_template_by_name(wanted.get("LaunchTemplateName", ""))
        return dict(template.get_version(wanted.get("Version") or "$Default").data)

    def _launch(self, instance: Instance, podman_image: str) -> None:
        fleet, address = self.world.fleet, str(instance.private_ip)
        hostname = "ip-" + address.replace(".", "-")
        key = self.key_pairs.get(instance.key_name or "")
        seed.write(
            fleet.seed_directory(instance.id),
            instance_id=instance.id,
            hostname=hostname,
            public_keys=[key.material_public.decode().strip()] if key else [],
            user_data=base64.b64decode(str(instance.user_data)) if instance.user_data else b"",
            facts={
                "ami-id": instance.image_id,
                "instance-type": instance.instance_type,
                "availability-zone": str(instance.availability_zone),
                "region": self.region_name,
            },
        )
        fleet.launch(
            Host(
                instance.id,
                podman_image,
                address,
                hostname,
                mac=str(instance.nics[0].mac_address),
                boot_fault=self.world.faults.boot_outcome() or "",
            )
        )

    def start_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        changed = []
        for instance, previous in self._in_state(instance_ids, "started", "stopped", "pending", "running"):
            if previous.name == "stopped":
                _set_state(instance, "pending")
                self.world.fleet.start(instance.id)
            changed.append((instance, previous))
        return changed

    def stop_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        changed = []
        for instance, previous in self._in_state(instance_ids, "stopped", "pending", "running", "stopping", "stopped"):
            if instance.disable_api_stop:
                raise OperationDisableApiStopNotPermitted(instance.id)
            if previous.name in {"pending", "running"}:
                _set_state(instance, "stopping", _BY_USER)
                self.world.fleet.stop(instance.id)
            changed.append((instance, previous))
        return changed

    def reboot_instances(self, instance_ids: list[str]) -> list[Instance]:
        instances = [instance for instance, _ in self._in_state(instance_ids, "rebooted", "pending", "running")]
        for instance in instances:
            self.world.fleet.reboot(instance.id)
        return instances

    def terminate_instances(self, instance_ids: list[str]) -> list[tuple[Instance, InstanceState]]:
        """Their hosts shut down in order; the instances are ``terminated`` only when that is over."""
        if not instance_ids:
            raise EC2ClientError("InvalidParameterCombination", "No instances specified")
        changed = []
        for instance, previous in self._in_state(instance_ids, "terminated", *_STATES):
            if previous.name not in {"shutting-down", "terminated"}:
                if instance.disable_api_termination:
                    raise OperationNotPermitted4(instance.id)
                instance.terminate()
                _set_state(instance, "shutting-down", _BY_USER)
                self.world.fleet.terminate(instance.id)
            changed.append((instance, previous))
        return changed

    def take_spot(self, instance_id: str) -> None:
        """EC2 takes an instance back, whatever protects it against its owner."""
        instance = self.get_instance_by_id(instance_id)
        if instance is not None and instance.state not in {"shutting-down", "terminated"}:
            instance.terminate()
            _set_state(instance, "shutting-down", _BY_SPOT)
            self.world.fleet.terminate(instance_id)

    def describe_instance_status(  # type: ignore[override] # its caller takes either
        self, instance_ids: list[str], include_all_instances: bool, filters: Any
    ) -> list[dict[str, Any]]:
        """Status checks say what the hosts' own systemd says."""
        described = []
        for instance in super().describe_instance_status(instance_ids, include_all_instances, filters):
            host, word = self.world.fleet.get(instance.id), "not-applicable"
            if instance.state == "running" and host is not None:
                word = {Phase.UP: "ok", Phase.IMPAIRED: "impaired"}.get(host.phase, "initializing")
            passed = {"ok": "passed", "impaired": "failed", "initializing": "initializing"}.get(word)
            status = {"Status": word, **({"Details": [{"Name": "reachability", "Status": passed}]} if passed else {})}
            described.append(
                {
                    "InstanceId": instance.id,
                    "AvailabilityZone": instance.availability_zone,
                    "InstanceState": {"Code": instance.state_code, "Name": instance.state},
                    "InstanceStatus": status,
                    "SystemStatus": status,
                }
            )
        return described

    def console_output(self, instance_id: str) -> bytes:
        """What the host's systemd and services said since it booted, the newest last; empty unless it runs."""
        host = self.world.fleet.get(instance_id)
        return self.world.fleet.podman.console(host.pid) if host is not None and host.pid else b""

    def create_key_pair(self, name: str, key_type: str, tags: dict[str, str]) -> KeyPair:
        pair = super().create_key_pair(name, key_type, tags)
        pair.key_fingerprint = _fingerprint(pair)
        return pair

    def import_key_pair(self, key_name: str, public_key_material: bytes, tags: dict[str, str]) -> KeyPair:
        pair = super().import_key_pair(key_name, public_key_material, tags)
        if pair.key_type == "ed25519":
            pair.key_fingerprint = _fingerprint(pair)
        return pair

    def forget_terminated(self) -> None:
        """Drop instances that ended an hour ago, and give their addresses free."""
        horizon = self.world.clock.now() - TERMINATED_SECONDS
        for instance_id in [key for key, ended in self.ended.items() if ended < horizon]:
            del self.ended[instance_id]
            self.notices.pop(instance_id, None)
            for reservation in list(self.reservations.values()):
                for instance in [i for i in reservation.instances if i.id == instance_id]:
                    reservation.instances.remove(instance)
                    for nic in instance.nics.values():
                        self.enis.pop(nic.id, None)
                        if nic.private_ip_address:
                            nic.subnet.del_subnet_ip(nic.private_ip_address)
                if not reservation.instances:
                    del self.reservations[reservation.id]

    def _in_state(self, instance_ids: list[str], verb: str, *states: str) -> list[tuple[Instance, InstanceState]]:
        """The instances with their present states; IncorrectInstanceState unless they are in one of ``states``."""
        instances: list[Instance] = self.get_multi_instances_by_id(instance_ids)
        for instance in instances:
            if instance.state not in states:
                raise EC2ClientError(
                    "IncorrectInstanceState",
                    f"The instance '{instance.id}' is not in a state from which it can be {verb}.",
                )
        return [(instance, InstanceState(instance.state, instance.state_code)) for instance in instances]

    # -- images ----------------------------------------------------------------------------------------------------

    def podman_image(self, ami_id: str) -> str:
        """What hosts of this AMI are started from. Raises EC2ClientError."""
        if ami_id in self.deleted_amis:
            raise UnvailableAMIIdError(ami_id)
        if ami_id not in self.amis:
            raise InvalidAMIIdError([ami_id])
        if ami_id not in self.podman_images:
            raise EC2ClientError(
                "InvalidParameterValue", f"The image '{ami_id}' has no disk here: build one with CreateImage."
            )
        return self.podman_images[ami_id]

    def create_image(
        self, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
    ) -> Ami:
        """Commit the instance's disk, then describe it. Called without the cloud's lock: it takes seconds.

        The commit is done before the call returns, because Packer terminates the instance right after.
        """
        world = self.world
        with world.lock:
            instance = self.get_instance(instance_id)
            self._in_state([instance_id], "imaged", "running", "stopped", "stopping", "pending")
            for other in self.amis.values():
                if other.name == name and other.owner_id == self.account_id:
                    raise EC2ClientError(
                        "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {other.id}"
                    )
        draft = f"{world.images}draft:{uuid.uuid4().hex}"
        try:
            world.fleet.commit(instance_id, draft)
            with world.lock:
                ami = super().create_image(
                    instance_id, name, description, [s for s in tag_specifications if s["ResourceType"] == "image"]
                )
                for specification in tag_specifications:
                    if specification["ResourceType"] == "snapshot":
                        ami.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
                _as_ebs(ami, instance.architecture)
                self.podman_images[ami.id] = f"{world.images}{ami.id}:latest"
            world.fleet.podman.tag(draft, self.podman_images[ami.id])
        except HostError as error:
            raise EC2ClientError("InternalError", f"The image could not be made: {error}") from None
        finally:
            world.fleet.podman.untag([draft])
        return ami

    def copy_image(
        self, source_image_id: str, source_region: str, name: str | None = None, description: str | None = None
    ) -> Ami:
        podman_image = self.podman_image(source_image_id)
        ami = super().copy_image(source_image_id, source_region, name, description)
        _as_ebs(ami, str(self.amis[source_image_id].architecture))
        self.podman_images[ami.id] = podman_image
        return ami

    def deregister_image(self, ami_id: str) -> None:
        if getattr(self.amis.get(ami_id), "deregistration_protection", "disabled") != "disabled":
            raise EC2ClientError(
                "OperationNotPermitted", f"The image '{ami_id}' cannot be deregistered: it is protected against that."
            )
        super().deregister_image(ami_id)
        self.podman_images.pop(ami_id, None)
        self.sweep_images()

    def register_bases(self, bases: Iterable[Base]) -> None:
        """Make base images AMIs under Debian's name and owner; those whose podman image is gone are so no more."""
        for ami_id, image in list(self.podman_images.items()):
            if self.amis[ami_id].owner_id == DEBIAN_OWNER and not self.world.fleet.podman.has_image(image):
                del self.podman_images[ami_id], self.amis[ami_id]
        for base in bases:
            ami_id = "ami-" + hashlib.sha256(f"{base.ami_name} {base.sha256}".encode()).hexdigest()[:17]
            if ami_id in self.amis:
                continue
            ami = Ami(
                self,
                ami_id,
                name=base.ami_name,
                description=f"{base.release} ({base.architecture}), built here",
                owner_id=DEBIAN_OWNER,
                public=True,
                creation_date=datetime.strptime(base.date, "%Y%m%d"),  # moto wants it naive
                image_location=f"{DEBIAN_OWNER}/{base.ami_name}",
            )
            _as_ebs(ami, {"amd64": "x86_64"}.get(base.architecture, base.architecture))
            self.amis[ami_id] = ami
            self.podman_images[ami_id] = base.tag

    def sweep_images(self) -> None:
        """Remove the disks of images that are deregistered; one that a host still uses goes with that host."""
        kept, podman = set(self.podman_images.values()), self.world.fleet.podman

        def sweep() -> None:
            podman.untag(tag for tag in podman.images(self.world.images) if tag not in kept and "/draft:" not in tag)

        self.world.fleet.background(sweep)


class InstanceObserver(Observer):
    """Tells EC2 what became of the hosts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def came_up(self, host: Host) -> None:
        self._set(host, "running", only={"pending"})

    def impaired(self, host: Host) -> None:
        self._set(host, "running", only={"pending"})

    def stopped(self, host: Host) -> None:
        self._set(host, "stopped", _BY_USER)

    def died(self, host: Host) -> None:
        instance = self._instance(host)
        if instance is not None and instance.instance_initiated_shutdown_behavior == "terminate":
            instance.terminate()
            _set_state(instance, "shutting-down", _BY_ITSELF)
            self._world.fleet.terminate(host.id)
        else:
            self._set(host, "stopped", _BY_ITSELF)

    def failed(self, host: Host, reason: str) -> None:
        self._set(host, "shutting-down", ("Server.InternalError", f"Server.InternalError: {reason}"))

    def gone(self, host: Host) -> None:
        instance = self._instance(host)
        if instance is not None:
            reason = instance.state_reason
            _set_state(instance, "terminated", (reason.code, reason.message) if reason.code else _BY_ITSELF)
            self._backend().ended[host.id] = self._world.clock.now()
        self._backend().sweep_images()

    def _backend(self) -> HostBackend:
        return backend_of(self._world.region)

    def _instance(self, host: Host) -> Instance | None:
        return self._backend().get_instance_by_id(host.id)

    def _set(self, host: Host, state: str, reason: tuple[str, str] = ("", ""), only: set[str] | None = None) -> None:
        instance = self._instance(host)
        if instance is not None and (only is None or instance.state in only):
            _set_state(instance, state, reason)


def install(world: World) -> HostBackend:
    """Put the fleet behind moto's EC2, for this whole process, and return the region's backend."""
    HostBackend.world = world
    ec2_backends.backend = HostBackend
    account = ec2_backends[ACCOUNT]
    account.backend = HostBackend
    if not isinstance(account[world.region], HostBackend):  # made before, by whoever looked first
        del account[world.region]
    world.fleet.observer = InstanceObserver(world)
    return backend_of(world.region)


def backend_of(region: str) -> HostBackend:
    """EC2 of a region, once ``install`` was called."""
    return cast(HostBackend, ec2_backends[ACCOUNT][region])


def _set_state(instance: Instance, state: str, reason: tuple[str, str] = ("", "")) -> None:
    instance._state = InstanceState(state, _STATES[state])
    instance.state_reason = StateReason(message=reason[1], code=reason[0])
    instance._reason = f"User initiated ({utcnow():%Y-%m-%d %H:%M:%S} GMT)" if reason == _BY_USER else ""


def _cpu_options(instance_type: str, template: dict[str, Any]) -> dict[str, int]:
    cores = INSTANCE_TYPES.get(instance_type, {}).get("VCpuInfo", {})
    usual = {
        "CoreCount": cores.get("DefaultCores") or cores.get("DefaultVCpus", 1),
        "ThreadsPerCore": cores.get("DefaultThreadsPerCore", 1),
    }
    return {**usual, **(template.get("CpuOptions") or {})}


def _describe_interface(interface: NetworkInterface, spec: dict[str, Any]) -> None:
    """What a launch says of a network interface, which moto overwrites with its own words for the first one."""
    if not spec.get("NetworkInterfaceId"):
        interface.description = spec.get("Description") or ""
        interface.delete_on_termination = spec.get("DeleteOnTermination") in (None, True)


def _fingerprint(pair: KeyPair) -> str:
    """Of a key pair that EC2 made: SHA-1 of an RSA private key; of ED25519 what OpenSSH shows, SHA-256 of the public one."""
    if pair.key_type == "ed25519":
        return base64.b64encode(hashlib.sha256(base64.b64decode(pair.material_public.split()[1])).digest()).decode()
    private = load_pem_private_key(pair.material, password=None)
    content = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return hashlib.sha1(content, usedforsecurity=False).digest().hex(":")


def _as_ebs(ami: Ami, architecture: str) -> None:
    """What every image of today is on AWS, and what Packer's amazon-ebs asks for."""
    ami.root_device_type, ami.root_device_name = "ebs", "/dev/xvda"
    ami.virtualization_type, ami.hypervisor, ami.architecture = "hvm", "xen", architecture
