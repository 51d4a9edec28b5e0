"""How facts about remediation change an incident: part of `fold`, in one place.

A step is started at most once for each time it was held before its effect, or for each time a
person said that it had none. `attempt` counts the starts; a fact of another start no longer
applies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident.life import Reason
from tocsin_incident.state import (
    Approval,
    Hold,
    IncidentState,
    Remediation,
    RemediationStatus,
    Step,
    StepPlan,
    StepStatus,
)

Changes = dict[str, Any] | Reason
_Rule = Callable[[IncidentState, Event[Fact], Any], Changes]

REMEDIES: dict[type[IncidentFact], _Rule] = {}
"""What each kind of fact about a remediation does, for `fold` to look up."""

ENDED = frozenset(
    {
        StepStatus.FINISHED,
        StepStatus.VERIFIED,
        StepStatus.NOT_VERIFIED,
        StepStatus.FAILED,
    }
)
"""Where a step stands that ran to an end and has not been undone."""

WORLD_CHANGED = "world_changed"
NOT_DONE = "not_done"
PLANS_AGAIN = frozenset({WORLD_CHANGED, NOT_DONE})
"""Reasons for which a step waits for a plan of the world as it is now."""

F = TypeVar("F", bound=IncidentFact)


def _applies(
    kind: type[F],
) -> Callable[
    [Callable[[IncidentState, Event[Fact], F], Changes]],
    Callable[[IncidentState, Event[Fact], F], Changes],
]:
    def register(
        function: Callable[[IncidentState, Event[Fact], F], Changes],
    ) -> Callable[[IncidentState, Event[Fact], F], Changes]:
        REMEDIES[kind] = function
        return function

    return register


def _found(
    state: IncidentState, remediation: str, step_id: str
) -> tuple[Remediation, Step] | Reason:
    held = state.remediations.get(remediation)
    if held is None:
        return Reason.UNKNOWN_REMEDIATION
    found = held.step(step_id)
    return Reason.UNKNOWN_STEP if found is None else (held, found)


def _step(
    state: IncidentState,
    remediation: Remediation,
    step_id: str,
    changes: dict[str, object],
    **of_remediation: object,
) -> Changes:
    steps = tuple(
        held.model_copy(update=changes) if held.proposed.step == step_id else held
        for held in remediation.steps
    )
    return _changed(state, remediation, steps=steps, **of_remediation)


def _changed(state: IncidentState, remediation: Remediation, **changes: object) -> Changes:
    changed = remediation.model_copy(update=changes)
    return {"remediations": state.remediations | {remediation.remediation: changed}}


@_applies(facts.RemediationProposed)
def _proposed(state: IncidentState, event: Event[Fact], fact: facts.RemediationProposed) -> Changes:
    if fact.generation != state.generation:
        return Reason.OTHER_GENERATION
    if fact.remediation in state.remediations:
        return Reason.NOTHING_NEW
    proposed = Remediation(
        remediation=fact.remediation,
        playbook=fact.playbook,
        generation=fact.generation,
        steps=tuple(Step(proposed=proposed) for proposed in fact.steps),
        proposed_at=event.occurred_at,
        expires_at=fact.expires_at,
    )
    return {"remediations": state.remediations | {fact.remediation: proposed}}


@_applies(facts.RemediationStepPlanned)
def _planned(
    state: IncidentState, event: Event[Fact], fact: facts.RemediationStepPlanned
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if held.status is not StepStatus.PROPOSED:
        return Reason.STEP_PASSED
    if fact.plan != (held.plan.number if held.plan is not None else 0) + 1:
        return Reason.OTHER_PLAN
    plan = StepPlan(
        number=fact.plan,
        planned_at=event.occurred_at,
        targets=fact.targets,
        state=fact.state,
        diff=fact.diff,
        pods=fact.pods,
        share=fact.share,
        fingerprint=fact.fingerprint,
        refused=fact.refused,
        detail=fact.detail,
        before=fact.before,
    )
    changes: dict[str, object] = {"plan": plan, "hold": None}
    same = held.plan is not None and _as_approved(held.plan, plan)
    if not same:
        # Whoever agreed, agreed to another change of another world.
        changes |= {"approvals": (), "approved_by": ()}
    return _step(state, remediation, fact.step, changes)


def _as_approved(before: StepPlan, after: StepPlan) -> bool:
    return (before.fingerprint, before.targets, before.refused) == (
        after.fingerprint,
        after.targets,
        after.refused,
    )


@_applies(facts.RemediationApproved)
def _approved(state: IncidentState, event: Event[Fact], fact: facts.RemediationApproved) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if remediation.status is not RemediationStatus.PROPOSED:
        return Reason.REJECTED
    if held.status is not StepStatus.PROPOSED:
        return Reason.STEP_PASSED
    if held.proposed.planned and held.plan is None:
        return Reason.NOT_PLANNED
    if fact.plan is not None and (held.plan is None or fact.plan != held.plan.number):
        return Reason.OTHER_PLAN
    approval = Approval(by=fact.by, at=event.occurred_at)
    before = [one for one in held.approvals if _same_name(one, approval)]
    if before and not held.proposed.planned:
        return Reason.NOTHING_NEW
    # The same person again: the approval counts from now, and still once.
    rest = tuple(one for one in held.approvals if one not in before)
    approvals = (*rest, approval)
    return _step(
        state,
        remediation,
        fact.step,
        {"approvals": approvals, "approved_by": tuple(one.by for one in approvals)},
    )


def _same_name(one: Approval, other: Approval) -> bool:
    return one.by.name.strip().casefold() == other.by.name.strip().casefold()


@_applies(facts.RemediationRejected)
def _rejected(state: IncidentState, _: Event[Fact], fact: facts.RemediationRejected) -> Changes:
    held = state.remediations.get(fact.remediation)
    if held is None:
        return Reason.UNKNOWN_REMEDIATION
    if held.status is not RemediationStatus.PROPOSED:
        return Reason.REJECTED
    return _changed(
        state, held, status=RemediationStatus.REJECTED, reason=fact.reason or fact.by.name
    )


@_applies(facts.RemediationAborted)
def _aborted(state: IncidentState, _: Event[Fact], fact: facts.RemediationAborted) -> Changes:
    held = state.remediations.get(fact.remediation)
    if held is None:
        return Reason.UNKNOWN_REMEDIATION
    if held.status not in {RemediationStatus.PROPOSED, RemediationStatus.IN_DOUBT}:
        return Reason.REJECTED
    begun = [step for step in held.steps if step.status is not StepStatus.PROPOSED]
    if not fact.undo or not begun or not state.status.live:
        return _changed(
            state, held, status=RemediationStatus.REJECTED, reason=fact.reason or fact.by.name
        )
    return _changed(
        state,
        held,
        status=RemediationStatus.ROLLING_BACK,
        reason="aborted",
        because_of=begun[-1].proposed.step,
    )


@_applies(facts.RemediationSettled)
def _settled(state: IncidentState, event: Event[Fact], fact: facts.RemediationSettled) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if held.status is not StepStatus.IN_DOUBT:
        return Reason.STEP_PASSED
    on = remediation.status is RemediationStatus.IN_DOUBT
    if held.undone_by:
        status = RemediationStatus.ROLLING_BACK if on else remediation.status
        undone = StepStatus.ROLLED_BACK if fact.done else StepStatus.UNDO_FAILED
        return _step(state, remediation, fact.step, {"status": undone}, status=status)
    status = RemediationStatus.PROPOSED if on else remediation.status
    hold = Hold(reason=NOT_DONE, detail=fact.text, since=event.occurred_at)
    changes: dict[str, object] = {
        "status": StepStatus.PROPOSED,
        "approvals": (),
        "approved_by": (),
        "hold": hold,
    }
    if fact.done:
        changes = {
            "status": StepStatus.FINISHED,
            "succeeded": True,
            "reason": "settled_by_hand",
            "finished_at": event.occurred_at,
            # Whatever ran it did not live to say what it changed; the plan said it before.
            "changed": held.plan.before if held.plan is not None else {},
        }
    return _step(state, remediation, fact.step, changes, status=status, tell=())


@_applies(facts.RemediationStarted)
def _started(state: IncidentState, event: Event[Fact], fact: facts.RemediationStarted) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if remediation.status is not RemediationStatus.PROPOSED:
        return Reason.REJECTED
    if held.status is not StepStatus.PROPOSED or fact.attempt != held.attempt + 1:
        return Reason.STEP_PASSED
    return _step(
        state,
        remediation,
        fact.step,
        {
            "status": StepStatus.STARTED,
            "attempt": fact.attempt,
            "started_at": event.occurred_at,
            "started_by": fact.instance,
            "severity": state.severity,
            "looked": "",
        },
    )


def _of_attempt(held: Step, attempt: int, *statuses: StepStatus) -> bool:
    return held.status in statuses and held.attempt == attempt


@_applies(facts.RemediationStepHeld)
def _held(state: IncidentState, event: Event[Fact], fact: facts.RemediationStepHeld) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    status = StepStatus.UNDOING if fact.undo else StepStatus.STARTED
    if not _of_attempt(held, fact.attempt, status) or (fact.undo and fact.undo != held.undos):
        return Reason.STEP_PASSED
    again = held.hold is not None and held.hold.reason == fact.reason
    since = held.hold.since if held.hold is not None and again else event.occurred_at
    hold = Hold(reason=fact.reason, detail=fact.detail, since=since, retry_at=fact.retry_at)
    changes: dict[str, object] = {"status": StepStatus.PROPOSED, "hold": hold}
    if fact.undo:
        ended = StepStatus.FAILED if held.succeeded is False else StepStatus.FINISHED
        changes |= {"status": ended, "undone_by": ""}
    return _step(state, remediation, fact.step, changes)


@_applies(facts.RemediationStepReleased)
def _released(state: IncidentState, _: Event[Fact], fact: facts.RemediationStepReleased) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    waits = (StepStatus.PROPOSED, *ENDED)
    if held.hold is None or fact.undo != held.undos or not _of_attempt(held, fact.attempt, *waits):
        return Reason.STEP_PASSED
    if held.hold.released:
        return Reason.NOTHING_NEW
    hold = held.hold.model_copy(update={"released": True})
    return _step(state, remediation, fact.step, {"hold": hold})


@_applies(facts.RemediationStepFinished)
def _finished(
    state: IncidentState, event: Event[Fact], fact: facts.RemediationStepFinished
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if held.undone_by or not _of_attempt(
        held, fact.attempt, StepStatus.STARTED, StepStatus.IN_DOUBT
    ):
        return Reason.STEP_PASSED
    changes: dict[str, object] = {
        "status": StepStatus.FINISHED if fact.succeeded else StepStatus.FAILED,
        "finished_at": event.occurred_at,
        "succeeded": fact.succeeded,
        "reason": fact.reason,
        "changed": fact.changed,
        "hold": None,
    }
    if remediation.status is RemediationStatus.IN_DOUBT:
        # Whoever ran it was only slow to say so: nothing is in doubt any more.
        return _step(
            state, remediation, fact.step, changes, status=RemediationStatus.PROPOSED, tell=()
        )
    return _step(state, remediation, fact.step, changes)


@_applies(facts.RemediationVerified)
def _verified(state: IncidentState, _: Event[Fact], fact: facts.RemediationVerified) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if not _of_attempt(held, fact.attempt, StepStatus.FINISHED):
        return Reason.STEP_PASSED
    return _step(state, remediation, fact.step, {"status": StepStatus.VERIFIED})


@_applies(facts.RemediationNotVerified)
def _not_verified(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationNotVerified
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if not _of_attempt(held, fact.attempt, StepStatus.FINISHED):
        return Reason.STEP_PASSED
    changes: dict[str, object] = {"status": StepStatus.NOT_VERIFIED, "reason": fact.reason}
    return _step(state, remediation, fact.step, changes)


@_applies(facts.RemediationRollbackBegun)
def _rollback_begun(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationRollbackBegun
) -> Changes:
    held = state.remediations.get(fact.remediation)
    if held is None:
        return Reason.UNKNOWN_REMEDIATION
    if held.status is not RemediationStatus.PROPOSED:
        return Reason.NOTHING_NEW
    return _changed(
        state,
        held,
        status=RemediationStatus.ROLLING_BACK,
        reason=fact.reason,
        because_of=fact.step,
    )


@_applies(facts.RemediationUndoStarted)
def _undo_started(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationUndoStarted
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if remediation.status is not RemediationStatus.ROLLING_BACK:
        return Reason.REJECTED
    if not _of_attempt(held, fact.attempt, *ENDED) or fact.undo != held.undos + 1:
        return Reason.STEP_PASSED
    changes: dict[str, object] = {
        "status": StepStatus.UNDOING,
        "undone_by": fact.instance,
        "undos": fact.undo,
    }
    return _step(state, remediation, fact.step, changes)


@_applies(facts.RemediationRolledBack)
def _rolled_back(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationRolledBack
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if held.status in {StepStatus.PROPOSED, StepStatus.ROLLED_BACK, StepStatus.UNDO_FAILED}:
        return Reason.STEP_PASSED
    changes: dict[str, object] = {"status": StepStatus.ROLLED_BACK, "reason": fact.reason}
    return _undone(state, remediation, held, changes)


@_applies(facts.RemediationUndoFailed)
def _undo_failed(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationUndoFailed
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if not held.undone_by or held.status not in {StepStatus.UNDOING, StepStatus.IN_DOUBT}:
        return Reason.STEP_PASSED
    changes: dict[str, object] = {"status": StepStatus.UNDO_FAILED, "reason": fact.reason}
    return _undone(state, remediation, held, changes)


def _undone(
    state: IncidentState, remediation: Remediation, held: Step, changes: dict[str, object]
) -> Changes:
    if held.undone_by and remediation.status is RemediationStatus.IN_DOUBT:
        return _step(
            state,
            remediation,
            held.proposed.step,
            changes,
            status=RemediationStatus.ROLLING_BACK,
            tell=(),
        )
    return _step(state, remediation, held.proposed.step, changes)


@_applies(facts.RemediationFailed)
def _remediation_failed(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationFailed
) -> Changes:
    held = state.remediations.get(fact.remediation)
    if held is None:
        return Reason.UNKNOWN_REMEDIATION
    if held.status is RemediationStatus.FAILED:
        return Reason.NOTHING_NEW
    return _changed(
        state,
        held,
        status=RemediationStatus.FAILED,
        reason=fact.reason,
        because_of=fact.step,
        tell=fact.targets,
    )


@_applies(facts.RemediationInDoubt)
def _remediation_in_doubt(
    state: IncidentState, _: Event[Fact], fact: facts.RemediationInDoubt
) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if not _of_attempt(held, fact.attempt, StepStatus.STARTED, StepStatus.UNDOING):
        return Reason.STEP_PASSED
    return _step(
        state,
        remediation,
        fact.step,
        {"status": StepStatus.IN_DOUBT, "reason": fact.reason, "looked": ""},
        status=RemediationStatus.IN_DOUBT,
        reason=fact.reason,
        because_of=fact.step,
        tell=fact.targets,
    )


@_applies(facts.RemediationLooked)
def _looked(state: IncidentState, _: Event[Fact], fact: facts.RemediationLooked) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if not _of_attempt(held, fact.attempt, StepStatus.IN_DOUBT):
        return Reason.STEP_PASSED
    if held.looked:
        return Reason.NOTHING_NEW
    shown = {True: "as_expected", False: "not_as_expected", None: "nobody_could_look"}
    return _step(state, remediation, fact.step, {"looked": shown[fact.as_expected]})


@_applies(facts.StepOverdue)
def _step_overdue(state: IncidentState, _: Event[Fact], fact: facts.StepOverdue) -> Changes:
    found = _found(state, fact.remediation, fact.step)
    if isinstance(found, Reason):
        return found
    remediation, held = found
    if held.overdue_at is not None:
        return Reason.NOTHING_NEW
    changes: dict[str, object] = {"overdue_at": fact.due_at, "overdue_targets": fact.targets}
    return _step(state, remediation, fact.step, changes)
