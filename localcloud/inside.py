# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a cloud reach of it: instance metadata (IMDSv2) and SSM.

It listens on the address of their network's gateway; the machine's packet filter sends there what hosts send to 169.254.169.254.

Who asks for metadata is known by the address that the connection comes from. SSM is for the credentials that the metadata gave:
their signature is checked as AWS does, then the policies of the role.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable
from typing import Any

from moto.core.request import Request
from moto.ec2.models.instances import Instance
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from werkzeug.wrappers import Response

from localcloud import metadata
from localcloud.clock import Clock, SystemClock
from localcloud.cloud import Cloud
from localcloud.ec2.launch import ACCOUNT
from localcloud.errors import ApiError
from localcloud.hosts.fence import METADATA
from localcloud.server import Application, stranger
from localcloud.signature import Fault, Signature, SignatureError

_AHEAD = "X-aws-ec2-metadata-token"
_ENOUGH = 1024 * 1024
_NAMES = {"GetParameter": "Name", "GetParameters": "Names"}
"""What hosts may ask SSM for, and where the request names the parameters."""


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
        settings = self._cloud.settings
        names = {f"{settings.gateway}:{settings.port}", METADATA, f"{METADATA}:80"}
        answer = stranger(request, names)
        if answer is None and request.method == "POST" and request.path == "/":
            answer = self._application.aws(request, lambda signed: self._keys(signed).secret_key, self._admit)
        elif answer is None:
            answer = self._metadata(request)
        return answer(environ, start_response)

    # -- metadata --------------------------------------------------------------------------------------------------

    def _metadata(self, request: Request) -> Response:
        if not self._cloud.loaded:
            return _text(503)
        with self._cloud.lock:
            instance = self._instance(str(request.remote_addr))
            closed = instance is not None and instance.metadata_options.http_endpoint == "disabled"
            about = None if instance is None else self._about(instance)
        if closed:
            return _text(403)
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

    def _admit(self, request: Request, signed: Signature, operation: str) -> None:
        """Raise ApiError unless a host may have this answered."""
        if signed.service != "ssm" or operation not in _NAMES:
            raise ApiError(
                "AccessDeniedException", f"Hosts reach {' and '.join(_NAMES)} of SSM here, and not {operation}."
            )
        keys = self._keys(signed)
        try:
            asked = json.loads(request.get_data())[_NAMES[operation]]
        except (ValueError, KeyError, TypeError):
            raise ApiError("ValidationException", f"{operation} needs {_NAMES[operation]}.") from None
        names = [asked] if isinstance(asked, str) else [str(name) for name in asked]
        with self._cloud.lock:
            for name in names:
                resource = f"arn:aws:ssm:{signed.region}:{ACCOUNT}:parameter/{name.partition(':')[0].lstrip('/')}"
                if not _permits(keys.role, f"ssm:{operation}", resource):
                    who = f"arn:aws:sts::{ACCOUNT}:assumed-role/{keys.role}/{keys.instance_id}"
                    raise ApiError(
                        "AccessDeniedException",
                        f"User: {who} is not authorized to perform: ssm:{operation} on resource: {resource} "
                        f"because no identity-based policy allows the ssm:{operation} action",
                    )

    def _keys(self, signed: Signature) -> metadata.Keys:
        """The credentials, of those that the metadata gave, that signed a request. Raises SignatureError."""
        try:
            keys = self._issuer.known(signed.token)
        except metadata.ExpiredError:
            raise SignatureError(Fault.EXPIRED_TOKEN, "The security token included in the request is expired") from None
        if keys is None or keys.access_key != signed.access_key:
            raise SignatureError(Fault.UNKNOWN_KEY, "The security token included in the request is invalid.")
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
