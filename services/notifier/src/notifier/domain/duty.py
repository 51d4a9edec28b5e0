"""What the notifier owes: requests for messages, attempts at them, and honest endings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from notifier.domain.outcomes import Unknown, retry_at
from notifier.domain.redacting import redacted
from notifier.domain.speaking import owes
from notifier.domain.wanted import Wanted, next_means_at, unwanted, wanted
from notifier.domain.wording import message_for
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis, Event, event_id
from tocsin_contracts.ids import key_of
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification, NotificationStatus

SOURCE = "tocsin/notifier"

_AT_ONCE = timedelta(seconds=5)


def owed(
    state: IncidentState,
    in_force: InForce,
    now: datetime,
    end: int,
    *,
    instance: str,
    redact: Callable[[str], str] = str,
) -> Owed:
    """The facts owed at `now`, and when the next retry is due.

    A message is requested and its first attempt announced together; the call itself waits until
    the log has brought the attempt back (see `handlers`). A message that is no longer wanted is
    requested and superseded, so that the log says why nobody was paged.

    Args:
        instance: This process; attempts of any other are in doubt.
        redact: Blanks out what must not be told. What is told stands in the log, too.
    """
    writer = _Writer(state, in_force, now, end)
    for want in wanted(state, in_force.policy, now):
        if want.notification not in state.notifications and _owes(in_force, want):
            _request(writer, state, in_force, want, now, redact)
    next_at = next_means_at(state, now)
    for held in state.notifications.values():
        due_at = _go_on(writer, state, held, now, instance)
        if due_at is not None and (next_at is None or due_at < next_at):
            next_at = due_at
    return Owed(tuple(writer.written), next_at)


class _Writer:
    def __init__(self, state: IncidentState, in_force: InForce, now: datetime, end: int) -> None:
        self._state = state
        self._now = now
        self._end = end
        self._policy = in_force.hash
        self.written: list[Event[IncidentFact]] = []

    def write(self, fact: IncidentFact, *parts: str) -> None:
        basis = Basis(incidents=self._end, policy=self._policy)
        self.written.append(event_of(self._state.incident, fact, self._now, basis, *parts))


def event_of(
    incident: str, fact: IncidentFact, now: datetime, basis: Basis | None, *parts: str
) -> Event[IncidentFact]:
    """The event of a fact about a notification; `parts` tell it from others of its kind."""
    return Event(
        id=event_id(fact.TYPE, incident, *parts),
        source=SOURCE,
        subject=incident,
        key=key_of(incident),
        occurred_at=now,
        fact=fact.model_copy(update={"basis": basis}),
    )


def _owes(in_force: InForce, want: Wanted) -> bool:
    return owes(_kind(in_force, want), want.purpose)


def _kind(in_force: InForce, want: Wanted) -> str:
    channel = in_force.policy.channels.get(want.channel)
    return channel.kind if channel is not None else "unknown"


def _request(
    writer: _Writer,
    state: IncidentState,
    in_force: InForce,
    want: Wanted,
    now: datetime,
    redact: Callable[[str], str],
) -> None:
    writer.write(
        facts.NotificationRequested(
            notification=want.notification,
            purpose=want.purpose,
            generation=want.level.generation if want.level else state.generation,
            level=want.level.level if want.level else None,
            target=want.target,
            channel=want.channel,
            kind=_kind(in_force, want),
            provider_key=want.provider_key,
            message=redacted(message_for(state, in_force.policy, want, now), redact),
            reason=want.reason,
            due_at=_owed_before(want, now),
        ),
        want.notification,
    )


def _owed_before(want: Wanted, now: datetime) -> datetime | None:
    """When it was owed, unless that is now: what takes a moment is not late."""
    if want.due_at is None or now - want.due_at < _AT_ONCE:
        return None
    return want.due_at


def _go_on(
    writer: _Writer, state: IncidentState, held: Notification, now: datetime, instance: str
) -> datetime | None:
    if held.status.settled:
        return None
    if held.status is NotificationStatus.ATTEMPTED:
        if held.attempted_by != instance:
            doubt = Unknown("the process that called is gone")
            fact = facts.NotificationInDoubt(
                notification=held.notification,
                attempt=held.attempts,
                reason=doubt.reason,
                retry_at=retry_at(doubt, held, now),
            )
            writer.write(fact, held.notification, str(held.attempts))
        return None
    if held.status is not NotificationStatus.REQUESTED and held.retry_at is None:
        return None
    reason = unwanted(state, held)
    if reason is not None:
        superseded = facts.NotificationSuperseded(notification=held.notification, reason=reason)
        writer.write(superseded, held.notification)
        return None
    if held.retry_at is not None and held.retry_at > now:
        return held.retry_at
    attempt = held.attempts + 1
    attempted = facts.NotificationAttempted(
        notification=held.notification, attempt=attempt, instance=instance
    )
    writer.write(attempted, held.notification, str(attempt), instance)
    return None
