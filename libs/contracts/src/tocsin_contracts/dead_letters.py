"""Facts about records that could not be handled; nothing accepted is dropped."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from tocsin_contracts.event import Fact, Person, Writer


class DeadLettered(Fact):
    """A record can never be handled as it is; here it is, whole, with the error.

    Who reacts: people, through `tocsin dead-letters`; a metric counts them. How often: once a
    record and consumer. Never sent: for a passing trouble (that is retried).

    Attributes:
        service: Who gave up.
        reason: One `snake_case` word for counting.
        detail: What exactly is wrong, naming the field.
        topic: Where the record stood.
        value: The record's bytes.
        headers: The record's headers, values as base64.
    """

    TYPE: ClassVar[str] = "tocsin.dead-letters.dead_lettered.v1"
    TOPIC: ClassVar[str] = "dead-letters"
    WRITER: ClassVar[Writer] = Writer.ANY

    service: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class DeadLetterRedriven(Fact):
    """A person had a dead letter's record handled once more.

    Who reacts: people, through `tocsin dead-letters`. How often: once for each time a person says
    so. Never sent: before the record stands in its topic again.

    Attributes:
        letter: Id of the `DeadLettered` event.
        topic: Where the record stands now.
        changed: Whether its bytes were changed first.
    """

    TYPE: ClassVar[str] = "tocsin.dead-letters.redriven.v1"
    TOPIC: ClassVar[str] = "dead-letters"
    WRITER: ClassVar[Writer] = Writer.ANY

    letter: UUID
    topic: str
    partition: int
    offset: int
    by: Person
    changed: bool = False
