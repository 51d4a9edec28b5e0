"""A log held in memory, behind the `Reader` and `Publisher` ports: a bundle's, or a what-if's."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime

from tocsin_replay.reading import partition_of
from tocsin_runtime.ports import Clock
from tocsin_runtime.records import Outgoing, Position, Record


class HeldLog:
    """Records by topic and partition, at the offsets they had where they came from.

    A log that never fails, loses or waits; the one in which everything fails is the test kit's.

    Args:
        widths: Partitions of each topic; what the log they came from had, or keys would be looked
            for in the wrong place.
        clock: When something is published; without one nothing can be.
        events: Hand on events as they are: the bytes of what is published are never made.

    Attributes:
        written: How many records were published.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        records: Iterable[Record] = (),
        clock: Clock | None = None,
        *,
        events: bool = False,
    ) -> None:
        self._widths = dict(widths)
        self._records: dict[tuple[str, int], list[Record]] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._clock = clock
        self._events = events
        self.written = 0
        for record in records:
            topic, partition, offset = record.position
            self._records.setdefault((topic, partition), []).append(record)
            self._ends[topic, partition] = max(offset + 1, self._ends.get((topic, partition), 0))
        for held in self._records.values():
            held.sort(key=_offset)

    @property
    def widths(self) -> Mapping[str, int]:
        """Partitions of each topic."""
        return self._widths

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises `LookupError` if there is no such topic."""
        try:
            return self._widths[topic]
        except KeyError:
            raise LookupError(f"nothing of topic {topic!r} is held here") from None

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset held and one past the last."""
        held = self._records.get((topic, partition), [])
        end = self._ends.get((topic, partition), 0)
        return (held[0].position.offset if held else end), end

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        """Records of `[start, end)` in order.

        Raises:
            ValueError: `end` is absent; nothing more will come, so nobody can follow.
        """
        if end is None:
            raise ValueError("a held log has an end; it cannot be followed")
        for record in self.fetch(topic, partition, start):
            if record.position.offset >= end:
                return
            yield record

    def fetch(self, topic: str, partition: int, start: int) -> Sequence[Record]:
        """What stands at or after an offset."""
        held = self._records.get((topic, partition), [])
        return held[bisect_left(held, start, key=_offset) :]

    def each(self) -> Iterable[Record]:
        """Everything held, topic by topic, partition by partition."""
        for place in sorted(self._records):
            yield from self._records[place]

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        """Where each record now stands."""
        return tuple(self.append(record) for record in records)

    def append(self, record: Outgoing, recorded_at: datetime | None = None) -> Position:
        """Put a record at the end of its partition.

        Raises:
            ValueError: Neither a time nor a clock says when.
        """
        if recorded_at is None:
            if self._clock is None:
                raise ValueError("this log is only read")
            recorded_at = self._clock.now()
        number = record.partition
        if number is None:
            width = self._widths[record.topic]
            key = (record.key or b"").decode(errors="replace")
            number = 0 if width == 1 else partition_of(key, width)
        self.written += 1
        place = (record.topic, number)
        position = Position(*place, self._ends.get(place, 0))
        self._ends[place] = position.offset + 1
        unmade = self._events and record.event is not None
        value, headers = (b"", ()) if unmade else (record.value, record.headers)
        self._records.setdefault(place, []).append(
            Record(position, record.key, value, headers, recorded_at, record.event)
        )
        return position

    def end(self, topic: str, partition: int) -> int:
        """One past the last offset."""
        return self._ends.get((topic, partition), 0)

    def forget(self, topic: str, partition: int, before: int) -> None:
        """Let go of what stands before an offset: everybody has read it."""
        held = self._records.get((topic, partition))
        if held is not None:
            del held[: bisect_left(held, before, key=_offset)]

    def forget_all(self) -> None:
        """Let go of everything there is; what is written next stands where it would have stood."""
        for held in self._records.values():
            held.clear()


def _offset(record: Record) -> int:
    return record.position.offset
