# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests, answers and refusals on the wire, in the protocol that the request speaks: botocore's own model of each API decides
how they look. Refusals also of services that are not here.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

import botocore.session
from botocore.exceptions import BotoCoreError
from botocore.utils import parse_timestamp
from moto.core.model import OperationModel
from moto.core.parse import PROTOCOL_PARSERS, RequestParserError
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.wrappers import Request, Response

from localcloud import cbor
from localcloud.errors import ApiError

NOT_IMPLEMENTED = 501
# Where the name in a signature is not botocore's of the service.
_MODELS = {
    "elasticloadbalancing": "elbv2", "monitoring": "cloudwatch", "elasticfilesystem": "efs", "elasticmapreduce": "emr",
    "states": "stepfunctions", "email": "sesv2", "tagging": "resourcegroupstaggingapi", "airflow": "mwaa",
}  # fmt: skip
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def not_implemented(service: str, what: str) -> ApiError:
    """The refusal of what AWS has and the local cloud has not.

    :param what: an operation, or a sentence's subject.
    """
    return ApiError(
        "NotImplemented", f"The local cloud does not model {what} of {full_name(service)}; AWS does.", NOT_IMPLEMENTED
    )


def full_name(service: str) -> str:
    """A service as AWS calls it; what the signature says if botocore does not know it."""
    return str(_metadata(service).get("serviceFullName", service))


def operation(request: Request, service: str) -> str:
    """The operation that a request names; empty if it names none.

    Raises ApiError for a request that names several, or that is in a protocol which the service does not speak: one part of
    the cloud might read another operation, or other parameters, than the next.
    """
    named = [*request.args.getlist("Action"), *request.form.getlist("Action")]
    if "X-Amz-Target" in request.headers:
        named.append(request.headers["X-Amz-Target"].rpartition(".")[2])
    if "/operation/" in request.path:
        named.append(request.path.rpartition("/operation/")[2])
    if len(named) > 1:
        raise ApiError(
            "InvalidAction", f"The request names {len(named)} operations ({', '.join(named)}): name one, once."
        )
    spoken, spoken_there = protocol(request, service), _protocols(service)
    if (
        named
        and spoken_there
        and (spoken not in spoken_there or (spoken in ("json", "cbor") and request.mimetype in _FORMS))
    ):
        said = f"The request is in the protocol {spoken} with the content type {request.mimetype or '(none)'}"
        raise ApiError("InvalidAction", f"{said}; {full_name(service)} speaks {', '.join(spoken_there)}.")
    return "".join(named)


def parameters(request: Request, service: str, name: str) -> dict[str, Any]:
    """The parameters of an operation, in boto3's shapes; none that it requires is missing. Raises ApiError."""
    model = _operation(service, name)
    found = _parsed(request, service, model)
    lacking = [] if model.input_shape is None else sorted(_lacking(model.input_shape, found))
    if lacking:
        said = "; ".join(
            f"Value null at '{one}' failed to satisfy constraint: Member must not be null" for one in lacking
        )
        plural = "" if len(lacking) == 1 else "s"
        raise ApiError("ValidationError", f"{len(lacking)} validation error{plural} detected: {said}")
    return found


def _parsed(request: Request, service: str, model: OperationModel) -> dict[str, Any]:
    spoken = protocol(request, service)
    try:
        if spoken == "cbor":
            found = cbor.decode(request.get_data() or b"\xa0")
            return dict(found)
        parser = PROTOCOL_PARSERS[spoken](model, timestamp_parser=parse_timestamp)
        asked: Any = {"values": request.values, "body": request.get_data(as_text=True) or "{}"}
        return dict(parser.parse(asked))
    except (RequestParserError, ValueError, TypeError, AttributeError, KeyError) as error:
        code = "SerializationException" if spoken in ("json", "cbor") else "ValidationError"
        raise ApiError(code, f"The parameters of {model.name} cannot be read: {error}") from None


def _lacking(shape: Any, value: Any, at: str = "") -> Iterator[str]:
    """Where something is missing that a shape of botocore's requires, as AWS writes it."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for member, inner in shape.members.items():
            here = f"{at}{member[0].lower()}{member[1:]}"
            if value.get(member) is not None:
                yield from _lacking(inner, value[member], f"{here}.")
            elif member in shape.required_members:
                yield here
    elif shape.type_name == "list" and isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _lacking(shape.member, item, f"{at}{number}.member.")


def answer(request: Request, service: str, name: str, result: Any) -> Response:
    """What an operation returns, in boto3's shapes, on the wire."""
    spoken = protocol(request, service)
    if spoken == "cbor":
        return Response(cbor.encode(result), 200, {"smithy-protocol": "rpc-v2-cbor"}, content_type="application/cbor")
    model = _operation(service, name)
    made = get_serializer_class(_MODELS.get(service, service), spoken)(model).serialize(result)
    return Response(made["body"], made["status_code"], made["headers"])


def speaks_json(service: str) -> bool:
    """Whether the clients of a service speak JSON and nothing else."""
    return str(_metadata(service).get("protocol", "")) in ("json", "rest-json")


def no_action(name: str) -> ApiError:
    """The refusal of what is no operation of the service."""
    return ApiError("InvalidAction", f"The action {name} is not valid for this web service.")


def has_operation(service: str, name: str) -> bool:
    """Whether AWS has such an operation; True if nobody here can tell."""
    model = _model(service)
    return not model or name in model["operations"]


def operations(service: str) -> list[str]:
    """What AWS has of operations; empty if nobody here can tell."""
    return list(_model(service).get("operations", ()))


def protocol(request: Request, service: str) -> str:
    """ec2, query, json, rest-json, rest-xml or cbor."""
    if request.headers.get("Smithy-Protocol") == "rpc-v2-cbor":
        return "cbor"
    if "X-Amz-Target" in request.headers:
        return "json"
    if service == "ec2":
        return "ec2"
    if "Action" in request.args or request.mimetype == "application/x-www-form-urlencoded":
        return "query"
    return str(_metadata(service).get("protocol", "query"))


def refusal(request: Request, service: str, error: ApiError) -> Response:
    """An error as the client of the service reads it."""
    spoken, number = protocol(request, service), str(uuid.uuid4())
    code, message = escape(error.code), escape(error.message)
    said = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    headers = {"x-amzn-RequestId": number}
    body: str | bytes
    if spoken == "ec2":
        kind, body = (
            "text/xml;charset=UTF-8",
            f"<Response><Errors>{said}</Errors><RequestID>{number}</RequestID></Response>",
        )
    elif spoken == "rest-xml" and service == "s3":
        kind, body = "application/xml", said
    elif spoken in ("query", "rest-xml"):
        side = "Sender" if error.status < 500 else "Receiver"
        said = f"<Error><Type>{side}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        kind, body = "text/xml", f"<ErrorResponse>{said}<RequestId>{number}</RequestId></ErrorResponse>"
    elif spoken == "cbor":
        headers["smithy-protocol"] = "rpc-v2-cbor"
        kind, body = "application/cbor", cbor.encode({"__type": error.code, "message": error.message})
    else:
        headers["x-amzn-ErrorType"] = error.code
        kind = "application/json" if spoken == "rest-json" else "application/x-amz-json-1.1"
        body = json.dumps({"__type": error.code, "message": error.message, "Message": error.message})
    if isinstance(body, str) and body.startswith("<"):
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
    return Response(body, error.status, headers, content_type=kind)


def _operation(service: str, name: str) -> OperationModel:
    try:
        model: OperationModel = get_service_model(_MODELS.get(service, service)).operation_model(name)
        return model
    except Exception:
        raise no_action(name) from None


def _protocols(service: str) -> list[str]:
    """What a service speaks, in the words of ``protocol``; nothing if nobody here can tell."""
    return [str(one).removeprefix("smithy-rpc-v2-") for one in _metadata(service).get("protocols", [])]


def _metadata(service: str) -> dict[str, Any]:
    return dict(_model(service).get("metadata", {}))


@functools.cache
def _model(service: str) -> dict[str, Any]:
    """botocore's description of a service, empty if it has none under that name."""
    loader = botocore.session.get_session().get_component("data_loader")
    try:
        return dict(loader.load_service_model(_MODELS.get(service, service), "service-2"))
    except BotoCoreError:
        return {}
