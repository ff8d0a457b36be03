# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto's EC2 does not answer to, or not as AWS: the life of an image, and inherited launch templates."""

from __future__ import annotations

import copy
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models.amis import Ami
from moto.ec2.responses import EC2Response


class HostResponse(EC2Response):
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

    def create_launch_template_version(self) -> Any:
        """A new version takes over from SourceVersion what it does not say itself, property by property."""
        source = self._get_param("SourceVersion")
        if source:
            name, key = self._get_param("LaunchTemplateName"), self._get_param("LaunchTemplateId")
            backend = self.ec2_backend
            template = backend.get_launch_template_by_name(name) if name else backend.get_launch_template(key)
            inherited = copy.deepcopy(template.get_version(source).data)
            self.params["LaunchTemplateData"] = {**inherited, **(self._get_param("LaunchTemplateData") or {})}
        return super().create_launch_template_version()

    def _image(self) -> Any:
        """The image; any type, since moto's has no such fields."""
        image_id = self._get_param("ImageId")
        image: Ami | None = self.ec2_backend.amis.get(image_id)
        if image is None or image.owner_id != self.ec2_backend.account_id:
            raise InvalidAMIIdError([image_id])
        return image
