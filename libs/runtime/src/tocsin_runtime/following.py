"""Reading whole topics: restore a partition before acting, follow a small topic for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Record


async def restore(
    reader: Reader, topic: str, partition: int, start: int, apply: Callable[[Record], object]
) -> int:
    """The end the partition had when we began, everything from `start` up to it applied."""
    _, end = await reader.bounds(topic, partition)
    async for record in reader.read(topic, partition, start, end):
        apply(record)
    return end


class Follower:
    """Applies every record of a small topic, from its beginning and for ever.

    For topics each instance needs whole (policies, silences): no consumer group, no commits.
    """

    def __init__(self, reader: Reader, topic: str, apply: Callable[[Record], object]) -> None:
        self._reader = reader
        self._topic = topic
        self._apply = apply
        self._caught_up = asyncio.Event()
        self._behind = 0
        self._ends: dict[int, int] = {}
        self.position = 0
        """Records' offsets + 1, summed over partitions: how far `apply` has come."""

    @property
    def is_caught_up(self) -> bool:
        """Whether everything that was there at the start has been applied."""
        return self._caught_up.is_set()

    async def caught_up(self) -> None:
        """Return once everything that was there at the start has been applied."""
        await self._caught_up.wait()

    async def run(self) -> None:
        """Apply what is there, then what comes; ends only with an error or when cancelled."""
        count = await self._reader.partitions(self._topic)
        self._behind = count
        async with asyncio.TaskGroup() as group:
            for partition in range(count):
                group.create_task(self._follow(partition))

    async def _follow(self, partition: int) -> None:
        start, _ = await self._reader.bounds(self._topic, partition)
        end = await restore(
            self._reader, self._topic, partition, start, lambda r: self._take(partition, r)
        )
        self._behind -= 1
        if self._behind == 0:
            self._caught_up.set()
        async for record in self._reader.read(self._topic, partition, end, None):
            self._take(partition, record)

    def _take(self, partition: int, record: Record) -> None:
        self._apply(record)
        self._ends[partition] = record.position.offset + 1
        self.position = sum(self._ends.values())
