# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance is told about itself: session tokens (IMDSv2), the credentials of its role, and the metadata as a tree.

Pure: the key and the clock are passed in, and nothing is kept. Tokens and credentials carry what they are good for and a mark
that only this process can make, so those of before a restart are refused, and whoever holds them asks again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from localcloud.clock import Clock

TOKEN_SECONDS = 21600
"""The longest life of a session token, AWS's own."""
_HOUR = 3600
_KEYS_HOURS = 6

Tree = Mapping[str, "Tree | str"]


class ExpiredError(Exception):
    """The credentials were good once."""


@dataclass(frozen=True)
class Keys:
    """Credentials of a role, for one instance."""

    instance_id: str
    role: str
    access_key: str
    secret_key: str
    token: str
    expires: float  # unix seconds


class Issuer:
    """Gives tokens and credentials, and knows its own again.

    :param key: the secret of the marks; a few dozen random bytes, one a process.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def session(self, instance_id: str, seconds: int) -> str:
        """A session token for the metadata of one instance."""
        return self._signed("session", {"instance": instance_id, "until": self._clock.now() + seconds})

    def in_session(self, token: str, instance_id: str) -> bool:
        """Whether this is a session token of that instance, and not over."""
        said = self._read("session", token)
        return said is not None and said["instance"] == instance_id and float(said["until"]) > self._clock.now()

    def keys(self, instance_id: str, role: str) -> Keys:
        """Credentials; the same for an hour, valid for at least five more."""
        until = (self._clock.now() // _HOUR + _KEYS_HOURS) * _HOUR
        return self._keys(self._signed("keys", {"instance": instance_id, "role": role, "until": until}))

    def known(self, token: str) -> Keys | None:
        """The credentials that this token belongs to; None if they are not ours. Raises ExpiredError."""
        if self._read("keys", token) is None:
            return None
        keys = self._keys(token)
        if keys.expires <= self._clock.now():
            raise ExpiredError
        return keys

    def _keys(self, token: str) -> Keys:
        said = self._read("keys", token)
        if said is None:
            raise ValueError("the token is not ours")
        letters = base64.b32encode(self._mark("access", token.encode())).decode()
        secret = base64.b64encode(self._mark("secret", token.encode())).decode()
        return Keys(
            instance_id=said["instance"], role=said["role"], access_key=f"ASIA{letters[:16]}", secret_key=secret[:40],
            token=token, expires=float(said["until"]),
        )  # fmt: skip

    def _mark(self, purpose: str, content: bytes) -> bytes:
        return hmac.new(self._key, purpose.encode() + b"\0" + content, hashlib.sha256).digest()

    def _signed(self, purpose: str, said: dict[str, str | float]) -> str:
        content = json.dumps(said, sort_keys=True).encode()
        return base64.urlsafe_b64encode(self._mark(purpose, content) + content).decode()

    def _read(self, purpose: str, token: str) -> dict[str, str] | None:
        try:
            raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        mark, content = raw[:32], raw[32:]
        if not hmac.compare_digest(mark, self._mark(purpose, content)):
            return None
        said: dict[str, str] = json.loads(content)
        return said


@dataclass(frozen=True)
class Interface:
    """A network interface."""

    mac: str
    id: str
    device: int
    subnet: str
    subnet_block: str
    vpc: str
    vpc_block: str
    addresses: tuple[str, ...]
    public_addresses: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()  # ids and names of security groups


@dataclass(frozen=True)
class Notice:
    """What EC2 says of a Spot instance; unix seconds."""

    action: str = ""  # terminate or stop; empty as long as it is not taken
    at: float = 0.0
    recommended: float = 0.0  # when leaving it was recommended; 0: it was not


@dataclass(frozen=True)
class About:
    """What the metadata says of one instance."""

    instance_id: str
    image_id: str
    instance_type: str
    architecture: str
    address: str
    hostname: str
    zone: str
    region: str
    account: str
    profile_arn: str = ""  # of its instance profile; empty without
    profile_id: str = ""
    keys: Keys | None = None  # of the profile's role
    user_data: str | None = None
    zone_id: str = ""
    reservation: str = ""
    launch_index: int = 0
    launched: float = 0.0  # unix seconds
    spot: bool = False
    notice: Notice = Notice()
    target_state: str = ""  # of its Auto Scaling group; empty without one
    public_keys: tuple[tuple[str, str], ...] = ()  # names and OpenSSH lines
    interfaces: tuple[Interface, ...] = ()
    devices: tuple[tuple[str, str], ...] = ()  # such as ("ebs1", "sdf")
    tags: Mapping[str, str] | None = None  # None: the instance does not show them here


VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", "2011-01-01",
    "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28",
    "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
)  # fmt: skip
"""The first parts of paths; each shows the same here."""


def tree(about: About, now: float) -> Tree:
    """The metadata below ``/latest``; what lists its entries is a mapping."""
    groups = dict.fromkeys(name for interface in about.interfaces for _, name in interface.groups)
    told: dict[str, Tree | str] = {
        "ami-id": about.image_id,
        "ami-launch-index": str(about.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": dict(about.devices),
        "events": _events(about),
        "hostname": about.hostname,
        "instance-action": "none",
        "instance-id": about.instance_id,
        "instance-life-cycle": "spot" if about.spot else "on-demand",
        "instance-type": about.instance_type,
        "local-hostname": about.hostname,
        "local-ipv4": about.address,
        "placement": {"availability-zone": about.zone, "availability-zone-id": about.zone_id, "region": about.region},
        "profile": "default-hvm",
        "reservation-id": about.reservation,
        "security-groups": "\n".join(groups),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
        "system": "nitro",
    }
    if about.interfaces:
        first = about.interfaces[0]
        told["mac"] = first.mac
        told["network"] = {"interfaces": {"macs": {one.mac: _interface(one, about) for one in about.interfaces}}}
        if first.public_addresses:
            told["public-ipv4"] = first.public_addresses[0]
    if about.target_state:
        told["autoscaling"] = {"target-lifecycle-state": about.target_state}
    if about.public_keys:
        told["public-keys"] = {
            f"{number}={name}": {"openssh-key": line} for number, (name, line) in enumerate(about.public_keys)
        }
    if about.notice.action:
        told["spot"] = _spot(about.notice)
    if about.tags is not None:
        told["tags"] = {"instance": about.tags}
    if about.profile_arn:
        told["iam"] = _iam(about, now)
    latest: dict[str, Tree | str] = {
        "dynamic": {"instance-identity": {"document": _document(about)}},
        "meta-data": told,
    }
    if about.user_data is not None:
        latest["user-data"] = about.user_data
    return latest


def find(latest: Tree, path: str) -> str | None:
    """What is at a path below ``/latest``: a text, or the names of what is there, directories with a slash."""
    at: Tree | str = latest
    for part in filter(None, path.split("/")):
        if isinstance(at, str):
            return None
        name = next((one for one in at if "=" in one and one.partition("=")[0] == part), part)  # public-keys/0
        if name not in at:
            return None
        at = at[name]
    if isinstance(at, str):
        return at
    return "\n".join(
        name if isinstance(inside, str) or "=" in name else f"{name}/" for name, inside in sorted(at.items())
    )


def _iam(about: About, now: float) -> Tree:
    iam: dict[str, Tree | str] = {
        "info": _json(
            Code="Success",
            LastUpdated=_at(now),
            InstanceProfileArn=about.profile_arn,
            InstanceProfileId=about.profile_id,
        )
    }
    if about.keys is not None:
        iam["security-credentials"] = {about.keys.role: _credentials(about.keys)}
    return iam


def _events(about: About) -> Tree:
    events: dict[str, Tree | str] = {"maintenance": {"history": "[]", "scheduled": "[]"}}
    if about.notice.recommended:
        events["recommendations"] = {"rebalance": json.dumps({"noticeTime": _at(about.notice.recommended)})}
    return events


def _spot(notice: Notice) -> Tree:
    told: dict[str, Tree | str] = {"instance-action": json.dumps({"action": notice.action, "time": _at(notice.at)})}
    if notice.action == "terminate":
        told["termination-time"] = _at(notice.at)
    return told


def _interface(one: Interface, about: About) -> Tree:
    told: dict[str, Tree | str] = {
        "device-number": str(one.device),
        "interface-id": one.id,
        "local-hostname": about.hostname,
        "local-ipv4s": "\n".join(one.addresses),
        "mac": one.mac,
        "owner-id": about.account,
        "security-group-ids": "\n".join(key for key, _ in one.groups),
        "security-groups": "\n".join(name for _, name in one.groups),
        "subnet-id": one.subnet,
        "subnet-ipv4-cidr-block": one.subnet_block,
        "vpc-id": one.vpc,
        "vpc-ipv4-cidr-block": one.vpc_block,
        "vpc-ipv4-cidr-blocks": one.vpc_block,
    }
    if one.public_addresses:
        told["public-ipv4s"] = "\n".join(one.public_addresses)
    return told


def _document(about: About) -> str:
    return _json(
        accountId=about.account,
        architecture=about.architecture,
        availabilityZone=about.zone,
        billingProducts=None,
        devpayProductCodes=None,
        marketplaceProductCodes=None,
        imageId=about.image_id,
        instanceId=about.instance_id,
        instanceType=about.instance_type,
        kernelId=None,
        pendingTime=_at(about.launched),
        privateIp=about.address,
        ramdiskId=None,
        region=about.region,
        version="2017-09-30",
    )


def _credentials(keys: Keys) -> str:
    return _json(
        Code="Success",
        LastUpdated=_at(keys.expires - _KEYS_HOURS * _HOUR),
        Type="AWS-HMAC",
        AccessKeyId=keys.access_key,
        SecretAccessKey=keys.secret_key,
        Token=keys.token,
        Expiration=_at(keys.expires),
    )


def _json(**content: str | None) -> str:
    return json.dumps(content, indent=2)


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
