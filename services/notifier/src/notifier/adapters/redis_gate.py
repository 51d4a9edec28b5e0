"""The gate on Redis: claims, rates and circuits that every instance shares.

All of it may be forgotten. With Redis away each process keeps the rates and circuits it knows of
by itself, which is less exact and stops no page. A call to Redis may cost a page `TIMEOUT` at
most, and after one that failed Redis is left alone for `AWAY_FOR`.

What several calls ask while an answer is under way is asked in one round trip, and that a
provider is still well is said once in `SAID_FOR`: in a burst Redis is asked less than once a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from notifier.adapters.local_gate import BREAKS_AFTER, OPEN_FOR, LocalGate
from notifier.domain.pacing import Asking
from tocsin_runtime.ports import Clock

log = structlog.get_logger()

TIMEOUT = timedelta(milliseconds=100)
AWAY_FOR = timedelta(seconds=1)
CLAIM_FOR = timedelta(seconds=30)
FORGIVEN_AFTER = timedelta(minutes=2)
"""Failures of a provider that nobody called since are forgotten after this long."""
SAID_FOR = timedelta(seconds=1)
"""How long it is enough that Redis was told that a provider is well, while none of ours fails."""

_PREFIX = "tocsin:"
_T = TypeVar("_T")

# All permits or none, by the clock of Redis, which is the one that all instances share. The
# arithmetic is that of notifier.domain.pacing.admit.
_ADMIT = """
local opened = redis.call('PTTL', KEYS[1])
if opened > 0 then return opened end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait, starts = 0, {}
for i = 2, #KEYS do
  local every, burst = tonumber(ARGV[2 * i - 3]), tonumber(ARGV[2 * i - 2])
  local start = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now)
  wait = math.max(wait, start - (burst - 1) * every - now)
  starts[i] = start + every
end
if wait > 0 then return wait end
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], string.format('%d', starts[i]), 'PX', starts[i] - now)
end
return 0
"""

_REPORT = """
local failures = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if failures >= tonumber(ARGV[2]) then redis.call('SET', KEYS[2], '1', 'PX', ARGV[3]) end
return failures
"""


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


class _Trip:
    """Commands that go to Redis together; each caller finds its answer at its own place."""

    def __init__(self) -> None:
        self.commands: list[tuple[str | int, ...]] = []
        self.answers: asyncio.Task[list[Any]] | None = None


class _RoundTrips:
    """One round trip at a time, for all who asked since the last began.

    What goes together is bounded by the calls under way, each of which asks one thing at a time.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._next: _Trip | None = None
        self._under_way = asyncio.Lock()

    async def ask(self, *command: str | int) -> Any:  # noqa: ANN401 - as Redis answers it
        """What Redis answers. Raises `RedisError` or `OSError`."""
        trip = self._next
        if trip is None or trip.answers is None:
            trip = self._next = _Trip()
            trip.answers = asyncio.create_task(self._go(trip))
        place = len(trip.commands)
        trip.commands.append(command)
        # Of several who ask together one may be called off; the others still want to know.
        answer = (await asyncio.shield(trip.answers))[place]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _go(self, trip: _Trip) -> list[Any]:
        async with self._under_way:
            self._next = None
            pipeline = self._redis.pipeline(transaction=False)
            for command in trip.commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)


class RedisGate:
    """A `Gate` that falls back to this process.

    Args:
        prefix: Of every key; tests that share a Redis have one each.
    """

    def __init__(self, url: str, clock: Clock, prefix: str = _PREFIX) -> None:
        seconds = TIMEOUT.total_seconds()
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=seconds, socket_connect_timeout=seconds
        )
        self._clock = clock
        self._prefix = prefix
        self._local = LocalGate(clock)
        self._trips = _RoundTrips(self._redis)
        self._away_until = 0.0
        self._well_until: dict[str, float] = {}

    async def claim(self, notification: str, attempt: int) -> bool:
        """True unless another process claimed this attempt within `CLAIM_FOR`."""

        async def ask() -> bool:
            name = f"{self._prefix}claim:{notification}:{attempt}"
            held_for = _milliseconds(CLAIM_FOR)
            return bool(await self._trips.ask("SET", name, "1", "NX", "PX", held_for))

        return await self._asked("claim", ask, lambda: self._local.claim(notification, attempt))

    async def hold_off(self, asking: Asking) -> timedelta | None:
        """Time until the account's circuit closes and there is room for the call."""
        permits = asking.permits()
        keys = [f"circuit:{asking.account}", *(f"rate:{key}" for key in permits)]
        numbers = [number for rate in permits.values() for number in (rate.every, rate.burst)]

        async def ask() -> timedelta | None:
            names = [f"{self._prefix}{key}" for key in keys]
            wait = int(await self._trips.ask("EVAL", _ADMIT, len(names), *names, *numbers))
            return timedelta(milliseconds=wait) if wait > 0 else None

        return await self._asked("hold_off", ask, lambda: self._local.hold_off(asking))

    async def report(self, account: str, *, healthy: bool) -> None:
        """Close the circuit, or count one more failure towards opening it."""
        names = [f"{self._prefix}failures:{account}", f"{self._prefix}circuit:{account}"]

        async def ask() -> None:
            if healthy:
                await self._trips.ask("DEL", *names)
                return
            forgiven, opened = _milliseconds(FORGIVEN_AFTER), _milliseconds(OPEN_FOR)
            await self._trips.ask("EVAL", _REPORT, 2, *names, forgiven, BREAKS_AFTER, opened)

        # This process remembers too, so that it is not without a circuit when Redis goes.
        await self._local.report(account, healthy=healthy)
        now = self._clock.monotonic()
        if healthy and now < self._well_until.get(account, 0.0):
            return
        self._well_until[account] = now + SAID_FOR.total_seconds() if healthy else 0.0
        await self._asked("report", ask, _nothing)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    async def _asked(
        self,
        what: str,
        ask: Callable[[], Awaitable[_T]],
        otherwise: Callable[[], Awaitable[_T]],
    ) -> _T:
        if self._clock.monotonic() >= self._away_until:
            try:
                return await ask()
            except (RedisError, OSError) as error:
                self._away_until = self._clock.monotonic() + AWAY_FOR.total_seconds()
                log.warning("gate.bypassed", what=what, error=type(error).__name__)
        return await otherwise()


async def _nothing() -> None:
    """What is left to do without Redis."""
