# SPDX-License-Identifier: GPL-3.0-or-later
"""Notify Auto Scaling that this instance is no good: SetInstanceHealth, with the credentials of the instance's own role (IMDSv2).

An instance that is not in service yet is left to the launch hook, which is completed by whoever runs /etc/fleet/enter.d.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

METADATA = "http://169.254.169.254"
SECONDS = 10  # for one request
_VERSION = "2011-01-01"


class NotifyError(Exception):
    """One sentence, never a secret."""


class Metadata:
    """The instance metadata service, version 2."""

    def __init__(self, base: str = METADATA) -> None:
        self._base = base
        begin = urllib.request.Request(
            f"{base}/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        )
        self._token = _ask(begin, "the instance metadata service").decode()

    def __getitem__(self, path: str) -> str:
        request = urllib.request.Request(
            f"{self._base}/latest/meta-data/{path}", headers={"X-aws-ec2-metadata-token": self._token}
        )
        return _ask(request, f"the instance metadata service ({path})").decode()

    def credentials(self) -> Mapping[str, str]:
        role = self["iam/security-credentials/"].split()
        if not role:
            raise NotifyError(
                "this instance has no role: give it an instance profile that may autoscaling:SetInstanceHealth"
            )
        found: Mapping[str, str] = json.loads(self[f"iam/security-credentials/{role[0]}"])
        if "AccessKeyId" not in found:
            raise NotifyError(f"the role {role[0]} gives no credentials: look at its trust policy")
        return found


def unhealthy(now: Callable[[], datetime.datetime], metadata: str = "", endpoint: str = "") -> str:
    """Mark this instance Unhealthy if it is in service; says what was done. Raises NotifyError."""
    here = Metadata(metadata or METADATA)
    instance, region = here["instance-id"], here["placement/region"]
    where = endpoint or f"https://autoscaling.{region}.amazonaws.com"

    def call(action: str, **given: str) -> bytes:
        body = urllib.parse.urlencode({"Action": action, "Version": _VERSION, **given}).encode()
        return _ask(signed(where, region, here.credentials(), body, now()), "Auto Scaling")

    found = re.search(
        rb"<LifecycleState>([^<]+)<", call("DescribeAutoScalingInstances", **{"InstanceIds.member.1": instance})
    )
    state = found[1].decode() if found else ""
    if not state:
        return f"{instance} belongs to no Auto Scaling group: nobody replaces it"
    if state != "InService":
        return f"{instance} is {state}: the launch hook decides, which asks /etc/fleet/enter.d"
    call("SetInstanceHealth", InstanceId=instance, HealthStatus="Unhealthy", ShouldRespectGracePeriod="false")
    return f"{instance} is marked Unhealthy: its group replaces it"


def signed(
    endpoint: str, region: str, credentials: Mapping[str, str], body: bytes, now: datetime.datetime
) -> urllib.request.Request:
    """A request of the Query API in AWS's Signature Version 4."""
    host = endpoint.partition("://")[2].rstrip("/")
    at = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": host,
        "x-amz-date": at,
        "x-amz-security-token": credentials["Token"],
    }
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{at[:8]}/{region}/autoscaling/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + credentials["SecretAccessKey"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return urllib.request.Request(endpoint.rstrip("/") + "/", data=body, method="POST", headers=headers)


def _ask(request: urllib.request.Request, what: str) -> bytes:
    """The body of an answer. No proxy: one that an environment names would see credentials."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        raise NotifyError(f"{what} refused with {error.code}: {_refusal(error)}") from None
    except (OSError, ValueError) as error:
        raise NotifyError(f"{what} does not answer: {getattr(error, 'reason', error)}") from None


def _refusal(error: Any) -> str:
    try:
        said = error.read().decode(errors="replace")
    except OSError:
        return str(error.reason)
    found = re.search(r"<Message>([^<]*)</Message>", said)
    return found[1][:300] if found else str(error.reason)
