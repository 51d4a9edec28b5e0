"""The envelope: a fact, who says so, about what, when, and because of what.

CloudEvents 1.0. The attributes travel as `ce_*` record headers (binary mode of the Kafka
protocol binding), the fact as the JSON value, see `codec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from tocsin_contracts.ids import derive


class Writer(StrEnum):
    """Who may write a kind of fact. A kind has exactly one."""

    INGESTION = "ingestion"
    CLASSIFIER = "classifier"
    ESCALATION_TIMER = "escalation-timer"
    NOTIFIER = "notifier"
    REMEDIATION = "remediation"
    POLICY_PUBLISHER = "policy-publisher"
    OPERATOR = "operator"
    ANY = "any"


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC it is before year 1 or after year 9999") from error


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An aware instant, kept in UTC so that equal instants are equal bytes."""


class Value(BaseModel):
    """A frozen part of a fact. Unknown keys are ignored: a reader may be older than a writer."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        ser_json_timedelta="iso8601",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


class Cause(Value):
    """What made the writer write: an event, and where it stood if it was a record.

    Attributes:
        event: Id of the causing event, or of the raw delivery.
        topic: Topic of the causing record, absent when the cause was the passing of time.
        partition: Its partition.
        offset: Its offset.
    """

    event: UUID
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


class Basis(Value):
    """What the writer had folded when it decided, so that a replay decides from the same.

    Attributes:
        incidents: End position in the system's `incidents` partition (one past the last folded).
        policy: Content hash of the policy that decided.
        silences: End position summed over `silences` partitions, if silences were consulted.
        owed_by: The incident whose state asked for the fact, if that is another than it is about.
    """

    incidents: int | None = None
    policy: str | None = None
    silences: int | None = None
    owed_by: str | None = None


class Fact(Value):
    """Something that happened; subclasses are the contract.

    Attributes:
        TYPE: CloudEvents type, `tocsin.<topic>.<fact_in_past>.v<version>`.
        TOPIC: Where it is written.
        WRITER: The one service that writes it.
    """

    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]
    WRITER: ClassVar[Writer]

    cause: Cause | None = None
    basis: Basis | None = None


F_co = TypeVar("F_co", bound=Fact, covariant=True)


@dataclass(frozen=True, slots=True)
class Event(Generic[F_co]):
    """A fact in its envelope.

    Attributes:
        id: Derived from what caused it; the same fact twice has the same id.
        source: `tocsin/<service>`, or the sender for facts from outside.
        subject: The incident id; for topics that are not about one incident, the system.
        key: The record key: `system` or `system/shard`.
        occurred_at: When it happened by the writer's clock. The broker's append time says when
            it was recorded; it is the record's, not the event's.
        fact: What happened.
        traceparent: W3C trace context of the work that caused it.
    """

    id: UUID
    source: str
    subject: str
    key: str
    occurred_at: datetime
    fact: F_co
    traceparent: str | None = None

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return self.fact.TYPE


class Person(Value):
    """Who answered, and through what.

    Attributes:
        name: Contact id of the policy where known, else the name the door was given.
        via: The way it came: `api`, `cli`, `slack`, `pagerduty`, `sms` …
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    via: Annotated[str, Field(min_length=1, max_length=50)] = "api"


def event_id(fact_type: str, subject: str, *parts: str) -> UUID:
    """The id of a fact of this type about this subject, told apart from others by `parts`."""
    return derive(fact_type, subject, *parts)
