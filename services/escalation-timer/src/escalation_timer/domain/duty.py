"""What the escalation-timer owes: the facts of every deadline that has passed."""

from __future__ import annotations

from datetime import datetime, timedelta

from escalation_timer.domain.deadlines import Deadline, Kind, deadlines
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Basis, Event, event_id
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident import IncidentState
from tocsin_policy import Policy, resolve

SOURCE = "tocsin/escalation-timer"

_UPDATE_TARGETS = ("role:communications_lead", "role:incident_commander")
_REVIEW_TARGETS = ("role:incident_commander",)


def owed(state: IncidentState, in_force: InForce, now: datetime, end: int) -> Owed:
    """The facts of what is due at `now`, and when the next deadline is.

    One call catches up completely. A deadline equal to `now` has passed. Levels of one incident
    that passed together come as one fact for the highest, so that an outage does not page three
    levels in a second; it names those it skipped. Updates missed together come as one reminder.

    Args:
        end: End of the `incidents` partition as folded, for the facts' basis.
    """
    pending = deadlines(state, in_force.policy)
    due = [deadline for deadline in pending if deadline.due_at <= now]
    later = [deadline.due_at for deadline in pending if deadline.due_at > now]
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
    reached = levels[-1]
    level = reached.level
    if level is None:
        raise ValueError("a level's deadline names its level")
    numbers = [deadline.level.number for deadline in levels if deadline.level is not None]
    fact = facts.LevelReached(
        basis=basis,
        level=level.number,
        generation=state.generation,
        severity=state.severity,
        due_at=reached.due_at,
        targets=resolve(policy, level.targets, now, state.roles, _conditions(state)),
        skipped=tuple(number for number in numbers if number != level.number),
    )
    # How many levels were reached before tells a second raise to the same severity, which
    # starts its levels again, from the first.
    return _event(
        state,
        fact,
        now,
        str(state.generation),
        state.severity,
        str(level.number),
        str(len(state.levels)),
    )


def _response_target(state: IncidentState, policy: Policy, due_at: datetime) -> timedelta:
    """What was promised; with business hours that is less than what went by."""
    severity = policy.severity(state.severity)
    if severity is None or severity.response_target is None:
        return due_at - state.escalation_from
    return severity.response_target


def _conditions(state: IncidentState) -> dict[str, str]:
    return {"customer_facing": "true" if state.customer_facing else "false"}


def _fact(
    state: IncidentState, policy: Policy, deadline: Deadline, now: datetime, basis: Basis
) -> Event[IncidentFact] | None:
    generation = str(state.generation)
    due_at = deadline.due_at
    match deadline.kind:
        case Kind.LEVEL:
            return None
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
        case Kind.UPDATE:
            last = _last_missed(due_at, _cadence(policy, state), now)
            overdue = facts.UpdateOverdue(
                basis=basis,
                number=state.overdue + 1,
                due_at=last,
                targets=resolve(policy, _UPDATE_TARGETS, now, state.roles, _conditions(state)),
            )
            return _event(state, overdue, now, rfc3339(last))
        case Kind.REVIEW:
            review = facts.ReviewDue(
                basis=basis,
                due_at=due_at,
                targets=resolve(policy, _REVIEW_TARGETS, now, state.roles, _conditions(state)),
            )
            return _event(state, review, now, rfc3339(due_at))


def _cadence(policy: Policy, state: IncidentState) -> timedelta:
    severity = policy.severity(state.severity)
    if severity is None or severity.updates is None:
        raise ValueError("only a severity with a cadence has an update due")
    return severity.updates.every


def _last_missed(first: datetime, every: timedelta, now: datetime) -> datetime:
    return first + ((now - first) // every) * every
