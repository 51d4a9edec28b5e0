"""What is owed to a channel's heartbeat: the next attempt, or that it is missed. Pure.

Beats are derived from the policy and the time, attempts from what the log says of them: nothing is
scheduled, and a restart neither loses nor repeats one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell, wait_after
from tocsin_contracts import heartbeats as facts
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Basis, Event, Fact, event_id
from tocsin_contracts.heartbeats import HeartbeatFact
from tocsin_contracts.ids import derive
from tocsin_policy import Heartbeat, Policy, beat_due, heartbeat_alert

SOURCE = "tocsin/notifier"

_NEVER = "0001-01-01T00:00:00Z"

GONE_AFTER = timedelta(seconds=75)
"""After which whoever attempted a beat and told nothing is gone: longer than a call takes."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the log says of the beats of one channel.

    Attributes:
        due_at: When the newest beat that was attempted was due.
        attempt: The newest attempt at it, made `attempted_at` by the instance `attempted_by`.
        began_at: When its first attempt was made.
        within: How long the provider had from then.
        told: Whether the newest attempt has an outcome.
        delivered: When the newest beat that arrived was due.
        delivered_at: When that was.
        missed_at: Since when beats are missing, while they are.
        reason: What the newest attempt that failed heard.
        labels: Of the alert that was raised, while beats are missing.
    """

    due_at: datetime | None = None
    attempt: int = 0
    attempted_at: datetime | None = None
    attempted_by: str = ""
    began_at: datetime | None = None
    within: timedelta = timedelta()
    told: bool = True
    delivered: datetime | None = None
    delivered_at: datetime | None = None
    missed_at: datetime | None = None
    reason: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def arrived(self) -> bool:
        """Whether the newest beat arrived."""
        return self.due_at is None or self.delivered == self.due_at

    @property
    def silent_at(self) -> datetime | None:
        """When the newest beat's time has passed, unless it arrived."""
        return None if self.arrived or self.began_at is None else self.began_at + self.within

    def deadline(self, heartbeat: Heartbeat) -> datetime | None:
        """By when the next beat must have arrived, by this much of the log."""
        if self.delivered is None:
            return self.silent_at
        return self.delivered + heartbeat.every + heartbeat.within


def fold(pulse: Pulse, event: Event[Fact]) -> tuple[Pulse, str | None]:
    """The pulse after a fact, and why the fact was ignored if it was."""
    match event.fact:
        case facts.HeartbeatAttempted() as fact:
            return _attempted(pulse, fact, event.occurred_at)
        case facts.HeartbeatDelivered(due_at=due_at) as fact:
            if pulse.delivered is not None and due_at <= pulse.delivered:
                return pulse, "delivered_before"
            newest = due_at == pulse.due_at and fact.attempt == pulse.attempt
            return replace(
                pulse,
                delivered=due_at,
                delivered_at=event.occurred_at,
                told=pulse.told or newest,
            ), None
        case facts.HeartbeatFailed(due_at=due_at) as fact:
            if due_at != pulse.due_at or fact.attempt != pulse.attempt or pulse.told:
                return pulse, "other_attempt"
            return replace(pulse, told=True, reason=fact.reason), None
        case facts.HeartbeatMissed() as fact:
            if pulse.missed_at is not None:
                return pulse, "missing_already"
            return replace(pulse, missed_at=fact.missed_at, labels=fact.labels), None
        case facts.HeartbeatReturned() as fact:
            if pulse.missed_at != fact.missed_at:
                return pulse, "not_missing"
            return replace(pulse, missed_at=None, labels={}), None
    return pulse, "not_a_heartbeat"


def _attempted(
    pulse: Pulse, fact: facts.HeartbeatAttempted, at: datetime
) -> tuple[Pulse, str | None]:
    if pulse.due_at is not None and fact.due_at < pulse.due_at:
        return pulse, "older_beat"
    same = fact.due_at == pulse.due_at
    if same and fact.attempt <= pulse.attempt:
        return pulse, "attempted_before"
    return replace(
        pulse,
        due_at=fact.due_at,
        attempt=fact.attempt,
        attempted_at=at,
        attempted_by=fact.instance,
        began_at=pulse.began_at if same else at,
        within=fact.within,
        told=False,
    ), None


@dataclass(frozen=True, slots=True)
class Owing:
    """What a pulse owes now, and when it owes next if nothing else happens."""

    fact: HeartbeatFact | None
    next_at: datetime


def owed(
    pulse: Pulse, policy: Policy, channel: str, heartbeat: Heartbeat, now: datetime, instance: str
) -> Owing:
    """The one fact a channel's heartbeat owes at `now`.

    That a beat is missed is judged by its first attempt in the log, not by when it was due: while
    we are down nobody is asked, and nobody is accused.
    """
    due_at = beat_due(policy.system, channel, heartbeat.every, now)
    next_at = due_at + heartbeat.every
    if pulse.missed_at is not None and pulse.arrived:
        return Owing(over(pulse, channel, pulse.missed_at), next_at)
    silent_at = pulse.silent_at
    if silent_at is not None and pulse.missed_at is None and pulse.due_at is not None:
        if silent_at <= now:
            labels = heartbeat_alert(policy, channel)
            return Owing(_missed(pulse, channel, pulse.due_at, silent_at, labels), next_at)
        next_at = min(next_at, silent_at)
    if pulse.due_at is None or pulse.due_at < due_at:
        return Owing(_attempt(channel, due_at, 1, heartbeat, instance), next_at)
    if silent_at is None or pulse.attempted_at is None or pulse.missed_at is not None:
        return Owing(None, next_at)
    wait = wait_after(pulse.attempt) if pulse.told else GONE_AFTER
    again_at = pulse.attempted_at + wait
    if again_at <= now:
        fact = _attempt(channel, pulse.due_at, pulse.attempt + 1, heartbeat, instance)
        return Owing(fact, next_at)
    return Owing(None, min(next_at, again_at))


def _attempt(
    channel: str, due_at: datetime, attempt: int, heartbeat: Heartbeat, instance: str
) -> facts.HeartbeatAttempted:
    return facts.HeartbeatAttempted(
        channel=channel,
        due_at=due_at,
        attempt=attempt,
        within=heartbeat.within,
        instance=instance,
    )


def over(pulse: Pulse, channel: str, missed_at: datetime) -> facts.HeartbeatReturned:
    """That beats are missing no longer: one arrived, or the policy wants none any more."""
    return facts.HeartbeatReturned(
        channel=channel, due_at=pulse.due_at or missed_at, missed_at=missed_at
    )


def _missed(
    pulse: Pulse,
    channel: str,
    due_at: datetime,
    missed_at: datetime,
    labels: Mapping[str, str],
) -> facts.HeartbeatMissed:
    return facts.HeartbeatMissed(
        channel=channel,
        due_at=due_at,
        missed_at=missed_at,
        last_delivered=pulse.delivered,
        reason=pulse.reason if pulse.told else "no_answer",
        labels=dict(labels),
    )


def told(attempted: facts.HeartbeatAttempted, outcome: Outcome) -> HeartbeatFact:
    """What to write of a call's outcome."""
    channel, due_at, attempt = attempted.channel, attempted.due_at, attempted.attempt
    match outcome:
        case Delivered(ref):
            return facts.HeartbeatDelivered(
                channel=channel, due_at=due_at, attempt=attempt, provider_ref=ref[:200]
            )
        case Refused(reason, detail) | Unwell(reason, detail, _):
            return facts.HeartbeatFailed(
                channel=channel, due_at=due_at, attempt=attempt, reason=reason, detail=detail
            )
        case Unknown(reason):
            return facts.HeartbeatFailed(
                channel=channel, due_at=due_at, attempt=attempt, reason=reason
            )


def webhook(fact: facts.HeartbeatMissed | facts.HeartbeatReturned, pulse: Pulse) -> bytes:
    """The alert that a heartbeat is missing, or its end, as Alertmanager would post it.

    Whoever makes it makes the same alert: one that is posted twice is a repeat.
    """
    missing = isinstance(fact, facts.HeartbeatMissed)
    labels = fact.labels if isinstance(fact, facts.HeartbeatMissed) else pulse.labels
    channel = f"{fact.channel} ({labels.get('kind', 'unknown')})"
    alert = {
        "status": "firing" if missing else "resolved",
        "labels": dict(labels),
        "annotations": {"summary": f"Synthetic pages by {channel} do not arrive"},
        "startsAt": rfc3339(fact.missed_at),
        "endsAt": _NEVER if missing else rfc3339(pulse.delivered_at or fact.missed_at),
        "generatorURL": "",
    }
    return json.dumps({"version": "4", "alerts": [alert]}).encode()


def event_of(system: str, fact: HeartbeatFact, now: datetime, policy: str) -> Event[HeartbeatFact]:
    """The event of a fact about a beat."""
    parts = [fact.channel, fact.due_at.isoformat()]
    if isinstance(fact, facts.HeartbeatAttempted):
        parts += [str(fact.attempt), fact.instance]
    elif isinstance(fact, facts.HeartbeatFailed | facts.HeartbeatDelivered):
        parts.append(str(fact.attempt))
    return Event(
        id=event_id(fact.TYPE, system, *parts),
        source=SOURCE,
        subject=system,
        key=system,
        occurred_at=now,
        fact=fact.model_copy(update={"basis": Basis(policy=policy)}),
    )


def beat_id(system: str, channel: str, due_at: datetime) -> str:
    """The notification that a beat is: the same over its attempts."""
    return str(derive("heartbeat", system, channel, rfc3339(due_at)))


def closing_id(beat: str) -> str:
    """The notification that closes again what a beat leaves open; no attempt of its own."""
    return str(derive(beat, "over"))


def beating(policy: Policy) -> Mapping[str, Heartbeat]:
    """Every channel of a policy that has a heartbeat."""
    return {
        name: channel.heartbeat
        for name, channel in policy.channels.items()
        if channel.heartbeat is not None
    }
