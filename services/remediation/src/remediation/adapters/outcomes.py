"""What all runners answer alike: how long it took, what was refused, what cannot be taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from remediation.domain.plan import Lost, Ran, evidence
from tocsin_runtime.ports import Clock

LOOK_EVERY = timedelta(seconds=2)
"""Between two looks of one `verify`."""
LONGEST_LOOK = timedelta(seconds=10)
"""Time one look of a `verify` may take, so that one that hangs is not the only one."""

FOR_GOOD = frozenset(
    {
        "address_refused",
        "endpoint_not_configured",
        "not_a_look",
        "not_started",
        "path_refused",
        "profile_not_configured",
        "program_not_allowed",
    }
)
"""Reasons that no waiting changes."""


class Timer:
    """How long something has taken."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()

    def took(self) -> timedelta:
        """Time since this was made."""
        return timedelta(seconds=self._clock.monotonic() - self._started)

    def left(self, timeout: timedelta) -> timedelta:
        """What remains of `timeout`; never negative."""
        return max(timeout - self.took(), timedelta())


def failed(reason: str, detail: str, took: timedelta = timedelta()) -> Ran:
    """Not as the playbook expects; it is known that nothing more happened than `detail` says."""
    return Ran(succeeded=False, reason=reason, evidence=evidence(detail, took))


def no_undo(why: str) -> Ran:
    """The answer of what cannot be taken back."""
    return failed("no_undo", why)


def fingerprint(*parts: str) -> str:
    """The same for the same parts, on every machine."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


async def until(
    look: Callable[[timedelta], Awaitable[Ran | Lost]],
    timeout: timedelta,
    clock: Clock,
    every: timedelta = LOOK_EVERY,
) -> Ran | Lost:
    """The first look that is as expected, else the last one before `timeout` is over.

    What can never become right is answered at once. A last look that the end cut short says less
    than the one before it.
    """
    timer = Timer(clock)
    before: Ran | Lost | None = None
    while True:
        seen = await look(min(timer.left(timeout), LONGEST_LOOK))
        if isinstance(seen, Ran) and (seen.succeeded or seen.reason in FOR_GOOD):
            return seen
        if before is not None and seen.reason == "timed_out" and not timer.left(timeout):
            return before
        before = seen
        if timer.left(timeout) <= every:
            return seen
        await clock.sleep(every)
