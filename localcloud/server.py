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
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from botocore.utils import parse_timestamp
from moto.core.exceptions import ServiceException
from moto.core.model import OperationModel
from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
from moto.core.request import Request
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from moto.iam.responses import IamResponse
from moto.kms.responses import KmsResponse
from moto.ssm.responses import SimpleSystemManagerResponse
from moto.sts.responses import TokenResponse
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from localcloud.cloud import Cloud
from localcloud.ec2.responses import HostResponse
from localcloud.errors import ApiError
from localcloud.state import StateError

LOG = logging.getLogger(__name__)
HOST = "127.0.0.1"
SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request")
_READS = ("Describe", "Get", "List", "Search", "Simulate", "Lookup")
_MOTO: dict[str, Any] = {
    "ec2": HostResponse,
    "ssm": SimpleSystemManagerResponse,
    "sts": TokenResponse,
    "iam": IamResponse,
    "kms": KmsResponse,  # for the SecureStrings of ssm
}
_OWN = {"autoscaling": "autoscaling", "elasticloadbalancing": "elbv2"}  # by botocore's name of the model
_ELBV2 = "2015-12-01"
_UNLOCKED = {"CreateImage"}  # takes seconds, and takes the lock itself where it needs it
_ENOUGH = 16 * 1024 * 1024
_FREEBIND = 15  # Linux's IP_FREEBIND, which Python has no name for

Admit = Callable[[Request, str, str, str], None]
"""Told a request, its service, its operation and its region."""


class PortTakenError(Exception):
    """Somebody listens on the port already."""


class Application:
    """The WSGI application of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = _ENOUGH
        answer = self._about(request) if request.path.startswith("/_localcloud/") else self.aws(request)
        return answer(environ, start_response)

    # -- our own paths ---------------------------------------------------------------------------------------------

    def _about(self, request: Request) -> Response:
        """Health, status and faults; JSON."""
        cloud, path = self._cloud, request.path.removeprefix("/_localcloud/")
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

    def aws(self, request: Request, admit: Admit | None = None) -> Response:
        """Answer a request to AWS.

        :param admit: for requests of hosts, which come while the cloud is still bringing them back; raises ApiError for
            what is not to be answered to them.
        """
        scope = SCOPE.search(request.headers.get("Authorization", ""))
        target = request.headers.get("X-Amz-Target", "")
        if scope is None and target:
            return _refused("ssm", "", ApiError("MissingAuthenticationTokenException", "Missing Authentication Token"))
        if scope is None:
            return _refused("ec2", "", ApiError("MissingAuthenticationToken", "Request is missing a signature.", 403))
        region, service = scope.groups()
        operation = target.rpartition(".")[2] or str(request.values.get("Action", ""))
        try:
            if not (self._cloud.ready if admit is None else self._cloud.loaded):
                raise ApiError("ServiceUnavailable", "The local cloud is starting.", 503)
            if (refusal := self._cloud.faults.api_refusal(operation)) is not None:
                raise refusal
            if admit is not None:
                admit(request, service, operation, region)
            answer = self._answer(request, service, operation, region)
            if not operation.startswith(_READS) and answer.status_code < 300:
                self._cloud.save()
            return answer
        except ApiError as error:
            return _refused(service, operation, error)
        except StateError as error:
            return _refused(service, operation, ApiError("InternalFailure", str(error)))
        except NotImplementedError as error:
            return _refused(service, operation, ApiError("InvalidAction", f"Not in this local cloud: {error}"))
        except Exception as error:
            LOG.exception("%s %s failed", service, operation)
            reason = f"{operation} failed in the local cloud ({type(error).__name__}); its log says more."
            return _refused(service, operation, ApiError("InternalFailure", reason))

    def _answer(self, request: Request, service: str, operation: str, region: str) -> Response:
        if service in _OWN:
            if service == "elasticloadbalancing" and request.values.get("Version") != _ELBV2:
                raise ApiError("InvalidAction", "This local cloud has no classic load balancers; use elbv2.")
            with self._cloud.lock:
                return self._own(request, service, operation, region)
        if service not in _MOTO:
            there = ", ".join(sorted([*_OWN, *_MOTO]))
            raise ApiError("UnrecognizedClientException", f"This local cloud has no {service}; it has {there}.")
        if operation in _UNLOCKED:
            return self._moto(request, service)
        with self._cloud.lock:
            return self._moto(request, service)

    def _own(self, request: Request, service: str, operation: str, region: str) -> Response:
        model = _operation(_OWN[service], operation)
        parser = PROTOCOL_PARSERS["query"](model, timestamp_parser=parse_timestamp)
        try:
            params = parser.parse({"values": request.values})  # type: ignore[typeddict-item] # a query has no more
        except (RequestParserError, ValueError) as error:
            raise ApiError("ValidationError", f"The parameters of {operation} cannot be read: {error}") from None
        handler = self._cloud.autoscaling if service == "autoscaling" else self._cloud.balancer
        result = handler.handle(operation, params, region)
        return _wire(_serializer(_OWN[service], "query", model).serialize(result))

    def _moto(self, request: Request, service: str) -> Response:
        status, headers, body = _MOTO[service].dispatch(request, request.url, request.headers)
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


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120  # an idle connection is closed

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Requests are not logged: user data and parameters may hold secrets."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        LOG.info(message, *args)


class Refusal(ServiceException):
    """Ours: moto's serialiser takes a class of its own modules for one of the service of that name."""


def _operation(service: str, operation: str) -> OperationModel:
    try:
        model: OperationModel = get_service_model(service).operation_model(operation)
        return model
    except Exception:
        raise ApiError("InvalidAction", f"The action {operation} is not valid for this web service.") from None


def _serializer(service: str, protocol: str, model: OperationModel) -> Any:
    return get_serializer_class(service, protocol)(model)


def _refused(service: str, operation: str, error: ApiError) -> Response:
    """A refusal in the protocol of the service."""
    name = _OWN.get(service, service if service in _MOTO else "ec2")
    service_model = get_service_model(name)
    protocol = str(service_model.protocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto would tell that a code is not in the service's model
        answer = _serializer(name, protocol, OperationModel({"name": operation}, service_model)).serialize(
            Refusal(error.code, error.message)
        )
    return _wire({**answer, "status_code": error.status})


def _wire(answer: Any) -> Response:
    return Response(answer["body"], answer["status_code"], answer["headers"])


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content) + "\n", status, content_type="application/json")
