# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS's API on loopback: requests go by the service in their signature to our own services or to moto.

Our services speak boto3's shapes; botocore's own model of the API decides how those look on the wire.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Container, Iterable
from typing import Any

from moto.core.request import Request
from moto.iam.responses import IamResponse
from moto.kms.responses import KmsResponse
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from localcloud import credentials, signature, wire
from localcloud.acm import CertificateResponse
from localcloud.clock import Clock, SystemClock
from localcloud.cloud import Cloud
from localcloud.ec2.responses import HostResponse
from localcloud.errors import ApiError
from localcloud.hosts.podman import HostError
from localcloud.others import IdentityResponse, ParameterResponse
from localcloud.settings import OWN
from localcloud.signature import Fault, Signature, SignatureError
from localcloud.state import StateError

LOG = logging.getLogger(__name__)
HOST = "127.0.0.1"
_READS = ("Describe", "Get", "List", "Search", "Simulate", "Lookup")
_MOTO: dict[str, Any] = {
    "acm": CertificateResponse,
    "ec2": HostResponse,
    "ssm": ParameterResponse,
    "sts": IdentityResponse,
    "iam": IamResponse,
    "kms": KmsResponse,  # for the SecureStrings of ssm
}
_OWN = ("autoscaling", "elasticloadbalancing", "monitoring")
SERVICES = (*_OWN, *_MOTO)
"""What there is, by the name in a signature."""
_ELBV2 = "2015-12-01"
_UNLOCKED = {"CreateImage", "GetConsoleOutput"}  # take seconds, and the lock where they need it
_ENOUGH = 16 * 1024 * 1024
_FREEBIND = 15  # Linux's IP_FREEBIND, which Python has no name for

Secret = Callable[[Signature], str]
"""The secret key that a request says it was signed with. Raises SignatureError for keys that nobody has."""
Admit = Callable[[Request, Signature, str], Response | None]
"""Given a request, its signature and its operation: raises ApiError for what is not to be answered, or answers it itself."""

_CODES: dict[Fault, tuple[tuple[str, int], tuple[str, int], tuple[str, int]]] = {
    Fault.MISSING: (
        ("MissingAuthenticationTokenException", 400), ("MissingAuthenticationToken", 403), ("MissingAuthenticationToken", 403),
    ),
    Fault.INCOMPLETE: (("IncompleteSignatureException", 400), ("IncompleteSignature", 400), ("IncompleteSignature", 400)),
    Fault.UNKNOWN_KEY: (("UnrecognizedClientException", 400), ("InvalidClientTokenId", 403), ("AuthFailure", 401)),
    Fault.EXPIRED_TOKEN: (("ExpiredTokenException", 400), ("ExpiredToken", 403), ("RequestExpired", 400)),
    Fault.UNTIMELY: (("InvalidSignatureException", 400), ("SignatureDoesNotMatch", 403), ("RequestExpired", 400)),
    Fault.MISMATCH: (("InvalidSignatureException", 400), ("SignatureDoesNotMatch", 403), ("SignatureDoesNotMatch", 403)),
}  # fmt: skip
"""AWS's codes with their HTTP status: of services that speak JSON, of those that speak XML, and of EC2."""
_BY_VERSION = {
    "2011-01-01": "autoscaling", "2015-12-01": "elasticloadbalancing", "2012-06-01": "elasticloadbalancing",
    "2010-05-08": "iam", "2011-06-15": "sts", "2010-08-01": "monitoring",
}  # fmt: skip
_BY_TARGET = {
    "AmazonSSM": "ssm",
    "TrentService": "kms",
    "CertificateManager": "acm",
    "GraniteServiceVersion20100801": "monitoring",
}


class PortTakenError(Exception):
    """Somebody listens on the port already."""


class Application:
    """The WSGI application of one cloud, for its owner."""

    def __init__(self, cloud: Cloud, clock: Clock | None = None) -> None:
        self._cloud = cloud
        self._clock = clock or SystemClock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = _ENOUGH
        port = self._cloud.settings.port
        answer = stranger(request, {f"127.0.0.1:{port}", f"localhost:{port}"})
        if answer is None and self._cloud.faults.away and not request.path.startswith("/_localcloud/"):
            return hung_up(environ)
        if answer is None:
            answer = (
                self._about(request) if request.path.startswith("/_localcloud/") else self.aws(request, self._secret)
            )
        return answer(environ, start_response)

    def _secret(self, signed: Signature) -> str:
        key = self._cloud.settings.key
        if signed.access_key == key.access_key and not signed.token:
            return key.secret_key
        with self._cloud.lock:
            return credentials.secret(signed, self._clock.now())

    def _verified(self, request: Request, secret: Secret) -> Signature:
        signed = signature.read(request)
        signature.verify(request, signed, secret(signed), self._clock.now())
        return signed

    # -- our own paths ---------------------------------------------------------------------------------------------

    def _about(self, request: Request) -> Response:
        """Health, status and faults; JSON."""
        cloud, path = self._cloud, request.path.removeprefix("/_localcloud/")
        try:
            if self._verified(request, self._secret).service != OWN:
                return _json({"error": f"Sign it for the service {OWN}."}, 403)
        except SignatureError as error:
            return _json({"error": error.message}, 403)
        if path == "health":
            return _json({"name": cloud.settings.name, "ready": cloud.ready})
        if path == "status":
            return _json(cloud.describe())
        if path == "faults":
            if request.method == "POST":
                try:
                    faults = json.loads(request.get_data())
                    for fault in faults if isinstance(faults, list) else [faults]:
                        cloud.faults.add(fault)
                except (ValueError, TypeError, AttributeError) as error:
                    return _json({"error": f"No such fault: {error}."}, 400)
            elif request.method == "DELETE":
                cloud.faults.clear()
            return _json({"faults": cloud.faults.as_list()})
        return _json({"error": f"There is no {request.path}; there are health, status and faults."}, 404)

    # -- AWS's -----------------------------------------------------------------------------------------------------

    def aws(self, request: Request, secret: Secret, admit: Admit | None = None) -> Response:
        """Answer a request to AWS.

        :param secret: who may sign, and with what.
        :param admit: for requests of hosts, which come while the cloud is still bringing them back; raises ApiError for
            what is not to be answered to them.
        """
        request.get_data()  # before anything parses it: a signature is over the bytes
        target = request.headers.get("X-Amz-Target", "")
        service = _BY_TARGET.get(target.partition(".")[0]) or _BY_VERSION.get(request.values.get("Version", ""), "ec2")
        operation = ""
        try:
            signed = signature.read(request)
            service, region = signed.service, signed.region
            if not (self._cloud.ready if admit is None else self._cloud.loaded):
                raise ApiError("ServiceUnavailable", "The local cloud is starting.", 503)
            signature.verify(request, signed, secret(signed), self._clock.now())
            operation = wire.operation(request, service)
            if (refusal := self._cloud.faults.api_refusal(operation)) is not None:
                raise refusal
            if admit is not None and (answer := admit(request, signed, operation)) is not None:
                return answer
            changes = not operation.startswith(_READS)
            if changes:
                self._cloud.make_room()
            answer = self._answer(request, service, operation, region)
            if changes and answer.status_code < 300:
                self._keep(service, operation)
            return answer
        except SignatureError as error:
            return wire.refusal(request, service, _unsigned(request, service, error))
        except ApiError as error:
            return wire.refusal(request, service, error)
        except StateError as error:
            return wire.refusal(request, service, ApiError("InternalFailure", str(error), 500))
        except NotImplementedError as error:
            return wire.refusal(request, service, wire.not_implemented(service, _lacking(operation, str(error))))
        except Exception as error:
            LOG.exception("%s %s failed", service, operation)
            reason = f"{operation} failed in the local cloud ({type(error).__name__}); its log says more."
            return wire.refusal(request, service, ApiError("InternalFailure", reason))

    def _keep(self, service: str, operation: str) -> None:
        """Put security groups in force and save, or take back what cannot be put in force or saved and raise StateError."""
        with self._cloud.lock:
            try:
                self._cloud.guard()
                self._cloud.save()
            except (HostError, StateError) as error:
                LOG.exception("%s %s is taken back", service, operation)
                self._cloud.undo()
                raise StateError(f"{operation} was taken back: {error}") from None

    def _answer(self, request: Request, service: str, operation: str, region: str) -> Response:
        if service in _OWN:
            if service == "elasticloadbalancing" and request.values.get("Version") != _ELBV2:
                raise wire.not_implemented("elb", "classic load balancers")
            with self._cloud.lock:
                return self._own(request, service, operation, region)
        if service not in _MOTO:
            there = ", ".join(sorted(SERVICES))
            raise ApiError("NotImplemented", f"The local cloud has no {wire.full_name(service)}; it has {there}.", 501)
        if not wire.has_operation(service, operation):
            raise wire.no_action(operation)
        if operation in _UNLOCKED:
            return self._moto(request, service, operation, region)
        with self._cloud.lock:
            return self._moto(request, service, operation, region)

    def _own(self, request: Request, service: str, operation: str, region: str) -> Response:
        handler = self._cloud.services[service]
        result = handler.handle(operation, wire.parameters(request, service, operation), region)
        return wire.answer(request, service, operation, result)

    def _moto(self, request: Request, service: str, operation: str, region: str) -> Response:
        """Have moto run what was allowed. By itself it would look for operation, region, account and parameters elsewhere too."""
        request.environ.pop("HTTP_X_MOTO_ACCOUNT_ID", None)
        handler = _MOTO[service]()
        handler._get_action = lambda: operation
        handler.get_region_from_url = lambda *_: region
        handler.setup_class(request, request.url, request.headers)
        if wire.speaks_json(service):
            handler.querystring, handler.body = {}, request.get_data(as_text=True)
        status, headers, body = handler.call_action()
        headers.pop("status", None)
        return Response(body, int(status), headers)


class Server:
    """An application on a port, on threads.

    :param host: the address: loopback, or that of the hosts' network, which this machine has once the first host is up.
    """

    def __init__(self, port: int, host: str = HOST) -> None:
        """Take the port. Raises PortTakenError."""
        self._host = host
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise PortTakenError(
                f"Port {port} cannot be used on {host} ({error.strerror}): choose another with --port."
            ) from None
        self._socket.listen(128)
        self.port = int(self._socket.getsockname()[1])
        self._stopping = threading.Event()

    def serve(self, application: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        """Answer requests until ``stop``."""
        server = make_server(
            self._host, self.port, application, threaded=True, request_handler=_Handler, fd=self._socket.fileno()
        )

        def wait() -> None:
            self._stopping.wait()
            server.shutdown()

        threading.Thread(target=wait, daemon=True).start()
        server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End ``serve``, now or as soon as it begins; callable from a signal handler."""
        self._stopping.set()

    def close(self) -> None:
        self._socket.close()


def hung_up(environ: dict[str, Any]) -> Iterable[bytes]:
    """Close the connection of a request without an answer."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("the API is away")


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120  # an idle connection is closed

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Requests are not logged: user data and parameters may hold secrets."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        LOG.info(message, *args)


def _lacking(operation: str, said: str) -> str:
    """What is missing, after moto's words where they tell of more than the operation."""
    part = re.match(r"(?:The |Filter dicts? )?(.*?) (?:has|have) not been implemented", said)
    more = part.group(1) if part and "action" not in said else ""
    if not more:
        return operation
    return f"the {more}" if operation in more else f"{more} in {operation}"


def stranger(request: Request, hosts: Container[str]) -> Response | None:
    """The refusal of a request that a web page sends: under a name that is not the cloud's own, or from an origin.

    A browser lets every page send such requests to loopback, and lets it read the answers under a name of the page's own.
    """
    host = request.headers.get("Host", "").lower()
    if host not in hosts:
        return _json({"error": f"This is no cloud of the name {host!r}: use the endpoint that `up` printed."}, 403)
    if "Origin" in request.headers:
        return _json({"error": "Web pages cannot use a local cloud."}, 403)
    return None


def _unsigned(request: Request, service: str, error: SignatureError) -> ApiError:
    """In the code of the service's protocol."""
    code, status = _CODES[error.fault][{"ec2": 2, "query": 1, "rest-xml": 1}.get(wire.protocol(request, service), 0)]
    message = error.message
    if code == "AuthFailure":
        message = "AWS was not able to validate the provided access credentials"
    elif code == "RequestExpired":
        message = "Request has expired."
    return ApiError(code, message, status)


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content) + "\n", status, content_type="application/json")
