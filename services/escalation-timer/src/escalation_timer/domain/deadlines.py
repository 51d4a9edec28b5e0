"""Deadlines are derived: what is due is a function of the state and the policy, nothing else.

There is nothing to schedule, cancel or lose. A deadline fires at its due time, not at the time we
got round to it: the fact carries both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tocsin_incident import IncidentState, Status
from tocsin_policy import Hours, Level, Policy, Severity, levels_for, next_open, review_due


class Kind(StrEnum):
    """What a deadline is for."""

    LEVEL = "level"
    ACKNOWLEDGEMENT = "acknowledgement"
    RESPONSE_TARGET = "response_target"
    UPDATE = "update"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant at which something is owed unless the state moves on before.

    Attributes:
        level: The level, for `Kind.LEVEL`.
    """

    kind: Kind
    due_at: datetime
    level: Level | None = None


def deadlines(state: IncidentState, policy: Policy) -> tuple[Deadline, ...]:
    """Every pending deadline of an incident, earliest first.

    An incident whose severity the policy in force no longer has, has none; the fold still holds
    it, and a person can give it another severity.
    """
    severity = policy.severity(state.severity)
    if severity is None:
        return ()
    found: list[Deadline] = []
    if state.status is Status.OPEN:
        found.extend(_levels(state, policy, severity))
        found.extend(_response_target(state, policy, severity))
    if state.status is Status.ACKNOWLEDGED:
        found.extend(_acknowledgement(state, severity))
    if state.status.live:
        found.extend(_update(state, severity))
    if state.status is Status.RESOLVED:
        found.extend(_review(state, policy, severity))
    return tuple(sorted(found, key=lambda deadline: deadline.due_at))


def _at_work(policy: Policy, severity: Severity, at: datetime) -> datetime:
    """`at`, or the opening after it where the severity keeps business hours."""
    calendar = policy.calendars.get(severity.calendar)
    if severity.hours is Hours.ALWAYS or calendar is None:
        return at
    return next_open(calendar, at)


def _levels(state: IncidentState, policy: Policy, severity: Severity) -> list[Deadline]:
    # Counted from the opening, or a weekend's levels would all be reached in its first minute.
    counted_from = _at_work(policy, severity, state.escalation_from)
    return [
        Deadline(Kind.LEVEL, _at_work(policy, severity, counted_from + level.after), level)
        for level in levels_for(policy, state.severity)
        if level.number > state.level
    ]


def _response_target(state: IncidentState, policy: Policy, severity: Severity) -> list[Deadline]:
    if severity.response_target is None:
        return []
    if any(missed.generation == state.generation for missed in state.missed):
        return []
    # Nobody can answer before the first person is told, so it is counted from the opening.
    counted_from = _at_work(policy, severity, state.escalation_from)
    due_at = _at_work(policy, severity, counted_from + severity.response_target)
    return [Deadline(Kind.RESPONSE_TARGET, due_at)]


def _acknowledgement(state: IncidentState, severity: Severity) -> list[Deadline]:
    if severity.acknowledge_timeout is None or state.acknowledged_at is None:
        return []
    return [Deadline(Kind.ACKNOWLEDGEMENT, state.acknowledged_at + severity.acknowledge_timeout)]


def _update(state: IncidentState, severity: Severity) -> list[Deadline]:
    cadence = severity.updates
    if cadence is None:
        return []
    if state.updated_at is None:
        promised = state.opened_at + cadence.first_within
    else:
        promised = state.updated_at + cadence.every
    if state.overdue_at is not None and state.overdue_at >= promised:
        promised = state.overdue_at + cadence.every
    return [Deadline(Kind.UPDATE, promised)]


def _review(state: IncidentState, policy: Policy, severity: Severity) -> list[Deadline]:
    if state.resolved_at is None or state.review_reminded:
        return []
    due_at = review_due(policy, severity, state.resolved_at)
    return [] if due_at is None else [Deadline(Kind.REVIEW, due_at)]
