# SPDX-License-Identifier: GPL-3.0-or-later
"""conversion-engine: takes jobs from NATS and converts them until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from aiohttp import web

from .. import backends, service
from ..errors import SettingsError
from ..settings import Settings, load, read_env_file
from . import gpu, network
from .engine import Engine
from .pool import Limits, Pool

log = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """SettingsError for what the engine cannot do without."""
    if not settings.nats_url:
        raise SettingsError("CONVERSION_NATS_URL is not set: write where NATS is, as in nats://10.0.0.5:4222.")


async def engine(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop`; then take no more jobs, finish those in hand within the drain deadline, return the rest."""
    check(settings)
    metrics = service.Metrics("conversion-engine", settings.version)
    draining = False

    def gpu_works() -> bool:
        return not draining and gpu.problem() is None

    of_gpu = settings.engine_class == "gpu"
    jobs = backends.nats_jobs(settings, f"conversion-engine/{settings.version}", gpu_works if of_gpu else None)
    cache = backends.cache(settings)
    pool = Pool(Limits(settings.job_seconds, settings.job_memory, settings.job_output))
    worker = Engine(jobs, cache, pool, settings, metrics)

    async def problem() -> str | None:
        return gpu.problem() or await jobs.problem()

    def on_drain() -> None:
        nonlocal draining
        draining = True
        worker.drain()

    life = service.Lifecycle(problem, lambda: worker.active, on_drain=on_drain)

    app = web.Application(middlewares=[service.errors])
    probes = service.probes("conversion-engine", settings, life, metrics, service.refresh(jobs, cache))
    app.add_routes(probes)
    listening = await service.serve(app, settings.listen_host, settings.listen_port)
    try:
        ports = network.call_only((settings.nats_url, settings.redis_url))
        await pool.start()
        _tell_isolation(pool, metrics, life, ports=ports)
        await jobs.start()
        log.info("conversion-engine %s on port %d, %d workers", settings.version, listening.port, settings.workers)
        working = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set() and life.draining:  # drained over HTTP: stay until told to end, so that it can be seen
            await stop.wait()
        life.drain()
        log.info("draining: %d jobs in hand", worker.active)
        await asyncio.wait({working}, timeout=settings.drain)
        if not working.done():
            log.warning("giving %d jobs back", worker.active)
            working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        stopping.cancel()
    finally:
        await listening.close()
        await pool.close()
        await jobs.close()
        await cache.close()
    log.info("ended")


def _tell_isolation(pool: Pool, metrics: service.Metrics, life: service.Lifecycle, *, ports: bool) -> None:
    """Which layers hold on this host, in the log, in metrics and beside readiness."""
    layers = {**(pool.isolation.as_dict() if pool.isolation else {})}
    layers |= {"ports": int(ports), "metadata": int(network.metadata_denied())}
    for name, value in layers.items():
        metrics.isolation.labels(name).set(value)
    life.facts["isolation"] = layers
    if not ports:
        log.warning(
            "This kernel cannot hold the engine to the ports of NATS and Redis (Landlock 4): only the unit's IP filter does."
        )
    if not layers["metadata"]:
        log.warning(
            "Instance metadata can be reached from the engine: the unit's IP filter is not in force. Jobs have no sockets%s.",
            ", and the engine no port for it" if ports else "",
        )


def main() -> int:
    """Entry point; every setting is in the environment."""
    parser = argparse.ArgumentParser(prog="conversion-engine", description=__doc__)
    parser.add_argument("--check", metavar="FILE", type=Path, help="check the settings in an environment file and end")
    arguments = parser.parse_args()

    async def body(stop: asyncio.Event) -> None:
        if arguments.check:
            check(load(read_env_file(arguments.check), port=8081))
            return
        settings = load(port=8081)
        await engine(settings, stop)

    backends.hide_environment()
    return service.run(body)


if __name__ == "__main__":
    sys.exit(main())
