"""The gate on Redis: claims, rate limits and circuits that every instance shares.

All of it may be forgotten: with Redis away or flushed, everything passes. A call to Redis may cost
a page `TIMEOUT` at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()

TIMEOUT = timedelta(milliseconds=100)
CLAIM_FOR = timedelta(seconds=30)
BREAKS_AFTER = 5
"""Failures in a row after which a provider is left alone for `OPEN_FOR`."""
OPEN_FOR = timedelta(seconds=5)
RATES = {"slack": 10, "pagerduty": 50, "webhook": 50, "email": 20, "": 50}
"""Calls a second to one channel, by kind; providers' own answers slow us further."""


class RedisGate:
    """A `Gate` that fails open."""

    def __init__(self, url: str, kinds: Mapping[str, str]) -> None:
        seconds = TIMEOUT.total_seconds()
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=seconds, socket_connect_timeout=seconds
        )
        storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._kinds = kinds

    async def claim(self, notification: str, attempt: int) -> bool:
        """True unless another process claimed this attempt within `CLAIM_FOR`."""
        try:
            taken = await self._redis.set(
                f"tocsin:claim:{notification}:{attempt}",
                "1",
                nx=True,
                px=int(CLAIM_FOR.total_seconds() * 1000),
            )
        except RedisError as error:
            log.warning("gate.bypassed", what="claim", error=type(error).__name__)
            return True
        return bool(taken)

    async def hold_off(self, channel: str) -> timedelta | None:
        """Time until the channel's circuit closes or its window has room."""
        kind = self._kinds.get(channel, "")
        limit = RateLimitItemPerSecond(RATES.get(kind, RATES[""]))
        try:
            failures = await self._redis.get(f"tocsin:circuit:{channel}")
            if failures is not None and int(failures) >= BREAKS_AFTER:
                left = await self._redis.pttl(f"tocsin:circuit:{channel}")
                return timedelta(milliseconds=max(int(left), 1))
            if await self._limiter.hit(limit, "tocsin", channel):
                return None
        except RedisError as error:
            log.warning("gate.bypassed", what="hold_off", error=type(error).__name__)
            return None
        return timedelta(milliseconds=200)

    async def report(self, channel: str, *, healthy: bool) -> None:
        """Close the circuit, or count one more failure towards opening it."""
        name = f"tocsin:circuit:{channel}"
        try:
            if healthy:
                await self._redis.delete(name)
                return
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.incr(name)
            pipeline.pexpire(name, int(OPEN_FOR.total_seconds() * 1000))
            await pipeline.execute()
        except RedisError as error:
            log.warning("gate.bypassed", what="report", error=type(error).__name__)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()


class OpenGate:
    """The gate without a store: everything passes."""

    async def claim(self, _notification: str, _attempt: int) -> bool:
        """Always."""
        return True

    async def hold_off(self, _channel: str) -> timedelta | None:
        """Never."""
        return None

    async def report(self, _channel: str, *, healthy: bool) -> None:
        """Forgotten."""
