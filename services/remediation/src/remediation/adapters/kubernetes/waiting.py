"""Looking again and again until something is so, for as long as a call has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from remediation.adapters.kubernetes.failing import Refused
from remediation.adapters.kubernetes.rollouts import Verdict
from tocsin_runtime.ports import Clock

_FIRST_NAP = timedelta(milliseconds=100)
_LONGEST_NAP = timedelta(seconds=2)
_PASSING = frozenset({"unreachable", "too_many_requests"})
"""A look that fails like this may succeed the next time."""


class Patience:
    """The time a call has left."""

    def __init__(self, clock: Clock, timeout: timedelta) -> None:
        self.clock = clock
        self._ends = clock.monotonic() + timeout.total_seconds()
        self._nap = _FIRST_NAP

    def is_over(self) -> bool:
        """Whether its time has passed."""
        return self.clock.monotonic() >= self._ends

    async def nap(self) -> None:
        """Wait before the next look, longer each time, and never past the end."""
        left = timedelta(seconds=self._ends - self.clock.monotonic())
        await self.clock.sleep(min(self._nap, left))
        self._nap = min(self._nap * 2, _LONGEST_NAP)

    async def until(self, look: Callable[[], Awaitable[Verdict]], reason: str) -> str:
        """What was seen once it is settled well.

        Raises:
            Refused: With `reason` if it is settled ill; `timed_out` if it was not in time.
        """
        seen = ""
        while True:
            try:
                verdict = await look()
            except Refused as refused:
                if refused.reason not in _PASSING:
                    raise
                verdict = Verdict(settled=None, text=refused.text)
            seen = verdict.text
            if verdict.settled:
                return seen
            if verdict.settled is False:
                raise Refused(reason, seen)
            if self.is_over():
                raise Refused("timed_out", seen)
            await self.nap()
