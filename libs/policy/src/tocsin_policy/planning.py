"""What comes next: the levels of an incident that are ahead, each with its time and its reason.

The escalation-timer owes them when they are due; whoever tells people what happens next says the
same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from tocsin_incident import Early, IncidentState, lost
from tocsin_incident.state import Asked
from tocsin_policy.calendars import askable
from tocsin_policy.document import Hours, Level, Policy, Severity
from tocsin_policy.escalation import levels_for

ESCALATED = "escalated"
HANDED_OVER = "handed_over"
"""Why a level comes before its time."""


class Planned(NamedTuple):
    """A level that is ahead.

    Attributes:
        level: Absent for the last resort, which comes if the last level reached nobody.
        repeat: How often that level was told before.
        waited: How long it is held for somebody to be at work.
        reason: Why it comes before its time, if it does.
        asked: Who asked for it, if a person did.
    """

    due_at: datetime
    level: Level | None
    repeat: int = 0
    waited: timedelta = timedelta()
    reason: str = ""
    asked: Asked | None = None


def begins_at(state: IncidentState, policy: Policy) -> datetime:
    """When the clock of the levels starts: what is urgent does not wait to know more."""
    gathers = state.generation == 1 and not state.urgent
    return state.escalation_from + (policy.grouping.wait if gathers else timedelta())


def levels_ahead(state: IncidentState, policy: Policy, severity: Severity) -> Iterator[Planned]:
    """What the policy plans; what a person asked for comes in place of it, up to that level."""
    asked = _asked(state, policy)
    if asked is not None:
        yield asked
    passed = asked.level.number if asked is not None and asked.level is not None else 0
    for planned in _planned(state, policy, severity):
        if planned.level is None or planned.level.number > passed:
            yield planned


def first_level(state: IncidentState, policy: Policy) -> Level:
    """The first level of the incident's severity; one without any asks its commander."""
    levels = levels_for(policy, state.severity)
    if levels:
        return levels[0]
    return Level(number=1, after=timedelta(), targets=("role:incident_commander",))


def _asked(state: IncidentState, policy: Policy) -> Planned | None:
    """The level that a person asked for, due when they did, whatever the hour."""
    if state.handed is not None:
        first = first_level(state, policy)
        return Planned(state.handed.at, first, reason=HANDED_OVER, asked=state.handed)
    asked = state.escalation
    if asked is None:
        return None
    levels = levels_for(policy, state.severity)
    following = next((level for level in levels if level.number > state.level), None)
    if following is not None:
        return Planned(asked.at, following, reason=ESCALATED, asked=asked)
    # After the last there is nobody new: those of the last are told again.
    last = levels[-1] if levels else first_level(state, policy)
    repeat = state.repeats + 1 if state.level else 0
    again = last.model_copy(update={"number": state.level or last.number})
    return Planned(asked.at, again, repeat=repeat, reason=ESCALATED, asked=asked)


def _planned(state: IncidentState, policy: Policy, severity: Severity) -> Iterator[Planned]:
    """Levels that come, and what comes if the last of them reached nobody.

    When nobody of a level can be reached, waiting for an answer is waiting for nothing: the next
    level is due as soon as its people may be asked.
    """
    before: datetime | None = None
    # What does not page may have nobody to reach.
    nobody = lost(state) if severity.pages else None
    for level in levels_for(policy, state.severity):
        reached_at = _reached_at(state, level)
        if reached_at is not None:
            before = reached_at
            if level.number == state.level and state.repeats < level.repeat:
                due_at = reached_at + level.repeat_every
                yield Planned(due_at, level, repeat=state.repeats + 1)
            continue
        if level.number <= state.level:
            continue
        due_at, waited = _level_due(state, policy, severity, level, before)
        reason = ""
        if nobody is not None:
            early_at = _soonest(state, policy, severity, level, nobody.since)
            if early_at < due_at:
                due_at, waited, reason = early_at, timedelta(), str(nobody.reason)
            nobody = None
        before = due_at
        yield Planned(due_at, level, waited=waited, reason=reason)
    if nobody is not None:
        yield Planned(nobody.since, None, reason=Early.LAST_RESORT)


def _soonest(
    state: IncidentState, policy: Policy, severity: Severity, level: Level, at: datetime
) -> datetime:
    """The first instant from `at` on at which a level may ask for its people."""
    hours = level.hours or severity.hours
    earliest = askable(policy, severity, hours, begins_at(state, policy))
    return at_work(policy, severity, hours, max(at, earliest))


def _reached_at(state: IncidentState, level: Level) -> datetime | None:
    """When this level was last told of, in this generation at this severity."""
    return next(
        (
            held.reached_at
            for held in reversed(state.levels)
            if held.level == level.number
            and held.generation == state.generation
            and held.severity == state.severity
            and level.number <= state.level
        ),
        None,
    )


def _level_due(
    state: IncidentState,
    policy: Policy,
    severity: Severity,
    level: Level,
    before: datetime | None,
) -> tuple[datetime, timedelta]:
    hours = level.hours or severity.hours
    start = begins_at(state, policy)
    if level.counted_from == "last_level" and before is not None:
        start = before
    # Counted from the opening, or a weekend's levels would all be reached in its first minute.
    counted_from = askable(policy, severity, hours, start)
    due_at = at_work(policy, severity, hours, counted_from + level.after)
    return due_at, due_at - (start + level.after)


def at_work(policy: Policy, severity: Severity, hours: Hours, at: datetime) -> datetime:
    """`at`, or the opening after it; the wait for the next business day was counted before."""
    open_hours = Hours.ALWAYS if hours is Hours.ALWAYS else Hours.BUSINESS_HOURS
    return askable(policy, severity, open_hours, at)


def told_by(state: IncidentState, policy: Policy, level: Level) -> tuple[str, ...]:
    """Whom a level tells; in place of the first level's, whom it was handed over to."""
    first = first_level(state, policy).number
    if level.number == first and state.handed_to in policy.contacts:
        return (f"contact:{state.handed_to}",)
    return level.targets
