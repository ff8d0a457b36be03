# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto's EC2 does not answer to, or not as AWS: the life of an image."""

from __future__ import annotations

import base64
from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models.amis import Ami

from localcloud.ec2 import launch
from localcloud.ec2.templates import TemplateResponse

_CONSOLE_BYTES = 65536


class HostResponse(TemplateResponse):
    """EC2 as callers over HTTP see it."""

    def enable_image_deprecation(self) -> ActionResult:
        at: Any = self._get_param("DeprecateAt")
        if not at:
            raise EC2ClientError("MissingParameter", "The request must contain the parameter DeprecateAt")
        text = at if isinstance(at, str) else at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self._image().deprecation_time = text
        return ActionResult({"Return": True})

    def disable_image_deprecation(self) -> ActionResult:
        self._image().deprecation_time = None
        return ActionResult({"Return": True})

    def enable_image_deregistration_protection(self) -> ActionResult:
        cooldown = str(self._get_param("WithCooldown")).lower() == "true"
        word = "enabled-with-cooldown" if cooldown else "enabled-without-cooldown"
        self._image().deregistration_protection = word
        return ActionResult({"Return": word})

    def disable_image_deregistration_protection(self) -> ActionResult:
        self._image().deregistration_protection = "disabled"
        return ActionResult({"Return": "disabled"})

    def run_instances(self) -> ActionResult:
        if self._get_param("LicenseSpecifications"):
            raise EC2ClientError(  # there is no License Manager, so nobody shares one
                "InvalidParameterValue", "An instance is associated with one or more unshared license configurations."
            )
        answer = super().run_instances()
        if options := self._get_param("CpuOptions"):
            for instance in answer.result.instances:  # type: ignore[attr-defined] # a reservation
                instance.cpu_options = {**instance.cpu_options, **options}
        return answer

    def describe_instance_attribute(self) -> ActionResult:
        """As moto's, but for what it does not know or calls by other names than AWS."""
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        devices = [
            {
                "DeviceName": name,
                "Ebs": {
                    "AttachTime": device.attach_time,
                    "DeleteOnTermination": device.delete_on_termination,
                    "Status": device.status,
                    "VolumeId": device.volume_id,
                },
            }
            for name, device in instance.block_device_mapping.items()
        ]
        own: dict[str, Any] = {
            "blockDeviceMapping": {"BlockDeviceMappings": devices},
            "enclaveOptions": {"EnclaveOptions": {"Enabled": False}},
            "kernel": {"KernelId": {"Value": instance.kernel}},
            "productCodes": {"ProductCodes": []},
            "ramdisk": {"RamdiskId": {"Value": instance.ramdisk}},
        }
        found = own.get(self._get_param("Attribute"))
        return (
            super().describe_instance_attribute()
            if found is None
            else ActionResult({"InstanceId": instance.id, **found})
        )

    def get_console_output(self) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        said = self.ec2_backend.console_output(instance.id)[-_CONSOLE_BYTES:]
        output = Base64EncodedString.from_encoded_bytes(base64.b64encode(said)) if said else None
        return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": output})

    def modify_instance_attribute(self) -> Any:
        """As moto's, but for what AWS changes of stopped instances only."""
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        attribute = self._get_param("Attribute")
        for name in ("InstanceType", "Kernel", "Ramdisk", "UserData", "EbsOptimized"):
            value = self._get_param(f"{name}.Value")
            if attribute == name[0].lower() + name[1:]:
                value = self._get_param("Value")
            if value is None:
                continue
            if instance.state != "stopped":
                raise EC2ClientError(
                    "IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state."
                )
            if name == "InstanceType":
                launch.check_type(value, instance.architecture)
        return super().modify_instance_attribute()

    def _image(self) -> Any:
        """The image; any type, since moto's has no such fields."""
        image_id = self._get_param("ImageId")
        image: Ami | None = self.ec2_backend.amis.get(image_id)
        if image is None or image.owner_id != self.ec2_backend.account_id:
            raise InvalidAMIIdError([image_id])
        return image
