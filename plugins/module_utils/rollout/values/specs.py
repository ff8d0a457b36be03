# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch templates in the shapes that AWS's API has for them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.rollout.values.group import Template


def parse_template(spec: Mapping[str, Any] | None) -> Template | None:
    """A LaunchTemplateSpecification as a value; None for none. AWS's default version is $Default."""
    if not spec:
        return None
    return Template(
        spec.get("LaunchTemplateId") or "",
        spec.get("LaunchTemplateName") or "",
        str(spec.get("Version") or "$Default"),
    )


def template_spec(template: Template) -> dict[str, str]:
    """A LaunchTemplateSpecification; AWS takes the id or the name, not both."""
    key = {"LaunchTemplateId": template.id} if template.id else {"LaunchTemplateName": template.name}
    return {**key, "Version": template.version}


def with_template(
    policy: Mapping[str, Any], template: Template, versions: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A mixed instances policy as it was described, with another version, and others for overrides by instance type."""
    launch = dict(policy["LaunchTemplate"])
    launch["LaunchTemplateSpecification"] = template_spec(template)
    overrides = []
    for item in launch.get("Overrides") or ():
        own = dict(item)
        if spec := parse_template(own.get("LaunchTemplateSpecification")):
            version = (versions or {}).get(own.get("InstanceType") or "", spec.version)
            own["LaunchTemplateSpecification"] = template_spec(replace(spec, version=version))
        overrides.append(own)
    if overrides:
        launch["Overrides"] = overrides
    return {**policy, "LaunchTemplate": launch}
