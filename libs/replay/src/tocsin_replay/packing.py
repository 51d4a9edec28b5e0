"""Records as bytes of our own, for a file that nobody else reads and that goes when we do."""

from __future__ import annotations

import marshal
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from tocsin_runtime.records import Position, Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def packed(record: Record) -> bytes:
    """A record without its topic and partition, which whoever keeps it knows."""
    at = (record.recorded_at - EPOCH) // MICROSECOND
    parts = (at, record.position.offset, record.key, record.value, record.headers)
    return marshal.dumps(parts)


def unpacked(file: BinaryIO, topic: str, partition: int) -> Record:
    """The next record of a file."""
    at, offset, key, value, headers = marshal.load(file)  # noqa: S302 - written by this process
    recorded_at = EPOCH + at * MICROSECOND
    return Record(Position(topic, partition, offset), key, value, headers, recorded_at)
