"""What crosses Kafka, as values: a record read, a record to write, a place in the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

Headers = tuple[tuple[str, bytes], ...]


class Position(NamedTuple):
    """A place in the log: `topic-partition-offset`."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read.

    Attributes:
        position: Where it stands in the log.
        key: The record key, undecoded.
        value: The record value, undecoded; `None` is a tombstone.
        headers: In wire order; a name may repeat.
        recorded_at: The record's timestamp (the broker's append time on event topics), UTC.
        event: What its bytes hold, where the record never left the process that made it: a log in
            memory hands it on, so that nothing is decoded that was never away.
    """

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers
    recorded_at: datetime
    event: object = field(default=None, compare=False, repr=False)

    def header(self, name: str) -> bytes | None:
        """The first header of this name, or `None`."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to write.

    Attributes:
        partition: Fixed partition, or `None` for Kafka's murmur2 of the key.
        event: What it was made of.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    event: object = field(default=None, compare=False, repr=False)
