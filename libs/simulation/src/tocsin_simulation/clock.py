"""Two clocks for tests, both behind the `Clock` port: one moved by hand, one by the simulation."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

from tocsin_simulation.loop import SimulatedLoop

EPOCH = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""Where test time begins unless a test says otherwise: a Monday, 09:00 UTC, no holiday."""


class ManualClock:
    """A clock that moves when a test says so, on any event loop.

    >>> clock = ManualClock()
    >>> clock.advance(timedelta(minutes=5))
    >>> clock.now() - EPOCH
    datetime.timedelta(seconds=300)
    """

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed = timedelta(0)
        self._step = timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._sequence = 0

    def now(self) -> datetime:
        """The instant the test has moved to."""
        return self._start + self._elapsed + self._step

    def monotonic(self) -> float:
        """Seconds advanced so far; `step` does not show here."""
        return self._elapsed.total_seconds()

    async def sleep(self, duration: timedelta) -> None:
        """Return once `advance` has passed `duration`."""
        if duration <= timedelta(0):
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, not a wait
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._sleepers, (self._elapsed + duration, self._sequence, future))
        await future

    def advance(self, duration: timedelta) -> None:
        """Let time pass and wake who has slept long enough, soonest first."""
        self._elapsed += duration
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def step(self, by: timedelta) -> None:
        """Set the wall clock forward or back, as NTP may; nobody's sleep changes."""
        self._step += by


class SimulatedClock:
    """The wall clock over a `SimulatedLoop`'s virtual time.

    Args:
        start: What the wall clock shows at virtual time zero.
    """

    def __init__(self, loop: SimulatedLoop, start: datetime = EPOCH) -> None:
        self._loop = loop
        self._start = start
        self._step = timedelta(0)

    def now(self) -> datetime:
        """Virtual time as a wall clock shows it, with every `step` so far."""
        return self._start + timedelta(seconds=self._loop.time()) + self._step

    def monotonic(self) -> float:
        """Virtual seconds since the start."""
        return self._loop.time()

    async def sleep(self, duration: timedelta) -> None:
        """Return after `duration` of virtual time."""
        await asyncio.sleep(max(0.0, duration.total_seconds()))  # noqa: TID251 - Clock.sleep

    def step(self, by: timedelta) -> None:
        """Set the wall clock forward or back, as NTP may; nobody's sleep changes."""
        self._step += by
