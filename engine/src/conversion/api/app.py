# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of the API, in the manner of Zoo's file conversion API."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from .. import capacity, formats
from ..cache import Cache
from ..errors import BusyError, InputError, UnavailableError
from ..ids import new_id
from ..jobs import Jobs
from ..operation import About, Operation, Status, timestamp
from ..service import REQUEST_ID, Lifecycle, Metrics, errors, new_request_id
from ..settings import MIB, Settings
from . import page
from .connection import WRITE_SECONDS, Connection
from .keys import Key, Keys, Quota
from .openapi import document
from .receive import Receiver, address
from .uploads import Pace, Uploads

log = logging.getLogger(__name__)
IN_MEMORY = 1 * MIB
DEPTH_SECONDS = 1.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The handlers and what they share."""

    def __init__(
        self,
        jobs: Jobs,
        cache: Cache,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        keys: Keys | None = None,
    ) -> None:
        self._jobs = jobs
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._keys = keys or Keys(settings.keys_file)
        self._quota = Quota(cache, clock)
        self._uploads = Uploads(
            settings.max_uploads,
            settings.uploads_per_address,
            Pace(settings.least_speed, settings.speed_seconds, settings.body_seconds),
        )
        self._depth: tuple[float, Mapping[str, int]] = (0.0, {})
        self.active = 0
        self.draining = False

    def routes(self) -> list[web.RouteDef]:
        """What is served besides the probes."""
        return [
            web.post("/file/conversion/{src_format}/{output_format}", self.convert, expect_handler=_expect),
            web.post("/file/preview/{src_format}", self.preview, expect_handler=_expect),
            *(web.post(f"/file/{name}", self.measure, expect_handler=_expect) for name in formats.PROPERTIES),
            web.get("/async/operations", self.operations, expect_handler=_expect),
            web.get("/async/operations/{id}", self.operation, expect_handler=_expect),
            web.delete("/async/operations/{id}", self.remove, expect_handler=_expect),
            web.get("/async/operations/{id}/output", self.output, expect_handler=_expect),
            web.get("/openapi.json", self.document, expect_handler=_expect),
            *page.routes(keys=not self._keys.open),
        ]

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Name the request, count it while it is in hand, and log it; while draining, ask clients to connect elsewhere."""
        REQUEST_ID.set(new_request_id(request.headers.get("X-Request-ID", "")))
        ours = request.match_info.handler in (
            self.convert,
            self.preview,
            self.measure,
            self.operations,
            self.operation,
            self.remove,
            self.output,
        )
        connection = request.protocol if isinstance(request.protocol, Connection) else None
        if connection:
            connection.begun(request)
        began = time.monotonic()
        self.active += ours
        status = 0
        try:
            response = await handler(request)
            status = response.status
            if self.draining and not response.prepared:
                response.force_close()
            return response
        finally:
            self.active -= ours
            if connection:
                connection.ended()
            if ours or status >= 400:
                took = (time.monotonic() - began) * 1000
                path = ascii(request.path[:200])[1:-1]
                end = status or "cut off"
                log.info("%s %s from %s: %s in %.0f ms", request.method, path, request.remote, end, took)

    async def convert(self, request: web.Request) -> web.Response:
        """POST a file; 201 with the result, 202 with an id when it takes longer, 4xx with a sentence."""
        self._caller(request)
        source, output = formats.pair(request.match_info["src_format"], request.match_info["output_format"])
        return await self._accept(request, source, output, _query(request))

    async def preview(self, request: web.Request) -> web.Response:
        """POST a file for a picture of it."""
        self._caller(request)
        source = formats.known(request.match_info["src_format"])
        return await self._accept(request, source, formats.PREVIEW, _query(request))

    async def measure(self, request: web.Request) -> web.Response:
        """POST a file for one of its properties, which the path names, in numbers."""
        self._caller(request)
        given = dict(_query(request))
        source = formats.known(formats.required(given, "src_format", "the file's format, such as step"))
        output = formats.PROPERTIES[request.path.rpartition("/")[2]]
        return await self._accept(request, source, output, given)

    async def _accept(
        self, request: web.Request, source: formats.Format, output: formats.Format, given: Mapping[str, str]
    ) -> web.Response:
        """Take the file in and wait for the result."""
        began = time.monotonic()
        key = self._caller(request)
        checked = formats.options(source, output, given)
        end = "refused"
        try:
            await self._refuse_when_deep(output)
            await self._quota.take(key)
            settings = self._settings
            largest = capacity.largest(source.name, settings.max_body, settings.job_memory, settings.job_seconds)
            with (
                self._uploads.admit(address(request, settings)) as upload,
                tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(settings.work_dir)) as spool,
            ):
                received = await Receiver(request, upload, settings, largest, source.label).into(spool)
                formats.check_head(source, received.head)
                now = self._clock()
                operation = Operation(
                    id=new_id(now),
                    src_format=source.name,
                    output_format=output.name,
                    created_at=now,
                    cache_key=formats.cache_key(received.sha256, source.name, output.name, checked),
                    source_bytes=received.size,
                    options={**checked},
                    type=formats.operation_type(output),
                    owner=key.name if key else "",
                    request_id=REQUEST_ID.get(),
                    needs_gpu=formats.needs_gpu(
                        output, checked, received.size, pixels=settings.gpu_pixels, source=settings.gpu_source
                    ),
                )
                response = await self._known(operation)
                if response is None:
                    operation = await self._jobs.submit(operation, received.stream)
            if response is not None:
                end = "cached"
                return response
            operation = await self._await(operation)
            end = "shared" if operation.same_as else operation.status.value
            return await self._answer(operation)
        finally:
            self._metrics.conversions.labels(source.name, output.name, end).inc()
            self._metrics.seconds.observe(time.monotonic() - began)

    async def operations(self, request: web.Request) -> web.Response:
        """The caller's operations, newest first, a page at a time."""
        key = self._caller(request)
        query = _query(request)
        for name in query:
            if name not in ("limit", "page_token"):
                raise InputError(f"'{name[:32]}' is unknown here: use limit and page_token.")
        text, before = query.get("limit", "20"), query.get("page_token", "")
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 100):
            raise InputError(f"limit is '{text[:32]}': give a number from 1 to 100.")
        if before:
            before = _uuid(before, "page_token")
        found = await self._jobs.operations(key.name if key else "", int(text) + 1, before)
        page = [one for one in (each.seen_by_owner() for each in found[: int(text)]) if one is not None]
        body = {
            "items": [self._record(one, None) for one in page],
            "next_page": found[int(text) - 1].id if len(found) > int(text) else None,
        }
        return web.json_response(body)

    async def operation(self, request: web.Request) -> web.Response:
        """The state of an operation, with its result when that is small."""
        return web.json_response(await self._body(await self._find(request)))

    async def remove(self, request: web.Request) -> web.Response:
        """Cancel an operation that is under way; forget one that is over."""
        operation = await self._find(request)
        if not operation.final:
            await self._jobs.cancel(operation.id)
            return web.json_response(self._record(await self._find(request), None))
        await self._jobs.forget(operation)
        return web.Response(status=204)

    async def output(self, request: web.Request) -> web.StreamResponse:
        """The result itself."""
        operation = await self._find(request)
        if operation.status is Status.FAILED:
            raise InputError(f"Operation {operation.id} failed and has no output: {operation.error}", 409)
        if operation.status is Status.CANCELLED:
            raise InputError(f"Operation {operation.id} was cancelled and has no output.", 409)
        if operation.status is not Status.COMPLETED:
            raise InputError(f"Operation {operation.id} is {operation.status}: ask again when it is completed.", 409)
        pieces = self._jobs.output(operation)
        first = await anext(pieces, b"")  # a result that is gone is an error, not a torn answer
        response = web.StreamResponse(
            headers={
                "Content-Type": formats.RESULTS[operation.output_format].media_type,
                "Content-Length": str(operation.output_bytes),
                "Content-Disposition": f'attachment; filename="{operation.output_name}"',
                "X-Content-Type-Options": "nosniff",
            }
        )
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async for piece in _with(first, pieces):
                async with asyncio.timeout(WRITE_SECONDS):  # a client that reads no more holds nothing for ever
                    await response.write(piece)
            await response.write_eof()
        except (TimeoutError, InputError, UnavailableError) as exc:
            log.warning("the result of %s was cut off: %s", operation.id, exc or "its client reads too slowly")
            raise ConnectionResetError from exc
        return response

    async def document(self, _: web.Request) -> web.Response:
        """What all of this is, for machines."""
        return web.json_response(document(keys=not self._keys.open))

    def _caller(self, request: web.Request) -> Key | None:
        return self._keys.owner(request.headers.get("Authorization"))

    async def _refuse_when_deep(self, output: formats.Format) -> None:
        """BusyError when as many jobs wait as may: asked of the queues once a second. A picture may go to either queue."""
        asked, waiting = self._depth
        if time.monotonic() - asked >= DEPTH_SECONDS:
            waiting = await self._jobs.waiting() or {}
            self._depth = (time.monotonic(), waiting)
        queues = waiting if output is formats.PREVIEW else {"cpu"}
        fewest = min((waiting.get(one, 0) for one in queues), default=0)
        if fewest >= self._settings.max_queued:
            raise BusyError(f"{fewest} files wait to be converted already: try again in half a minute.", 30)

    async def _known(self, operation: Operation) -> web.Response | None:
        """The answer when the cache has the result already."""
        found = await self._cache.get(operation.cache_key)
        if found is None:
            return None
        about, result = About.apart(found)
        done = operation.completed(self._clock(), len(result), output_key="cached", cached=True, about=about)
        await self._jobs.store(done, result)
        return web.json_response(
            self._record(done, result if len(result) <= self._settings.inline_max else None), status=201
        )

    async def _await(self, operation: Operation) -> Operation:
        """The operation when it is final or the wait is over. It is accepted: nothing here may become an error."""
        try:
            found = await self._jobs.wait(operation.id, self._settings.wait) or operation
        except UnavailableError:
            return operation
        return found.seen_by_owner() or operation

    async def _answer(self, operation: Operation) -> web.Response:
        try:
            body = await self._body(operation)
        except (UnavailableError, InputError):
            body = self._record(operation, None)
        if operation.status is Status.FAILED:
            return web.json_response(body, status=422)
        if operation.status is Status.CANCELLED:
            return web.json_response({**body, "error": "The operation was cancelled."}, status=409)
        return web.json_response(body, status=201 if operation.final else 202)

    async def _find(self, request: web.Request) -> Operation:
        """The caller's operation that the request names; another's is as if it were not there."""
        key = self._caller(request)
        operation_id = _uuid(request.match_info["id"], "id")
        operation = await self._jobs.operation(operation_id)
        if operation is not None and operation.owner == (key.name if key else ""):
            operation = operation.seen_by_owner()
        else:
            operation = None
        if operation is None:
            hours = self._settings.retention / 3600
            raise InputError(
                f"There is no operation {operation_id}: it never was, or it is older than {hours:g} h.", 404
            )
        return operation

    async def _body(self, operation: Operation) -> dict[str, Any]:
        if operation.status is not Status.COMPLETED or operation.output_bytes > self._settings.inline_max:
            return self._record(operation, None)
        return self._record(operation, b"".join([piece async for piece in self._jobs.output(operation)]))

    @staticmethod
    def _record(operation: Operation, result: bytes | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": operation.id,
            "type": operation.type,
            "status": operation.status.value,
            "src_format": operation.src_format,
            "output_format": operation.output_format,
            "created_at": timestamp(operation.created_at),
            "started_at": timestamp(operation.started_at),
            "completed_at": timestamp(operation.completed_at),
            "cached": operation.cached,
            "engine": operation.engine,
            "progress": operation.progress,
            "warnings": operation.warnings,
            "statistics": operation.statistics,
            "outputs": None if result is None else _outputs(operation, result),
        }
        if operation.output_format in formats.PROPERTIES:
            body["output_unit"] = operation.options.get("output_unit")
        if operation.status is Status.COMPLETED:
            body["output_bytes"] = operation.output_bytes
            body["output_url"] = f"/async/operations/{operation.id}/output"
        if operation.error is not None:
            body["error"] = operation.error
        return body


def _outputs(operation: Operation, result: bytes) -> dict[str, Any]:
    """The result as JSON holds it: numbers as they are, a file in base64."""
    if operation.output_format in formats.PROPERTIES:
        return dict(json.loads(result))
    return {operation.output_name: base64.b64encode(result).decode("ascii")}


def _query(request: web.Request) -> Mapping[str, str]:
    """The query; InputError for a name that is given twice: which one counts would be a guess."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise InputError(f"'{name[:32]}' is given more than once: give it once.")
    return request.query


def _uuid(text: str, what: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        status = 404 if what == "id" else 400
        raise InputError(
            f"'{text[:64]}' is not the {what} of an operation: use the one from an answer.", status
        ) from None


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _expect(_: web.Request) -> None:
    """A client that asks before it sends is answered when its file is wanted (see receive.py), or refused before."""


async def _name(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["X-Request-ID"] = REQUEST_ID.get()
    response.headers["Server"] = "conversion-api"


def application(api: Api, life: Lifecycle, probe_routes: list[web.RouteDef]) -> web.Application:
    """The aiohttp application."""
    app = web.Application(middlewares=[api.count, errors])
    app.add_routes([*api.routes(), *probe_routes])
    app.on_response_prepare.append(_name)
    return app
