# SPDX-License-Identifier: GPL-3.0-or-later
"""The document of the API (OpenAPI 3.1), made from the formats and options that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__, formats
from ..operation import Status

_NUMBER_OR_NONE = {"type": ["number", "null"]}


def document(*, keys: bool) -> dict[str, Any]:
    """The document; `keys` says whether requests need one."""
    answers = {
        "400": _error("the request is wrong"),
        "404": _error("there is no such thing"),
        "429": _busy("too much at once, beyond the quota, or many files wait"),
        "503": _busy("a part of the service is away"),
    }
    if keys:
        answers["401"] = _error("no key, or one that is not known")
    identified = [_path("id", {"type": "string", "format": "uuid"})]
    record = {"description": "the operation", "content": _json(_ref("Operation"))}
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"file": file}, "required": ["file"]}
    sent: dict[str, Any] = {
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": file}, "multipart/form-data": {"schema": form}},
        },
        "responses": {
            "201": record | {"description": "finished"},
            "202": record | {"description": "not finished yet: ask with its id"},
            "422": {
                "description": "the file cannot be converted: an operation that failed, or a refusal at once",
                "content": _json({"anyOf": [_ref("Operation"), _ref("Error")]}),
            },
            "408": _error("the file came too slowly"),
            "413": _error("the file is too large"),
            "415": _error("the body is compressed"),
            **answers,
        },
    }
    source = {"enum": sorted([*formats.FORMATS, *formats.ALIASES])}
    exact = formats.FORMATS["step"]
    paths: dict[str, Any] = {
        "/file/conversion/{src_format}/{output_format}": {
            "post": {
                "operationId": "convert",
                "summary": "Convert a file",
                "parameters": [
                    _path("src_format", source),
                    _path("output_format", {"enum": sorted([*formats.OUTPUT_FORMATS, "stp"])}),
                    *_options(formats.allowed(exact, formats.FORMATS["stl"])),
                ],
                **sent,
            }
        },
        "/file/preview/{src_format}": {
            "post": {
                "operationId": "preview",
                "summary": "Draw a file",
                "parameters": [_path("src_format", source), *_options(formats.allowed(exact, formats.PREVIEW))],
                **sent,
            }
        },
        **{
            f"/file/{name}": {
                "post": {
                    "operationId": formats.operation_type(form_),
                    "summary": f"The {form_.label} of a file",
                    "parameters": [
                        {**_query("src_format", source), "required": True},
                        *_options(formats.allowed(exact, form_)),
                    ],
                    **sent,
                }
            }
            for name, form_ in formats.PROPERTIES.items()
        },
        "/async/operations": {
            "get": {
                "operationId": "list",
                "summary": "Own operations, newest first",
                "parameters": [
                    _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
                    _query("page_token", {"type": "string", "format": "uuid"}),
                ],
                "responses": {
                    "200": {
                        "description": "a page of them",
                        "content": _json(_ref("Page")),
                    },
                    **answers,
                },
            }
        },
        "/async/operations/{id}": {
            "get": {
                "operationId": "look",
                "summary": "One operation",
                "parameters": identified,
                "responses": {"200": record, **answers},
            },
            "delete": {
                "operationId": "cancel",
                "summary": "Cancel an operation, or forget a finished one",
                "parameters": identified,
                "responses": {
                    "200": record | {"description": "it was under way and is cancelled"},
                    "204": {"description": "it was finished and is forgotten"},
                    **answers,
                },
            },
        },
        "/async/operations/{id}/output": {
            "get": {
                "operationId": "output",
                "summary": "The result of an operation",
                "parameters": identified,
                "responses": {
                    "200": {
                        "description": "the file",
                        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
                    },
                    "409": _error("there is no result, or none yet"),
                    **answers,
                },
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "document",
                "summary": "This document",
                "security": [],
                "responses": {"200": {"description": "this document", "content": _json({"type": "object"})}},
            }
        },
    }
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "File conversion", "version": __version__},
        "paths": paths,
        "components": {"schemas": _schemas()},
    }
    if keys:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}]
    return made


def _options(rules: Mapping[str, formats.Rule]) -> list[dict[str, Any]]:
    found = []
    for name, rule in rules.items():
        about = "sources that are exact only" if name in formats.FINENESS else ""
        if isinstance(rule, formats.Range):
            schema: dict[str, Any] = {"type": "number", "minimum": rule.low, "maximum": rule.high}
            about = f"{rule.unit} ({about})" if about else rule.unit
        elif isinstance(rule, formats.Choice):
            schema = {"enum": list(rule.words)}
        else:
            schema = {"type": "string"}
        found.append(_query(name, schema | ({} if rule.default is None else {"default": rule.default}), about))
    return found


def _schemas() -> dict[str, Any]:
    time = {"type": ["string", "null"], "format": "date-time"}
    operation = {
        "type": "object",
        "required": ["id", "type", "status", "created_at"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "type": {"type": "string"},
            "status": {"enum": [status.value for status in Status]},
            "src_format": {"type": "string"},
            "output_format": {"type": "string"},
            "created_at": time,
            "started_at": time,
            "completed_at": time,
            "cached": {"type": "boolean"},
            "engine": {"type": ["string", "null"]},
            "progress": {"type": "number", "minimum": 0, "maximum": 1},
            "warnings": {"type": "array", "items": {"type": "string"}},
            "statistics": {
                "type": ["object", "null"],
                "properties": {
                    "triangles": {"type": ["integer", "null"]},
                    "area": _NUMBER_OR_NONE,
                    "volume": _NUMBER_OR_NONE,
                    "bounding_box": {"type": "array"},
                },
            },
            "outputs": {
                "type": ["object", "null"],
                "description": "base64 by file name, where the result is small; numbers of properties",
            },
            "output_bytes": {"type": "integer"},
            "output_url": {"type": "string"},
            "error": {"type": "string"},
        },
    }
    page = {
        "type": "object",
        "required": ["items", "next_page"],
        "properties": {
            "items": {"type": "array", "items": _ref("Operation")},
            "next_page": {"type": ["string", "null"], "description": "page_token of the next page"},
        },
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return {"Operation": operation, "Page": page, "Error": error}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, "content": _json(_ref("Error"))}


def _busy(description: str) -> dict[str, Any]:
    return {**_error(description), "headers": {"Retry-After": {"schema": {"type": "integer"}}}}


def _path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema} | ({"description": description} if description else {})
