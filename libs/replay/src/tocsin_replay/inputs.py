"""What came in, in the order in which it came: in memory while it is little, on disk beyond that.

A what-if lives through the same inputs twice. Months of them are gigabytes; what is held of them
at a time is a buffer for each partition.
"""

from __future__ import annotations

import heapq
import shutil
import struct
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from tocsin_runtime.records import Position, Record

MOST_HELD_BYTES = 64 << 20
"""Bytes of values kept in memory; more of them go to files in the system's temporary folder."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HEAD = struct.Struct("<qqqH")
_ABSENT = -1

_Order = tuple[datetime, Position]


@dataclass(slots=True)
class _Run:
    """The inputs of one partition: they are in order already, but for a clock that stepped back."""

    path: Path | None = None
    written: int = 0
    latest: datetime = _EPOCH
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
        self._folder: Path | None = None
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
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="tocsin-what-if-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for number, run in enumerate(self._runs.values()):
            if run.path is None:
                run.path = self._folder / f"{number}.run"
            with run.path.open("ab") as out:
                out.writelines(_packed(at, record) for at, record in run.held)
            run.written += len(run.held)
            run.held.clear()
        self._held = 0


def _order(entry: tuple[datetime, Record]) -> _Order:
    return entry[0], entry[1].position


def _read(run: _Run, topic: str, partition: int) -> Iterator[tuple[datetime, Record]]:
    if run.path is not None:
        with run.path.open("rb") as file:
            for _ in range(run.written):
                yield _unpacked(file, topic, partition)
    yield from run.held


def _packed(at: datetime, record: Record) -> bytes:
    parts = [record.key, record.value]
    for name, value in record.headers:
        parts += [name.encode(), value]
    sizes = [_ABSENT if part is None else len(part) for part in parts]
    head = _HEAD.pack(
        (at - _EPOCH) // _MICROSECOND,
        (record.recorded_at - _EPOCH) // _MICROSECOND,
        record.position.offset,
        len(sizes),
    )
    body = b"".join(part for part in parts if part is not None)
    return head + struct.pack(f"<{len(sizes)}i", *sizes) + body


def _unpacked(file: BinaryIO, topic: str, partition: int) -> tuple[datetime, Record]:
    at, recorded_at, offset, count = _HEAD.unpack(file.read(_HEAD.size))
    sizes = struct.unpack(f"<{count}i", file.read(4 * count))
    body = file.read(sum(size for size in sizes if size > 0))
    parts: list[bytes | None] = []
    place = 0
    for size in sizes:
        if size == _ABSENT:
            parts.append(None)
            continue
        parts.append(body[place : place + size])
        place += size
    headers = tuple(((parts[n] or b"").decode(), parts[n + 1] or b"") for n in range(2, count, 2))
    position = Position(topic, partition, offset)
    record = Record(position, parts[0], parts[1], headers, _EPOCH + recorded_at * _MICROSECOND)
    return _EPOCH + at * _MICROSECOND, record


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
