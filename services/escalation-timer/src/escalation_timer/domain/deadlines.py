"""Deadlines are derived: what is due is a function of the state and the policy, nothing else.

There is nothing to schedule, cancel or lose. A deadline fires at its due time, not at the time we
got round to it: the fact carries both.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from tocsin_incident import IncidentState, Status
from tocsin_incident.state import Asked, RemediationStatus, StepStatus
from tocsin_policy import (
    Cadence,
    Level,
    Policy,
    Severity,
    askable,
    at_work,
    begins_at,
    levels_ahead,
    review_due,
)

_UNDONE = frozenset({StepStatus.PROPOSED, StepStatus.STARTED})


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


class Deadline(NamedTuple):
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


def _levels(state: IncidentState, policy: Policy, severity: Severity) -> Iterator[Deadline]:
    for one in levels_ahead(state, policy, severity):
        kind = Kind.LEVEL if one.level is not None else Kind.LAST_RESORT
        yield Deadline(
            kind,
            one.due_at,
            one.level,
            repeat=one.repeat,
            waited=one.waited,
            reason=one.reason,
            asked=one.asked,
        )


def _response_target(
    state: IncidentState, policy: Policy, severity: Severity
) -> Iterator[Deadline]:
    if severity.response_target is None:
        return
    if any(missed.generation == state.generation for missed in state.missed):
        return
    # Nobody can answer before the first person is told, so it is counted from the opening.
    counted_from = askable(policy, severity, severity.hours, begins_at(state, policy))
    due_at = counted_from + severity.response_target
    # What is due when they close is due then, not the next morning.
    moment_before = due_at - timedelta(microseconds=1)
    if at_work(policy, severity, severity.hours, moment_before) != moment_before:
        due_at = at_work(policy, severity, severity.hours, due_at)
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
