# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of clients: a deadline for headers, a bound on how many there are and on what each sends, errors as JSON."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from ..service import REQUEST_ID, error_response, new_request_id, refusal

log = logging.getLogger(__name__)
WRITE_SECONDS = 60
LINGER_SECONDS = 3


class Gate:
    """All connections. At most `limit`: above it the longest idle one goes, of the address that holds most of them."""

    def __init__(self, limit: int, header_seconds: float, request_max: int) -> None:
        self.limit = limit
        self.header_seconds = header_seconds
        self.request_max = request_max
        self.closed = 0
        self._open = 0
        self._idle: dict[str, OrderedDict[Connection, None]] = {}

    def __len__(self) -> int:
        return self._open

    def opened(self, connection: Connection) -> None:
        """Count a connection in; somebody else may have to go for it, or it itself if all others are at work."""
        self._open += 1
        self.idle(connection)
        if self._open > self.limit:
            address = max(self._idle, key=lambda one: len(self._idle[one]))
            next(iter(self._idle[address])).cut_off()

    def lost(self, connection: Connection) -> None:
        """Count it out."""
        self._open -= 1
        self.busy(connection)

    def idle(self, connection: Connection) -> None:
        """It waits for a request."""
        self._idle.setdefault(connection.address, OrderedDict())[connection] = None

    def busy(self, connection: Connection) -> None:
        """It has one, or is gone."""
        ours = self._idle.get(connection.address)
        if ours is not None:
            ours.pop(connection, None)
            if not ours:
                del self._idle[connection.address]


class Connection(RequestHandler):
    """A connection whose client has `header_seconds` for the headers of a request, once it began one."""

    __slots__ = ("_deadline", "_gate", "_pending", "_request", "_taken", "_torn", "address")

    def __init__(self, manager: Any, gate: Gate, **options: Any) -> None:
        # What a refused client sends still is read for a moment only, so that it sees the refusal
        options |= {"auto_decompress": False, "access_log": None, "lingering_time": LINGER_SECONDS}
        super().__init__(manager, **options)
        self._gate = gate
        self._deadline: asyncio.TimerHandle | None = None
        self._request: web.Request | None = None
        self._pending = False  # a next request has begun
        self._torn = False
        self._taken = 0
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        super().connection_made(transport)
        self._arm()
        self._gate.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone."""
        self._disarm()
        self._gate.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count before anything is made of it: chunks may be all frame and no content."""
        self._taken += len(data)
        self._torn = not data.endswith(b"\r\n\r\n")
        if self._taken > self._gate.request_max:
            self.cut_off()
            return
        if self._request is None:
            if self._deadline is None:
                self._arm()
        elif self._request.content.is_eof():
            self._pending = True  # of a next request
        super().data_received(data)

    def begun(self, request: web.Request) -> None:
        """A request's headers are there."""
        self._disarm()
        self._request, self._pending = request, self._torn and not request.body_exists
        self._gate.busy(self)

    def ended(self) -> None:
        """It is answered."""
        self._request, self._taken = None, 0
        if self.transport is not None:
            self._gate.idle(self)
            if self._pending:
                self._arm()

    def allow_more(self) -> None:
        """The request is refused, and what its client sends still is thrown away: let it, so that it sees the answer."""
        self._taken = -2 * self._gate.request_max

    def cut_off(self) -> None:
        """End it without a word."""
        self._gate.closed += 1
        self._gate.busy(self)  # gone in a moment: the next one to go is another
        if self.transport is not None:
            self.transport.abort()

    def _arm(self) -> None:
        self._disarm()
        self._deadline = asyncio.get_running_loop().call_later(self._gate.header_seconds, self.cut_off)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    async def finish_response(
        self, request: Any, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send it, within a deadline; refusals by the library that no middleware saw in the words of the API."""
        if isinstance(resp, web.HTTPException):
            closing = resp.keep_alive is False
            resp = refusal(request, resp)
            if closing:
                resp.force_close()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:  # a client that does not read what it asked for
            self.cut_off()
            return resp, True

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What never became a request, in the words of the API."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        if isinstance(exc, UnicodeError):  # the library puts a header that is no text into its own refusal
            response = error_response(400, "A header of the request is no text: see the API's document.")
        elif isinstance(exc, HttpProcessingError):
            why = " ".join((message or exc.message or "").split())[:120].rstrip(".:, ")
            response = error_response(
                400, f"The request is not valid HTTP ({why or 'malformed'}): see the API's document."
            )
        else:
            if not isinstance(exc, ConnectionError):
                log.error("a request failed outside its handler", exc_info=exc)
            response = error_response(status, "The service made a mistake: it is in its log; try again.")
        response.headers["X-Request-ID"] = REQUEST_ID.get() or new_request_id("")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a client's malformed or broken-off request at debug level only, and the service's own faults as errors."""
        exc = kw.get("exc_info")
        if isinstance(exc, (HttpProcessingError, web.RequestPayloadError, ConnectionError)):
            log.debug("a client broke off or sent nonsense: %s", type(exc).__name__)
        else:
            log.error(*args, **kw)
