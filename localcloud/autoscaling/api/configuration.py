# SPDX-License-Identifier: GPL-3.0-or-later
"""The launch template or mixed instances policy of a request."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling import words
from localcloud.autoscaling.api.base import Api, Params
from localcloud.autoscaling.model import template_of
from localcloud.autoscaling.state import TemplateRef
from localcloud.errors import ApiError


class Configuration(Api):
    def _configuration(self, params: Params) -> tuple[TemplateRef | None, dict[str, Any] | None]:
        """The launch template or mixed instances policy of a request, checked and with both id and name filled in."""
        if params.get("LaunchConfigurationName"):
            raise words.invalid("Launch configuration name not found - no such launch configuration.")
        spec, policy = params.get("LaunchTemplate"), params.get("MixedInstancesPolicy")
        if spec and policy:
            raise words.invalid(
                "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
                "MixedInstancesPolicy parameter."
            )
        if spec:
            found = self._specification(spec)
            self._launchable(found, {})
            return template_of(found), None
        if not policy:
            return None, None
        launch = policy.get("LaunchTemplate") or {}
        if not launch.get("LaunchTemplateSpecification"):
            raise words.invalid(
                "Valid requests must contain a LaunchTemplateSpecification in the MixedInstancesPolicy."
            )
        filled: dict[str, Any] = {
            "LaunchTemplateSpecification": self._specification(launch["LaunchTemplateSpecification"])
        }
        overrides = []
        for override in (dict(given) for given in launch.get("Overrides") or []):
            if override.get("LaunchTemplateSpecification"):
                override["LaunchTemplateSpecification"] = self._specification(override["LaunchTemplateSpecification"])
            overrides.append(override)
        for override in overrides or [{}]:
            self._launchable(
                override.get("LaunchTemplateSpecification") or filled["LaunchTemplateSpecification"], override
            )
        if len({"WeightedCapacity" in override for override in overrides}) > 1:
            raise words.invalid("All instance type overrides must have a weighted capacity, or none of them.")
        if overrides:
            filled["Overrides"] = overrides
        distribution = {
            "OnDemandAllocationStrategy": "prioritized",
            "OnDemandBaseCapacity": 0,
            "OnDemandPercentageAboveBaseCapacity": 100,
            "SpotAllocationStrategy": "lowest-price",
            "SpotInstancePools": 2,
        } | (policy.get("InstancesDistribution") or {})
        return None, {"LaunchTemplate": filled, "InstancesDistribution": distribution}

    def _specification(self, spec: dict[str, Any]) -> dict[str, str]:
        if bool(spec.get("LaunchTemplateId")) == bool(spec.get("LaunchTemplateName")):
            raise words.invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
        version = str(spec.get("Version") or "$Default")
        try:
            template_id, name, _ = self.model.templates.resolve(
                spec.get("LaunchTemplateId") or spec["LaunchTemplateName"], version
            )
        except ApiError as refusal:
            raise words.bad_template(refusal.message) from refusal
        return {"LaunchTemplateId": template_id, "LaunchTemplateName": name, "Version": version}

    def _launchable(self, spec: dict[str, str], override: dict[str, Any]) -> None:
        """As AWS: what RunInstances would refuse is refused when the group is made or changed."""
        try:
            self.model.templates.check(
                spec["LaunchTemplateId"], spec["Version"], override.get("InstanceType"), override.get("ImageId")
            )
        except ApiError as refusal:
            raise words.bad_template(refusal.message) from refusal
