# SPDX-License-Identifier: GPL-3.0-or-later
"""The access keys that a cloud's own IAM and STS gave out: of users, and of roles that were assumed."""

from __future__ import annotations

from datetime import UTC

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from localcloud.ec2.launch import ACCOUNT
from localcloud.signature import Fault, Signature, SignatureError


def secret(signed: Signature, now: float) -> str:
    """The secret half of the key that the request names. Raises SignatureError.

    :param now: unix seconds.
    """
    if signed.token:
        role = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(signed.access_key)
        if role is not None and role.session_token == signed.token:
            if role.expiration.replace(tzinfo=UTC).timestamp() <= now:
                raise SignatureError(Fault.EXPIRED_TOKEN, "The security token included in the request is expired")
            return str(role.secret_access_key)
    else:
        for user in iam_backends[ACCOUNT]["aws"].users.values():
            for key in user.access_keys:
                if key.access_key_id == signed.access_key and key.status == "Active":
                    return str(key.secret_access_key)
    raise SignatureError(Fault.UNKNOWN_KEY, "The security token included in the request is invalid.")
