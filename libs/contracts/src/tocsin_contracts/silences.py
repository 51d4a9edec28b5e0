"""Facts about what people do not want to hear about for a while."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tocsin_contracts.event import Fact, Instant, Person, Writer


class SilenceCreated(Fact):
    """A person muted alerts that match, from one instant to another.

    Who reacts: every classifier reads all silences. How often: with each create or update; the
    newest record of a silence counts. Never sent: without a matcher.
    """

    TYPE: ClassVar[str] = "tocsin.silences.created.v1"
    TOPIC: ClassVar[str] = "silences"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    matchers: Annotated[tuple[str, ...], Field(min_length=1)]
    starts_at: Instant
    ends_at: Instant
    created_by: Person
    comment: str = ""


class SilenceExpired(Fact):
    """A person ended a silence before its time.

    Who reacts: every classifier. How often: once a silence. Never sent: when a silence ends by
    its own `ends_at`.
    """

    TYPE: ClassVar[str] = "tocsin.silences.expired.v1"
    TOPIC: ClassVar[str] = "silences"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
