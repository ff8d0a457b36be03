# SPDX-License-Identifier: GPL-3.0-or-later
"""What every service behind the local cloud's HTTP server looks like."""

from __future__ import annotations

from typing import Any, Protocol


class Service(Protocol):
    """One AWS service as a function from dict to dict, shaped as boto3 takes and returns them."""

    def handle(self, operation: str, params: dict[str, Any], region: str) -> dict[str, Any]:
        """Run one operation.

        :param operation: the API's own name, such as ``DescribeAutoScalingGroups``.
        :param params: the parameters as boto3 takes them (datetimes for timestamps).
        :param region: the region of the request's credential scope.
        :returns: the result as boto3 returns it, without ResponseMetadata.
        :raises localcloud.errors.ApiError: AWS's refusal.
        """
        ...
