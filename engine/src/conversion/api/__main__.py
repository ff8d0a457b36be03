# SPDX-License-Identifier: GPL-3.0-or-later
"""conversion-api: serves the API until SIGTERM. With --standalone it is API, queue, cache and engine in one process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import resource
import sys
from pathlib import Path

from aiohttp import web

from .. import backends, service
from ..cache import Cache
from ..errors import SettingsError, UnavailableError
from ..jobs import Jobs
from ..jobs.memory import MemoryJobs
from ..settings import MIB, Settings, load, read_env_file
from .app import Api, application
from .connection import Connection, Gate
from .keys import Keys, made

log = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """SettingsError for what the API cannot do without."""
    if not settings.nats_url:
        raise SettingsError(
            "CONVERSION_NATS_URL is not set: write where NATS is, as in nats://10.0.0.5:4222, or use --standalone."
        )
    Keys(settings.keys_file)


def gate(settings: Settings) -> Gate:
    """The bound on connections: what the settings say, and no more than half of the files that this process may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = min(settings.max_connections, hard // 2)
    # A body, what a form adds to it, and what chunks do
    return Gate(limit, settings.header_seconds, settings.max_body + settings.max_body // 4 + 2 * MIB)


def warn_if_open(settings: Settings) -> None:
    """Say so when anybody who reaches the port may use the API."""
    try:
        local = ipaddress.ip_address(settings.listen_host).is_loopback
    except ValueError:
        local = settings.listen_host == "localhost"
    if settings.keys_file is None and not local:
        log.warning(
            "The API is open: whoever reaches %s:%d may use it and see all operations; name a file of keys in CONVERSION_KEYS_FILE.",
            settings.listen_host,
            settings.listen_port,
        )


async def api(settings: Settings, stop: asyncio.Event, *, standalone: bool) -> None:
    """Run until `stop`; then stay unready for the lame-duck time, finish the requests in hand, and end."""
    metrics = service.Metrics("conversion-api", settings.version)
    jobs: Jobs
    if standalone:
        jobs = MemoryJobs(settings.work_dir, max_queued=settings.max_queued)
    else:
        check(settings)
        jobs = backends.nats_jobs(settings, f"conversion-api/{settings.version}")
    cache = backends.cache(settings, standalone=standalone)
    handlers = Api(jobs, cache, settings, metrics)

    def on_drain() -> None:
        handlers.draining = True

    life = service.Lifecycle(jobs.problem, lambda: handlers.active, lame_duck=settings.lame_duck, on_drain=on_drain)

    probes = service.probes("conversion-api", settings, life, metrics, service.refresh(jobs, cache))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(cache.close)
        await jobs.start()
        stack.push_async_callback(jobs.close)
        if standalone:
            await _embed_engine(stack, jobs, cache, settings)
        on_api = probes
        if settings.probe_port is not None:
            # A load balancer asks the port that it sends clients to, where only these two are left, without reasons
            on_api = service.plain_probes(life)
            apart = web.Application(middlewares=[service.errors])
            apart.add_routes(probes)
            listening = await service.serve(apart, settings.probe_host, settings.probe_port)
            stack.push_async_callback(listening.close)
            log.info("probes and metrics on http://%s:%d", settings.probe_host, listening.port)
        door = gate(settings)

        def connection(server: web.Server) -> Connection:
            return Connection(server, door, loop=asyncio.get_running_loop(), keepalive_timeout=75)

        serving = await service.serve(
            application(handlers, life, on_api), settings.listen_host, settings.listen_port, connection
        )
        stack.push_async_callback(serving.close)
        log.info("conversion-api %s on http://%s:%d", settings.version, settings.listen_host, serving.port)
        warn_if_open(settings)
        await stop.wait()
        life.drain()
        log.info("draining: %d requests in hand", handlers.active)
        await service.until(lambda: life.drained, settings.lame_duck + settings.drain)
        serving.close_port()
        if not await service.until(lambda: handlers.active == 0, 1):
            log.warning("%d requests are cut off: their conversions go on", handlers.active)
    log.info("ended")


async def _embed_engine(stack: contextlib.AsyncExitStack, jobs: Jobs, cache: Cache, settings: Settings) -> None:
    """An engine in this process, for --standalone; it needs the dependencies of the engine."""
    missing = [name for name in ("OCP", "DracoPy", "mapbox_earcut", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"--standalone needs the engine's packages ({missing[0]} is missing): pip install -r requirements/engine.txt."
        )
    from ..worker.engine import Engine  # noqa: PLC0415
    from ..worker.pool import Limits, Pool  # noqa: PLC0415

    pool = Pool(Limits(settings.job_seconds, settings.job_memory, settings.job_output))
    await pool.start()
    stack.push_async_callback(pool.close)
    working = asyncio.create_task(
        Engine(jobs, cache, pool, settings, service.Metrics("conversion-engine", settings.version)).run()
    )

    async def end() -> None:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    stack.push_async_callback(end)


def main() -> int:
    """Entry point; every setting is in the environment."""
    parser = argparse.ArgumentParser(prog="conversion-api", description=__doc__)
    parser.add_argument("--standalone", action="store_true", help="no NATS, no Redis, engine included: for a laptop")
    parser.add_argument("--check", metavar="FILE", type=Path, help="check the settings in an environment file and end")
    parser.add_argument("--new-key", metavar="NAME", help="print a new key and its entry for the file of keys, and end")
    arguments = parser.parse_args()
    if arguments.new_key:
        try:
            print("\n".join(made(arguments.new_key)))
        except SettingsError as exc:
            parser.error(str(exc))
        return 0

    async def body(stop: asyncio.Event) -> None:
        if arguments.check:
            check(load(read_env_file(arguments.check), port=8080))
            return
        settings = load(port=8080)
        await api(settings, stop, standalone=arguments.standalone)

    backends.hide_environment()
    return service.run(body)


if __name__ == "__main__":
    sys.exit(main())
