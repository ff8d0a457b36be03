# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of groups."""

from __future__ import annotations

from typing import Any

from localcloud.autoscaling import words
from localcloud.autoscaling.api.base import Api, Params, page
from localcloud.autoscaling.state import Group, Tag
from localcloud.errors import ApiError

MAX_TAGS = 50


class Tags(Api):
    def _op_create_or_update_tags(self, params: Params, region: str) -> None:
        wanted: dict[str, list[dict[str, Any]]] = {}
        for tag in params["Tags"]:
            wanted.setdefault(self._tagged(tag, region).name, []).append(tag)
        for name, tags in wanted.items():
            self._set_tags(self._groups[region][name], tags)

    def _op_delete_tags(self, params: Params, region: str) -> None:
        for tag in params["Tags"]:
            self._tagged(tag, region).tags.pop(tag["Key"], None)

    def _tagged(self, tag: dict[str, Any], region: str) -> Group:
        if tag.get("ResourceType", "auto-scaling-group") != "auto-scaling-group":
            raise words.invalid(f"Invalid resource type {tag['ResourceType']}. Use auto-scaling-group.")
        name = tag.get("ResourceId") or ""
        if name not in self._groups.get(region, {}):
            raise words.no_group(name)
        return self._groups[region][name]

    @staticmethod
    def _set_tags(group: Group, tags: list[dict[str, Any]]) -> None:
        for number, tag in enumerate(tags, 1):
            for field, most in (("Key", 128), ("Value", 256)):
                text = tag.get(field) or ""
                if len(text) > most:
                    raise words.invalid(
                        f"1 validation error detected: Value '{text}' at 'tags.{number}.member.{field.lower()}' failed "
                        f"to satisfy constraint: Member must have length less than or equal to {most}"
                    )
            if not tag.get("Key"):
                raise words.invalid(
                    f"1 validation error detected: Value '' at 'tags.{number}.member.key' failed to "
                    "satisfy constraint: Member must have length greater than or equal to 1"
                )
            if tag["Key"].startswith("aws:"):
                raise words.invalid("Tag keys starting with 'aws:' are reserved for internal use")
        if len(set(group.tags) | {tag["Key"] for tag in tags}) > MAX_TAGS:
            raise ApiError(
                "LimitExceeded", f"The number of tags for this Auto Scaling group exceeds the limit of {MAX_TAGS}"
            )
        for tag in tags:
            group.tags[tag["Key"]] = Tag(tag.get("Value") or "", bool(tag.get("PropagateAtLaunch", False)))

    def _op_describe_tags(self, params: Params, region: str) -> dict[str, Any]:
        rows = [tag for shape in self._shown(region) for tag in shape["Tags"]]
        fields = {"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}
        for wanted in params.get("Filters") or []:
            values = wanted.get("Values", [])
            if wanted["Name"] == "propagate-at-launch":
                rows = [tag for tag in rows if str(tag["PropagateAtLaunch"]).lower() in values]
            elif wanted["Name"] in fields:
                rows = [tag for tag in rows if tag[fields[wanted["Name"]]] in values]
            else:
                raise words.invalid(
                    f"Filter type {wanted['Name']} is not correct. Allowed Filter types are: "
                    "auto-scaling-group key value propagate-at-launch"
                )
        return page("Tags", rows, params, default=50, most=100)


def tag_matches(tags: list[dict[str, Any]], name: str, values: list[str]) -> bool:
    if name == "tag-key":
        return any(tag["Key"] in values for tag in tags)
    if name == "tag-value":
        return any(tag["Value"] in values for tag in tags)
    if name.startswith("tag:"):
        return any(tag["Key"] == name[4:] and tag["Value"] in values for tag in tags)
    raise words.invalid(f"Filter type {name} is not correct. Allowed Filter types are: tag-key tag-value tag:<key>")
