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


def tree(about: About, now: float) -> Tree:
    """The metadata below ``/latest``; what lists its entries is a mapping."""
    told: dict[str, Tree | str] = {
        "ami-id": about.image_id,
        "hostname": about.hostname,
        "instance-id": about.instance_id,
        "instance-type": about.instance_type,
        "local-hostname": about.hostname,
        "local-ipv4": about.address,
        "placement": {"availability-zone": about.zone, "region": about.region},
        "services": {"domain": "amazonaws.com", "partition": "aws"},
    }
    if about.profile_arn:
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
        told["iam"] = iam
    document = _json(
        accountId=about.account,
        architecture=about.architecture,
        availabilityZone=about.zone,
        imageId=about.image_id,
        instanceId=about.instance_id,
        instanceType=about.instance_type,
        privateIp=about.address,
        region=about.region,
        version="2017-09-30",
    )
    latest: dict[str, Tree | str] = {"dynamic": {"instance-identity": {"document": document}}, "meta-data": told}
    if about.user_data is not None:
        latest["user-data"] = about.user_data
    return latest


def find(latest: Tree, path: str) -> str | None:
    """What is at a path below ``/latest``: a text, or the names of what is there, directories with a slash."""
    at: Tree | str = latest
    for part in filter(None, path.split("/")):
        if isinstance(at, str) or part not in at:
            return None
        at = at[part]
    if isinstance(at, str):
        return at
    return "\n".join(name if isinstance(inside, str) else f"{name}/" for name, inside in sorted(at.items()))


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


def _json(**content: str) -> str:
    return json.dumps(content, indent=2)


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
