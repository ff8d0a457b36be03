# SPDX-License-Identifier: GPL-3.0-or-later
"""Anything a client may send: by the API's own document, and against it. Never a 5xx, never a traceback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from conversion.api.connection import Connection, Gate
from conversion.api.form import FirstPart
from conversion.api.openapi import document
from conversion.errors import InputError
from conversion.jobs.memory import MemoryJobs
from conversion.settings import Settings
from tests.unit.engine.api_stack import serving

Run = Callable[[Any], Any]
Make = Callable[..., Settings]
DOCUMENT = document(keys=False)
KNOWN_ID = "00000000-0000-7000-8000-000000000000"
# What failed is shown as it was found: to make it smaller takes longer than a test may
PHASES = (Phase.explicit, Phase.generate)
bounded = hypothesis_settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """What a parameter of this schema may be, and what it may not."""
    wrong = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
        ["", "nan", "1e999", "-1", "../..", "%00", "\x00", "²"]
    )
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | wrong
    if schema.get("type") in ("number", "integer"):
        return st.floats(allow_nan=True).map(str) | st.integers().map(str) | wrong
    if schema.get("format") == "uuid":
        return st.uuids().map(str) | st.just(KNOWN_ID) | wrong
    return wrong


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str, dict[str, str], bytes]:
    """Method, path of the document, address, headers and body."""
    path = draw(st.sampled_from(sorted(DOCUMENT["paths"])))
    method = draw(
        st.sampled_from(sorted(DOCUMENT["paths"][path]))
        | st.sampled_from(["put", "patch", "head", "options", "delete"])
    )
    described = DOCUMENT["paths"][path].get(method, {}).get("parameters", [])
    address, query = path, []
    for parameter in described:
        value = draw(values(parameter["schema"]))
        if parameter["in"] == "path":
            address = address.replace("{{{}}}".format(parameter["name"]), quote(value, safe="") or "x")
        elif draw(st.booleans()):
            query.append((parameter["name"], value))
    query += draw(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=2))
    if query:
        address += "?" + urlencode(query, errors="surrogatepass")
    headers = draw(
        st.dictionaries(
            st.sampled_from(
                [
                    "Content-Type",
                    "X-Request-ID",
                    "X-Forwarded-For",
                    "Authorization",
                    "Expect",
                    "Content-Encoding",
                    "Range",
                    "Accept",
                ]
            ),
            st.sampled_from(
                [
                    "",
                    "x",
                    "100-continue",
                    "gzip",
                    "identity",
                    "multipart/form-data",
                    "multipart/form-data; boundary=b",
                    "bytes=0-",
                    "Bearer x",
                    "a/b; c=\xff",
                ]
            ),
            max_size=3,
        )
    )
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nv 1 2 3\r\n--b--\r\n'
    body = draw(st.binary(max_size=300) | st.just(form) | st.just(form[:-9]))
    return method.upper(), path, address, headers, body


def raw(method: str, address: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {address} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 20)
        return b""
    finally:
        writer.close()


def all_answers(run: Run, made: Settings, data: list[bytes], header_seconds: float = 20) -> list[bytes]:
    """What a service, made for these alone, says to each."""

    async def story() -> list[bytes]:
        async with serving(made, MemoryJobs()) as (client, _):
            gate = Gate(100, header_seconds, 1 << 20)
            loop = asyncio.get_running_loop()
            server = client.server.runner.server
            listener = await loop.create_server(lambda: Connection(server, gate, loop=loop), "127.0.0.1", 0)
            try:
                port = listener.sockets[0].getsockname()[1]
                return list(await asyncio.gather(*(exchange(port, one) for one in data)))
            finally:
                listener.close()

    return list(run(story()))


REGISTRY: Registry[Any] = Registry().with_resource(
    "urn:api", Resource.from_contents({"$schema": "https://json-schema.org/draft/2020-12/schema", **DOCUMENT})
)


def check(said: bytes, described: Mapping[str, Any] | None) -> None:
    """An answer is one of those that the document names, and of their form; or a refusal with a sentence."""
    assert said, "no answer"
    said = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body = said.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status < 500, said
    assert b"x-request-id:" in head.lower()
    if status == 204 or not body:
        return
    answer = json.loads(body)
    if status >= 400 and status != 422:
        assert answer["error"].endswith("."), answer
        assert "\n" not in answer["error"]
        assert "Traceback" not in answer["error"]
    found = (described or {}).get("responses", {}).get(str(status))
    assert found or status in (400, 404, 405, 417), f"{status} is not in the document"
    schema = (found or {}).get("content", {}).get("application/json", {}).get("schema")
    if schema:
        pointed = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        Draft202012Validator(pointed, registry=REGISTRY).validate(answer)


@bounded
@given(made=st.lists(requests(), min_size=10, max_size=10))
def test_requests_by_the_document_and_against_it(
    run: Run, settings: Make, caplog: pytest.LogCaptureFixture, made: list[Any]
) -> None:
    answers = all_answers(
        run,
        settings(WAIT=0, SPEED_SECONDS=0.2),
        [raw(method, address, headers, body) for method, _, address, headers, body in made],
    )
    for (method, path, _, _, _), said in zip(made, answers, strict=True):
        check(said, DOCUMENT["paths"][path].get(method.lower()))
    assert "Traceback" not in caplog.text


@bounded
@given(
    data=st.lists(
        st.binary(min_size=1, max_size=200)
        | st.binary(max_size=60).map(lambda more: b"POST /file/conversion/obj/stl HTTP/1.1\r\n" + more),
        min_size=10,
        max_size=10,
    )
)
def test_what_is_no_request(run: Run, settings: Make, caplog: pytest.LogCaptureFixture, data: list[bytes]) -> None:
    for said in all_answers(run, settings(WAIT=0, SPEED_SECONDS=0.2), [one + b"\r\n\r\n" for one in data], 0.2):
        if said:
            assert int(said.split()[1]) < 500, said
    assert "Traceback" not in caplog.text


@hypothesis_settings(max_examples=300, deadline=None, derandomize=True)
@given(
    content=st.binary(max_size=400),
    headers=st.sampled_from([b"", b"A: b\r\n", b'Content-Disposition: form-data; name="f"; filename="x"\r\n']),
    preamble=st.sampled_from([b"", b"words\r\n"]),
    more=st.binary(max_size=50),
    sizes=st.lists(st.integers(1, 40), min_size=1),
)
def test_a_form_gives_its_file_however_it_arrives(
    content: bytes, headers: bytes, preamble: bytes, more: bytes, sizes: list[int]
) -> None:
    if b"\r\n--edge" in b"\r\n" + content:
        return
    body = preamble + b"--edge \t\r\n" + headers + b"\r\n" + content + b"\r\n--edge--\r\n" + more
    part, found, at, turn = FirstPart("edge"), b"", 0, 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        found += part.feed(body[at : at + size])
        at, turn = at + size, turn + 1
    part.finish()
    assert found == content


@hypothesis_settings(max_examples=300, deadline=None, derandomize=True)
@given(
    body=st.binary(max_size=300)
    | st.lists(st.sampled_from([b"--e", b"--", b"\r\n", b"A: b", b"x", b"\r\n--e"]), max_size=12).map(b"".join)
)
def test_a_form_that_is_none_is_refused_in_words(body: bytes) -> None:
    part = FirstPart("e")
    try:
        part.feed(body)
        part.finish()
    except InputError as exc:
        assert str(exc).endswith(".")


def test_the_document_is_a_valid_one() -> None:
    """As far as can be said without the network: references lead somewhere, parameters are those of the paths."""
    text = json.dumps(DOCUMENT)
    for name in ("Operation", "Page", "Error"):
        assert f"#/components/schemas/{name}" in text
        Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])
    for path, methods in DOCUMENT["paths"].items():
        for method in methods.values():
            named = {one["name"] for one in method.get("parameters", []) if one["in"] == "path"}
            assert named == {word[1:-1] for word in path.split("/") if word.startswith("{")}
            assert method["operationId"]
    assert "securitySchemes" not in text
    assert "bearer" in json.dumps(document(keys=True))
