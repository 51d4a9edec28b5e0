"""What the door knew when it took a delivery in, kept with the bytes.

Some senders close an alert by a key alone, or never say when it began. The door looks that up
once and writes what it found beside the bytes; whoever normalises the record later decides from
the same, so the same record still gives the same observations.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import Field

from ingestion.domain.delivery import Delivery, Seen
from ingestion.domain.fingerprint import fingerprint
from tocsin_contracts.alerts import Labels, ObservationStatus
from tocsin_contracts.event import Instant, Value

MOST_KNOWN = 100_000
"""Alerts a door remembers at most; older ones are looked up in the log."""

SAME_EPISODE = timedelta(minutes=10)
"""Repeats of a sender that gives no start are the same episode for so long after the first.

Not for ever: a person may have resolved the incident, and what goes on firing must page again.
"""


class Known(Value):
    """What is known of an alert whose sender names it by key, or never says when it began.

    Attributes:
        until: What comes later is another episode.
    """

    labels: Labels = Field(default_factory=dict)
    starts_at: Instant | None = None
    until: Instant | None = None

    def seen(self, identity: str) -> Seen:
        """As its sender would show it."""
        return Seen(
            status=ObservationStatus.FIRING,
            fingerprint=identity,
            starts_at=self.starts_at,
            ends_at=None,
            labels=self.labels,
            keyed=True,
        )


_NOTHING = Known()


class Context(Value):
    """What a delivery means beyond its bytes.

    Attributes:
        labels: Labels of the sender's key, added to every alert.
        known: By fingerprint, what the delivery itself does not say.
        incident: What an answer about an alert is about.
        by: Who answers, as the policies know them.
        to: Who it is handed over to, as the policy knows them.
        delivery: The sender's own id of the delivery: an answer sent twice is one.
    """

    labels: Labels = Field(default_factory=dict)
    known: dict[str, Known] = Field(default_factory=dict)
    incident: str | None = None
    by: str | None = None
    to: str | None = None
    delivery: str | None = None


def completed(delivery: Delivery, context: Context, received_at: datetime) -> Delivery:
    """The delivery with what was known; what nobody knows began when it was received."""
    bare = delivery.answer is None and not context.known and not context.labels
    if bare and all(seen.starts_at is not None and not seen.keyed for seen in delivery.alerts):
        return delivery  # most senders leave nothing to add
    alerts = tuple(_completed(seen, context, received_at) for seen in delivery.alerts)
    answer = delivery.answer
    if answer is not None:
        fields = answer.fields if context.to is None else {**answer.fields, "contact": context.to}
        answer = replace(
            answer,
            incident=answer.incident or context.incident,
            by=context.by or answer.by,
            fields=fields,
        )
    return replace(delivery, alerts=alerts, answer=answer)


def _completed(seen: Seen, context: Context, received_at: datetime) -> Seen:
    known = context.known.get(seen.fingerprint, _NOTHING)
    over = seen.keyed and seen.status is ObservationStatus.RESOLVED
    labels = seen.labels
    if over and known.labels:
        # By the labels it fired with it belongs to a system; at its end a sender may say others.
        labels = {**labels, **known.labels, **context.labels}
    elif known.labels or context.labels:
        labels = {**known.labels, **labels, **context.labels}
    starts_at = seen.starts_at
    if over:
        # No episode began now, so the classifier ends every one there is under this key.
        starts_at = received_at
    elif seen.keyed or starts_at is None:
        starts_at = known.starts_at or starts_at or received_at
    if labels is seen.labels and starts_at is seen.starts_at:
        return seen
    identity = seen.fingerprint if seen.keyed else fingerprint(labels)
    return replace(seen, labels=labels, starts_at=starts_at, fingerprint=identity)


class Memory:
    """The alerts that fire and that their senders do not fully name, newest last."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: OrderedDict[str, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, identity: str, now: datetime) -> Known | None:
        """What is remembered of it; its start only as long as a repeat is the same episode."""
        found = self._known.get(identity)
        if found is not None and found.until is not None and found.until < now:
            return found.model_copy(update={"starts_at": None, "until": None})
        return found

    def note(self, parsed: Delivery, delivery: Delivery, received_at: datetime) -> None:
        """Remember what fires, forget what ended.

        Args:
            parsed: The delivery as its sender wrote it.
            delivery: The same, `completed`.
        """
        for written, seen in zip(parsed.alerts, delivery.alerts, strict=True):
            if written.starts_at is not None and not written.keyed:
                continue
            identity = written.fingerprint
            if seen.status is ObservationStatus.RESOLVED:
                self._known.pop(identity, None)
                continue
            until = received_at + SAME_EPISODE
            if seen.ends_at is not None:
                until = min(until, seen.ends_at)
            held = self._known.get(identity)
            if held is not None and held.until and held.starts_at == seen.starts_at:
                until = held.until
            self._known[identity] = Known(
                labels=dict(seen.labels) if seen.keyed else {},
                starts_at=seen.starts_at,
                until=until,
            )
            self._known.move_to_end(identity)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
