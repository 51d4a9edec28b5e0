"""What remediation owes: proposals, starts that nothing forbids, and honest endings.

Propose by default. A step runs at most once: its intent is in the log before its effect, and a
step that some process started and did not finish is in doubt; it is never run again by itself.
What one incident's state, its policy and the time decide is decided here; what only the moment of
running can tell (other incidents, the freeze switch, the world) holds the step then, as a fact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from remediation.domain.envelope import (
    agreed,
    asked,
    budget_of,
    by_hand,
    definition_of,
    got_worse,
    left_undone,
    looked_at,
    only_looks,
    over_budget,
    undoable,
    unseen,
    went_well,
)
from remediation.domain.filling import Refused, fill
from remediation.domain.plan import call_text, evidence, shown
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis, Event, event_id
from tocsin_contracts.ids import derive, key_of
from tocsin_contracts.incidents import IncidentFact, ProposedStep
from tocsin_incident import IncidentState
from tocsin_incident.remedies import PLANS_AGAIN
from tocsin_incident.state import Hold, Remediation, RemediationStatus, Step, StepStatus
from tocsin_policy import AlertCleared, Call, Playbook, PlaybookStep, Policy, format_duration
from tocsin_policy.places import PLACEHOLDER

SOURCE = "tocsin/remediation"

MOST_STARTS = 20
"""Times a step may be held at the moment of running before people are asked."""

_NOTHING = timedelta()


class Next(NamedTuple):
    """What a remediation owes now, and when it owes next if nothing else happens."""

    fact: IncidentFact | None = None
    next_at: datetime | None = None


def owed(
    state: IncidentState, in_force: InForce, now: datetime, end: int, *, instance: str
) -> Owed:
    """The facts owed at `now`.

    Args:
        instance: This process; a step started by any other is in doubt.
    """
    found: list[IncidentFact] = []
    next_at: datetime | None = None
    playbook = in_force.policy.playbooks.get(state.playbook or "")
    if playbook is not None and state.status.live and not _is_proposed(state, playbook):
        found.append(_proposal(state, playbook))
    for remediation in state.remediations.values():
        fact, at = _next(state, remediation, in_force.policy, now, instance)
        if fact is not None:
            found.append(fact)
        if at is not None and (next_at is None or at < next_at):
            next_at = at
    if not found:
        return Owed(next_at=next_at)
    basis = Basis(incidents=end, policy=in_force.hash)
    written = tuple(event_of(state.incident, fact, now, basis) for fact in found)
    return Owed(written, next_at)


_FIRST = 1


def event_of(
    incident: str, fact: IncidentFact, now: datetime, basis: Basis | None
) -> Event[IncidentFact]:
    """The event of a fact about a remediation; each kind happens once a start of a step."""
    counted = (
        f"{name} {number}"
        for name in ("attempt", "undo", "plan")
        # Facts of first starts keep the ids they had when a step could start only once.
        if (number := getattr(fact, name, 0)) > _FIRST or (name == "plan" and number)
    )
    return Event(
        id=event_id(
            fact.TYPE,
            incident,
            str(getattr(fact, "remediation", "")),
            str(getattr(fact, "step", "")),
            str(getattr(fact, "instance", "")),
            *counted,
        ),
        source=SOURCE,
        subject=incident,
        key=key_of(incident),
        occurred_at=now,
        fact=fact.model_copy(update={"basis": basis}),
    )


# Proposals.


def _remediation_id(state: IncidentState, playbook: Playbook) -> str:
    return str(derive("remediation", state.incident, playbook.id, str(state.generation)))


def _is_proposed(state: IncidentState, playbook: Playbook) -> bool:
    return _remediation_id(state, playbook) in state.remediations


def _proposal(state: IncidentState, playbook: Playbook) -> facts.RemediationProposed:
    return facts.RemediationProposed(
        remediation=_remediation_id(state, playbook),
        playbook=playbook.id,
        generation=state.generation,
        steps=tuple(proposed_step(state, step) for step in playbook.steps),
        reason=f"rule {state.rule!r} names playbook {playbook.id!r}",
    )


def proposed_step(state: IncidentState, step: PlaybookStep) -> ProposedStep:
    """A step as it is proposed: exact, its parameters filled, what it takes to run it.

    A step whose parameters the incident cannot fill is a person's.
    """
    filled = fill(step, labels_of(state))
    refused = filled.reason if isinstance(filled, Refused) else ""
    whole = step if isinstance(filled, Refused) else filled.step
    runner = "manual" if refused else step.runner
    # A drill rehearses the decision, not the effect.
    approval = "never" if state.drill else step.approval_at(state.severity)
    return ProposedStep(
        step=step.id,
        title=step.title,
        runner=runner,
        risk=step.risk,
        approval=approval,
        call=call_text(whole),
        parameters={} if isinstance(filled, Refused) else dict(filled.values),
        planned=runner != "manual" and approval != "never" and step.risk != "read",
        digest=digest(step),
        verification=_said(whole.verify),
        undo=_shown(_said(whole.undo), {} if isinstance(filled, Refused) else filled.values),
        by_hand=refused or ("a drill" if state.drill and step.runner != "manual" else ""),
    )


def labels_of(state: IncidentState) -> list[dict[str, str]]:
    """The labels of the incident's alerts, in the order in which they came."""
    return [dict(held.alert.labels) for held in state.alerts.values()]


def _said(call: Call | None) -> str:
    if call is None:
        return ""
    if call.alert_cleared is not None:
        return f"the alerts clear within {format_duration(call.alert_cleared.within)}"
    return next((shown(one) for _, one in call.calls()), "")


def _shown(text: str, values: Mapping[str, str]) -> str:
    """For people: an undo that waits for what was there before has its other places filled."""
    return PLACEHOLDER.sub(lambda place: values.get(place[1], place[0]), text)


def digest(step: PlaybookStep) -> str:
    """Names what a step does, whatever may be written around it."""
    done = step.model_dump(
        mode="json",
        exclude_none=True,
        exclude={"title", "detail", "within", "approval", "approvers", "budget", "irreversible"},
    )
    return hashlib.sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()[:32]


def is_another(step: Step, definition: PlaybookStep) -> bool:
    """Whether the policy in force has something else here than was proposed."""
    return bool(step.proposed.digest) and step.proposed.digest != digest(definition)


# What a remediation owes.


def _next(
    state: IncidentState,
    remediation: Remediation,
    policy: Policy,
    now: datetime,
    instance: str,
) -> Next:
    for step in remediation.steps:
        gone = _gone(remediation, step, instance)
        if gone:
            return Next(
                facts.RemediationInDoubt(
                    remediation=remediation.remediation,
                    step=step.proposed.step,
                    attempt=step.attempt,
                    reason=gone,
                    targets=asked(policy, state, now),
                )
            )
    playbook = policy.playbooks.get(remediation.playbook)
    if remediation.status is RemediationStatus.ROLLING_BACK:
        return _rolls_back(state, remediation, playbook, policy, now, instance)
    if remediation.status is not RemediationStatus.PROPOSED:
        return Next()
    wrong = _wrong(state, remediation, playbook, policy)
    if wrong is not None:
        step, reason, detail = wrong
        if state.status.live and any(undoable(remediation, playbook)):
            return Next(
                facts.RemediationRollbackBegun(
                    remediation=remediation.remediation,
                    step=step.proposed.step,
                    reason=reason,
                    detail=detail,
                )
            )
        return Next(_failed(state, remediation, policy, now, step, reason, detail))
    watched = _watched(state, remediation, playbook, now)
    if watched.fact is not None:
        return watched
    going = _goes_on(state, remediation, playbook, policy, now, instance)
    return Next(going.fact, _sooner(watched.next_at, going.next_at))


def _sooner(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)


def _gone(remediation: Remediation, step: Step, instance: str) -> str:
    """Why nobody will say how a step ended; empty if somebody will."""
    del remediation
    if step.status is StepStatus.STARTED and step.started_by != instance:
        return "the process that ran it is gone"
    if step.status is StepStatus.UNDOING and step.undone_by != instance:
        return "the process that undid it is gone"
    return ""


def _wrong(
    state: IncidentState, remediation: Remediation, playbook: Playbook | None, policy: Policy
) -> tuple[Step, str, str] | None:
    """The step because of which the remediation must not go on, why, and what was seen."""
    for step in remediation.steps:
        if step.status is StepStatus.FAILED and not only_looks(step):
            return step, "step_failed", step.reason
        if step.status is StepStatus.NOT_VERIFIED and not only_looks(step):
            if unseen(step.reason):
                continue
            return step, "not_verified", step.reason
    worse = got_worse(state, remediation, policy)
    if worse is not None and any(undoable(remediation, playbook)):
        return worse, "severity_rose", f"from {worse.severity} to {state.severity}"
    return None


def _failed(
    state: IncidentState,
    remediation: Remediation,
    policy: Policy,
    now: datetime,
    step: Step,
    reason: str,
    detail: str,
) -> facts.RemediationFailed:
    left = left_undone(remediation, policy.playbooks.get(remediation.playbook))
    if remediation.status is RemediationStatus.ROLLING_BACK and left:
        detail = "; ".join(filter(None, (detail, f"not taken back: {', '.join(left)}")))
    return facts.RemediationFailed(
        remediation=remediation.remediation,
        step=step.proposed.step,
        reason=reason,
        detail=detail,
        targets=asked(policy, state, now),
    )


def _rolls_back(
    state: IncidentState,
    remediation: Remediation,
    playbook: Playbook | None,
    policy: Policy,
    now: datetime,
    instance: str,
) -> Next:
    if any(s.status in {StepStatus.STARTED, StepStatus.UNDOING} for s in remediation.steps):
        return Next()
    because = remediation.step(remediation.because_of) or remediation.steps[0]
    step = next(undoable(remediation, playbook), None)
    if step is None or not state.status.live:
        detail = "" if step is None else f"the incident is {state.status}; nothing more is undone"
        return Next(_failed(state, remediation, policy, now, because, remediation.reason, detail))
    gives_up_at = _gives_up_at(step, policy)
    if step.hold is not None and gives_up_at is not None and now >= gives_up_at:
        return Next(
            facts.RemediationUndoFailed(
                remediation=remediation.remediation,
                step=step.proposed.step,
                attempt=step.attempt,
                reason=step.hold.reason,
                evidence=evidence(step.hold.detail, _NOTHING),
            )
        )
    if _waits(step.hold, now):
        return Next(None, gives_up_at)
    return Next(
        facts.RemediationUndoStarted(
            remediation=remediation.remediation,
            step=step.proposed.step,
            attempt=step.attempt,
            undo=step.undos + 1,
            instance=instance,
        )
    )


def _waits(hold: Hold | None, now: datetime) -> bool:
    if hold is None or hold.released:
        return False
    return hold.retry_at is None or now < hold.retry_at


def _gives_up_at(step: Step, policy: Policy) -> datetime | None:
    """When a step that waits for its target stops waiting."""
    if step.hold is None or step.hold.reason != "target_taken":
        return None
    return step.hold.since + policy.remediation.waits_for_target


def _watched(
    state: IncidentState, remediation: Remediation, playbook: Playbook | None, now: datetime
) -> Next:
    """Steps that the incident's own alerts verify, by clearing."""
    for step in remediation.steps:
        definition = definition_of(playbook, step.proposed.step)
        cleared = definition.verify.alert_cleared if definition and definition.verify else None
        if cleared is None or step.status is not StepStatus.FINISHED or step.finished_at is None:
            continue
        due_at = step.finished_at + cleared.within
        if state.clear_since is not None:
            return Next(_cleared(state, remediation, step))
        if now >= due_at:
            return Next(_still_firing(state, remediation, step, cleared))
        return Next(None, due_at)
    return Next()


def _cleared(
    state: IncidentState, remediation: Remediation, step: Step
) -> facts.RemediationVerified:
    return facts.RemediationVerified(
        remediation=remediation.remediation,
        step=step.proposed.step,
        attempt=step.attempt,
        evidence=evidence(f"every alert is clear since {state.clear_since}", _NOTHING),
    )


def _still_firing(
    state: IncidentState, remediation: Remediation, step: Step, cleared: AlertCleared
) -> facts.RemediationNotVerified:
    return facts.RemediationNotVerified(
        remediation=remediation.remediation,
        step=step.proposed.step,
        attempt=step.attempt,
        reason="alerts_still_firing",
        evidence=evidence(f"{state.firing} alerts fire", cleared.within),
    )


# Starting.


def upcoming(remediation: Remediation, playbook: Playbook | None) -> Step | None:
    """The first step that is not done, if everything before it went well."""
    for step in remediation.steps:
        definition = definition_of(playbook, step.proposed.step)
        if step.status is StepStatus.PROPOSED:
            return step
        if definition is None or not went_well(step, definition):
            return None
    return None


def wants_plan(state: IncidentState, remediation: Remediation, step: Step) -> bool:
    """Whether a plan of the step is to be made, of the world as it is now."""
    if not state.status.live or remediation.status is not RemediationStatus.PROPOSED:
        return False
    if remediation.generation != state.generation or not step.proposed.planned:
        return False
    if step.status is not StepStatus.PROPOSED:
        return False
    return step.plan is None or (step.hold is not None and step.hold.reason in PLANS_AGAIN)


def _goes_on(
    state: IncidentState,
    remediation: Remediation,
    playbook: Playbook | None,
    policy: Policy,
    now: datetime,
    instance: str,
) -> Next:
    step = upcoming(remediation, playbook)
    if step is None or playbook is None or not state.status.live:
        return Next()
    if remediation.generation != state.generation:
        return Next()
    if remediation.expires_at is not None and now >= remediation.expires_at:
        return Next()
    definition = definition_of(playbook, step.proposed.step)
    if definition is None or is_another(step, definition):
        detail = "the policy in force has another step here than was proposed"
        return Next(_failed(state, remediation, policy, now, step, "policy_changed", detail))
    if step.proposed.planned and (step.plan is None or wants_plan(state, remediation, step)):
        return Next()
    too_much = over_budget(step, budget_of(policy, playbook, definition))
    if too_much and not by_hand(step):
        return Next(_failed(state, remediation, policy, now, step, "over_budget", too_much))
    gives_up_at = _gives_up_at(step, policy)
    if step.hold is not None and gives_up_at is not None and now >= gives_up_at:
        detail = step.hold.detail
        return Next(_failed(state, remediation, policy, now, step, "target_taken", detail))
    if not agreed(state, step, definition, policy, now):
        return Next(None, gives_up_at)
    if _waits(step.hold, now):
        retry_at = step.hold.retry_at if step.hold is not None else None
        return Next(None, _sooner(retry_at, gives_up_at))
    if step.attempt >= MOST_STARTS:
        detail = step.hold.detail if step.hold is not None else ""
        return Next(_failed(state, remediation, policy, now, step, "held_too_often", detail))
    return Next(
        facts.RemediationStarted(
            remediation=remediation.remediation,
            step=step.proposed.step,
            instance=instance,
            attempt=step.attempt + 1,
        )
    )


def to_plan(state: IncidentState) -> Iterator[tuple[Remediation, Step]]:
    """Steps of which a plan is to be made."""
    for remediation in state.remediations.values():
        for step in remediation.steps:
            if wants_plan(state, remediation, step):
                yield remediation, step


def to_look_at(
    remediation: Remediation, step: Step, definition: PlaybookStep | None
) -> Call | None:
    """The call that shows whether a step worked, if a machine is to look at it now."""
    if step.status is StepStatus.FINISHED:
        now = remediation.status is RemediationStatus.PROPOSED
    else:
        # Of an undo in doubt the look for what the step does would say nothing.
        now = step.status is StepStatus.IN_DOUBT and not step.looked and not step.undone_by
    if definition is None or not now:
        return None
    verify = looked_at(step, definition)
    return verify if verify is not None and verify.calls() else None
