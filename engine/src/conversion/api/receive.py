# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes in the file of a request, raw or as the first part of a form: never more than a piece of it in memory."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import ipaddress
import logging
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web
from aiohttp.helpers import parse_mimetype

from ..errors import InputError, UnavailableError
from ..jobs import Readable
from ..settings import MIB, Settings
from .connection import Connection
from .form import FirstPart
from .uploads import Upload

log = logging.getLogger(__name__)
PIECE = 256 * 1024
HEAD = 4096
DISCARD_SECONDS = 30


@dataclass(frozen=True)
class Received:
    """A source file as received: where, how long, its hash and its first bytes."""

    stream: Readable
    size: int
    sha256: str
    head: bytes


def address(request: web.Request, settings: Settings) -> str | None:
    """Whose upload this is: the client's address, which a proxy that is trusted names; None where it names none."""
    peer = request.remote or ""
    try:
        trusted = any(ipaddress.ip_address(peer) in network for network in settings.trusted_proxies)
        if not trusted:
            return peer
        named = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        return str(ipaddress.ip_address(named)) if named else None
    except ValueError:
        return None


def refuse_encoding(request: web.Request) -> None:
    """InputError (415) for a body that is compressed: what it unpacks to has no bound."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise InputError("A compressed body is not taken: send the file as it is, without Content-Encoding.", 415)


class Receiver:
    """Receives one file."""

    def __init__(self, request: web.Request, upload: Upload, settings: Settings, largest: int, label: str) -> None:
        self._request = request
        self._upload = upload
        self._settings = settings
        self._largest = largest
        self._label = label
        # A client that asks first has sent nothing yet, and need not when it is refused
        self._asks = request.headers.get("Expect", "").lower() == "100-continue"

    async def into(self, spool: tempfile.SpooledTemporaryFile[bytes]) -> Received:
        """The file, in `spool`; InputError and UnavailableError for what is wrong with it and with our disk."""
        try:
            refuse_encoding(self._request)
            if (self._request.content_length or 0) > self._largest + HEAD:
                raise self._too_large()
            return await self._spooled(spool)
        except InputError as exc:
            if exc.status in (413, 415) and not self._asks:
                await self._discard()
            raise
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                log.error("no space left in %s", self._settings.work_dir)
                raise UnavailableError("The disk of the API is full: try again later or tell its operator.") from exc
            raise

    async def _spooled(self, spool: tempfile.SpooledTemporaryFile[bytes]) -> Received:
        if self._asks:
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0
            self._asks = False
        digest, head, size = hashlib.sha256(), b"", 0
        async for piece in self._file():
            size += len(piece)
            if size > self._largest:
                raise self._too_large()
            digest.update(piece)
            if len(head) < HEAD:
                head += piece[:HEAD]
            await asyncio.to_thread(spool.write, piece)
        if size == 0:
            raise InputError("The file is empty: send it as the body of the request (curl --data-binary @FILE).")
        await asyncio.to_thread(spool.seek, 0)
        return Received(spool, size, digest.hexdigest(), head)

    async def _file(self) -> AsyncIterator[bytes]:
        pieces = self._upload.paced(self._request.content.iter_chunked(PIECE))
        if self._request.content_type != "multipart/form-data":
            async for piece in pieces:
                yield piece
            return
        kind = parse_mimetype(self._request.headers.get("Content-Type", ""))
        part = FirstPart(kind.parameters.get("boundary"))
        async for piece in pieces:
            if not part.done and (content := part.feed(piece)):
                yield content
            if self._upload.received > self._largest + MIB:
                raise self._too_large()
        part.finish()

    async def _discard(self) -> None:
        """Read on for a while, keeping nothing: most clients see an answer only when they have sent their file."""
        if isinstance(self._request.protocol, Connection):
            self._request.protocol.allow_more()
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                async for _ in self._upload.paced(self._request.content.iter_chunked(PIECE)):
                    pass
        except (TimeoutError, InputError):
            pass

    def _too_large(self) -> InputError:
        if self._largest < self._settings.max_body:
            return InputError(
                f"The file is larger than the {self._largest / MIB:.3g} MiB of {self._label} that can be converted "
                "within the limits of a job: make it smaller.",
                413,
            )
        return InputError(
            f"The file is larger than the {self._settings.max_body / MIB:g} MiB that are taken: make it smaller.", 413
        )
