"""Facts about synthetic pages: whether each provider still takes a page when nothing is wrong.

The subject is the system. A beat is named by its channel and the instant at which it was due, which
is derived from the policy; no fact schedules one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from tocsin_contracts.alerts import Labels
from tocsin_contracts.event import Fact, Instant, Writer

_TOPIC = "heartbeats"


class HeartbeatFact(Fact):
    """A fact about one beat of one channel.

    Attributes:
        channel: Of the policy.
        due_at: When the beat was due.
    """

    TOPIC: ClassVar[str] = _TOPIC
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    channel: str
    due_at: Instant


class HeartbeatAttempted(HeartbeatFact):
    """The provider is about to be called with a synthetic page.

    Who reacts: the notifier instance that wrote it calls, if it reads it back as the first of its
    attempt. How often: once an attempt, and an instance. Never sent: after the call.

    Attributes:
        within: How long the provider has for its yes, counted from the first attempt.
        instance: The process that will call.
    """

    TYPE: ClassVar[str] = "tocsin.heartbeats.attempted.v1"

    attempt: Annotated[int, Field(ge=1)]
    within: timedelta
    instance: str


class HeartbeatDelivered(HeartbeatFact):
    """The provider took the synthetic page.

    Who reacts: the notifier, which ends what it raised when it was missed. How often: once a
    beat. Never sent: while nobody knows.
    """

    TYPE: ClassVar[str] = "tocsin.heartbeats.delivered.v1"

    attempt: int
    provider_ref: str = ""


class HeartbeatFailed(HeartbeatFact):
    """The provider did not take the synthetic page, or nobody knows whether it did.

    Who reacts: the notifier tries again while the beat's time lasts. How often: once an attempt.
    Never sent: for a real page.
    """

    TYPE: ClassVar[str] = "tocsin.heartbeats.failed.v1"

    attempt: int
    reason: str
    detail: str = ""


class HeartbeatMissed(HeartbeatFact):
    """The provider let the time for its yes pass; the alert that says so stands in `alerts.raw`.

    Who reacts: views. How often: once for each silence, however long. Never sent: for a beat that
    nobody attempted, because we were down.

    Attributes:
        missed_at: When the time had passed; the alert starts then.
        last_delivered: When the last beat that arrived was due.
        reason: What the last attempt heard.
        labels: Of the alert, which ends under the same ones whatever the policy says by then.
    """

    TYPE: ClassVar[str] = "tocsin.heartbeats.missed.v1"

    missed_at: Instant
    last_delivered: Instant | None = None
    reason: str = ""
    labels: Labels = Field(default_factory=dict)


class HeartbeatReturned(HeartbeatFact):
    """The provider takes pages again; the alert's end stands in `alerts.raw`.

    Who reacts: views. How often: once a silence. Never sent: without one.

    Attributes:
        missed_at: When the alert that it ends started.
    """

    TYPE: ClassVar[str] = "tocsin.heartbeats.returned.v1"

    missed_at: Instant
