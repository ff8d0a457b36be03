# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients from the shared options.

boto3 is looked for only when a client is wanted, so that a module without it fails with a sentence and not at import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.boring.fleet.plugins.module_utils.aws.errors import AwsError, explain

# The shared options; doc_fragments/aws.py documents the same names.
ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "region": {"type": "str"},
    "profile": {"type": "str"},
    "endpoint_url": {"type": "str"},
    "access_key": {"type": "str", "no_log": False},
    "secret_key": {"type": "str", "no_log": True},
    "session_token": {"type": "str", "no_log": True},
}

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0


@dataclass(frozen=True)
class AwsOptions:
    """The shared options; what is None comes from the environment and the usual files, as boto3 finds it."""

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> AwsOptions:
        """Out of a module's parameters. Raises AwsError for a half-given pair of keys."""
        given = {name: params.get(name) or None for name in ARGUMENT_SPEC}
        if bool(given["access_key"]) != bool(given["secret_key"]):
            missing = "secret_key" if given["access_key"] else "access_key"
            raise AwsError(f"access_key and secret_key go together: {missing} is missing")
        if given["profile"] and given["access_key"]:
            raise AwsError("profile and access_key exclude each other: give one of them")
        return cls(**given)


class Aws:
    """One boto3 session; a client of each service is made once.

    ``attempts`` is how often one call is tried in all when AWS throttles it or the connection breaks (1: never again,
    for callers with a retry of their own).
    """

    def __init__(self, options: AwsOptions, *, attempts: int = 6) -> None:
        self.options = options
        self._attempts = attempts
        self._clients: dict[str, Any] = {}
        try:
            import boto3  # noqa: PLC0415
        except ImportError as exc:
            raise AwsError(
                "the Python package boto3 is missing on the machine where this module runs: pip install boto3"
            ) from exc
        try:
            self._session = boto3.session.Session(
                region_name=options.region or os.environ.get("AWS_REGION"),
                profile_name=options.profile,
                aws_access_key_id=options.access_key,
                aws_secret_access_key=options.secret_key,
                aws_session_token=options.session_token,
            )
        except Exception as exc:  # boto3 raises a class of its own for each kind of broken configuration
            raise explain(exc) from exc

    @property
    def region(self) -> str | None:
        """The region that clients talk to."""
        name: str | None = self._session.region_name
        return name

    def client(self, service: str) -> Any:
        """The boto3 client of ``service``. Raises AwsError (no region, no such profile)."""
        if service not in self._clients:
            import botocore.config  # noqa: PLC0415

            config = botocore.config.Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                retries={"mode": "standard", "total_max_attempts": self._attempts},
            )
            # AWS_ENDPOINT_URL is read by boto3 itself from 1.28 on; older ones are told.
            endpoint = self.options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None
            try:
                self._clients[service] = self._session.client(service, endpoint_url=endpoint, config=config)
            except Exception as exc:
                raise explain(exc) from exc
        return self._clients[service]
