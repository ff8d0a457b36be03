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


class Stateful(Protocol):
    """A service that moves with time and survives a restart."""

    def tick(self) -> None:
        """Do what is due now. Called often (the server does so four times a second); must be cheap when idle."""
        ...

    def dump(self) -> Any:
        """The whole state as JSON-able values."""
        ...

    def load(self, state: Any) -> None:
        """Become the service that ``dump`` was called on."""
        ...
