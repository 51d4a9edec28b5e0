"""The gate in this process: rates and circuits that no other instance knows of."""

from __future__ import annotations

from datetime import timedelta

from notifier.domain.pacing import Asking, admit
from tocsin_runtime.ports import Clock

BREAKS_AFTER = 5
"""Failures in a row that open an account's circuit for `OPEN_FOR`; after it one more is enough."""
OPEN_FOR = timedelta(seconds=5)
MOST_KEYS = 10_000
"""Keys remembered at once; those that hold nobody up are forgotten first."""


class LocalGate:
    """A `Gate` that only this process passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._open_until: dict[str, int] = {}

    async def claim(self, _notification: str, _attempt: int) -> bool:
        """Always: the log decides who makes an attempt."""
        return True

    async def hold_off(self, asking: Asking) -> timedelta | None:
        """Time until the account's circuit closes and there is room for the call."""
        now = int(self._clock.monotonic() * 1000)
        opened = self._open_until.get(asking.account, 0) - now
        if opened > 0:
            return timedelta(milliseconds=opened)
        self._spent, wait = admit(self._spent, asking.permits(), now)
        if wait > 0:
            return timedelta(milliseconds=wait)
        if len(self._spent) > MOST_KEYS:
            self._spent = {key: until for key, until in self._spent.items() if until > now}
        return None

    async def report(self, account: str, *, healthy: bool) -> None:
        """Close the circuit, or count one more failure towards opening it."""
        if healthy:
            self._failures.pop(account, None)
            self._open_until.pop(account, None)
            return
        failures = self._failures.get(account, 0) + 1
        self._failures[account] = failures
        if failures >= BREAKS_AFTER:
            now = int(self._clock.monotonic() * 1000)
            self._open_until[account] = now + int(OPEN_FOR.total_seconds() * 1000)
