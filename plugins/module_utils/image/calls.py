# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls whose answers something irreversible hangs on: every page of them, and no answer is better than half of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, explain
from ansible_collections.boring.fleet.plugins.module_utils.image.errors import ImageError


class Api:
    """A client of one service. Methods have boto3's names; every failure is an ImageError that names the call.

    Its `__cause__` is the AwsError, with AWS's code.
    """

    def __init__(self, client: Any, service: str) -> None:
        self._client = client
        self._service = service

    def pages(self, method: str, key: str, /, **arguments: Any) -> list[Any]:
        """What is under `key` in all pages. A page without it is a failure, not an empty one."""
        name = self.name(method)
        with self._naming(name):
            return [
                entry
                for page in self._client.get_paginator(method).paginate(**arguments)
                for entry in _under(key, page, name)
            ]

    def call(self, method: str, key: str, /, **arguments: Any) -> Any:
        """What is under `key` in the one answer that there is."""
        name = self.name(method)
        with self._naming(name):
            return _under(key, getattr(self._client, method)(**arguments), name)

    def answer(self, method: str, /, **arguments: Any) -> Any:
        """The answer as it is."""
        with self._naming(self.name(method)):
            return getattr(self._client, method)(**arguments)

    def takes(self, method: str, argument: str) -> bool:
        """Whether this boto3 knows an argument of a call."""
        shape = self._client.meta.service_model.operation_model(self._operation(method)).input_shape
        return argument in shape.members

    def tells(self, shape: str, field: str) -> bool:
        """Whether this boto3 knows a field of a shape; one that it does not know is silently left out of an answer."""
        return field in self._client.meta.service_model.shape_for(shape).members

    def name(self, method: str) -> str:
        """The call as IAM names it: `ec2:DescribeImages`."""
        return f"{self._service}:{self._operation(method)}"

    def _operation(self, method: str) -> str:
        return str(self._client.meta.method_to_api_mapping[method])

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except ImageError:
            raise
        except Exception as exc:  # boto3's exceptions have no common base that needs no import
            if type(exc).__module__.partition(".")[0] not in ("botocore", "boto3") and not isinstance(exc, AwsError):
                raise
            told = explain(exc, service=self._service, operation=name.partition(":")[2], doing=f"call {name}")
            raise ImageError(str(told)) from told


def _under(key: str, answer: Any, name: str) -> Any:
    if key not in answer:
        raise ImageError(f"cannot call {name}: its answer has no {key}, so it cannot be relied on; run this again")
    return answer[key]
