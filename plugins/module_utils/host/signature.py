# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signature Version 4 of a request to AWS, or to what speaks its S3."""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True)
class Credentials:
    """Those of the instance's role, for some hours; keys that somebody made have no token and no end."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False, default="")


def headers(
    url: str,
    body: bytes,
    more: Mapping[str, str],
    *,
    service: str,
    region: str,
    credentials: Credentials,
    now: float,
    method: str = "POST",
) -> dict[str, str]:
    """All headers of a request to `url`, whose path and query are encoded; `more` are its own, `now` is in unix seconds.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    to = urllib.parse.urlsplit(url)
    query = "&".join(sorted(to.query.split("&"), key=lambda one: one.partition("=")[0]))
    found = {**{name.lower(): value for name, value in more.items()}, "host": to.netloc, "x-amz-date": at}
    if credentials.token:
        found["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(found))
    lines = "".join(f"{name}:{found[name]}\n" for name in sorted(found))
    canonical = f"{method}\n{to.path or '/'}\n{query}\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + credentials.secret_key).encode()
    for part in (at[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    found["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return found
