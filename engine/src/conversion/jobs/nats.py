# SPDX-License-Identifier: GPL-3.0-or-later
"""The work queue on NATS JetStream, all of it in file storage:

- stream CONVERSION_JOBS, a work queue: one message a job, gone when acknowledged, redelivered when its engine
  falls silent;
- stream CONVERSION_GPU_JOBS, the same for jobs that need a GPU. Engines with one answer requests under conversion.gpu_here; where
  none does, such jobs go to the other queue, and engines without a GPU take those that wait in this one;
- stream CONVERSION_BLOBS: source and result files in numbered pieces;
- stream CONVERSION_DEAD: jobs that were given up, with their files (see dead.py);
- key-value bucket conversion_operations: the record of every operation under its id; `of.<owner>.<id>`, which lists an
  owner's; `claim.<content>`, which operation converts a content, so that a second one with the same follows it.

A job is stored in the order file, record, message, and closed in the order result, record, source file, message:
whatever dies in between, the message is still there and some engine takes it up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import (
    APIError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
    ServiceUnavailableError,
)
from nats.js.kv import KeyValue

from .. import tls
from ..errors import BusyError, InputError, UnavailableError, one_line
from ..operation import NOTHING, About, Operation, Status
from . import Line, Readable
from .dead import MESSAGES, DeadLetters
from .names import (
    BLOBS,
    BLOBS_SUBJECT,
    DEAD,
    DEAD_SUBJECT,
    ENGINES,
    GPU_ENGINES,
    GPU_HERE,
    GPU_JOBS,
    GPU_JOBS_SUBJECT,
    JOBS,
    JOBS_SUBJECT,
    OPERATIONS,
    PIECE,
    SOURCE,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: NATS is away for now: the same call may work in a moment.
_AWAY = (
    nats.errors.TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.NoServersError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.StaleConnectionError,
    nats.errors.UnexpectedEOF,
    NoStreamResponseError,
    ServiceUnavailableError,
    OSError,
)
_STREAM_DIFFERS = 10058
_STREAM_FULL = 10077
GPU_SECONDS = 2.0  # that an engine with a GPU may take to say that it is here, and that this is believed
SHARED = "shared"  # in the place of an operation's id, for results that were in the cache
SHARED_MAX = 10_000  # of which a process remembers that it stored them
RENEWED = 0.25  # of the retention: as old a copy may be when an operation relies on it
_CLAIM_SECONDS = 15.0  # that a claim is believed without a record: its file is being stored


class _Client(Client):
    """The library asks for TLS only when the server offers it, and whoever stands between could take the offer away: with `secure` no
    password is sent before there is TLS."""

    def __init__(self, *, secure: bool) -> None:
        super().__init__()
        self._secure = secure

    def _connect_command(self) -> bytes:
        transport: Any = self._transport
        if self._secure and transport._io_writer.get_extra_info("ssl_object") is None:
            raise nats.errors.Error("it does not offer TLS, and tls:// asks for it")
        command: bytes = super()._connect_command()
        return command


class NatsJobs:
    """Jobs on JetStream. Connects and reconnects by itself; `start` never waits for NATS to be there."""

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        ca_file: str = "",
        name: str = "conversion",
        retention: float = 6 * 3600,
        dead_retention: float = 7 * 86400,
        max_queued: int = 10_000,
        replicas: int = 1,
        ack_wait: float = 15,
        accept_timeout: float = 10,
        gpu_works: Callable[[], bool] | None = None,
        makes: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._user = user
        self._password = password
        self._ca_file = ca_file
        self._name = name
        self._retention = retention
        self._dead_retention = dead_retention
        self._max_queued = max_queued
        self._replicas = replicas
        self._ack_wait = ack_wait
        self._patience = accept_timeout
        self._gpu_works = gpu_works  # None: no engine, or one without a GPU
        self._gpu_seen = float("-inf")
        self._makes = makes
        self.clock = clock
        self._client: Client | None = None
        self._listening: Client | None = None
        self._offer: Subscription | None = None  # answers those who ask for an engine with a GPU
        self._supervisor: asyncio.Task[None] | None = None
        self._prepared = False
        self._reason = "not connected yet"
        self._blobs_made: datetime | None = None
        self._shared: dict[str, float] = {}  # results from the cache, and when this process stored each
        self._waiters: dict[str, set[asyncio.Future[Operation]]] = {}
        self.dead = DeadLetters(self)

    # connection

    async def start(self) -> None:
        """Begin to connect."""
        self._supervisor = asyncio.create_task(self._supervise(), name="nats")

    async def close(self) -> None:
        """Disconnect."""
        if self._supervisor:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if self._client:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await self._client.close()

    async def problem(self) -> str | None:
        """Why NATS cannot serve, or None."""
        if self._client is None or not self._client.is_connected or not self._prepared:
            return f"NATS at {self._url} cannot be used: {self._reason}."
        return None

    async def _supervise(self) -> None:
        while True:
            try:
                async with asyncio.timeout(15):
                    if self._client is None or self._client.is_closed:
                        self._prepared = False
                        self._client = await self._connect()
                    if self._client.is_connected and not self._prepared:
                        await self._prepare()
                        log.info("connected to %s", self._url)
                    await self._offer_gpu()
            except Exception as exc:
                reason = _words(exc)
                if reason != self._reason:
                    log.warning("NATS at %s cannot be used: %s", self._url, reason)
                self._reason = reason
            await asyncio.sleep(0.5)

    async def _connect(self) -> Client:
        async def on_error(exc: Exception) -> None:
            self._reason = _words(exc)

        async def on_disconnect() -> None:
            self._prepared, self._reason = False, "the connection was lost"
            log.warning("NATS at %s: %s, reconnecting", self._url, self._reason)

        secure = self._url.startswith("tls://")
        client = _Client(secure=secure)
        # The nodes of a cluster name each other by address; all have a certificate for the name that we know.
        checked: dict[str, Any] = {"tls_hostname": urlsplit(self._url).hostname} if secure else {}
        try:
            await client.connect(
                self._url,
                tls=tls.context(self._ca_file, "the CA file of NATS") if secure else None,
                **checked,
                user=self._user or None,
                password=self._password or None,
                name=self._name,
                connect_timeout=2,
                allow_reconnect=False,  # for the first connection only: its refusal is to be seen, not retried silently
                max_reconnect_attempts=-1,
                ping_interval=10,
                max_outstanding_pings=2,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
            )
        except BaseException:  # a refused connection is left open by the library
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1):
                    await client.close()
            raise
        client.options |= {"allow_reconnect": True, "reconnect_time_wait": 0.5}
        return client

    async def _prepare(self) -> None:
        """Make or adjust what we need in JetStream. Every process of the service does it: whoever comes first."""
        client = self._connected()
        if not self._makes:
            try:
                await self.js.stream_info(DEAD)
            except NotFoundError:
                raise nats.errors.Error("it has no queue yet, an API or an engine makes it") from None
            self._prepared = True
            return
        common: dict[str, Any] = {
            "storage": StorageType.FILE,
            "max_age": self._retention,
            "num_replicas": self._replicas,
            "duplicate_window": 60,
        }
        for name, subject in ((JOBS, JOBS_SUBJECT), (GPU_JOBS, GPU_JOBS_SUBJECT)):
            await self._ensure_stream(
                StreamConfig(
                    name=name,
                    subjects=[subject],
                    retention=RetentionPolicy.WORK_QUEUE,
                    max_msgs=self._max_queued,
                    discard=DiscardPolicy.NEW,
                    **common,
                )
            )
        made = await self._ensure_stream(
            StreamConfig(
                name=BLOBS,
                subjects=[f"{BLOBS_SUBJECT}.>"],
                max_msgs_per_subject=1,
                discard=DiscardPolicy.NEW,
                allow_direct=True,
                **{**common, "max_age": self._retention * (1 + RENEWED)},
            )
        )
        if made != self._blobs_made:  # an emptied server, or another one: what was stored is not there
            self._blobs_made = made
            self._shared.clear()
        await self._ensure_stream(
            StreamConfig(
                name=f"KV_{OPERATIONS}",
                subjects=[f"$KV.{OPERATIONS}.>"],
                max_msgs_per_subject=1,
                discard=DiscardPolicy.NEW,
                allow_direct=True,
                allow_rollup_hdrs=True,
                deny_delete=True,
                **common,
            )
        )
        await self._ensure_stream(
            StreamConfig(
                name=DEAD,
                subjects=[f"{DEAD_SUBJECT}.>"],
                max_msgs_per_subject=1,
                max_msgs=MESSAGES,
                discard=DiscardPolicy.OLD,
                allow_direct=True,
                **{**common, "max_age": self._dead_retention},
            )
        )
        for stream, consumer in ((JOBS, ENGINES), (GPU_JOBS, GPU_ENGINES)):
            await self.js.add_consumer(
                stream,
                ConsumerConfig(
                    durable_name=consumer,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=self._ack_wait,
                    max_deliver=-1,  # engines count attempts themselves, so that a job never just stays lying
                    max_ack_pending=self._max_queued,
                ),
            )
        if self._listening is not client:  # once a connection: the client itself renews it when it reconnects
            await client.subscribe(f"$KV.{OPERATIONS}.*", cb=self._on_record)
            self._listening, self._offer = client, None
        self._prepared = True

    async def _ensure_stream(self, config: StreamConfig) -> datetime | None:
        """Make a stream, or change it. Returns when it was made."""
        try:
            info = await self.js.add_stream(config)
        except APIError as exc:
            if exc.err_code != _STREAM_DIFFERS:
                raise
            info = await self.js.update_stream(config)
        return info.created

    @property
    def js(self) -> JetStreamContext:
        return self._connected().jetstream(timeout=3)

    def _connected(self) -> Client:
        if self._client is None:
            raise nats.errors.ConnectionClosedError
        return self._client

    def bucket(self) -> KeyValue:
        return KeyValue(
            name=OPERATIONS,
            stream=f"KV_{OPERATIONS}",
            pre=f"$KV.{OPERATIONS}.",
            js=self.js,
            direct=False,  # of the leader: another node may not have yet what was acknowledged
        )

    async def patiently(self, what: str, call: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        """Result of `call`, repeated while NATS is away; UnavailableError when it stays away or refuses."""
        until = time.monotonic() + (self._patience if patience is None else patience)
        while True:
            try:
                return await call()
            except _AWAY as exc:
                _refuse_when_full(exc)
                if time.monotonic() >= until:
                    raise UnavailableError(f"NATS did not {what}: {_words(exc)}; try again in a minute.") from exc
            except NotFoundError:
                raise
            except APIError as exc:
                _refuse_when_full(exc)
                if exc.code != 503 or time.monotonic() >= until:
                    raise UnavailableError(f"NATS did not {what}: {exc.description}; try again later.") from exc
            await asyncio.sleep(0.2)

    # records

    async def _on_record(self, msg: Msg) -> None:
        operation_id = msg.subject.rpartition(".")[2]
        if operation_id in self._waiters and msg.data:
            operation = Operation.from_json(msg.data)
            if operation.final:
                for waiter in self._waiters[operation_id]:
                    if not waiter.done():
                        waiter.set_result(operation)

    async def operation(self, operation_id: str) -> Operation | None:
        """The record, or None."""
        return await self.patiently("give the record", lambda: self._resolved(operation_id))

    async def operations(self, owner: str, limit: int, before: str = "") -> list[Operation]:
        """The owner's, newest first: their ids are in the subjects of the bucket's stream."""
        prefix = f"$KV.{OPERATIONS}.of.{owner or '_'}."

        async def ask() -> list[Operation]:
            info = await self.js.stream_info(f"KV_{OPERATIONS}", subjects_filter=f"{prefix}>")
            ids = sorted((subject.removeprefix(prefix) for subject in info.state.subjects or ()), reverse=True)
            found: list[Operation] = []
            for operation_id in ids:
                if len(found) == limit:
                    break
                if not before or operation_id < before:
                    record = await self._resolved(operation_id)
                    if record is not None and record.left != "forgotten":
                        found.append(record)
            return found

        return await self.patiently("list the records", ask)

    async def _resolved(self, operation_id: str) -> Operation | None:
        record = await self._read(operation_id)
        if record is None or not record.same_as or record.final:
            return record
        leader = await self._read(record.same_as)
        return record if leader is None else record.as_of(leader)

    async def _read(self, operation_id: str) -> Operation | None:
        try:
            entry = await self.bucket().get(operation_id)
        except (KeyNotFoundError, NotFoundError):
            return None
        return Operation.from_json(entry.value) if entry.value else None

    async def wait(self, operation_id: str, timeout: float) -> Operation | None:
        """The record once it is final or the time is up. Told by NATS; also asks, as messages may be missed."""
        until = time.monotonic() + timeout
        waiter: asyncio.Future[Operation] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(operation_id, set()).add(waiter)
        try:
            while True:
                with contextlib.suppress(*_AWAY, APIError):
                    record = await self._read(operation_id)
                    if record is None or record.final:
                        return record
                    if record.same_as:
                        leader = await self.wait(record.same_as, until - time.monotonic())
                        return record if leader is None else record.as_of(leader)
                left = until - time.monotonic()
                if left <= 0:
                    return await self.operation(operation_id)
                with contextlib.suppress(TimeoutError):
                    return await asyncio.wait_for(asyncio.shield(waiter), min(left, 2.0))
        finally:
            self._waiters[operation_id].discard(waiter)
            if not self._waiters[operation_id]:
                del self._waiters[operation_id]

    async def change(self, operation_id: str, to: Callable[[Operation], Operation]) -> Operation | None:
        """Change a record that is not final yet and return it; None when it is final or gone."""

        async def once() -> Operation | None:
            bucket = self.bucket()
            while True:
                try:
                    entry = await bucket.get(operation_id)
                except (KeyNotFoundError, NotFoundError):
                    return None
                old = Operation.from_json(entry.value or b"{}")
                if old.final:
                    return None
                new = to(old)
                try:
                    await bucket.update(operation_id, new.to_json(), last=entry.revision)
                except KeyWrongLastSequenceError:
                    continue  # somebody else changed it, or our first try did and its answer was lost
                return new

        return await self.patiently("keep the record", once, patience=60)

    async def _create(self, operation: Operation) -> None:
        async def once() -> None:
            listing = asyncio.ensure_future(self.bucket().put(_listed(operation), b"1"))
            try:
                with contextlib.suppress(KeyWrongLastSequenceError):  # ids are unique: an earlier try of ours
                    await self.bucket().create(operation.id, operation.to_json())
            finally:
                await listing

        await self.patiently("keep the record", once)

    async def cancel(self, operation_id: str) -> None:
        """End an operation. An engine that takes its message, or works on it, sees the record and lets it be."""
        changed = await self.change(operation_id, lambda old: old.given_up(self.clock()))
        if changed is not None and changed.final and not changed.same_as:
            await self.drop_file(operation_id, SOURCE)

    async def forget(self, operation: Operation) -> None:
        """Drop record, place in the list and result."""

        async def once() -> None:
            bucket = self.bucket()
            while True:
                try:
                    entry = await bucket.get(operation.id)
                except (KeyNotFoundError, NotFoundError):
                    return
                record = Operation.from_json(entry.value or b"{}")
                if record.status is Status.FAILED:
                    await self.dead.drop(operation.id)  # first: without its record nobody could ask again
                try:
                    if record.followers:
                        await bucket.update(
                            operation.id, replace(record, left="forgotten").to_json(), last=entry.revision
                        )
                    else:
                        await self.drop_file(operation.id, operation.output_key or "none")
                        await self._drop_claim(operation)
                        await bucket.purge(_listed(operation))
                        await bucket.purge(operation.id)
                except KeyWrongLastSequenceError:
                    continue
                return

        await self.patiently("forget the record", once)

    async def _follow(self, operation: Operation) -> Operation | None:
        """The operation as a follower of one that converts the same content; None when it is itself the one to do so."""
        key = _claim(operation)
        claim = json.dumps([operation.id, self.clock()]).encode()
        while True:
            bucket = self.bucket()
            try:
                await bucket.create(key, claim)
            except KeyWrongLastSequenceError:
                pass
            else:
                return None
            try:
                entry = await bucket.get(key)
            except (KeyNotFoundError, NotFoundError):
                continue
            leader, since = json.loads(entry.value or b'["", 0]')
            if leader == operation.id:  # an earlier try, whose answer was lost
                return None
            record = await self._read(leader)
            if record is None and self.clock() - since < _CLAIM_SECONDS:
                await asyncio.sleep(0.1)
                continue
            if record is not None and not record.final:
                if await self.change(leader, Operation.followed) is None:
                    continue  # it ended at this moment
                follower = replace(operation, same_as=leader)
                await self._create(follower)
                return follower
            with contextlib.suppress(KeyWrongLastSequenceError):  # else somebody was quicker
                await bucket.update(key, claim, last=entry.revision)
                return None

    async def _drop_claim(self, operation: Operation) -> None:
        """The content of an operation that is gone is anybody's."""
        bucket = self.bucket()
        with contextlib.suppress(KeyNotFoundError, NotFoundError):
            claim = await bucket.get(_claim(operation))
            if json.loads(claim.value or b"[0]")[0] == operation.id:
                await bucket.purge(_claim(operation))

    # files

    async def put_file(self, operation_id: str, key: str, stream: Readable, patience: float | None = None) -> None:
        """Store a file in numbered pieces."""
        number = 0
        while piece := await asyncio.to_thread(stream.read, PIECE):
            await self.put_piece(f"{BLOBS_SUBJECT}.{operation_id}.{key}.{number}", piece, patience)
            number += 1

    async def put_piece(self, subject: str, piece: bytes, patience: float | None = None) -> None:
        """Store a piece of a file, or a letter, under its subject."""
        await self.patiently("store the file", lambda: self.js.publish(subject, piece, timeout=3), patience)

    async def pieces(self, operation_id: str, key: str, size: int) -> AsyncIterator[bytes]:
        """A stored file of `size` bytes; InputError when it is not kept any more."""
        number = read = 0
        while read < size:
            piece = await self._piece(f"{BLOBS_SUBJECT}.{operation_id}.{key}.{number}")
            read += len(piece)
            number += 1
            yield piece

    async def _piece(self, subject: str) -> bytes:
        # Any node gives it, but one that is behind has not got it yet; the leader has.
        for direct in (True, False):
            with contextlib.suppress(NotFoundError):
                message = await self.patiently(
                    "give the file", functools.partial(self.js.get_last_msg, BLOBS, subject, direct=direct)
                )
                return message.data or b""
        raise InputError("The file is no longer kept: send the source file again.", 404)

    async def drop_file(self, operation_id: str, key: str) -> None:
        """Delete a stored file; what cannot be deleted now expires by itself."""
        with contextlib.suppress(*_AWAY, APIError):
            await self.js.purge_stream(BLOBS, subject=f"{BLOBS_SUBJECT}.{operation_id}.{key}.*")

    # the API's side

    async def submit(self, operation: Operation, source: Readable) -> Operation:
        """File, record, message: in this order, each acknowledged by NATS."""
        try:
            follower = await self.patiently("take the job", lambda: self._follow(operation))
            if follower is not None:
                return follower
            await self.put_file(operation.id, SOURCE, source)
            await self._create(operation)
            await self.enqueue(operation, operation.id)
            return operation
        except BaseException:
            await asyncio.shield(self._withdraw(operation))
            raise

    async def enqueue(self, operation: Operation, message_id: str) -> None:
        """Give the job to the engines. NATS takes a message once under its id, also when an answer of it was lost."""
        data, headers = operation.to_json(), {"Nats-Msg-Id": message_id}
        subject = GPU_JOBS_SUBJECT if operation.needs_gpu and await self._gpu_here() else JOBS_SUBJECT
        await self.patiently("take the job", lambda: self.js.publish(subject, data, timeout=3, headers=headers))

    async def _offer_gpu(self) -> None:
        """Answer for a GPU as long as it can take work. Who only kept silent would keep all who ask waiting."""
        works = self._prepared and self._gpu_works is not None and self._gpu_works()
        if works and self._offer is None:
            self._offer = await self._connected().subscribe(GPU_HERE, cb=self._on_gpu_asked)
        elif not works and self._offer is not None:
            offer, self._offer = self._offer, None
            if not offer._closed:
                await offer.unsubscribe()

    async def _on_gpu_asked(self, msg: Msg) -> None:
        if self._gpu_works is not None and self._gpu_works():
            await msg.respond(b"")

    async def _gpu_here(self) -> bool:
        """Whether an engine with a GPU takes work: known at once where there is none."""
        try:
            await self._connected().request(GPU_HERE, b"", timeout=GPU_SECONDS)
        except _AWAY:
            return False
        return True

    async def _no_gpu(self) -> bool:
        """Whether there is none. One that was seen is believed for a moment, and an absence never."""
        if time.monotonic() - self._gpu_seen < GPU_SECONDS:
            return False
        if await self._gpu_here():
            self._gpu_seen = time.monotonic()
            return False
        return True

    async def reopen(self, operation: Operation) -> None:
        """Write the record of an operation that was final, and list it."""

        async def once() -> None:
            await self.bucket().put(operation.id, operation.to_json())
            await self.bucket().put(_listed(operation), b"1")

        await self.patiently("keep the record", once)

    async def _withdraw(self, operation: Operation) -> None:
        """Not accepted: without its record an engine drops the job, should its message have arrived after all."""
        with contextlib.suppress(*_AWAY, APIError, UnavailableError):
            await self.bucket().purge(operation.id)
            await self.bucket().purge(_listed(operation))
            await self._drop_claim(operation)
        await self.drop_file(operation.id, SOURCE)

    async def store(self, operation: Operation, result: bytes) -> None:
        """Keep a finished operation. Of equal results one copy is kept, which is renewed as long as it is asked for."""
        key = hashlib.sha256(result).hexdigest()[:32]
        if time.monotonic() - self._shared.get(key, float("-inf")) > self._retention * RENEWED:
            for number, start in enumerate(range(0, len(result), PIECE)):
                await self.put_piece(f"{BLOBS_SUBJECT}.{SHARED}.{key}.{number}", result[start : start + PIECE])
            self._shared.pop(key, None)  # the latest is the last to be forgotten
            self._shared[key] = time.monotonic()
            if len(self._shared) > SHARED_MAX:
                del self._shared[next(iter(self._shared))]
        await self._create(replace(operation, same_as=SHARED, output_key=key))

    async def output(self, operation: Operation) -> AsyncIterator[bytes]:
        """The result in pieces."""
        try:
            async for piece in self.pieces(
                operation.same_as or operation.id, operation.output_key, operation.output_bytes
            ):
                yield piece
        except InputError:
            self._shared.pop(operation.output_key, None)  # the next one who asks for the same stores it again
            raise

    # the engine's side

    async def take(self, timeout: float) -> NatsJob | None:
        """The next job. Raises UnavailableError when NATS is away."""
        if problem := await self.problem():
            raise UnavailableError(problem)
        if self._gpu_works is not None:
            return await self._next(GPU_JOBS, GPU_ENGINES, timeout)
        if await self._no_gpu() and (job := await self._next(GPU_JOBS, GPU_ENGINES, 0)):
            return job
        return await self._next(JOBS, ENGINES, timeout)

    async def _next(self, stream: str, consumer: str, timeout: float) -> NatsJob | None:
        """The next job of a queue; with a `timeout` of 0 only if one waits."""
        ask: dict[str, Any] = {"expires": int(timeout * 1e9)} if timeout else {"no_wait": True}
        try:
            msg = await self._connected().request(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
                json.dumps({"batch": 1, **ask}).encode(),
                timeout=timeout + 2,
                old_style=True,  # an inbox of its own: a job arrives under its stream's subject, not the inbox's
            )
        except nats.errors.NoRespondersError as exc:
            self._prepared, self._reason = False, "its queue is gone"  # a new or emptied server: make it again
            raise UnavailableError("NATS has no queue.") from exc
        except nats.errors.TimeoutError:
            return None
        except _AWAY as exc:
            raise UnavailableError(f"NATS is away: {_words(exc)}.") from exc
        if msg.headers and "Status" in msg.headers:  # 404 and 408: nothing to do; 409: the consumer changed
            return None
        try:
            return NatsJob(self, msg, Operation.from_json(msg.data))
        except (ValueError, TypeError, AttributeError) as exc:
            await self._bury_message(msg, f"It is no job: {one_line(exc)}.")
            return None

    async def _bury_message(self, msg: Msg, why: str) -> None:
        """A message that nobody could work on must not come again and again."""
        place = msg.metadata
        log.error("message %d of the queue cannot be read and is kept as a dead letter: %s", place.sequence.stream, why)
        name = f"{'gpu' if place.stream == GPU_JOBS else 'cpu'}-{place.sequence.stream}"
        await self.dead.keep_message(name, msg.data, why, place.num_delivered or 1)
        with contextlib.suppress(*_AWAY, nats.errors.Error):
            await msg.ack_sync(timeout=3)

    async def waiting(self) -> dict[str, int] | None:
        """Jobs not yet delivered, by queue."""
        try:
            asked = [self.js.consumer_info(*one) for one in ((JOBS, ENGINES), (GPU_JOBS, GPU_ENGINES))]
            cpu, gpu = [int(info.num_pending or 0) for info in await asyncio.gather(*asked)]
        except (*_AWAY, APIError):
            return None
        return {"cpu": cpu, "gpu": gpu}

    async def lines(self) -> dict[str, Line] | None:
        """Both queues. The oldest is the first that was not delivered yet."""
        try:
            return {
                "cpu": await self._line(JOBS, JOBS_SUBJECT, ENGINES),
                "gpu": await self._line(GPU_JOBS, GPU_JOBS_SUBJECT, GPU_ENGINES),
            }
        except (*_AWAY, APIError):
            return None

    async def _line(self, stream: str, subject: str, consumer: str) -> Line:
        info = await self.js.consumer_info(stream, consumer)
        waiting = int(info.num_pending or 0)
        if not waiting:
            return Line(0, 0.0)
        after = int(info.delivered.stream_seq) if info.delivered else 0
        try:
            oldest = await self.js.get_msg(stream, after + 1, subject, next=True)
            since = Operation.from_json(oldest.data or b"{}").created_at
        except (NotFoundError, ValueError, TypeError, AttributeError):  # taken at this moment, or no job at all
            return Line(waiting, 0.0)
        return Line(waiting, max(0.0, self.clock() - since))

    async def buried(self) -> int | None:
        """Dead letters."""
        try:
            return await self.dead.count()
        except UnavailableError:
            return None


class NatsJob:
    """A delivered message of the work queue and the operation it names."""

    def __init__(self, jobs: NatsJobs, msg: Msg, operation: Operation) -> None:
        self._jobs = jobs
        self._msg = msg
        self.operation = operation
        self.attempt = int(msg.metadata.num_delivered)

    async def start(self, engine: str) -> bool:
        """Mark as in progress; False, and acknowledged, when there is nothing left to do."""
        changed = await self._jobs.change(self.operation.id, lambda old: old.started(self._jobs.clock(), engine))
        if changed is None:
            await self._acknowledge()
            return False
        self.operation = changed
        return True

    async def fetch(self, target: Path) -> None:
        """Download the source file."""
        with target.open("wb") as stream:
            async for piece in self._jobs.pieces(self.operation.id, SOURCE, self.operation.source_bytes):
                await asyncio.to_thread(stream.write, piece)

    async def touch(self) -> None:
        """Restart the acknowledgement's clock."""
        with contextlib.suppress(*_AWAY):
            await self._msg.in_progress()

    async def complete(self, result: Path, *, cached: bool = False, about: About = NOTHING) -> None:
        """Result, record, source, message."""
        key, size = f"result-{self.attempt}", result.stat().st_size
        with result.open("rb") as stream:
            await self._jobs.put_file(self.operation.id, key, stream, patience=60)
        await self._jobs.change(
            self.operation.id,
            lambda old: old.completed(self._jobs.clock(), size, output_key=key, cached=cached, about=about),
        )
        await self._close()

    async def fail(self, error: str) -> None:
        """Record, source, message."""
        await self._jobs.change(self.operation.id, lambda old: old.failed(self._jobs.clock(), error))
        await self._close()

    async def bury(self, error: str, why: str) -> None:
        """Letter, record, source, message. A letter that cannot be kept is not the job's end: that is told all the same."""
        try:
            await self._jobs.dead.keep(self.operation, why, self.attempt)
        except UnavailableError as exc:
            log.error("the file of job %s is not kept as a dead letter: %s", self.operation.id, exc)
        await self._jobs.change(self.operation.id, lambda old: old.failed(self._jobs.clock(), error))
        record = await self._jobs.operation(self.operation.id)
        if record is None or record.status is not Status.FAILED:
            await self._jobs.dead.drop(self.operation.id)  # its owner ended it meanwhile and wants its file gone
        await self._close()

    async def progress(self, share: float) -> None:
        """The record says it."""
        await self._jobs.change(self.operation.id, lambda old: replace(old, progress=max(old.progress, share)))

    async def crashed(self) -> int:
        """Count a crash in the record."""
        changed = await self._jobs.change(self.operation.id, lambda old: replace(old, crashes=old.crashes + 1))
        self.operation = changed or replace(self.operation, crashes=self.operation.crashes + 1)
        return self.operation.crashes

    async def give_back(self, after: float = 0) -> None:
        """Negative acknowledgement: redelivered at once, or later."""
        with contextlib.suppress(*_AWAY):
            await self._msg.nak(delay=after or None)

    async def unwanted(self) -> None:
        """Returns once the record is final."""
        while True:
            with contextlib.suppress(UnavailableError):
                record = await self._jobs.wait(self.operation.id, 60)
                if record is None or record.final:
                    return
            await asyncio.sleep(1)

    async def _close(self) -> None:
        await self._jobs.drop_file(self.operation.id, SOURCE)
        await self._acknowledge()

    async def _acknowledge(self) -> None:
        # If this fails the message comes again, and `start` finds the record final
        with contextlib.suppress(*_AWAY, nats.errors.Error):
            await self._msg.ack_sync(timeout=3)


def _refuse_when_full(exc: Exception) -> None:
    if getattr(exc, "err_code", None) == _STREAM_FULL:
        raise BusyError("Too many files wait to be converted: try again in half a minute.", 30) from exc


def _listed(operation: Operation) -> str:
    return f"of.{operation.owner or '_'}.{operation.id}"


def _claim(operation: Operation) -> str:
    return f"claim.{operation.cache_key.rpartition(':')[2]}"


def _words(exc: BaseException) -> str:
    """The reason in an exception, without its class's prefix."""
    if refused := tls.refusal(exc):
        return refused
    text = str(exc).strip().removeprefix("nats: ").strip("'\" ")
    if isinstance(exc, TimeoutError) or not text:
        return "no answer in time"
    return text
