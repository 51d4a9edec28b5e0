"""Facts about what was seen: the normalised shape every source is brought into."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from tocsin_contracts.event import Fact, Instant, Value, Writer

Labels = dict[str, str]


class ObservationStatus(StrEnum):
    """What a source says of an alert, in Alertmanager's words."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Observation(Value):
    """What one source said about one alert at one time.

    Attributes:
        id: Derived from the delivery and the place in it.
        fingerprint: 16 hex digits, Prometheus' FNV-1a over the sorted labels.
        starts_at: When the alert began to fire; with the fingerprint it names the episode.
        ends_at: When it stopped; for a firing alert, the end of its lease if it has one.
        labels: Identity; empty values are removed.
        annotations: For people.
        generator_url: Where the rule can be looked at.
        urgent: Whether a fast rule of the policy called it urgent at the door.
    """

    id: UUID
    status: ObservationStatus
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    starts_at: Instant
    ends_at: Instant | None = None
    labels: Labels
    annotations: Labels = Field(default_factory=dict)
    generator_url: str = ""
    urgent: bool = False


class Observed(Fact):
    """One delivery said these things about alerts of one system.

    Who reacts: the classifier gives each observation one disposition. How often: once for each
    delivery, system and chunk of at most `MAX_OBSERVATIONS`; a delivery that comes again gives
    the same ids. Never sent: for a delivery that could not be read (that is a dead letter).
    """

    TYPE: ClassVar[str] = "tocsin.alerts.observed.v1"
    TOPIC: ClassVar[str] = "alerts"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    source: str
    received_at: Instant
    observations: tuple[Observation, ...]
    truncated: int = 0
    group_key: str = ""


MAX_OBSERVATIONS = 500
"""Observations in one record at most; a larger delivery is split (one record stays below 1 MB)."""
