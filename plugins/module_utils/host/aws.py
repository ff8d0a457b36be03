# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance metadata (IMDSv2), and the few calls of AWS that a host makes with the credentials of its instance profile."""

from __future__ import annotations

import email.utils
import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree import ElementTree

from ansible_collections.boring.fleet.plugins.module_utils.host import signature
from ansible_collections.boring.fleet.plugins.module_utils.host.told import HostError

METADATA: Final = "http://169.254.169.254"
_SECONDS: Final = 10.0  # for one request
_SESSION: Final = 21_600  # seconds, the longest that AWS gives
_AT_ONCE: Final = 10  # parameters in one request, SSM's own limit
_ENOUGH: Final = 16 << 20
_VERSIONS: Final = {
    "autoscaling": "2011-01-01",
    "ec2": "2016-11-15",
    "elasticloadbalancing": "2015-12-01",
    "monitoring": "2010-08-01",
}
_SKEWED: Final = (
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "AuthFailure",
)
# What the API says when a token is over: the metadata has a new one.
_EXPIRED: Final = ("ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId")


class AwayError(HostError):
    """The other side does not answer now: trying again helps."""


class RefusedError(HostError):
    """AWS refused. `code` is AWS's own word."""

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Answer:
    """Of HTTP."""

    status: int
    body: bytes
    date: str = ""


# pylint: disable-next=unsupported-binary-operation
Http = Callable[[str, str, Mapping[str, str], bytes | None], Answer]
"""Method, URL, headers, body. Raises OSError when there is no answer."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """AWS sends nobody elsewhere; credentials would go along."""

    def redirect_request(self, *_: object) -> None:
        """None follows nothing: the redirect is the answer."""


def http_request(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
    """One request, without a proxy: one that the environment names would see credentials. Raises OSError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    request = urllib.request.Request(url, data=body, method=method, headers=dict(headers))  # noqa: S310
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return Answer(answer.status, answer.read(_ENOUGH), answer.headers.get("Date", ""))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(_ENOUGH), error.headers.get("Date", ""))
    except http.client.HTTPException as error:
        raise OSError(f"the answer is no HTTP: {type(error).__name__}") from error


@dataclass
class Metadata:
    """The instance's own. `clock` is monotonic."""

    http: Http
    clock: Callable[[], float]
    base: str = METADATA
    _token: str = field(default="", repr=False)
    _until: float = 0.0

    def get(self, path: str) -> str | None:
        """What is at a path below /latest/meta-data/; None when there is nothing. Raises AwayError."""
        for again in (True, False):
            answer = self._ask("GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self._session()})
            if answer.status == 200:
                return answer.body.decode(errors="replace")
            if answer.status == 404:
                return None
            if answer.status == 401 and again:  # a token of before the metadata service began anew
                self._token = ""
                continue
            break
        raise AwayError(f"the instance metadata service answered {answer.status} for {path}")

    def need(self, path: str) -> str:
        """As `get`, for what every instance has."""
        found = self.get(path)
        if not found:
            raise AwayError(f"the instance metadata has no {path} yet")
        return found

    def credentials(self) -> signature.Credentials:
        """Of the instance's role. Raises HostError when it has none."""
        where = "iam/security-credentials/"
        roles = (self.get(where) or "").split()
        if not roles:
            raise HostError("this instance has no role: give its launch template the instance profile that deploy made")
        try:
            found = json.loads(self.need(where + roles[0]))
            return signature.Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["Token"])
        except (ValueError, KeyError, TypeError):
            raise HostError(f"the role {roles[0]} gives no credentials: look at its trust policy") from None

    def _session(self) -> str:
        if not self._token or self.clock() >= self._until:
            answer = self._ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_SESSION)})
            if answer.status != 200:
                raise AwayError(f"the instance metadata service gave no token ({answer.status})")
            self._token = answer.body.decode()
            self._until = self.clock() + _SESSION / 2
        return self._token

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        try:
            return self.http(method, self.base + path, headers, None)
        except (OSError, ssl.SSLError) as exc:
            raise AwayError(f"the instance metadata service does not answer: {getattr(exc, 'reason', exc)}") from None


@dataclass(frozen=True)
class Instance:
    """A host of the same fleet and service. `launched` is AWS's text, which sorts by time."""

    id: str
    address: str
    state: str  # EC2's
    launched: str
    lifecycle: str = ""  # Auto Scaling's; "" for one that is in no group


@dataclass
class Aws:
    """Calls by the instance's role. `now` is the wall clock in unix seconds; `endpoint` is "" for AWS's own."""

    http: Http
    metadata: Metadata
    region: str
    endpoint: str
    now: Callable[[], float]
    _credentials: signature.Credentials | None = field(default=None, repr=False)
    _skew: float = 0.0  # seconds by which this host's clock is behind AWS's, which refuses five minutes and more
    _domain: str = ""

    def parameters(self, names: Sequence[str]) -> dict[str, str]:
        """Values of Parameter Store. Raises HostError, which names those that are missing."""
        found: dict[str, str] = {}
        wanted = sorted(set(names))
        for first in range(0, len(wanted), _AT_ONCE):
            body = json.dumps({"Names": wanted[first : first + _AT_ONCE], "WithDecryption": True}).encode()
            more = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.GetParameters"}
            answer = json.loads(self._post("ssm", body, more, "GetParameters"))
            found.update({each["Name"]: each["Value"] for each in answer["Parameters"]})
        missing = [name for name in wanted if name not in found]
        if missing:
            raise HostError(f"Parameter Store in {self.region} has no {', '.join(missing)}: deploy the fleet again")
        return found

    def lifecycle_states(self, ids: Sequence[str]) -> dict[str, str]:
        """Auto Scaling's state of instances; those in no group are not there."""
        found: dict[str, str] = {}
        for first in range(0, len(ids), 50):
            asked = {f"InstanceIds.member.{number}": one for number, one in enumerate(ids[first : first + 50], 1)}
            root = self._query("autoscaling", "DescribeAutoScalingInstances", asked)
            found.update(
                {
                    _text(one, "InstanceId"): _text(one, "LifecycleState")
                    for one in _members(root, "AutoScalingInstances")
                }
            )
        return found

    def instances(self, fleet: str, service: str) -> list[Instance]:
        """All hosts of a service that are there or come, also those that are switched off; the oldest first."""
        states = ["pending", "running", "stopping", "stopped"]
        filters = {"tag:boring:fleet": [fleet], "tag:boring:service": [service], "instance-state-name": states}
        asked: dict[str, str] = {}
        for number, (name, values) in enumerate(filters.items(), 1):
            asked[f"Filter.{number}.Name"] = name
            asked |= {f"Filter.{number}.Value.{place}": value for place, value in enumerate(values, 1)}
        found: list[Instance] = []
        token = ""
        while True:
            root = self._query("ec2", "DescribeInstances", asked | ({"NextToken": token} if token else {}))
            for one in root.findall("reservationSet/item/instancesSet/item"):
                address = _text(one, "privateIpAddress")
                if address:
                    state = _text(one, "instanceState/name")
                    found.append(Instance(_text(one, "instanceId"), address, state, _text(one, "launchTime")))
            token = _text(root, "nextToken")
            if not token:
                break
        of = self.lifecycle_states([one.id for one in found]) if found else {}
        known = [Instance(one.id, one.address, one.state, one.launched, of.get(one.id, "")) for one in found]
        return sorted(known, key=lambda one: (one.launched, one.id))

    def heartbeat(self, group: str, hook: str, instance: str) -> None:
        """Give the hook its time anew."""
        asked = {"AutoScalingGroupName": group, "LifecycleHookName": hook, "InstanceId": instance}
        self._query("autoscaling", "RecordLifecycleActionHeartbeat", asked)

    def complete(self, group: str, hook: str, instance: str, result: str) -> None:
        """End the hook: CONTINUE or ABANDON."""
        asked = {"AutoScalingGroupName": group, "LifecycleHookName": hook, "InstanceId": instance}
        self._query("autoscaling", "CompleteLifecycleAction", {**asked, "LifecycleActionResult": result})

    def unhealthy(self, instance: str) -> None:
        """Have its group replace it, however young it is."""
        asked = {"InstanceId": instance, "HealthStatus": "Unhealthy", "ShouldRespectGracePeriod": "false"}
        self._query("autoscaling", "SetInstanceHealth", asked)

    def put_metric(self, namespace: str, metric: str, dimensions: Mapping[str, str], value: float) -> None:
        """A value of now in CloudWatch."""
        datum = "MetricData.member.1"
        asked = {"Namespace": namespace, f"{datum}.MetricName": metric, f"{datum}.Value": repr(value)}
        for number, (name, each) in enumerate(sorted(dimensions.items()), 1):
            asked |= {
                f"{datum}.Dimensions.member.{number}.Name": name,
                f"{datum}.Dimensions.member.{number}.Value": each,
            }
        self._query("monitoring", "PutMetricData", asked)

    def tag(self, instance: str, name: str, value: str) -> None:
        """A tag of the instance."""
        self._query("ec2", "CreateTags", {"ResourceId.1": instance, "Tag.1.Key": name, "Tag.1.Value": value})

    def register(self, target_group: str, instance: str, *, away: bool = False) -> None:
        """Put the host behind its load balancer, or take it away. `target_group` is a name."""
        root = self._query("elasticloadbalancing", "DescribeTargetGroups", {"Names.member.1": target_group})
        arns = [_text(one, "TargetGroupArn") for one in _members(root, "TargetGroups")]
        if not arns:
            raise HostError(f"there is no target group {target_group}: deploy the fleet again")
        operation = "DeregisterTargets" if away else "RegisterTargets"
        self._query("elasticloadbalancing", operation, {"TargetGroupArn": arns[0], "Targets.member.1.Id": instance})

    def _query(self, service: str, operation: str, asked: Mapping[str, str]) -> ElementTree.Element:
        body = urllib.parse.urlencode({"Action": operation, "Version": _VERSIONS[service], **asked}).encode()
        more = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        text = self._post(service, body, more, operation)
        try:
            return _plain(ElementTree.fromstring(text))  # noqa: S314 - AWS's own answer, and expat expands no entity of others
        except ElementTree.ParseError:
            raise AwayError(f"{operation} was answered with what is no XML") from None

    def _post(self, service: str, body: bytes, more: Mapping[str, str], operation: str) -> bytes:
        """The body of an answer. Once again with new credentials, or by AWS's clock, where that is what was wrong."""
        tried: set[str] = set()
        while True:
            url = self._url(service)
            if self._credentials is None:
                self._credentials = self.metadata.credentials()
            headers = signature.headers(
                url,
                body,
                more,
                service=service,
                region=self.region,
                credentials=self._credentials,
                now=self.now() + self._skew,
            )
            try:
                answer = self.http("POST", url, headers, body)
            except (OSError, ssl.SSLError) as exc:
                raise AwayError(f"{operation}: {url} does not answer: {getattr(exc, 'reason', exc)}") from None
            if answer.status == 200:
                return answer.body
            code, said = _refusal(answer.body)
            if code in _EXPIRED and "credentials" not in tried:
                tried.add("credentials")
                self._credentials = None
            elif code in _SKEWED and "clock" not in tried and self._takes_time(answer.date):
                tried.add("clock")
            elif answer.status >= 500 or code in ("Throttling", "RequestLimitExceeded", "ThrottlingException"):
                raise AwayError(f"{operation} was answered with {answer.status} {code}: {said}")
            else:
                raise RefusedError(f"{operation} was refused with {code or answer.status}: {said}", code)

    def _takes_time(self, date: str) -> bool:
        """Whether AWS's clock says something else than this host's, by a minute or more."""
        try:
            skew = email.utils.parsedate_to_datetime(date).timestamp() - self.now()
        except (TypeError, ValueError):
            return False
        if abs(skew - self._skew) < 60:
            return False
        self._skew = skew
        return True

    def _url(self, service: str) -> str:
        if self.endpoint:
            return self.endpoint.rstrip("/") + "/"
        if not self._domain:
            self._domain = self.metadata.get("services/domain") or "amazonaws.com"
        return f"https://{service}.{self.region}.{self._domain}/"


def _refusal(body: bytes) -> tuple[str, str]:
    """AWS's code and words, from XML or JSON."""
    text = body.decode(errors="replace")
    try:
        if text.lstrip().startswith("{"):
            raw: dict[str, Any] = json.loads(text)
            code = str(raw.get("__type", "")).rpartition("#")[2]
            return code, str(raw.get("message") or raw.get("Message") or "it gave no reason")[:300]
        root = _plain(ElementTree.fromstring(text))  # noqa: S314
        error = next((one for one in root.iter() if one.tag == "Error"), root)
        return _text(error, "Code"), (_text(error, "Message") or "it gave no reason")[:300]
    except (ValueError, ElementTree.ParseError, AttributeError):
        return "", "it gave no reason"


def _plain(root: ElementTree.Element) -> ElementTree.Element:
    """Without namespaces."""
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
    return root


def _members(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [member for found in root.iter(name) for member in found.findall("member")]


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
