"""Response targets of an incident, one a generation: met, missed, or still running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from tocsin_contracts.incidents import ResponseTargetMissed
from tocsin_incident import IncidentState
from tocsin_policy import Policy
from tocsin_replay.reading import Recorded, Step, steps


class ResponseTarget(BaseModel):
    """One generation's response time, and how long the first answer in it took.

    Attributes:
        target: What the policy promises for the severity; absent where it promises nothing.
        answered_at: When somebody acknowledged or mitigated it, if anybody did.
        met: Absent where nothing was promised, and while it is neither answered nor missed.
    """

    model_config = ConfigDict(frozen=True)

    generation: int
    severity: str
    target: timedelta | None
    started_at: datetime
    answered_at: datetime | None
    took: timedelta | None
    met: bool | None


@dataclass(slots=True)
class _Running:
    generation: int
    severity: str
    started_at: datetime
    answered_at: datetime | None = None
    missed: ResponseTargetMissed | None = None


def response_targets(
    recorded: Sequence[Recorded], policy: Policy | None
) -> tuple[ResponseTarget, ...]:
    """The response target of each generation of one incident, in order."""
    targets = Targets()
    for step in steps(recorded):
        targets.take(step)
    return targets.judged(policy)


class Targets:
    """The response targets of one incident, fact by fact."""

    def __init__(self) -> None:
        self._running: list[_Running] = []

    def take(self, step: Step) -> None:
        """Take in the next fact."""
        if step.after is not None and step.ignored is None:
            _take(self._running, step, step.after)

    def judged(self, policy: Policy | None) -> tuple[ResponseTarget, ...]:
        """The target of each generation, in order."""
        return tuple(_judged(one, policy) for one in self._running)


def _take(running: list[_Running], step: Step, after: IncidentState) -> None:
    if not running or running[-1].generation != after.generation:
        running.append(_Running(after.generation, after.severity, after.escalation_from))
    newest = running[-1]
    if newest.answered_at is None:
        # Until somebody answers, the severity it has now says how fast they should.
        newest.severity = after.severity
        newest.answered_at = after.acknowledged_at
    fact = step.recorded.event.fact
    if isinstance(fact, ResponseTargetMissed):
        newest.missed = newest.missed or fact


def _judged(one: _Running, policy: Policy | None) -> ResponseTarget:
    severity, target = one.severity, _promised(policy, one.severity)
    if one.missed is not None:
        severity, target = one.missed.severity, one.missed.target
    took = None if one.answered_at is None else one.answered_at - one.started_at
    met: bool | None = None
    if one.missed is not None:
        met = False
    elif target is not None and took is not None:
        met = took <= target
    return ResponseTarget(
        generation=one.generation,
        severity=severity,
        target=target,
        started_at=one.started_at,
        answered_at=one.answered_at,
        took=took,
        met=met,
    )


def _promised(policy: Policy | None, severity: str) -> timedelta | None:
    found = policy.severity(severity) if policy is not None else None
    return found.response_target if found is not None else None
