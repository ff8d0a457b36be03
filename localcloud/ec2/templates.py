# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch templates as AWS keeps them: versions with gaps, described in pages from the newest on, with tags of their own."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidLaunchTemplateVersionNotFound, MissingParameterError
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.responses import EC2Response
from moto.ec2.utils import parse_user_data

from localcloud import paging
from localcloud.ec2 import filters

_MOST = 200
_DEFAULT, _LATEST = "$Default", "$Latest"


class Template(LaunchTemplate):
    """A launch template. Numbers of versions that were deleted are not given again."""

    numbered = 0  # the highest number so far

    def create_version(self, data: dict[str, Any], description: str) -> LaunchTemplateVersion:
        self.numbered += 1
        version = LaunchTemplateVersion(self, self.numbered, data, description)
        self.versions.append(version)
        return version

    def get_version(self, num: Any) -> LaunchTemplateVersion:
        """A version by its number, ``$Latest`` or ``$Default``. Raises EC2ClientError."""
        word = str(num)
        if word == _LATEST:
            return self.versions[-1]
        if word == _DEFAULT:
            return self.default_version()
        if not word.isdecimal():
            raise EC2ClientError(
                "InvalidLaunchTemplateId.VersionNotFound" if word.startswith("-") else "InvalidParameterValue",
                "Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed.",
            )
        found = next((version for version in self.versions if version.number == int(word)), None)
        if found is None:
            raise InvalidLaunchTemplateVersionNotFound(template_id=self.id, version=word)
        return found

    def default_version(self) -> LaunchTemplateVersion:
        return next(version for version in self.versions if version.number == self.default_version_number)


class TemplateResponse(EC2Response):
    """The API of launch templates."""

    def create_launch_template(self) -> ActionResult:
        data = _parsed(self._get_param("LaunchTemplateData", {}))
        _refuse_nothing(data)
        description = self._get_param("VersionDescription")
        self.error_on_dryrun()
        template = self.ec2_backend.create_launch_template(
            self._get_param("LaunchTemplateName"), description, data, self._parse_tag_specification("launch-template")
        )
        return ActionResult({"LaunchTemplate": self._described(template)})

    def create_launch_template_version(self) -> ActionResult:
        """A new version takes over from SourceVersion what it does not say itself, property by property."""
        template, source = self._template(), self._get_param("SourceVersion")
        data = _parsed(self._get_param("LaunchTemplateData", {}))
        if source:
            data = {**copy.deepcopy(template.get_version(source).data), **data}
        _refuse_nothing(data)
        self.error_on_dryrun()
        version = template.create_version(data, self._get_param("VersionDescription"))
        return ActionResult({"LaunchTemplateVersion": self._version(version)})

    def delete_launch_template(self) -> ActionResult:
        template = self._template()
        self.error_on_dryrun()
        self.ec2_backend.delete_launch_template(template.name, None)
        return ActionResult({"LaunchTemplate": self._described(template)})

    def delete_launch_template_versions(self) -> ActionResult:
        template = self._template()
        self.error_on_dryrun()
        deleted, kept = [], []
        for word in self._get_param("Versions", []):
            about: dict[str, Any] = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}
            try:
                version = template.get_version(word)
            except EC2ClientError as error:
                number = int(word) if str(word).isdecimal() else 0
                why = {"Code": "launchTemplateVersionDoesNotExist", "Message": error.message}
                kept.append({**about, "VersionNumber": number, "ResponseError": why})
                continue
            about["VersionNumber"] = version.number
            if template.is_default(version):
                message = (
                    f"Version {version.number} is the default version of the launch template and cannot be deleted."
                )
                kept.append({**about, "ResponseError": {"Code": "unexpectedError", "Message": message}})
            else:
                template.versions.remove(version)
                deleted.append(about)
        return ActionResult(
            {
                "SuccessfullyDeletedLaunchTemplateVersions": deleted,
                "UnsuccessfullyDeletedLaunchTemplateVersions": kept,
            }
        )

    def describe_launch_template_versions(self) -> ActionResult:
        wanted = [str(word) for word in self._get_param("Versions", [])]
        if self._get_param("LaunchTemplateId") or self._get_param("LaunchTemplateName"):
            template = self._template()
            low, high = self._get_int_param("MinVersion", 0), self._get_int_param("MaxVersion", 0)
            found = (
                [template.get_version(word) for word in wanted]
                if wanted
                else [v for v in template.versions if (low or 1) <= v.number <= (high or v.number)]
            )
        else:
            if not wanted or not set(wanted) <= {_LATEST, _DEFAULT}:
                raise EC2ClientError(
                    "MissingParameter" if not wanted else "InvalidParameterValue",
                    "To describe the launch template data for all your launch templates, for '--versions' specify '$Latest', "
                    "'$Default', or both, and omit '--launch-template-id', '--launch-template-name', and version numbers. To "
                    "describe the launch template data for a specific launch template, specify '--launch-template-id' or "
                    "'--launch-template-name', and for '--versions' specify one or more of the following values: '$Latest', "
                    "'$Default', or one or more version numbers.",
                )
            found = [t.get_version(word) for t in self.ec2_backend.launch_templates.values() for word in wanted]
        self.error_on_dryrun()
        found = list({(v.template.id, v.number): v for v in found}.values())
        found.sort(key=lambda version: (version.template.id, -version.number))
        rows = [self._version(version) for version in found]
        rows = filters.chosen(rows, self._filters_from_querystring(), _version_values, "DescribeLaunchTemplateVersions")
        if self._get_param("ResolveAlias"):
            for row in rows:
                row["LaunchTemplateData"] = self._with_image(row["LaunchTemplateData"])
        return self._page("LaunchTemplateVersions", rows)

    def describe_launch_templates(self) -> ActionResult:
        names, ids = self._get_param("LaunchTemplateNames", []), self._get_param("LaunchTemplateIds", [])
        backend = self.ec2_backend
        self.error_on_dryrun()
        found = [backend.get_launch_template_by_name(name) for name in names]
        found += [backend.get_launch_template(key) for key in ids]
        rows = [self._described(t) for t in (found if names or ids else backend.launch_templates.values())]
        rows = filters.chosen(rows, self._filters_from_querystring(), _template_values, "DescribeLaunchTemplates")
        return self._page("LaunchTemplates", rows)

    def modify_launch_template(self) -> ActionResult:
        template, default = self._template(), self._get_param("DefaultVersion")
        self.error_on_dryrun()
        if default is not None:
            template.default_version_number = template.get_version(default).number
        return ActionResult({"LaunchTemplate": self._described(template)})

    def _template(self) -> Template:
        key, name = self._get_param("LaunchTemplateId"), self._get_param("LaunchTemplateName")
        if key and name:
            raise EC2ClientError(
                "InvalidParameterCombination",
                "The parameters LaunchTemplateId and LaunchTemplateName cannot be used together.",
            )
        if not key and not name:
            raise MissingParameterError("launch template ID or launch template name")
        backend = self.ec2_backend
        found: Template = backend.get_launch_template(key) if key else backend.get_launch_template_by_name(name)
        return found

    def _with_image(self, data: dict[str, Any]) -> dict[str, Any]:
        if "ImageId" not in data:
            return data
        return {**data, "ImageId": self.ec2_backend.resolved_image(data["ImageId"])}

    def _described(self, template: Template) -> dict[str, Any]:
        return {
            "CreateTime": template.create_time,
            "CreatedBy": self._creator,
            "DefaultVersionNumber": template.default_version_number,
            "LatestVersionNumber": template.latest_version_number,
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "Tags": template.get_tags() or None,  # left out where there are none
        }

    def _version(self, version: LaunchTemplateVersion) -> dict[str, Any]:
        return {
            "CreateTime": version.create_time,
            "CreatedBy": self._creator,
            "DefaultVersion": version.template.is_default(version),
            "LaunchTemplateData": version.data,
            "LaunchTemplateId": version.template.id,
            "LaunchTemplateName": version.template.name,
            "VersionDescription": version.description,
            "VersionNumber": version.number,
        }

    @property
    def _creator(self) -> str:
        return f"arn:{self.partition}:iam::{self.current_account}:root"

    def _page(self, key: str, rows: list[dict[str, Any]]) -> ActionResult:
        """One page; the token is where the next begins."""
        size, token = self._get_int_param("MaxResults", _MOST), self._get_param("NextToken")
        if not 1 <= size <= _MOST:
            raise EC2ClientError("InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid.")
        begin = paging.begin(token, EC2ClientError("InvalidNextToken", f"The token '{token}' is invalid."))
        end = begin + size
        return ActionResult({key: rows[begin:end], "NextToken": str(end) if end < len(rows) else None})


def _parsed(data: dict[str, Any]) -> dict[str, Any]:
    """What a caller sent, as moto keeps it."""
    has = data.get("UserData") is not None
    return {**data, "UserData": parse_user_data(data["UserData"])} if has else data


def _refuse_nothing(data: dict[str, Any]) -> None:
    if not {key for key, value in data.items() if value not in (None, {}, [])}:
        raise EC2ClientError("MissingParameter", "The request must contain the parameter LaunchTemplateData")


def _template_values(row: dict[str, Any], name: str) -> Iterable[Any] | None:
    if name in ("create-time", "launch-template-name"):
        return [_text(row["CreateTime"]) if name == "create-time" else row["LaunchTemplateName"]]
    return filters.tags({tag["key"]: tag["value"] for tag in row["Tags"] or []}, name)


def _version_values(row: dict[str, Any], name: str) -> Iterable[Any] | None:
    data = row["LaunchTemplateData"]
    values: dict[str, Any] = {
        "create-time": _text(row["CreateTime"]),
        "ebs-optimized": data.get("EbsOptimized"),
        "http-endpoint": (data.get("MetadataOptions") or {}).get("HttpEndpoint"),
        "http-protocol-ipv4": "enabled",
        "http-tokens": (data.get("MetadataOptions") or {}).get("HttpTokens"),
        "iam-instance-profile": (data.get("IamInstanceProfile") or {}).get("Arn"),
        "image-id": data.get("ImageId"),
        "instance-type": data.get("InstanceType"),
        "is-default-version": row["DefaultVersion"],
        "kernel-id": data.get("KernelId"),
        "ram-disk-id": data.get("RamDiskId"),
    }
    return [values[name]] if name in values else None


def _text(at: datetime.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"
