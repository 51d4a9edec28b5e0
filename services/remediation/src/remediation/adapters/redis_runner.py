"""Redis steps: look at a server, delete keys by pattern, empty a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from remediation.adapters.outcomes import LOOK_EVERY, Timer, failed, fingerprint, no_undo, until
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import RedisCall
from tocsin_runtime.ports import Clock

BATCH = 500
"""Keys one SCAN looks at, and one UNLINK takes, so that the server is never busy for long."""
MOST_SHOWN = 20
"""Keys of a plan that are shown by name."""

_LOOKS = frozenset({"ping", "info", "database_size"})


class RedisRunner:
    """Speaks to servers the operator named. A `Runner`.

    What is deleted is gone: a cache fills itself again, and its contents do not belong into a log.

    Args:
        urls: Endpoint a policy names -> `redis://` or `rediss://` URL.
    """

    def __init__(
        self, urls: Mapping[str, str], clock: Clock, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self._urls = urls
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: RedisCall, timeout: timedelta) -> Planned | Ran:
        """How many keys it would take, counted now, and how many there are."""
        url = self._urls.get(call.endpoint)
        if url is None:
            return _not_configured(call)
        timer = Timer(self._clock)
        try:
            async with asyncio.timeout(timeout.total_seconds()), _open(url) as redis:
                held = int(await redis.dbsize())
                if call.action in _LOOKS:
                    return Planned(state=f"{held} keys", fingerprint=fingerprint(call.action))
                shown, found = await _matching(redis, call, held)
        except TimeoutError:
            return failed("timed_out", "no answer in time", timer.took())
        except (RedisError, OSError) as error:
            return failed(_word(error), str(error), timer.took())
        return Planned(
            targets=(f"redis:{call.endpoint}/keys",),
            state=f"{held} keys",
            diff="\n".join((f"{found} of {held} keys would go", *(f"-{key}" for key in shown))),
            pods=found,
            share=found / held if held else 0.0,
            fingerprint=fingerprint(call.action, call.pattern or ""),
        )

    async def run(self, call: RedisCall, timeout: timedelta) -> Ran | Lost:
        """Do it once. Keys are deleted in batches, and what was deleted is counted."""
        url = self._urls.get(call.endpoint)
        if url is None:
            return _not_configured(call)
        timer = Timer(self._clock)
        work = _Work()
        try:
            async with asyncio.timeout(timeout.total_seconds()), _open(url) as redis:
                await work.do(redis, call)
        except (TimeoutError, RedisError, OSError) as error:
            if work.under_way and not _said_no(error):
                return Lost(_word(error))
            told = f"{work.output}\n{error}".strip() or "no answer in time"
            return failed(_word(error), told, timer.took())
        return Ran(
            succeeded=True, reason="as_expected", evidence=evidence(work.output, timer.took())
        )

    async def verify(self, call: RedisCall, timeout: timedelta) -> Ran | Lost:
        """Ask until there is an answer; what deletes is no look."""
        if call.action not in _LOOKS:
            return failed("not_a_look", f"{call.action} changes something")
        return await until(
            lambda left: self.run(call, left), timeout, self._clock, self._look_every
        )

    async def undo(
        self, call: RedisCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: deleted keys are gone."""
        del call, changed, timeout
        return no_undo("deleted keys are gone; what filled the cache fills it again")


class _Work:
    """One run: what it said, and whether a command that deletes is without an answer."""

    def __init__(self) -> None:
        self.output = ""
        self.under_way = False

    async def do(self, redis: Redis, call: RedisCall) -> None:
        match call.action:
            case "ping":
                await redis.ping()
                self.output = "PONG"
            case "info":
                info = await redis.info()
                self.output = "\n".join(f"{name}: {value}" for name, value in info.items())
            case "database_size":
                self.output = f"{await redis.dbsize()} keys"
            case "delete_matching":
                await self._delete(redis, call.pattern or "")
            case "flush_database":
                held = await redis.dbsize()
                self.under_way = True
                await redis.flushdb(asynchronous=True)
                self.under_way = False
                self.output = f"{held} keys are gone"

    async def _delete(self, redis: Redis, pattern: str) -> None:
        gone, cursor = 0, 0
        while True:
            cursor, keys = await redis.scan(cursor, match=pattern, count=BATCH)
            for start in range(0, len(keys), BATCH):
                self.under_way = True
                gone += await redis.unlink(*keys[start : start + BATCH])
                self.under_way = False
                self.output = f"{gone} keys are gone"
            if not cursor:
                break
        self.output = f"{gone} keys are gone"


async def _matching(redis: Redis, call: RedisCall, held: int) -> tuple[list[str], int]:
    """The first keys a call would delete, and how many."""
    if call.action == "flush_database":
        return [], held
    found: set[bytes | str] = set()
    cursor = 0
    while True:
        cursor, keys = await redis.scan(cursor, match=call.pattern, count=BATCH)
        found.update(keys)  # SCAN may give a key twice
        if not cursor:
            break
    shown = sorted(map(_text, found))[:MOST_SHOWN]
    return shown, len(found)


@asynccontextmanager
async def _open(url: str) -> AsyncIterator[Redis]:
    # A command that got no answer is not sent again: it may have been done.
    redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), single_connection_client=True)
    try:
        yield redis
    finally:
        await redis.aclose()


def _not_configured(call: RedisCall) -> Ran:
    return failed("endpoint_not_configured", f"no settings for Redis {call.endpoint!r}")


def _said_no(error: Exception) -> bool:
    """Whether the server itself answered that it does not."""
    return isinstance(error, RedisError) and not isinstance(error, (NoConnection, NoAnswer))


def _word(error: Exception) -> str:
    if isinstance(error, (TimeoutError, NoAnswer)):
        return "timed_out"
    return "refused" if _said_no(error) else "unreachable"


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode(errors="replace")
