# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses the real or the in-process queue and cache, as the settings say."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from .cache import Cache, MemoryCache, NoCache
from .cache.redis import RedisCache
from .jobs.nats import NatsJobs
from .settings import MIB, Settings

_PR_SET_DUMPABLE = 4


def nats_jobs(
    settings: Settings, name: str, gpu_works: Callable[[], bool] | None = None, *, makes: bool = True
) -> NatsJobs:
    """The queue on NATS. `gpu_works` makes it that of an engine with a GPU, and says whether that can take work now. With `makes` its
    streams are made, or changed to the settings; without they have to be there and stay as they are."""
    return NatsJobs(
        settings.nats_url,
        user=settings.nats_user,
        password=settings.nats_password,
        ca_file=settings.nats_ca_file,
        name=name,
        retention=settings.retention,
        dead_retention=settings.dead_retention,
        max_queued=settings.max_queued,
        replicas=settings.nats_replicas,
        ack_wait=settings.ack_wait,
        accept_timeout=settings.accept_timeout,
        gpu_works=gpu_works,
        makes=makes,
    )


def cache(settings: Settings, *, standalone: bool = False) -> Cache:
    """The cache in Redis; without an address none, or the process's own memory."""
    if settings.redis_url:
        return RedisCache(
            settings.redis_url,
            user=settings.redis_user,
            password=settings.redis_password,
            ca_file=settings.redis_ca_file,
            ttl=settings.cache_ttl,
            max_bytes=settings.cache_max,
        )
    return MemoryCache(64 * MIB) if standalone else NoCache()


def hide_environment() -> None:
    """Keep /proc/PID/environ, which holds the passwords, from other processes of the same user: from the jobs."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
