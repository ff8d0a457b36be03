# SPDX-License-Identifier: GPL-3.0-or-later
"""What both processes have in common: health, drain, metrics and version over HTTP, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from . import __version__
from .errors import InputError, SettingsError, UnavailableError
from .settings import Settings

log = logging.getLogger(__name__)


class Metrics:
    """Counters of one process, in a registry of its own."""

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self.info = Gauge("conversion_info", "Always 1", ["service", "version"], registry=self.registry)
        self.info.labels(service, version).set(1)
        self.conversions = Counter(
            "conversion_operations",
            "Conversions by end: completed, cached, failed, crashed, returned, refused",
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
        return error_response(exc.status, str(exc))
    except UnavailableError as exc:
        return error_response(503, str(exc), {"Retry-After": "5"})
    except web.HTTPException as exc:
        if exc.status < 400:
            raise
        sentences = {
            404: f"There is nothing at {request.path[:100]}: see docs/engine.md for what there is.",
            405: f"{request.method} is not for {request.path[:100]}: see docs/engine.md.",
        }
        return error_response(exc.status, sentences.get(exc.status, f"{exc.reason}."))
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_response(500, "The service made a mistake: it is in its log; try again.")


def error_response(status: int, sentence: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error as the API words it."""
    return web.json_response({"error": sentence}, status=status, headers=headers)


async def serve(app: web.Application, settings: Settings) -> tuple[web.AppRunner, int]:
    """Listen; returns the runner and the port in use. SettingsError when the port is not to be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, keepalive_timeout=75)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.listen_host, settings.listen_port, backlog=1024).start()
    except OSError as exc:
        await runner.cleanup()
        raise SettingsError(
            f"Cannot listen on {settings.listen_host}:{settings.listen_port}: {exc.strerror or exc}; "
            "set CONVERSION_LISTEN_HOST and CONVERSION_LISTEN_PORT to an address that is free."
        ) from exc
    return runner, int(runner.addresses[0][1])


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run a process until SIGTERM or SIGINT sets the event that `main` gets; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

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
