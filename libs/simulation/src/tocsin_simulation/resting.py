"""A clock for those who poll: time in which nothing can come due is passed over.

A service looks every second whether something has come due. Between two days of a scenario that is
172,800 looks at nothing; here the look waits until something was appended or the agenda says so.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from tocsin_casebook.reconciling import LONGEST_SLEEP
from tocsin_runtime.agenda import Agenda
from tocsin_simulation.clock import SimulatedClock


class Stir:
    """Says when something was appended last, and wakes who waits for more."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.last_at = 0.0

    def heard(self, at: float) -> None:
        """Something was appended."""
        self.last_at = at
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, most: float | None) -> None:
        """Return with the next append, and after `most` seconds."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        timer = None if most is None else loop.call_later(most, _done, future)
        await future
        if timer is not None:
            timer.cancel()


class RestingClock:
    """A `Clock` whose poll lasts until there is something to look at.

    Only a sleep of exactly the poll's length rests; every other sleep is meant as it is. What an
    append leads to is put into the agenda within a moment of it, so polling goes on as usual until
    the log has been quiet for the length of a poll.

    Attributes:
        agenda: Of who polls; without one nothing rests.
    """

    def __init__(self, clock: SimulatedClock, stir: Stir) -> None:
        self.agenda: Agenda | None = None
        self._clock = clock
        self._stir = stir

    def now(self) -> datetime:
        """The simulation's time."""
        return self._clock.now()

    def monotonic(self) -> float:
        """The simulation's time."""
        return self._clock.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """Return after `duration`, or, where that is a poll, once looking makes sense."""
        await self._clock.sleep(duration)
        if duration != LONGEST_SLEEP or self.agenda is None:
            return
        poll = LONGEST_SLEEP.total_seconds()
        while self._clock.monotonic() - self._stir.last_at >= poll:
            next_at = self.agenda.next_at()
            most = None
            if next_at is not None:
                most = (next_at - self._clock.now()).total_seconds()
                if most <= 0:
                    return
            await self._stir.wait(most)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
