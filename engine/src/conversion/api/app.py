# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of the API, in the manner of Zoo's file conversion API."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import json
import logging
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .. import formats
from ..cache import Cache
from ..errors import InputError, UnavailableError
from ..jobs import Jobs, Readable
from ..operation import About, Operation, Status, timestamp
from ..service import Lifecycle, Metrics, error_response, errors
from ..settings import MIB, Settings

log = logging.getLogger(__name__)
PIECE = 256 * 1024
IN_MEMORY = 1 * MIB
DISCARD_SECONDS = 30


@dataclass(frozen=True)
class Upload:
    """A source file as received: where, how long, its hash and its first bytes."""

    stream: Readable
    size: int
    sha256: str
    head: bytes


class Api:
    """The handlers and what they share."""

    def __init__(
        self, jobs: Jobs, cache: Cache, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs = jobs
        self._cache = cache
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self.active = 0
        self._uploads = 0
        self.draining = False

    def routes(self) -> list[web.RouteDef]:
        """What is served besides the probes."""
        return [
            web.post("/file/conversion/{src_format}/{output_format}", self.convert, expect_handler=self._expect),
            web.post("/file/preview/{src_format}", self.preview, expect_handler=self._expect),
            *(web.post(f"/file/{name}", self.measure, expect_handler=self._expect) for name in formats.PROPERTIES),
            web.get("/async/operations/{id}", self.operation),
            web.get("/async/operations/{id}/output", self.output),
        ]

    @contextlib.contextmanager
    def _uploading(self) -> Iterator[None]:
        """Bound the disk that files on their way to the queue take."""
        if self._uploads >= self._settings.max_uploads:
            raise UnavailableError("Too many files are being received: try again in some seconds.")
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count requests in hand; while draining, ask clients to connect anew, and thereby elsewhere."""
        counted = request.match_info.handler in (self.convert, self.preview, self.measure, self.operation, self.output)
        self.active += counted
        try:
            response = await handler(request)
            if self.draining and not response.prepared:
                response.force_close()
            return response
        finally:
            self.active -= counted

    async def convert(self, request: web.Request) -> web.Response:
        """POST a file; 201 with the result, 202 with an id when it takes longer, 4xx with a sentence."""
        source, output = formats.pair(request.match_info["src_format"], request.match_info["output_format"])
        return await self._accept(request, source, output, request.query)

    async def preview(self, request: web.Request) -> web.Response:
        """POST a file for a picture of it."""
        source = formats.known(request.match_info["src_format"])
        return await self._accept(request, source, formats.PREVIEW, request.query)

    async def measure(self, request: web.Request) -> web.Response:
        """POST a file for one of its properties, which the path names, in numbers."""
        given = dict(request.query)
        source = formats.known(formats.required(given, "src_format", "the file's format, such as step"))
        output = formats.PROPERTIES[request.path.rpartition("/")[2]]
        return await self._accept(request, source, output, given)

    async def _accept(
        self, request: web.Request, source: formats.Format, output: formats.Format, given: Mapping[str, str]
    ) -> web.Response:
        """Take the file in and wait for the result, a format, a property or a picture."""
        began = time.monotonic()
        options = formats.options(source, output, given)
        end = "refused"
        try:
            with self._uploading(), tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(self._settings.work_dir)) as spool:
                upload = await self._receive(request, spool)
                formats.check_head(source, upload.head)
                accepted = Operation(
                    id=str(uuid.uuid4()),
                    src_format=source.name,
                    output_format=output.name,
                    created_at=self._clock(),
                    cache_key=formats.cache_key(upload.sha256, source.name, output.name, options),
                    source_bytes=upload.size,
                    options=options,
                    type=formats.operation_type(output),
                )
                response = await self._known(accepted)
                if response is None:
                    await self._jobs.submit(accepted, upload.stream)
            if response is not None:
                end = "cached"
                return response
            operation = await self._await(accepted)
            end = operation.status.value
            return await self._answer(operation)
        finally:
            self._metrics.conversions.labels(source.name, output.name, end).inc()
            self._metrics.seconds.observe(time.monotonic() - began)

    async def operation(self, request: web.Request) -> web.Response:
        """The state of an operation, with its result when that is small."""
        return web.json_response(await self._body(await self._find(request)))

    async def output(self, request: web.Request) -> web.StreamResponse:
        """The result itself."""
        operation = await self._find(request)
        if operation.status is Status.FAILED:
            raise InputError(f"Operation {operation.id} failed and has no output: {operation.error}", 409)
        if operation.status is not Status.COMPLETED:
            raise InputError(f"Operation {operation.id} is {operation.status}: ask again when it is completed.", 409)
        pieces = self._jobs.output(operation)
        first = await anext(pieces, b"")  # a result that is gone is an error, not a torn answer
        response = web.StreamResponse(
            headers={
                "Content-Type": formats.RESULTS[operation.output_format].media_type,
                "Content-Length": str(operation.output_bytes),
                "Content-Disposition": f'attachment; filename="{operation.output_name}"',
            }
        )
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

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
            return await self._jobs.wait(operation.id, self._settings.wait) or operation
        except UnavailableError:
            return operation

    async def _answer(self, operation: Operation) -> web.Response:
        try:
            body = await self._body(operation)
        except (UnavailableError, InputError):
            body = self._record(operation, None)
        if operation.status is Status.FAILED:
            return web.json_response(body, status=422)
        return web.json_response(body, status=201 if operation.final else 202)

    async def _find(self, request: web.Request) -> Operation:
        text = request.match_info["id"]
        try:
            operation_id = str(uuid.UUID(text))
        except ValueError:
            raise InputError(f"'{text[:64]}' is not the id of an operation: use the id from the answer.", 404) from None
        operation = await self._jobs.operation(operation_id)
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

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """Before a client that asks first sends its file: refuse what is too large."""
        if (request.content_length or 0) > self._settings.max_body:
            refusal = error_response(413, str(self._too_large()))
            refusal.force_close()
            return refusal
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
        return None

    async def _receive(self, request: web.Request, spool: tempfile.SpooledTemporaryFile[bytes]) -> Upload:
        """The file in a request, raw or as the first part of a form; never more than a piece of it in memory."""
        digest, head, size = hashlib.sha256(), b"", 0
        try:
            async for piece in self._pieces(request):
                size += len(piece)
                if size > self._settings.max_body:
                    await self._discard(request)
                    raise self._too_large()
                digest.update(piece)
                head = head if len(head) >= PIECE else head + piece
                await asyncio.to_thread(spool.write, piece)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                log.error("no space left in %s", self._settings.work_dir)
                raise UnavailableError("The disk of the API is full: try again later or tell its operator.") from exc
            raise
        if size == 0:
            raise InputError("The file is empty: send it as the body of the request (curl --data-binary @FILE).")
        await asyncio.to_thread(spool.seek, 0)
        return Upload(spool, size, digest.hexdigest(), head)

    async def _pieces(self, request: web.Request) -> AsyncIterator[bytes]:
        if (request.content_length or 0) > self._settings.max_body:
            await self._discard(request)
            raise self._too_large()
        if request.content_type != "multipart/form-data":
            async for piece in request.content.iter_chunked(PIECE):
                yield piece
            return
        try:
            part = await (await request.multipart()).next()
        except ValueError as exc:
            raise InputError("The form is malformed: send the file as the request's body instead.") from exc
        if part is None or not hasattr(part, "read_chunk"):
            raise InputError("The form holds no file: send one part with the file, or the file as the request's body.")
        while piece := await part.read_chunk(PIECE):
            yield piece

    async def _discard(self, request: web.Request) -> None:
        """Read on for a while, keeping nothing: most clients see an answer only when they have sent their file."""
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                async for _ in request.content.iter_chunked(PIECE):
                    pass
        except TimeoutError:
            pass

    def _too_large(self) -> InputError:
        return InputError(
            f"The file is larger than the {self._settings.max_body / MIB:g} MiB that are taken: make it smaller.", 413
        )


def _outputs(operation: Operation, result: bytes) -> dict[str, Any]:
    """The result as JSON holds it: numbers as they are, a file in base64."""
    if operation.output_format in formats.PROPERTIES:
        return dict(json.loads(result))
    return {operation.output_name: base64.b64encode(result).decode("ascii")}


def application(api: Api, life: Lifecycle, probe_routes: list[web.RouteDef]) -> web.Application:
    """The aiohttp application."""
    app = web.Application(middlewares=[api.count, errors])
    app.add_routes([*api.routes(), *probe_routes])
    return app
