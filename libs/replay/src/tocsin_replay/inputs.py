"""What came in, in the order in which it came: in memory while it is little, on disk beyond that.

A what-if lives through the same inputs twice. Months of them are gigabytes; what is held of them
at a time is a buffer for each partition.
"""

from __future__ import annotations

import heapq
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tocsin_replay.packing import EPOCH, MICROSECOND, packed, unpacked
from tocsin_replay.shelving import Scratch
from tocsin_runtime.records import Position, Record

MOST_HELD_BYTES = 64 << 20
"""Bytes of values kept in memory; more of them go to files in the system's temporary folder."""

_AT = struct.Struct("<q")

_Order = tuple[datetime, Position]


@dataclass(slots=True)
class _Run:
    """The inputs of one partition: they are in order already, but for a clock that stepped back."""

    path: Path | None = None
    written: int = 0
    latest: datetime = EPOCH
    held: list[tuple[datetime, Record]] = field(default_factory=list)


class Inputs:
    """Records in the order of their times, those of one partition in the order of the log.

    A broker's clock may step back; what stands later in a partition came later all the same.
    """

    def __init__(self, records: Iterable[Record] = (), most_held: int = MOST_HELD_BYTES) -> None:
        self._runs: dict[tuple[str, int], _Run] = {}
        self._most_held = most_held
        self._held = 0
        self._count = 0
        self._scratch = Scratch()
        for record in sorted(records, key=lambda one: one.position):
            self.append(record)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        """All of them, oldest first; any number of times."""
        runs = [_read(run, topic, number) for (topic, number), run in self._runs.items()]
        for _, record in heapq.merge(*runs, key=_order):
            yield record

    @property
    def first(self) -> Record | None:
        """The oldest."""
        return next(iter(self), None)

    @property
    def latest_at(self) -> datetime | None:
        """When the last one was recorded."""
        return max((run.latest for run in self._runs.values()), default=None)

    def append(self, record: Record) -> None:
        """Add the next of its partition."""
        run = self._runs.setdefault(record.position[:2], _Run())
        run.latest = max(run.latest, record.recorded_at)
        run.held.append((run.latest, record))
        self._count += 1
        self._held += len(record.value or b"")
        if self._held > self._most_held:
            self._spill()

    def _spill(self) -> None:
        for run in self._runs.values():
            if run.path is None:
                run.path = self._scratch.file()
            with run.path.open("ab") as out:
                out.writelines(_written(at, record) for at, record in run.held)
            run.written += len(run.held)
            run.held.clear()
        self._held = 0


def _order(entry: tuple[datetime, Record]) -> _Order:
    return entry[0], entry[1].position


def _read(run: _Run, topic: str, partition: int) -> Iterator[tuple[datetime, Record]]:
    if run.path is not None:
        with run.path.open("rb") as file:
            for _ in range(run.written):
                (at,) = _AT.unpack(file.read(_AT.size))
                yield EPOCH + at * MICROSECOND, unpacked(file, topic, partition)
    yield from run.held


def _written(at: datetime, record: Record) -> bytes:
    return _AT.pack((at - EPOCH) // MICROSECOND) + packed(record)


class Ranges:
    """Offsets of a partition, as ranges: a million that follow one another are one."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []

    def add(self, offset: int) -> None:
        """Add an offset above all there are."""
        if self._ends and self._ends[-1] == offset:
            self._ends[-1] = offset + 1
        else:
            self._begins.append(offset)
            self._ends.append(offset + 1)

    def __contains__(self, offset: int) -> bool:
        place = bisect_right(self._begins, offset) - 1
        return place >= 0 and offset < self._ends[place]
