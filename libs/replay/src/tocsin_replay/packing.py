"""Records as bytes of our own, for a file that nobody else reads and that goes when we do."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from tocsin_runtime.records import Position, Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_HEAD = struct.Struct("<qqH")
_ABSENT = -1


def packed(record: Record) -> bytes:
    """A record without its topic and partition, which whoever keeps it knows."""
    parts = [record.key, record.value]
    for name, value in record.headers:
        parts += [name.encode(), value]
    sizes = [_ABSENT if part is None else len(part) for part in parts]
    at = (record.recorded_at - EPOCH) // MICROSECOND
    head = _HEAD.pack(at, record.position.offset, len(sizes))
    body = b"".join(part for part in parts if part is not None)
    return head + struct.pack(f"<{len(sizes)}i", *sizes) + body


def unpacked(file: BinaryIO, topic: str, partition: int) -> Record:
    """The next record of a file."""
    at, offset, count = _HEAD.unpack(file.read(_HEAD.size))
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
    return Record(position, parts[0], parts[1], headers, EPOCH + at * MICROSECOND)
