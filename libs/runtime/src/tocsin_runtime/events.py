"""Events to records and back, with the failures the consume loop knows."""

from __future__ import annotations

from tocsin_contracts import codec
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Outgoing, Record


def outgoing(
    event: Event[Fact], *, topic: str | None = None, partition: int | None = None
) -> Outgoing:
    """The record to write for an event; `topic` names a lane other than the fact's own topic."""
    return Outgoing.of(event, topic=topic, partition=partition)


def decode(record: Record) -> Event[Fact]:
    """The event a record holds.

    Raises:
        Poison: It holds none of ours; the reason is the codec's.
    """
    if isinstance(record.event, Event):
        return record.event
    try:
        return codec.decode(record.headers, record.value, record.key)
    except codec.Undecodable as error:
        raise Poison(error.reason, str(error)) from error
