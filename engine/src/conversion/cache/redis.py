# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache in Redis. Redis down, slow, full or refusing us costs at most a quarter of a second now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.exceptions import RedisError

from .. import tls
from . import Breaker

log = logging.getLogger(__name__)
T = TypeVar("T")

_FAILURES = (RedisError, OSError, TimeoutError)


class RedisCache:
    """Results in Redis under a time to live in seconds. Values above `max_bytes` are not kept."""

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        ca_file: str = "",
        ttl: float = 86400,
        max_bytes: int = 8 * 1024 * 1024,
        timeout: float = 0.25,
        breaker: Breaker | None = None,
    ) -> None:
        self._ttl = int(ttl)
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._breaker = breaker or Breaker()
        self._up = True
        # Said in full: what is checked must not depend on a library's defaults
        checked: dict[str, Any] = {
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_ca_certs": ca_file or None,
        }
        self._redis = redis.Redis.from_url(
            url,
            username=user or None,
            password=password or None,
            socket_connect_timeout=timeout,
            socket_timeout=timeout * 4,
            max_connections=256,
            **(checked if url.startswith("rediss://") else {}),
        )

    @property
    def available(self) -> bool:
        """False while Redis is left alone."""
        return self._up and not self._breaker.open

    async def get(self, key: str) -> bytes | None:
        """The value, or None after at most the timeout."""

        async def ask() -> tuple[bytes | None]:
            async with asyncio.timeout(self._timeout):
                value = await self._redis.get(key)
                return (value if isinstance(value, bytes) else None,)

        found = await self._call(ask)
        return found[0] if found else None

    async def put(self, key: str, value: bytes) -> None:
        """Keep the value if Redis takes it in time."""
        if len(value) > self._max_bytes:
            return

        async def ask() -> tuple[None]:
            async with asyncio.timeout(self._timeout * 4):
                await self._redis.set(key, value, ex=self._ttl)
            return (None,)

        await self._call(ask)

    async def count(self, key: str, seconds: int) -> int | None:
        """INCR, with an end."""

        async def ask() -> tuple[int]:
            async with asyncio.timeout(self._timeout):
                counted = await self._redis.incr(key)
                if counted == 1:
                    await self._redis.expire(key, seconds)
                return (int(counted),)

        found = await self._call(ask)
        return found[0] if found else None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _call(self, ask: Callable[[], Awaitable[tuple[T]]]) -> tuple[T] | None:
        if self._breaker.open:
            return None
        reason = ""

        async def told() -> tuple[T]:
            nonlocal reason
            try:
                return await ask()
            except _FAILURES as exc:
                reason = tls.refusal(exc) or type(exc).__name__
                raise

        answer = await self._breaker.call(told, _FAILURES)
        if (answer is not None) != self._up:
            self._up = answer is not None
            if self._up:
                log.info("the cache answers again")
            else:
                log.warning("the cache does not answer (%s): working without it, trying again later", reason)
        return answer
