# SPDX-License-Identifier: GPL-3.0-or-later
"""SSM, STS and IAM where moto's answers are not AWS's, or would say that something was done."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ssm.responses import SimpleSystemManagerResponse
from moto.sts.responses import TokenResponse

from localcloud import paging
from localcloud.ec2.launch import ACCOUNT
from localcloud.errors import ApiError
from localcloud.wire import not_implemented

_PAGE, _MOST = 10, 50


class ParameterResponse(SimpleSystemManagerResponse):
    """SSM: its parameters. Nothing runs on hosts."""

    def describe_parameters(self) -> ActionResult:
        found = self.ssm_backend.describe_parameters(self._get_param("Filters"), self._get_param("ParameterFilters"))
        wrong = ApiError("InvalidNextToken", "The specified token isn't valid.")
        begin = paging.begin(self._get_param("NextToken"), wrong)
        end = begin + paging.size("maxResults", self._get_param("MaxResults"), _PAGE, _MOST)
        page = [_described(parameter) for parameter in found[begin:end]]
        return ActionResult({"Parameters": page, "NextToken": str(end) if end < len(found) else None})

    def send_command(self) -> Any:
        raise not_implemented("ssm", "SendCommand (nothing runs on hosts through SSM)")


class IdentityResponse(TokenResponse):
    """STS. moto answers what is refused here with keys that are the same everywhere, so that they open nothing."""

    def get_session_token(self) -> Any:
        raise not_implemented("sts", "GetSessionToken")

    def get_federation_token(self) -> Any:
        raise not_implemented("sts", "GetFederationToken")


def _described(parameter: Any) -> dict[str, Any]:
    about: dict[str, Any] = parameter.describe_response_object(False)
    about.pop("Value", None)
    return {
        **about,
        "Policies": about.get("Policies") or [],
        "Tier": about.get("Tier") or "Standard",
        "LastModifiedUser": f"arn:aws:iam::{ACCOUNT}:root",
    }
