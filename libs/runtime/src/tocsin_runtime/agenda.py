"""What is to be looked at when: a heap of instants with one entry a name."""

from __future__ import annotations

import heapq
from datetime import datetime


class Agenda:
    """Names and the instant each is due; putting a name again moves it.

    Entries that were moved stay in the heap until they surface (lazy deletion), so a move costs
    a push. Memory is bounded by twice the names: the heap is rebuilt when stale entries outnumber
    live ones.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, str]] = []
        self._due_at: dict[str, datetime] = {}

    def __len__(self) -> int:
        return len(self._due_at)

    def __contains__(self, name: object) -> bool:
        return name in self._due_at

    def put(self, name: str, due_at: datetime | None) -> None:
        """Have `name` due at `due_at`, and at no other time; `None` takes it off."""
        if due_at is None:
            self._due_at.pop(name, None)
            return
        if self._due_at.get(name) == due_at:
            return
        self._due_at[name] = due_at
        heapq.heappush(self._heap, (due_at, name))
        if len(self._heap) > 2 * len(self._due_at) + 16:
            self._heap = [(at, key) for key, at in self._due_at.items()]
            heapq.heapify(self._heap)

    def due(self, now: datetime) -> tuple[str, ...]:
        """Take every name whose instant has come, earliest first; an instant equal to now has."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            due_at, name = heapq.heappop(self._heap)
            if self._due_at.get(name) == due_at:
                del self._due_at[name]
                taken.append(name)
        return tuple(taken)

    def next_at(self) -> datetime | None:
        """The earliest instant anything is due, or `None`."""
        while self._heap:
            due_at, name = self._heap[0]
            if self._due_at.get(name) == due_at:
                return due_at
            heapq.heappop(self._heap)
        return None

    def upcoming(self, most: int) -> tuple[tuple[datetime, str], ...]:
        """The next entries, earliest first, for people to look at."""
        return tuple(heapq.nsmallest(most, ((at, name) for name, at in self._due_at.items())))
