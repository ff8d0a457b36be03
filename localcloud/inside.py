# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a cloud reach of it, on the address of their network's gateway: instance metadata (IMDSv2) and SSM.

Who asks for metadata is known by the address that the connection comes from. SSM is for the credentials that the metadata gave:
their signature is checked as AWS does, then the policies of the role.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.core.request import Request
from moto.ec2.models.instances import Instance
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from werkzeug.wrappers import Response

from localcloud import metadata
from localcloud.clock import Clock, SystemClock
from localcloud.cloud import Cloud
from localcloud.ec2.backend import ACCOUNT
from localcloud.errors import ApiError
from localcloud.server import Application

_AHEAD = "X-aws-ec2-metadata-token"
_SKEW_SECONDS = 300
_ENOUGH = 1024 * 1024
_NAMES = {"GetParameter": "Name", "GetParameters": "Names"}
"""What hosts may ask SSM for, and where the request names the parameters."""
_SIGNED = {"host", "x-amz-date", "x-amz-security-token", "x-amz-target"}


class Inside:
    """The WSGI application for hosts.

    :param application: the cloud's API, which answers what hosts may ask.
    """

    def __init__(self, cloud: Cloud, application: Application, clock: Clock | None = None) -> None:
        self._cloud = cloud
        self._application = application
        self._clock = clock or SystemClock()
        self._issuer = metadata.Issuer(secrets.token_bytes(32), self._clock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = _ENOUGH
        if request.method == "POST" and request.path == "/":
            answer = self._application.aws(request, self._admit)
        else:
            answer = self._metadata(request)
        return answer(environ, start_response)

    # -- metadata --------------------------------------------------------------------------------------------------

    def _metadata(self, request: Request) -> Response:
        if not self._cloud.loaded:
            return _text(503)
        with self._cloud.lock:
            instance = self._instance(str(request.remote_addr))
            about = None if instance is None else self._about(instance)
        if about is None or request.path.split("/")[:2] != ["", "latest"]:
            return _text(404)
        if request.path == "/latest/api/token":
            return self._session(request, about.instance_id)
        if not self._issuer.in_session(request.headers.get(_AHEAD, ""), about.instance_id):
            return _text(401)
        if request.method not in {"GET", "HEAD"}:
            return _text(405)
        found = metadata.find(metadata.tree(about, self._clock.now()), request.path.removeprefix("/latest"))
        return _text(404) if found is None else _text(200, found)

    def _session(self, request: Request, instance_id: str) -> Response:
        if request.method != "PUT":
            return _text(405)
        if "X-Forwarded-For" in request.headers:  # a proxy that hands on what others ask must not hand on this
            return _text(403)
        asked = request.headers.get(f"{_AHEAD}-ttl-seconds", "")
        if not asked.isdecimal() or not 1 <= int(asked) <= metadata.TOKEN_SECONDS:
            return _text(400)
        answer = _text(200, self._issuer.session(instance_id, int(asked)))
        answer.headers[f"{_AHEAD}-ttl-seconds"] = asked
        return answer

    def _instance(self, address: str) -> Instance | None:
        """The instance that has this private address and is not at its end."""
        for reservation in self._cloud.backend().reservations.values():
            for instance in reservation.instances:
                if str(instance.private_ip) == address and instance.state not in {"shutting-down", "terminated"}:
                    return instance
        return None

    def _about(self, instance: Instance) -> metadata.About:
        profile = _profile(instance)
        role = profile.roles[0] if profile is not None and profile.roles else None
        return metadata.About(
            instance_id=instance.id,
            image_id=str(instance.image_id),
            instance_type=str(instance.instance_type),
            architecture=str(instance.architecture),
            address=str(instance.private_ip),
            hostname=str(instance.private_dns_name),
            zone=str(instance.availability_zone),
            region=self._cloud.settings.region,
            account=ACCOUNT,
            profile_arn="" if profile is None else str(profile.arn),
            profile_id="" if profile is None else str(profile.id),
            keys=None if role is None else self._issuer.keys(instance.id, str(role.name)),
            user_data=_user_data(instance),
        )

    # -- SSM -------------------------------------------------------------------------------------------------------

    def _admit(self, request: Request, service: str, operation: str, region: str) -> None:
        """Raise ApiError unless a host may have this answered."""
        if service != "ssm" or operation not in _NAMES:
            raise ApiError(
                "AccessDeniedException", f"Hosts reach {' and '.join(_NAMES)} of SSM here, and not {operation}."
            )
        keys = self._caller(request, region)
        try:
            asked = json.loads(request.get_data())[_NAMES[operation]]
        except (ValueError, KeyError, TypeError):
            raise ApiError("ValidationException", f"{operation} needs {_NAMES[operation]}.") from None
        names = [asked] if isinstance(asked, str) else [str(name) for name in asked]
        with self._cloud.lock:
            for name in names:
                resource = f"arn:aws:ssm:{region}:{ACCOUNT}:parameter/{name.partition(':')[0].lstrip('/')}"
                if not _permits(keys.role, f"ssm:{operation}", resource):
                    who = f"arn:aws:sts::{ACCOUNT}:assumed-role/{keys.role}/{keys.instance_id}"
                    raise ApiError(
                        "AccessDeniedException",
                        f"User: {who} is not authorized to perform: ssm:{operation} on resource: {resource} "
                        f"because no identity-based policy allows the ssm:{operation} action",
                    )

    def _caller(self, request: Request, region: str) -> metadata.Keys:
        """Whose credentials signed the request. Raises ApiError in AWS's words."""
        headers = request.headers
        try:
            keys = self._issuer.known(headers.get("X-Amz-Security-Token", ""))
        except metadata.ExpiredError:
            raise ApiError("ExpiredTokenException", "The security token included in the request is expired") from None
        given = headers.get("Authorization", "")
        if keys is None or f"Credential={keys.access_key}/" not in given:
            raise ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
        signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        if not set(signed) >= _SIGNED:
            raise ApiError(
                "IncompleteSignatureException", f"'SignedHeaders' must have {', '.join(sorted(_SIGNED))}: {signed}"
            )
        date = headers.get("X-Amz-Date", "")
        try:
            at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise ApiError("IncompleteSignatureException", f"Date must be in ISO-8601 'basic format': {date}") from None
        if abs(self._clock.now() - at.timestamp()) > _SKEW_SECONDS:
            raise ApiError("InvalidSignatureException", f"Signature expired: {date} is more than 5 minutes off.")
        copy = AWSRequest(
            method=request.method,
            url=request.url,
            data=request.get_data(),
            headers={name: headers.get(name, "") for name in signed if name != "host"},
        )
        copy.context["timestamp"] = date
        judge = SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token), "ssm", region)
        wanted = judge.signature(judge.string_to_sign(copy, judge.canonical_request(copy)), copy)
        if not hmac.compare_digest(given.rpartition("Signature=")[2].strip(), wanted):
            raise ApiError(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method. Consult the service documentation for details.",
            )
        return keys


def _user_data(instance: Instance) -> str | None:
    """As text; bytes that are none survive the way to ``_text`` and back."""
    given = instance.user_data
    return base64.b64decode(str(given)).decode("utf-8", "surrogateescape") if given else None


def _profile(instance: Instance) -> Any:
    """The instance's profile in IAM; None if it has none, or it was deleted."""
    told = instance.iam_instance_profile
    if not told:
        return None
    profiles = iam_backends[ACCOUNT]["aws"].instance_profiles.values()
    return next((profile for profile in profiles if profile.arn == told["Arn"]), None)


def _permits(role_name: str, action: str, resource: str) -> bool:
    """Whether the role's policies allow it: one must, none may deny."""
    role = next((one for one in iam_backends[ACCOUNT]["aws"].roles.values() if one.name == role_name), None)
    if role is None:
        return False
    policies = [IAMPolicy(policy) for policy in [*role.policies.values(), *role.managed_policies.values()]]
    verdicts = [policy.is_action_permitted(action, resource) for policy in policies]
    return PermissionResult.PERMITTED in verdicts and PermissionResult.DENIED not in verdicts


def _text(status: int, body: str = "") -> Response:
    return Response(body.encode("utf-8", "surrogateescape"), status, content_type="text/plain")
