"""The one file that reads the clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

_LONGEST_NAP = timedelta(seconds=1)


class SystemClock:
    """The machine's clock. A `Clock`."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the one place

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        return time.monotonic()  # noqa: TID251 - the one place

    async def sleep(self, duration: timedelta) -> None:
        """Return after `duration` (at once, but past one turn of the loop, if not positive).

        Long sleeps are taken in naps of a second: a machine that was suspended wakes up late by
        a nap at most, not by the whole suspension.
        """
        ends_at = self.now() + duration
        started = self.monotonic()
        total = duration.total_seconds()
        while True:
            left = min((ends_at - self.now()).total_seconds(), total - (self.monotonic() - started))
            await asyncio.sleep(  # noqa: TID251 - the one place
                max(0.0, min(left, _LONGEST_NAP.total_seconds()))
            )
            if left <= _LONGEST_NAP.total_seconds():
                return
