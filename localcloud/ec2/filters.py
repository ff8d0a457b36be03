# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's filters: any of a filter's values, all of the filters, ``*`` and ``?`` as wildcards, ``\\`` before what is none.

Source: "Filter resources" in EC2's user guide, and the lists of filters of DescribeInstances and its like.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

T = TypeVar("T")
Values = Callable[[T, str], Iterable[Any] | None]
"""What a resource has for a filter; None if there is no such filter."""


def chosen(items: Iterable[T], wanted: Mapping[str, Iterable[str]], values: Values[T], operation: str) -> list[T]:
    """The items that pass all filters. Raises EC2ClientError for a filter that there is not."""
    found = list(items)
    for name, patterns in wanted.items():
        if not found and name not in _KNOWN:
            continue
        passed = []
        for item in found:
            has = values(item, name)
            if has is None:
                raise EC2ClientError("InvalidParameterValue", f"The filter '{name}' is invalid")
            if any(matches(pattern, text(value)) for value in has if value is not None for pattern in patterns):
                passed.append(item)
        found = passed
    return found


def matches(pattern: str, value: str) -> bool:
    return _expression(pattern).fullmatch(value) is not None


def text(value: Any) -> str:
    """A value as filters see it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def tags(has: Mapping[str, str], name: str) -> Iterable[str] | None:
    """The values of a filter by tags; None if it is another."""
    if name == "tag-key":
        return has.keys()
    if name == "tag-value":
        return has.values()
    if name.startswith("tag:"):
        return [has[name[4:]]] if name[4:] in has else []
    return None


@functools.lru_cache(maxsize=512)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|[*?]|[^\\*?]+|\\", pattern, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile(
        "".join(wild.get(p) or re.escape(p[1:] if len(p) > 1 and p[0] == "\\" else p) for p in parts), re.DOTALL
    )


def instance(item: Instance, name: str) -> Iterable[Any] | None:
    """What an instance has for a filter of DescribeInstances."""
    known = tags({tag["key"]: tag["value"] for tag in item.get_tags()}, name)
    if known is not None:
        return known
    if name.startswith("network-interface."):
        return _interfaces(item, name.removeprefix("network-interface."))
    simple = _INSTANCE.get(name)
    return None if simple is None else simple(item)


def _interfaces(item: Instance, name: str) -> Iterable[Any] | None:
    get = _INTERFACE.get(name)
    if get is None:
        return None
    return [value for nic in item.nics.values() for value in get(nic)]


def _profile(item: Instance) -> dict[str, Any]:
    return dict(item.iam_instance_profile or {})


def _time(at: Any) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def _metadata(attribute: str) -> Callable[[Instance], Iterable[Any]]:
    return lambda item: [getattr(item.metadata_options, attribute, None)]


def _groups(item: Instance) -> list[Any]:
    return [group for nic in item.nics.values() for group in nic.group_set] or list(item.security_groups)


_INSTANCE: dict[str, Callable[[Instance], Iterable[Any]]] = {
    "affinity": lambda _: [],
    "architecture": lambda i: [i.architecture],
    "availability-zone": lambda i: [i.availability_zone],
    "block-device-mapping.attach-time": lambda i: [_time(d.attach_time) for d in i.block_device_mapping.values() if d.attach_time],
    "block-device-mapping.delete-on-termination": lambda i: [d.delete_on_termination for d in i.block_device_mapping.values()],
    "block-device-mapping.device-name": lambda i: i.block_device_mapping.keys(),
    "block-device-mapping.status": lambda i: [d.status for d in i.block_device_mapping.values()],
    "block-device-mapping.volume-id": lambda i: [d.volume_id for d in i.block_device_mapping.values()],
    "capacity-reservation-id": lambda _: [],
    "client-token": lambda i: [i.client_token],
    "current-instance-boot-mode": lambda _: ["legacy-bios"],
    "dns-name": lambda i: [i.public_dns_name],
    "ebs-optimized": lambda i: [i.ebs_optimized],
    "enclave-options.enabled": lambda _: [False],
    "group-id": lambda i: [g.id for g in _groups(i)],
    "group-name": lambda i: [g.name for g in _groups(i)],
    "hibernation-options.configured": lambda i: [bool((i.hibernation_options or {}).get("Configured"))],
    "host-id": lambda _: [],
    "hypervisor": lambda i: [i.hypervisor],
    "iam-instance-profile.arn": lambda i: [_profile(i).get("Arn")],
    "iam-instance-profile.id": lambda i: [_profile(i).get("Id")],
    "image-id": lambda i: [i.image_id],
    "instance-id": lambda i: [i.id],
    "instance-lifecycle": lambda i: [i.lifecycle],
    "instance-state-code": lambda i: [i.state_code],
    "instance-state-name": lambda i: [i.state],
    "instance-type": lambda i: [i.instance_type],
    "instance.group-id": lambda i: [g.id for g in _groups(i)],
    "instance.group-name": lambda i: [g.name for g in _groups(i)],
    "ip-address": lambda i: [i.public_ip],
    "kernel-id": lambda i: [i.kernel],
    "key-name": lambda i: [i.key_name],
    "launch-index": lambda i: [i.ami_launch_index],
    "launch-time": lambda i: [_time(i.launch_time)],
    "maintenance-options.auto-recovery": lambda _: ["default"],
    "metadata-options.http-endpoint": _metadata("http_endpoint"),
    "metadata-options.http-protocol-ipv4": lambda _: ["enabled"],
    "metadata-options.http-protocol-ipv6": _metadata("http_protocol_ipv6"),
    "metadata-options.http-put-response-hop-limit": _metadata("http_put_response_hop_limit"),
    "metadata-options.http-tokens": _metadata("http_tokens"),
    "metadata-options.instance-metadata-tags": _metadata("instance_metadata_tags"),
    "metadata-options.state": _metadata("state"),
    "monitoring-state": lambda i: [i.monitoring_state],
    "outpost-arn": lambda _: [],
    "owner-id": lambda i: [i.owner_id],
    "placement-group-name": lambda _: [],
    "placement-partition-number": lambda _: [],
    "platform": lambda i: [i.platform or None],
    "platform-details": lambda _: ["Linux/UNIX"],
    "private-dns-name": lambda i: [i.private_dns_name],
    "private-dns-name-options.hostname-type": lambda _: ["ip-name"],
    "private-ip-address": lambda i: [i.private_ip],
    "product-code": lambda i: i.product_codes,
    "product-code.type": lambda _: [],
    "ramdisk-id": lambda i: [i.ramdisk],
    "reason": lambda i: [i._reason],
    "requester-id": lambda _: [],
    "reservation-id": lambda i: [
        r.id for r in i.ec2_backend.reservations.values() if any(one.id == i.id for one in r.instances)
    ],
    "root-device-name": lambda i: [i.root_device_name],
    "root-device-type": lambda i: [i.root_device_type],
    "source-dest-check": lambda i: [i.source_dest_check],
    "spot-instance-request-id": lambda _: [],
    "state-reason-code": lambda i: [i.state_reason.code or None],
    "state-reason-message": lambda i: [i.state_reason.message or None],
    "subnet-id": lambda i: [i.subnet_id],
    "tenancy": lambda _: ["default"],
    "usage-operation": lambda _: ["RunInstances"],
    "virtualization-type": lambda i: [i.virtualization_type],
    "vpc-id": lambda i: [i.vpc_id],
}  # fmt: skip
_INTERFACE: dict[str, Callable[[Any], Iterable[Any]]] = {
    "addresses.primary": lambda n: [a.get("Primary") for a in n.private_ip_addresses],
    "addresses.private-ip-address": lambda n: [a.get("PrivateIpAddress") for a in n.private_ip_addresses],
    "addresses.association.public-ip": lambda n: [n.public_ip],
    "association.public-ip": lambda n: [n.public_ip],
    "association.ip-owner-id": lambda n: [n.owner_id] if n.public_ip else [],
    "attachment.attachment-id": lambda n: [n.attachment_id],
    "attachment.delete-on-termination": lambda n: [n.delete_on_termination],
    "attachment.device-index": lambda n: [n.device_index],
    "attachment.instance-id": lambda n: [n.instance.id if n.instance else None],
    "attachment.instance-owner-id": lambda n: [n.owner_id],
    "attachment.status": lambda n: ["attached" if n.instance else "detached"],
    "availability-zone": lambda n: [n.subnet.availability_zone],
    "description": lambda n: [n.description],
    "group-id": lambda n: [g.id for g in n.group_set],
    "group-name": lambda n: [g.name for g in n.group_set],
    "ipv6-addresses.ipv6-address": lambda n: n.ipv6_addresses,
    "mac-address": lambda n: [n.mac_address],
    "network-interface-id": lambda n: [n.id],
    "owner-id": lambda n: [n.owner_id],
    "private-dns-name": lambda n: [n.private_dns_name],
    "private-ip-address": lambda n: [n.private_ip_address],
    "requester-managed": lambda _: [False],
    "source-dest-check": lambda n: [n.source_dest_check],
    "status": lambda n: ["in-use" if n.instance else "available"],
    "subnet-id": lambda n: [n.subnet.id],
    "tag-key": lambda n: [t["key"] for t in n.get_tags()],
    "vpc-id": lambda n: [n.subnet.vpc_id],
}
_KNOWN = {*_INSTANCE, *(f"network-interface.{name}" for name in _INTERFACE)}


def _of_subnet(self: Subnet, name: str, method_name: str | None = None) -> Any:
    """What moto's subnet has for a filter, and what it leaves out."""
    blocks = list(self.ipv6_cidr_block_associations.values())
    match name:
        case "ipv6-cidr-block-association.ipv6-cidr-block":
            return [block["ipv6CidrBlock"] for block in blocks]
        case "ipv6-cidr-block-association.association-id":
            return list(self.ipv6_cidr_block_associations)
        case "ipv6-cidr-block-association.state":
            return ["associated" for _ in blocks]
        case "available-ip-address-count":
            return str(self.available_ip_address_count)
        case "map-public-ip-on-launch":
            return self.map_public_ip_on_launch
        case "ipv6-native":
            return self.ipv6_native
        case "owner-id":
            return self.owner_id
        case "availability-zone-id" | "availabilityZoneId":
            return self._availability_zone.zone_id
        case "subnet-arn":
            return f"arn:aws:ec2:{self.ec2_backend.region_name}:{self.owner_id}:subnet/{self.id}"
    return _MOTO_SUBNET(self, name, method_name)


_MOTO_SUBNET = Subnet.get_filter_value
setattr(Subnet, "get_filter_value", _of_subnet)  # noqa: B010 - a method of moto's, replaced
