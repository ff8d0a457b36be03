# SPDX-License-Identifier: GPL-3.0-or-later
"""What both processes have in common: health, drain, metrics and version over HTTP, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ipaddress
import logging
import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from . import __version__
from .cache import Cache
from .errors import BusyError, InputError, SettingsError, UnavailableError, one_line
from .jobs import Jobs
from .settings import Settings

log = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 32
#: The id of the request, or of the request that a job came with, that is being worked on.
REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


def new_request_id(given: str) -> str:
    """The id that a client or a load balancer gave a request, if it is a sensible one, else a new one."""
    return given if re.fullmatch(r"[A-Za-z0-9._=:-]{1,64}", given) else secrets.token_hex(8)


def log_with_request_id() -> None:
    """Log to standard error, every line with the id of its request where there is one."""

    def add(record: logging.LogRecord) -> bool:
        record.request_id = f" [{found}]" if (found := REQUEST_ID.get()) else ""
        return True

    handler = logging.StreamHandler()
    handler.addFilter(add)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s%(request_id)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class Metrics:
    """Counters of one process, in a registry of its own."""

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.info = Gauge("conversion_info", "Always 1", ["service", "version"], registry=self.registry)
        self.info.labels(service, version).set(1)
        self.conversions = Counter(
            "conversion_operations",
            "Conversions by end: completed, cached, failed, crashed, dead, returned, refused",
            ["src_format", "output_format", "end"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "conversion_seconds",
            "Seconds from request or delivery to end",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.active = Gauge("conversion_active", "Requests or jobs in hand", registry=self.registry)
        self.waiting = Gauge("conversion_queue_waiting", "Jobs that no engine has taken yet", registry=self.registry)
        self.depth = Gauge("conversion_queue_depth", "The same by class of engine", ["queue"], registry=self.registry)
        self.oldest = Gauge(
            "conversion_queue_oldest_seconds",
            "Age of the oldest job that no engine has taken yet; 0 when none waits",
            ["queue"],
            registry=self.registry,
        )
        self.workers = Gauge("conversion_workers", "Jobs that an engine works on at a time", registry=self.registry)
        self.busy = Gauge("conversion_workers_busy", "Jobs that it works on now", registry=self.registry)
        self.share = Gauge(
            "conversion_workers_busy_ratio", "The share of them that is busy, 0 to 1", registry=self.registry
        )
        self.dead = Gauge("conversion_dead_letters", "Jobs that were given up and are kept", registry=self.registry)
        self.ready = Gauge("conversion_ready", "1 when ready for work", registry=self.registry)
        self.isolation = Gauge(
            "conversion_isolation",
            "What holds jobs: 0 where this host lacks a layer",
            ["layer"],
            registry=self.registry,
        )
        self.cache_up = Gauge("conversion_cache_up", "1 when the cache is in use", registry=self.registry)


class Lifecycle:
    """Whether this process takes work, what it has in hand, and why it is not ready."""

    def __init__(
        self,
        problem: Callable[[], Awaitable[str | None]],
        active: Callable[[], int],
        *,
        lame_duck: float = 0,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._problem = problem
        self._active = active
        self._lame_duck = lame_duck
        self._on_drain = on_drain
        self._draining_since: float | None = None
        self.facts: dict[str, Any] = {}  # shown with readiness

    @property
    def active(self) -> int:
        """Requests or jobs in hand."""
        return self._active()

    @property
    def draining(self) -> bool:
        """True once the end has begun."""
        return self._draining_since is not None

    def drain(self) -> None:
        """Take no more work. Cannot be undone: the process is to be replaced or restarted."""
        if self._draining_since is None:
            self._draining_since = time.monotonic()
            self._on_drain()

    @property
    def drained(self) -> bool:
        """True when those who send work have had time to notice, and nothing is in hand."""
        since = self._draining_since
        return since is not None and self.active == 0 and time.monotonic() >= since + self._lame_duck

    async def problem(self) -> str | None:
        """Why no work should be sent here, or None."""
        return "It is draining." if self.draining else await self._problem()


def refresh(jobs: Jobs, cache: Cache) -> Callable[[Metrics], Awaitable[None]]:
    """What brings the metrics of queue and cache up to date. What cannot be asked stays as it was."""

    async def ask(metrics: Metrics) -> None:
        metrics.cache_up.set(cache.available)
        if (lines := await jobs.lines()) is not None:
            metrics.waiting.set(sum(line.waiting for line in lines.values()))
            for name, line in lines.items():
                metrics.depth.labels(name).set(line.waiting)
                metrics.oldest.labels(name).set(line.oldest)
        if (buried := await jobs.buried()) is not None:
            metrics.dead.set(buried)

    return ask


def probes(
    name: str,
    settings: Settings,
    life: Lifecycle,
    metrics: Metrics,
    refresh: Callable[[Metrics], Awaitable[None]],
) -> list[web.RouteDef]:
    """Routes that every process has. POST /drain is for the networks in drain_allow, and never through a proxy."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        problem = await life.problem()
        body: dict[str, Any] = {"status": "ready"} if problem is None else {"status": "not ready", "reason": problem}
        return web.json_response({**body, **life.facts}, status=200 if problem is None else 503)

    async def drain(request: web.Request) -> web.Response:
        if request.method == "POST":
            if not _may_drain(request, settings):
                raise InputError(f"Draining is not allowed from {request.remote}: see CONVERSION_DRAIN_ALLOW.", 403)
            life.drain()
        body = {"draining": life.draining, "drained": life.drained, "in_flight": life.active}
        done = life.drained or request.method != "POST"
        return web.json_response(body, status=200 if done else 503)

    async def exposition(_: web.Request) -> web.Response:
        metrics.active.set(life.active)
        metrics.ready.set(await life.problem() is None)
        await refresh(metrics)
        return web.Response(
            body=generate_latest(metrics.registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"name": name, "version": settings.version, "package": __version__})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/drain", drain),
        web.post("/drain", drain),
        web.get("/metrics", exposition),
        web.get("/version", version),
    ]


def plain_probes(life: Lifecycle) -> list[web.RouteDef]:
    """Alive and ready, in a word, for a port that strangers reach."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        ready = await life.problem() is None
        return web.json_response({"status": "ready" if ready else "not ready"}, status=200 if ready else 503)

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _may_drain(request: web.Request, settings: Settings) -> bool:
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    return any(address in network for network in settings.drain_allow)


@web.middleware
async def errors(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Every error as JSON with one sentence; what we did not foresee goes to the log in full, not to the user."""
    try:
        return await handler(request)
    except InputError as exc:
        return error_response(exc.status, str(exc), {"WWW-Authenticate": "Bearer"} if exc.status == 401 else None)
    except BusyError as exc:
        return error_response(429, str(exc), {"Retry-After": str(exc.seconds)})
    except UnavailableError as exc:
        return error_response(503, str(exc), {"Retry-After": "5"})
    except web.RequestPayloadError:
        return error_response(400, "The body of the request is malformed or cut off: send it again.")
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        return refusal(request, exc)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_response(500, "The service made a mistake: it is in its log; try again.")


def refusal(request: web.BaseRequest, exc: web.HTTPException) -> web.Response:
    """A refusal by the library in the words of the API."""
    sentences = {
        404: f"There is nothing at {request.path[:100]}: see /openapi.json for what there is.",
        405: f"{request.method} is not for {request.path[:100]}: see /openapi.json.",
    }
    kept = {name: value for name, value in exc.headers.items() if name in ("Allow", "Retry-After")}
    return error_response(exc.status, sentences.get(exc.status, f"{exc.reason}."), kept)


def error_response(status: int, sentence: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error as the API words it."""
    return web.json_response({"error": one_line(sentence)}, status=status, headers=headers)


class Listening:
    """An application that is served on one port."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server) -> None:
        self._runner = runner
        self._server = server
        self.port = int(server.sockets[0].getsockname()[1])

    def close_port(self) -> None:
        """Take no more connections; those that are there go on."""
        self._server.close()

    async def close(self) -> None:
        """End it all."""
        self._server.close()
        await self._runner.cleanup()


async def serve(
    app: web.Application,
    host: str,
    port: int,
    connection: Callable[[web.Server], asyncio.Protocol] | None = None,
) -> Listening:
    """Listen; `connection` makes what a client talks to. SettingsError when the port is not to be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, keepalive_timeout=75)
    await runner.setup()
    server = runner.server
    if server is None:  # never so after setup
        raise SettingsError("The web server did not start.")
    made: Callable[[], asyncio.Protocol] = server if connection is None else lambda: connection(server)
    try:
        # asyncio takes as many connections at once as it has backlog, before any is looked at: few, so that a crowd
        # cannot use up the files of the process. The kernel's own queue is longer.
        listener = await asyncio.get_running_loop().create_server(made, host, port, backlog=ACCEPTED_AT_ONCE)
        for listening in listener.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as queue:
                queue.listen(1024)
    except OSError as exc:
        await runner.cleanup()
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {exc.strerror or exc}; "
            "set CONVERSION_LISTEN_HOST and CONVERSION_LISTEN_PORT (or CONVERSION_PROBE_...) to an address that is free."
        ) from exc
    return Listening(runner, listener)


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run a process until SIGTERM or SIGINT sets the event that `main` gets; the exit status."""
    log_with_request_id()

    async def body() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await main(stop)

    try:
        asyncio.run(body())
    except (SettingsError, UnavailableError) as exc:
        log.error("%s", exc)
        return 1
    return 0


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until `condition` holds, at most `seconds`; whether it does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.05)
    return condition()
