# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto's EC2 does not answer to, or not as AWS: the life of an image."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models.amis import Ami

from localcloud.ec2.templates import TemplateResponse


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

    def _image(self) -> Any:
        """The image; any type, since moto's has no such fields."""
        image_id = self._get_param("ImageId")
        image: Ami | None = self.ec2_backend.amis.get(image_id)
        if image is None or image.owner_id != self.ec2_backend.account_id:
            raise InvalidAMIIdError([image_id])
        return image
