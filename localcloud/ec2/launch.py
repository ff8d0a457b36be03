# SPDX-License-Identifier: GPL-3.0-or-later
"""What RunInstances refuses of a launch before anything is made; Auto Scaling asks the same of a group's template."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.iam.models import iam_backends
from moto.ssm.models import ssm_backends

ACCOUNT = "123456789012"
USER_DATA_BYTES = 16384
_BY_PARAMETER = "resolve:ssm:"


def check(backend: Any, wanted: Mapping[str, Any]) -> None:
    """Raise EC2ClientError for what cannot be launched.

    :param backend: EC2 of the region.
    :param wanted: as LaunchTemplateData; what is left out is not looked at, but for the image.
    """
    image_id = wanted.get("ImageId")
    if not image_id:
        raise EC2ClientError("MissingParameter", "The request must contain the parameter ImageId")
    image = resolved_image(backend, image_id)
    backend.podman_image(image)
    check_type(wanted.get("InstanceType"), backend.amis[image].architecture)
    key = wanted.get("KeyName")
    if key and key not in backend.key_pairs:
        raise EC2ClientError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    interfaces = wanted.get("NetworkInterfaces") or []
    for group in [*(wanted.get("SecurityGroupIds") or []), *(g for nic in interfaces for g in nic.get("Groups") or [])]:
        if isinstance(group, str) and backend.get_security_group_from_id(group) is None:
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
    for name in wanted.get("SecurityGroups") or []:
        if isinstance(name, str) and backend.get_security_group_by_name_or_id(name) is None:
            raise EC2ClientError("InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC")
    data = wanted.get("UserData")
    if data and len(base64.b64decode(str(data))) > USER_DATA_BYTES:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")
    profile(wanted.get("IamInstanceProfile") or {})


def check_type(name: str | None, architecture: str) -> None:
    """Raise EC2ClientError for an instance type that there is not, or that does not run images of this architecture."""
    if not name:
        return
    known = INSTANCE_TYPES.get(name)
    if known is None:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
    supported = known.get("ProcessorInfo", {}).get("SupportedArchitectures", [architecture])
    if architecture not in supported:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The architecture '{','.join(supported)}' of the specified instance type does not match the architecture "
            f"'{architecture}' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and "
            "try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the "
            "instance type or AMI.",
        )


def check_shown_tags(keys: Iterable[str]) -> None:
    """Raise EC2ClientError for a tag that an instance cannot show in its metadata."""
    for key in keys:
        if not re.fullmatch(r"[0-9a-zA-Z\-_+=,.@:]{1,255}", key) or key in (".", "..", "_index"):
            raise EC2ClientError(
                "InvalidParameterValue",
                f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a "
                "reserved name ('.', '..', '_index')",
            )


def resolved_image(backend: Any, image_id: str) -> str:
    """The image that ``resolve:ssm:NAME`` names, with ``:VERSION`` or ``:LABEL`` after it; any other id is itself."""
    if not image_id.startswith(_BY_PARAMETER):
        return image_id
    name = image_id.removeprefix(_BY_PARAMETER)
    found = ssm_backends[ACCOUNT][backend.region_name].get_parameter(name)
    if found is None:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The ssm parameter '{name.partition(':')[0]}' that is provided as the image ID does not exist.",
        )
    value = str(found.value)
    if not value.startswith("ami-"):
        raise InvalidAMIIdError([value])
    return value


def profile(wanted: Mapping[str, str]) -> str:
    """The ARN of the instance profile that is wanted; empty if none is."""
    for key, value in wanted.items():
        for known in iam_backends[ACCOUNT]["aws"].instance_profiles.values():
            if value == {"Arn": known.arn, "Name": known.name}.get(key):
                return str(known.arn)
        word = key.lower()
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ({value}) for parameter iamInstanceProfile.{word} is invalid. Invalid IAM Instance Profile {word}",
        )
    return ""
