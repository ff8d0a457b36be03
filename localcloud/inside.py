# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a cloud reach of it: instance metadata, and AWS's API as far as their role allows it.

It listens on the address of their network's gateway; the machine's packet filter sends there what hosts send to 169.254.169.254.

Who asks for metadata is known by the address that the connection comes from. The API is for the credentials that the metadata
gave: their signature is checked as AWS does, then the policies of the role.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from moto.core.request import Request
from moto.ec2.models.instances import Instance
from werkzeug.wrappers import Response

from localcloud import identity, metadata, wire
from localcloud.authorization import Authorization, Caller
from localcloud.clock import Clock, SystemClock
from localcloud.cloud import Cloud
from localcloud.ec2.launch import ACCOUNT
from localcloud.hosts.fence import METADATA
from localcloud.server import Application, stranger
from localcloud.signature import Fault, Signature, SignatureError

_AHEAD = "X-aws-ec2-metadata-token"
_ENOUGH = 1024 * 1024
_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_PAGE = """\
<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
 </body>
</html>
"""


class Inside:
    """The WSGI application for hosts.

    :param application: the cloud's API, which answers what hosts may ask.
    """

    def __init__(self, cloud: Cloud, application: Application, clock: Clock | None = None) -> None:
        self._cloud = cloud
        self._application = application
        self._clock = clock or SystemClock()
        self._issuer = metadata.Issuer(secrets.token_bytes(32), self._clock)
        self._authorization = Authorization(cloud, self._clock.now)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = _ENOUGH
        settings = self._cloud.settings
        names = {f"{settings.gateway}:{settings.port}", METADATA, f"{METADATA}:80"}
        answer = stranger(request, names)
        if answer is None and _is_for_api(request):
            answer = self._application.aws(request, lambda signed: self._keys(signed).secret_key, self._admit)
        elif answer is None:
            answer = self._metadata(request)
        return answer(environ, start_response)

    # -- metadata --------------------------------------------------------------------------------------------------

    def _metadata(self, request: Request) -> Response:
        if not self._cloud.loaded:
            return _text(503)
        with self._cloud.lock:
            instance = identity.at(self._cloud.backend(), str(request.remote_addr))
            about = None if instance is None else self._about(instance)
        if instance is None or about is None:
            return _text(404)
        options = instance.metadata_options
        if options.http_endpoint == "disabled":
            return _text(403)
        version, path = request.path[1:].partition("/")[::2]
        if version and version not in metadata.VERSIONS:
            return _text(404)
        if (version, path) == ("latest", "api/token"):
            return self._session(request, about.instance_id)
        token = request.headers.get(_AHEAD, "")
        if (token or options.http_tokens != "optional") and not self._issuer.in_session(token, about.instance_id):
            return _text(401)
        if request.method not in {"GET", "HEAD"}:
            return _text(405)
        if not version:
            return _text(200, "\n".join(metadata.VERSIONS))
        found = metadata.find(metadata.tree(about, self._clock.now()), path)
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

    def _about(self, instance: Instance) -> metadata.About:
        role, backend = identity.role(instance), self._cloud.backend()
        return identity.about(
            backend,
            instance,
            self._issuer.keys(instance.id, role) if role else None,
            backend.notices.get(instance.id, metadata.Notice()),
            self._cloud.autoscaling.target_state(instance.id),
        )

    # -- the API ---------------------------------------------------------------------------------------------------

    def _admit(self, request: Request, signed: Signature, operation: str) -> Response | None:
        """Raise ApiError unless the role of the host allows it."""
        keys = self._keys(signed)
        caller = Caller(keys.role, keys.instance_id, str(request.remote_addr))
        if (signed.service, operation) == ("sts", "GetCallerIdentity"):  # everybody may, even where a policy denies it
            return wire.answer(
                request, "sts", operation, {"UserId": keys.instance_id, "Account": ACCOUNT, "Arn": caller.arn}
            )
        if not wire.has_operation(signed.service, operation):
            raise wire.no_action(operation)
        params = self._authorization.knows(signed.service, operation) and wire.parameters(
            request, signed.service, operation
        )
        with self._cloud.lock:
            self._authorization.check(caller, signed.service, operation, params or {}, signed.region)
        return None

    def _keys(self, signed: Signature) -> metadata.Keys:
        """The credentials, of those that the metadata gave, that signed a request. Raises SignatureError."""
        try:
            keys = self._issuer.known(signed.token)
        except metadata.ExpiredError:
            raise SignatureError(Fault.EXPIRED_TOKEN, "The security token included in the request is expired") from None
        if keys is None or keys.access_key != signed.access_key:
            raise SignatureError(Fault.UNKNOWN_KEY, "The security token included in the request is invalid.")
        return keys


def _is_for_api(request: Request) -> bool:
    """Whether it is no request for metadata."""
    return (
        (request.method == "POST" and (request.path == "/" or request.path.startswith("/service/")))
        or "Authorization" in request.headers
        or "X-Amz-Algorithm" in request.args
    )


def _text(status: int, body: str = "") -> Response:
    if status in _REASONS:
        page = _PAGE.format(title=f"{status} - {_REASONS[status]}")
        return Response(page, status, content_type="text/html")
    return Response(body.encode("utf-8", "surrogateescape"), status, content_type="text/plain")
