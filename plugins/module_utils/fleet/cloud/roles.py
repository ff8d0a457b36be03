# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM roles with their instance profiles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.calls import Calls, tag_list, tags_of
from ansible_collections.boring.fleet.plugins.module_utils.fleet.cloud.observe import POLICY
from ansible_collections.boring.fleet.plugins.module_utils.fleet.seen import FLEET, Role, Seen

_GONE: Final = "NoSuchEntity"


class RoleMaker:
    """Makes, changes and removes them."""

    def __init__(self, calls: Calls, seen: Seen) -> None:
        self._calls, self._seen = calls, seen

    def make(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Role, rights, profile; each step is seen to be missing if it was the last one before an end."""
        self._calls.write(
            "iam", "CreateRole", f"make the role {name}",
            RoleName=name, AssumeRolePolicyDocument=json.dumps(wanted["trust"]), Description=f"Hosts of {name}", Tags=tag_list(tags),
        )  # fmt: skip
        self._seen.roles[name] = Role(tags, wanted["trust"], None, (), False)
        self.change(name, wanted, tags)

    def change(self, name: str, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Bring trust, rights and profile to what is wanted."""
        now = self._seen.roles[name]
        if now.trust != wanted["trust"]:
            self._calls.write(
                "iam", "UpdateAssumeRolePolicy", f"say who may take the role {name}", RoleName=name,
                PolicyDocument=json.dumps(wanted["trust"]),
            )  # fmt: skip
        if now.policy != wanted["policy"]:
            self._calls.write(
                "iam", "PutRolePolicy", f"say what the role {name} may do", RoleName=name, PolicyName=POLICY,
                PolicyDocument=json.dumps(wanted["policy"]),
            )  # fmt: skip
        if not now.profile:
            self._profile(name, tags)
        self._seen.roles[name] = Role(tags, wanted["trust"], wanted["policy"], (POLICY,), True)

    def remove(self, name: str) -> None:
        """With its profile and every policy in it."""
        doing = f"remove the role {name}"
        if self._seen.roles[name].profile:
            self._delete("RemoveRoleFromInstanceProfile", doing, InstanceProfileName=name, RoleName=name)
        self._delete("DeleteInstanceProfile", doing, InstanceProfileName=name)
        for policy in self._seen.roles[name].policies:
            self._delete("DeleteRolePolicy", doing, RoleName=name, PolicyName=policy)
        self._delete("DeleteRole", doing, RoleName=name)
        del self._seen.roles[name]

    def _profile(self, name: str, tags: Mapping[str, str]) -> None:
        doing = f"make the instance profile {name}"
        try:
            self._calls.write("iam", "CreateInstanceProfile", doing, InstanceProfileName=name, Tags=tag_list(tags))
        except AwsError as exc:
            if exc.code != "EntityAlreadyExists":
                raise
            found = self._calls.read("iam", "GetInstanceProfile", doing, InstanceProfileName=name)["InstanceProfile"]
            if tags_of(found.get("Tags")).get(FLEET) != tags[FLEET] or found.get("Roles"):
                raise AwsError(
                    f"the instance profile {name} belongs to somebody else: remove it, or give the fleet another name"
                ) from exc
        self._calls.write("iam", "AddRoleToInstanceProfile", doing, InstanceProfileName=name, RoleName=name)

    def _delete(self, operation: str, doing: str, **what: str) -> None:
        try:
            self._calls.write("iam", operation, doing, **what)
        except AwsError as exc:
            if exc.code != _GONE:
                raise
