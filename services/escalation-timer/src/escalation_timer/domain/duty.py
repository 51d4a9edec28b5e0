"""What the escalation-timer owes: the facts of every deadline that has passed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from escalation_timer.domain.deadlines import Deadline, Kind, deadlines
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Basis, Event, event_id
from tocsin_contracts.incidents import IncidentFact, Target
from tocsin_incident import IncidentState, gave_up_at
from tocsin_policy import Cadence, Level, Policy, from_the_first, resolve, told_by

SOURCE = "tocsin/escalation-timer"

_LEAD = "role:communications_lead"
_COMMANDER = "role:incident_commander"

_WAKING = frozenset({"pagerduty", "sms", "voice"})
"""Kinds of channel that wake people: what a severity that does not page keeps away from."""


def owed(state: IncidentState, in_force: InForce, now: datetime, end: int) -> Owed:
    """The facts of what is due at `now`, and when the next deadline is.

    One call catches up completely. A deadline equal to `now` has passed. Levels of one incident
    that passed together (an outage, a severity raised late) come as one fact for the highest, so
    that nobody is paged three times in a second; it tells everybody whom those it skips would have
    told, each once. Updates missed together come as one reminder.

    Args:
        end: End of the `incidents` partition as folded, for the facts' basis.
    """
    pending = deadlines(state, in_force.policy)
    due = [deadline for deadline in pending if deadline.due_at <= now]
    later = [deadline.due_at for deadline in pending if deadline.due_at > now]
    if not due:
        return Owed(next_at=min(later, default=None))
    basis = Basis(incidents=end, policy=in_force.hash)
    written: list[Event[IncidentFact]] = []
    levels = [deadline for deadline in due if deadline.kind is Kind.LEVEL]
    if levels:
        written.append(_level_reached(state, in_force.policy, levels, now, basis))
    for deadline in due:
        event = _fact(state, in_force.policy, deadline, now, basis)
        if event is not None:
            written.append(event)
    return Owed(tuple(written), min(later, default=None))


def _event(
    state: IncidentState, fact: IncidentFact, now: datetime, *parts: str
) -> Event[IncidentFact]:
    return Event(
        id=event_id(fact.TYPE, state.incident, *parts),
        source=SOURCE,
        subject=state.incident,
        key=state.key,
        occurred_at=now,
        fact=fact,
    )


def _level_reached(
    state: IncidentState, policy: Policy, levels: list[Deadline], now: datetime, basis: Basis
) -> Event[IncidentFact]:
    found = [(one.level, one) for one in levels if one.level is not None]
    level, reached = max(found, key=lambda one: (one[0].number, one[1].repeat))
    numbers = sorted({held.number for held, _ in found})
    asked = reached.asked
    texts = [
        text for held, _ in sorted(found, key=_by_number) for text in told_by(state, policy, held)
    ]
    fact = facts.LevelReached(
        basis=basis,
        level=level.number,
        generation=state.generation,
        severity=state.severity,
        due_at=reached.due_at,
        targets=_awake(policy, state, _people(policy, state, texts, now, reached.repeat)),
        skipped=tuple(number for number in numbers if number != level.number),
        repeat=reached.repeat,
        waited=reached.waited or None,
        reason=reached.reason,
        by=asked.by if asked is not None else None,
        text=asked.reason if asked is not None else "",
    )
    # One that came while the incident was muted was ignored; this is another.
    return _of_level(state, fact, now, *((rfc3339(asked.at),) if asked is not None else ()))


def _of_level(
    state: IncidentState, fact: facts.LevelReached, now: datetime, *more: str
) -> Event[IncidentFact]:
    # How many levels were reached before tells a second raise to the same severity, which
    # starts its levels again, from the first.
    parts = (str(fact.generation), fact.severity, str(fact.level), str(len(state.levels)))
    return _event(state, fact, now, *parts, *more)


def _last_resort(
    state: IncidentState, policy: Policy, deadline: Deadline, now: datetime, basis: Basis
) -> Event[IncidentFact]:
    """One more level, of those who are told when nobody else could be.

    It is written though the policy names nobody: that nobody was reached is news by itself.
    """
    fact = facts.LevelReached(
        basis=basis,
        level=state.level + 1,
        generation=state.generation,
        severity=state.severity,
        due_at=deadline.due_at,
        targets=_by_others(state, _people(policy, state, policy.last_resort or (), now)),
        reason=deadline.reason,
    )
    return _of_level(state, fact, now)


def _by_others(state: IncidentState, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets by channels that have not failed; by all of theirs where every one has."""
    failed = {
        held.channel
        for held in state.notifications.values()
        if held.generation == state.generation and gave_up_at(held) is not None
    }
    return tuple(
        _by(target, [name for name in target.channels if name not in failed] or target.channels)
        for target in targets
    )


def _by(target: Target, channels: Sequence[str]) -> Target:
    waits = {name: target.after.get(name, timedelta()) for name in channels}
    return target.model_copy(update={"channels": tuple(channels), "after": from_the_first(waits)})


def _by_number(found: tuple[Level, Deadline]) -> tuple[int, int]:
    return found[0].number, found[1].repeat


def _people(
    policy: Policy, state: IncidentState, texts: Sequence[str], now: datetime, repeat: int = 0
) -> tuple[Target, ...]:
    conditions = {"customer_facing": "true" if state.customer_facing else "false"}
    turn = (state.incident, state.generation - 1 + repeat)
    return resolve(policy, texts, now, state.roles, conditions, turn)


def _awake(policy: Policy, state: IncidentState, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets, without the channels that wake people where the severity does not page."""
    severity = policy.severity(state.severity)
    if severity is None or severity.pages:
        return targets
    return tuple(
        _by(target, [name for name in target.channels if not _wakes(policy, name)])
        for target in targets
    )


def _wakes(policy: Policy, channel: str) -> bool:
    held = policy.channels.get(channel)
    return held is not None and held.kind in _WAKING


def _response_target(state: IncidentState, policy: Policy, due_at: datetime) -> timedelta:
    """What was promised; with business hours that is less than what went by."""
    severity = policy.severity(state.severity)
    if severity is None or severity.response_target is None:
        return due_at - state.escalation_from
    return severity.response_target


def _fact(
    state: IncidentState, policy: Policy, deadline: Deadline, now: datetime, basis: Basis
) -> Event[IncidentFact] | None:
    generation = str(state.generation)
    due_at = deadline.due_at
    match deadline.kind:
        case Kind.LEVEL:
            return None
        case Kind.LAST_RESORT:
            return _last_resort(state, policy, deadline, now, basis)
        case Kind.RESPONSE_TARGET:
            missed = facts.ResponseTargetMissed(
                basis=basis,
                generation=state.generation,
                severity=state.severity,
                target=_response_target(state, policy, due_at),
                due_at=due_at,
            )
            return _event(state, missed, now, generation)
        case Kind.ACKNOWLEDGEMENT:
            expired = facts.AcknowledgementExpired(
                basis=basis, generation=state.generation, due_at=due_at
            )
            return _event(state, expired, now, generation)
        case Kind.MUTE:
            ended = facts.MuteEnded(basis=basis, due_at=due_at)
            return _event(state, ended, now, rfc3339(due_at))
        case Kind.UPDATE | Kind.PUBLIC_UPDATE:
            return _overdue(state, policy, deadline, now, basis)
        case Kind.STEP:
            remediation, step = deadline.step
            late = facts.StepOverdue(
                basis=basis,
                remediation=remediation,
                step=step,
                due_at=due_at,
                targets=_people(policy, state, (_COMMANDER,), now),
            )
            return _event(state, late, now, remediation, step)
        case Kind.REVIEW:
            severity = policy.severity(state.severity)
            held = severity.review if severity is not None else None
            attendees = held.attendees if held is not None else ()
            review = facts.ReviewDue(
                basis=basis,
                due_at=due_at,
                targets=_people(policy, state, attendees or (_COMMANDER,), now),
            )
            return _event(state, review, now, rfc3339(due_at))


def _overdue(
    state: IncidentState, policy: Policy, deadline: Deadline, now: datetime, basis: Basis
) -> Event[IncidentFact] | None:
    """The communications lead is reminded first; who leads the incident once that did not help."""
    severity = policy.severity(state.severity)
    public = deadline.kind is Kind.PUBLIC_UPDATE
    cadence: Cadence | None = None
    if severity is not None:
        cadence = severity.public_updates if public else severity.updates
    if cadence is None:
        return None
    last = _last_missed(deadline.due_at, cadence.every, now)
    told_at = state.public_overdue_at if public else state.overdue_at
    updated_at = state.public_updated_at if public else state.updated_at
    again = told_at is not None and (updated_at is None or told_at > updated_at)
    fact = facts.UpdateOverdue(
        basis=basis,
        number=(state.public_overdue if public else state.overdue) + 1,
        due_at=last,
        audience="public" if public else "internal",
        targets=_people(policy, state, (_LEAD, _COMMANDER) if again else (_LEAD,), now)
        or _people(policy, state, (_COMMANDER,), now),
    )
    return _event(state, fact, now, *(["public"] if public else []), rfc3339(last))


def _last_missed(first: datetime, every: timedelta, now: datetime) -> datetime:
    return first + ((now - first) // every) * every
