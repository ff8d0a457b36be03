# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients in the shape of boto3's, for a simulated cloud."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.exceptions import ClientError

from localcloud.autoscaling.simulated.world import REGION, Params


@functools.cache
def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def _operations(service: str) -> dict[str, str]:
    return {xform_name(name): name for name in model(service).operation_names}


@dataclass(frozen=True)
class _Meta:
    region_name: str


@dataclass(frozen=True)
class _Pages:
    method: Callable[..., dict[str, Any]]
    params: Params

    def __iter__(self) -> Iterator[dict[str, Any]]:
        page = self.method(**self.params)
        yield page
        while page.get("NextToken"):
            page = self.method(**self.params, NextToken=page["NextToken"])
            yield page

    def build_full_result(self) -> dict[str, Any]:
        """All pages in one: their lists joined."""
        whole: dict[str, Any] = {}
        for page in self:
            for key, value in page.items():
                if isinstance(value, list):
                    whole[key] = whole.get(key, []) + value
        return whole


@dataclass(frozen=True)
class _Paginator:
    method: Callable[..., dict[str, Any]]

    def paginate(self, PaginationConfig: dict[str, Any] | None = None, **params: Any) -> _Pages:  # noqa: N803
        del PaginationConfig
        return _Pages(self.method, params)


class SimulatedClient:
    """A boto3-shaped client."""

    class exceptions:  # noqa: N801 - boto3's own name
        ClientError = ClientError

    def __init__(self, call: Callable[[str, str, Params], dict[str, Any]], service: str) -> None:
        self._call = call
        self._service = service
        self.meta = _Meta(REGION)

    def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
        operation = _operations(self._service).get(name)
        if operation is None:
            raise AttributeError(f"{self._service} has no method {name}")
        return lambda **params: self._call(self._service, operation, params)

    def can_paginate(self, name: str) -> bool:
        return name.startswith("describe_")

    def get_paginator(self, name: str) -> _Paginator:
        return _Paginator(getattr(self, name))
