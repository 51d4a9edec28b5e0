"""What crosses Kafka, as values: a record read, a record to write, a place in the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tocsin_contracts import codec

if TYPE_CHECKING:
    from datetime import datetime

    from tocsin_contracts.event import Event, Fact

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
        value: With the headers, made of the event when somebody asks: a log in memory hands on
            the event, and nobody does.
        partition: Fixed partition, or `None` for Kafka's murmur2 of the key.
        event: What it was made of.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    event: object = field(default=None, compare=False, repr=False)

    @classmethod
    def of(
        cls, event: Event[Fact], *, topic: str | None = None, partition: int | None = None
    ) -> Outgoing:
        """The record to write for an event; `topic` names a lane other than the fact's own."""
        made = object.__new__(cls)
        object.__setattr__(made, "topic", topic or event.fact.TOPIC)
        object.__setattr__(made, "key", event.key.encode())
        object.__setattr__(made, "partition", partition)
        object.__setattr__(made, "event", event)
        return made

    if not TYPE_CHECKING:  # or any misspelt attribute would pass

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the bytes or the headers
            """The bytes and headers of a record made of an event, once they are asked for."""
            if name not in {"value", "headers"}:
                raise AttributeError(name)
            wire = codec.encode(self.event, topic=self.topic)
            object.__setattr__(self, "value", wire.value)
            object.__setattr__(self, "headers", wire.headers)
            return getattr(self, name)
