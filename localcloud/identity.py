# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances as their own metadata describes them, out of moto's EC2 and IAM."""

from __future__ import annotations

import base64
from datetime import UTC
from typing import Any

from moto.ec2.models.instances import Instance
from moto.iam.models import iam_backends

from localcloud.ec2.backend import HostBackend
from localcloud.ec2.launch import ACCOUNT
from localcloud.metadata import About, Interface, Keys, Notice


def at(backend: HostBackend, address: str) -> Instance | None:
    """The instance that has this private address and is not at its end."""
    for reservation in backend.reservations.values():
        for instance in reservation.instances:
            if str(instance.private_ip) == address and instance.state not in {"shutting-down", "terminated"}:
                return instance
    return None


def role(instance: Instance) -> str:
    """The name of the role in its instance profile; empty if it has none."""
    profile = _profile(instance)
    return str(profile.roles[0].name) if profile is not None and profile.roles else ""


def about(backend: HostBackend, instance: Instance, keys: Keys | None, notice: Notice, target_state: str) -> About:
    """Everything that its metadata says.

    :param keys: the credentials of its role.
    :param target_state: of its Auto Scaling group; empty without one.
    """
    profile = _profile(instance)
    shows_tags = instance.metadata_options.instance_metadata_tags == "enabled"
    pair = backend.key_pairs.get(instance.key_name or "")
    zone = str(instance.availability_zone)
    zones = {found.name: found.zone_id for found in backend.describe_availability_zones()}
    reservation = next(r for r in backend.reservations.values() if any(i.id == instance.id for i in r.instances))
    return About(
        instance_id=instance.id,
        image_id=str(instance.image_id),
        instance_type=str(instance.instance_type),
        architecture=str(instance.architecture),
        address=str(instance.private_ip),
        hostname=str(instance.private_dns_name),
        zone=zone,
        zone_id=str(zones.get(zone, "")),
        region=backend.region_name,
        account=ACCOUNT,
        profile_arn="" if profile is None else str(profile.arn),
        profile_id="" if profile is None else str(profile.id),
        keys=keys,
        user_data=_user_data(instance),
        reservation=str(reservation.id),
        launch_index=int(instance.ami_launch_index),
        launched=instance.launch_time.replace(tzinfo=UTC).timestamp(),
        spot=instance.lifecycle == "spot",
        notice=notice,
        target_state=target_state,
        public_keys=((str(instance.key_name), pair.material_public.decode().strip()),) if pair else (),
        interfaces=tuple(_interface(backend, nic) for nic in instance.nics.values()),
        devices=_devices(instance),
        tags={tag["key"]: tag["value"] for tag in instance.get_tags()} if shows_tags else None,
    )


def _interface(backend: HostBackend, nic: Any) -> Interface:
    return Interface(
        mac=str(nic.mac_address),
        id=str(nic.id),
        device=int(nic.device_index or 0),
        subnet=str(nic.subnet.id),
        subnet_block=str(nic.subnet.cidr_block),
        vpc=str(nic.subnet.vpc_id),
        vpc_block=str(backend.get_vpc(nic.subnet.vpc_id).cidr_block),
        addresses=tuple(str(one["PrivateIpAddress"]) for one in nic.private_ip_addresses),
        public_addresses=(str(nic.public_ip),) if nic.public_ip else (),
        groups=tuple((str(group.id), str(group.name)) for group in nic.group_set),
    )


def _devices(instance: Instance) -> tuple[tuple[str, str], ...]:
    """Names as the metadata has them: ami and root are the root device, ebs1 and so on the others."""
    rest = [name for name in instance.block_device_mapping if name != instance.root_device_name]
    root = str(instance.root_device_name)
    return (
        ("ami", root),
        ("root", root),
        *((f"ebs{number}", name.removeprefix("/dev/")) for number, name in enumerate(rest, 1)),
    )


def _user_data(instance: Instance) -> str | None:
    """As text; bytes that are none survive the way into an answer."""
    given = instance.user_data
    return base64.b64decode(str(given)).decode("utf-8", "surrogateescape") if given else None


def _profile(instance: Instance) -> Any:
    """The instance's profile in IAM; None if it has none, or it was deleted."""
    told = instance.iam_instance_profile
    if not told:
        return None
    profiles = iam_backends[ACCOUNT]["aws"].instance_profiles.values()
    return next((profile for profile in profiles if profile.arn == told["Arn"]), None)
