"""How much one sender may send, and what it has sent already; both bounded."""

from __future__ import annotations

from collections import OrderedDict

MOST_REMEMBERED = 10_000
"""Deliveries a door remembers at most."""


class Bucket:
    """A rate with a burst: so many a second, and two seconds' worth at once."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._most = max(1.0, 2 * per_second)
        self._left = self._most
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is within the rate at this instant of a monotonic clock."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Remembered:
    """The newest ids; when full, the oldest is forgotten."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, known: str) -> bool:
        return known in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, new: str) -> None:
        """Remember it."""
        self._ids[new] = None
        self._ids.move_to_end(new)
        while len(self._ids) > self._most:
            self._ids.popitem(last=False)
