"""Deadlines are derived: what is due is a function of the state and the policy, nothing else.

There is nothing to schedule, cancel or lose. A deadline fires at its due time, not at the time we
got round to it: the fact carries both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tocsin_incident import Early, IncidentState, Status, lost
from tocsin_incident.state import Asked, RemediationStatus, StepStatus
from tocsin_policy import (
    Cadence,
    Hours,
    Level,
    Policy,
    Severity,
    askable,
    levels_for,
    review_due,
)

_UNDONE = frozenset({StepStatus.PROPOSED, StepStatus.STARTED})

ESCALATED = "escalated"
HANDED_OVER = "handed_over"
"""Why a level comes before its time."""


class Kind(StrEnum):
    """What a deadline is for."""

    LEVEL = "level"
    LAST_RESORT = "last_resort"
    ACKNOWLEDGEMENT = "acknowledgement"
    RESPONSE_TARGET = "response_target"
    UPDATE = "update"
    PUBLIC_UPDATE = "public_update"
    STEP = "step"
    REVIEW = "review"
    MUTE = "mute"


_WITHHELD = frozenset(
    {
        Kind.LEVEL,
        Kind.LAST_RESORT,
        Kind.ACKNOWLEDGEMENT,
        Kind.UPDATE,
        Kind.PUBLIC_UPDATE,
        Kind.STEP,
    }
)
"""What asks for people, and waits while an incident is muted."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant at which something is owed unless the state moves on before.

    Attributes:
        level: The level, for `Kind.LEVEL`.
        repeat: How often that level was told before.
        waited: How long it is held for somebody to be at work.
        step: Remediation and step, for `Kind.STEP`.
        reason: Why a level comes before its time, if it does.
        asked: Who asked for it, if a person did.
    """

    kind: Kind
    due_at: datetime
    level: Level | None = None
    repeat: int = 0
    waited: timedelta = timedelta()
    step: tuple[str, str] = ("", "")
    reason: str = ""
    asked: Asked | None = None


def deadlines(state: IncidentState, policy: Policy) -> tuple[Deadline, ...]:
    """Every pending deadline of an incident, earliest first.

    An incident whose severity the policy in force no longer has, has none; the fold still holds
    it, and a person can give it another severity.
    """
    severity = policy.severity(state.severity)
    if severity is None:
        return ()
    found: list[Deadline] = []
    if state.status is Status.OPEN and not state.quiet:
        found.extend(_levels(state, policy, severity))
        found.extend(_response_target(state, policy, severity))
    if state.status is Status.ACKNOWLEDGED:
        found.extend(_acknowledgement(state, severity))
    if state.status.live:
        # Nobody owes news before anybody was told.
        told_at = askable(policy, severity, severity.hours, state.opened_at)
        found.extend(_update(state, severity.updates, told_at))
        found.extend(_public_update(state, severity.public_updates, told_at))
        found.extend(_steps(state, policy))
    if state.status is Status.RESOLVED:
        found.extend(_review(state, policy, severity))
    if state.muted_until is not None:
        found = [one for one in found if one.kind not in _WITHHELD]
        found.append(Deadline(Kind.MUTE, state.muted_until))
    return tuple(sorted(found, key=lambda deadline: deadline.due_at))


def _begins_at(state: IncidentState, policy: Policy) -> datetime:
    """When the clock of the levels starts: what is urgent does not wait to know more."""
    gathers = state.generation == 1 and not state.urgent
    return state.escalation_from + (policy.grouping.wait if gathers else timedelta())


def _levels(state: IncidentState, policy: Policy, severity: Severity) -> Iterator[Deadline]:
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


def _asked(state: IncidentState, policy: Policy) -> Deadline | None:
    """The level that a person asked for, due when they did, whatever the hour."""
    if state.handed is not None:
        first = first_level(state, policy)
        return Deadline(Kind.LEVEL, state.handed.at, first, reason=HANDED_OVER, asked=state.handed)
    asked = state.escalation
    if asked is None:
        return None
    levels = levels_for(policy, state.severity)
    following = next((level for level in levels if level.number > state.level), None)
    if following is not None:
        return Deadline(Kind.LEVEL, asked.at, following, reason=ESCALATED, asked=asked)
    # After the last there is nobody new: those of the last are told again.
    last = levels[-1] if levels else first_level(state, policy)
    repeat = state.repeats + 1 if state.level else 0
    again = last.model_copy(update={"number": state.level or last.number})
    return Deadline(Kind.LEVEL, asked.at, again, repeat=repeat, reason=ESCALATED, asked=asked)


def _planned(state: IncidentState, policy: Policy, severity: Severity) -> Iterator[Deadline]:
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
                yield Deadline(Kind.LEVEL, due_at, level, repeat=state.repeats + 1)
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
        yield Deadline(Kind.LEVEL, due_at, level, waited=waited, reason=reason)
    if nobody is not None:
        yield Deadline(Kind.LAST_RESORT, nobody.since, reason=Early.LAST_RESORT)


def _soonest(
    state: IncidentState, policy: Policy, severity: Severity, level: Level, at: datetime
) -> datetime:
    """The first instant from `at` on at which a level may ask for its people."""
    hours = level.hours or severity.hours
    begins_at = askable(policy, severity, hours, _begins_at(state, policy))
    return _at_work(policy, severity, hours, max(at, begins_at))


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
    start = _begins_at(state, policy)
    if level.counted_from == "last_level" and before is not None:
        start = before
    # Counted from the opening, or a weekend's levels would all be reached in its first minute.
    counted_from = askable(policy, severity, hours, start)
    due_at = _at_work(policy, severity, hours, counted_from + level.after)
    return due_at, due_at - (start + level.after)


def _at_work(policy: Policy, severity: Severity, hours: Hours, at: datetime) -> datetime:
    """`at`, or the opening after it; the wait for the next business day was counted before."""
    open_hours = Hours.ALWAYS if hours is Hours.ALWAYS else Hours.BUSINESS_HOURS
    return askable(policy, severity, open_hours, at)


def _response_target(
    state: IncidentState, policy: Policy, severity: Severity
) -> Iterator[Deadline]:
    if severity.response_target is None:
        return
    if any(missed.generation == state.generation for missed in state.missed):
        return
    # Nobody can answer before the first person is told, so it is counted from the opening.
    counted_from = askable(policy, severity, severity.hours, _begins_at(state, policy))
    due_at = counted_from + severity.response_target
    # What is due when they close is due then, not the next morning.
    moment_before = due_at - timedelta(microseconds=1)
    if _at_work(policy, severity, severity.hours, moment_before) != moment_before:
        due_at = _at_work(policy, severity, severity.hours, due_at)
    yield Deadline(Kind.RESPONSE_TARGET, due_at)


def _acknowledgement(state: IncidentState, severity: Severity) -> Iterator[Deadline]:
    if severity.acknowledge_timeout is not None and state.acknowledged_at is not None:
        yield Deadline(Kind.ACKNOWLEDGEMENT, state.acknowledged_at + severity.acknowledge_timeout)


def _update(state: IncidentState, cadence: Cadence | None, told_at: datetime) -> Iterator[Deadline]:
    if cadence is not None:
        due_at = _promised(told_at, cadence, state.updated_at, state.overdue_at)
        yield Deadline(Kind.UPDATE, due_at)


def _public_update(
    state: IncidentState, cadence: Cadence | None, told_at: datetime
) -> Iterator[Deadline]:
    if cadence is not None:
        due_at = _promised(told_at, cadence, state.public_updated_at, state.public_overdue_at)
        yield Deadline(Kind.PUBLIC_UPDATE, due_at)


def _promised(
    told_at: datetime, cadence: Cadence, updated_at: datetime | None, overdue_at: datetime | None
) -> datetime:
    promised = told_at + cadence.first_within if updated_at is None else updated_at + cadence.every
    if overdue_at is not None and overdue_at >= promised:
        promised = overdue_at + cadence.every
    return promised


def _steps(state: IncidentState, policy: Policy) -> Iterator[Deadline]:
    for remediation in state.remediations.values():
        playbook = policy.playbooks.get(remediation.playbook)
        standing = remediation.status is RemediationStatus.PROPOSED
        if playbook is None or not standing or remediation.generation != state.generation:
            continue
        for step in playbook.steps:
            held = remediation.step(step.id)
            if step.within is None or held is None:
                continue
            if held.status in _UNDONE and held.overdue_at is None:
                yield Deadline(
                    Kind.STEP,
                    state.escalation_from + step.within,
                    step=(remediation.remediation, step.id),
                )


def _review(state: IncidentState, policy: Policy, severity: Severity) -> Iterator[Deadline]:
    if state.resolved_at is None or state.review_reminded:
        return
    due_at = review_due(policy, severity, state.resolved_at)
    if due_at is not None:
        yield Deadline(Kind.REVIEW, due_at)
