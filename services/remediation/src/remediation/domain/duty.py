"""What remediation owes: proposals, starts that nothing forbids, and honest endings.

Propose by default. A step runs at most once: its intent is in the log before its effect, and a
step that some process started and did not finish is in doubt; it is never run again by itself.
"""

from __future__ import annotations

from datetime import datetime

from remediation.domain.plan import call_text
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis, Event, event_id
from tocsin_contracts.ids import derive, key_of
from tocsin_contracts.incidents import IncidentFact, ProposedStep
from tocsin_incident import IncidentState
from tocsin_incident.state import Remediation, RemediationStatus, Step, StepStatus
from tocsin_policy import Call, Playbook, PlaybookStep

SOURCE = "tocsin/remediation"

APPROVALS = {"automatic": 0, "one": 1, "two": 2, "never": 1}
"""People who must agree before a step may go on. A step that is `never` run by a machine, or has
the runner `manual`, is a person's to do: their approval says that they did it."""

RUNNABLE = frozenset({"http", "command"})
"""Runners there are. A step for another is proposed, and done by a person."""

_DONE = frozenset({StepStatus.FINISHED, StepStatus.VERIFIED})


def owed(
    state: IncidentState, in_force: InForce, now: datetime, end: int, *, instance: str
) -> Owed:
    """The facts owed at `now`.

    Args:
        instance: This process; a step started by any other is in doubt.
    """
    basis = Basis(incidents=end, policy=in_force.hash)
    written: list[Event[IncidentFact]] = []
    playbook = in_force.policy.playbooks.get(state.playbook or "")
    if playbook is not None and state.status.live and not _proposed(state, playbook):
        written.append(_event(state, _proposal(state, playbook), now, basis))
    for remediation in state.remediations.values():
        fact = _next(state, remediation, in_force, instance)
        if fact is not None:
            written.append(_event(state, fact, now, basis))
    return Owed(tuple(written))


def _event(
    state: IncidentState, fact: IncidentFact, now: datetime, basis: Basis
) -> Event[IncidentFact]:
    return event_of(state.incident, fact, now, basis)


def event_of(
    incident: str, fact: IncidentFact, now: datetime, basis: Basis | None
) -> Event[IncidentFact]:
    """The event of a fact about a remediation; each kind happens once a step."""
    return Event(
        id=event_id(
            fact.TYPE,
            incident,
            str(getattr(fact, "remediation", "")),
            str(getattr(fact, "step", "")),
            str(getattr(fact, "instance", "")),
        ),
        source=SOURCE,
        subject=incident,
        key=key_of(incident),
        occurred_at=now,
        fact=fact.model_copy(update={"basis": basis}),
    )


def _remediation_id(state: IncidentState, playbook: Playbook) -> str:
    return str(derive("remediation", state.incident, playbook.id, str(state.generation)))


def _proposed(state: IncidentState, playbook: Playbook) -> bool:
    return _remediation_id(state, playbook) in state.remediations


def _proposal(state: IncidentState, playbook: Playbook) -> facts.RemediationProposed:
    return facts.RemediationProposed(
        remediation=_remediation_id(state, playbook),
        playbook=playbook.id,
        generation=state.generation,
        steps=tuple(
            ProposedStep(
                step=step.id,
                title=step.title,
                # What an incident would have to bring into the call, a person puts there.
                runner="manual" if step.parameters else step.runner,
                risk=step.risk,
                # A drill rehearses the decision, not the effect.
                approval="never" if state.drill else step.approval,
                call=call_text(step),
            )
            for step in playbook.steps
        ),
        reason=f"rule {state.rule!r} names playbook {playbook.id!r}",
    )


def _next(
    state: IncidentState, remediation: Remediation, in_force: InForce, instance: str
) -> IncidentFact | None:
    for step in remediation.steps:
        if step.status is StepStatus.STARTED and step.started_by != instance:
            return facts.RemediationInDoubt(
                remediation=remediation.remediation,
                step=step.proposed.step,
                reason="the process that ran it is gone",
            )
        if (
            step.status is StepStatus.FAILED
            and not _only_looked(step)
            and remediation.status is RemediationStatus.PROPOSED
        ):
            return facts.RemediationFailed(
                remediation=remediation.remediation,
                step=step.proposed.step,
                reason="step_failed",
                detail=step.reason,
            )
    ready = startable(state, remediation, in_force)
    if ready is None:
        return None
    return facts.RemediationStarted(
        remediation=remediation.remediation, step=ready.proposed.step, instance=instance
    )


def _only_looked(step: Step) -> bool:
    """Whether it only reads: what it found bad is evidence, and no reason to stop."""
    return step.proposed.risk == "read"


def by_hand(proposed: ProposedStep) -> bool:
    """Whether a person does the step and no machine may, or can."""
    return proposed.runner not in RUNNABLE or proposed.approval == "never"


def looked_at(definition: PlaybookStep) -> Call | None:
    """How a machine sees that the step worked; `None` where only a person can, or nobody must."""
    verify = definition.verify
    if verify is None or any(runner not in RUNNABLE for runner, _ in verify.calls()):
        return None
    return verify if verify.calls() else None


def approvals_needed(proposed: ProposedStep) -> int:
    """How many different people must agree before the step may go on."""
    needed = APPROVALS.get(proposed.approval, max(APPROVALS.values()))
    return max(needed, 1) if by_hand(proposed) else needed


def startable(state: IncidentState, remediation: Remediation, in_force: InForce) -> Step | None:
    """The step that may start now, if one may.

    The incident must still need it, the remediation stand, every step before it be done (and
    verified, where the playbook says how), and enough different people have agreed.
    """
    if not state.status.live or remediation.status is not RemediationStatus.PROPOSED:
        return None
    if remediation.generation != state.generation:
        return None
    playbook = in_force.policy.playbooks.get(remediation.playbook)
    if playbook is None:
        return None
    for step in remediation.steps:
        definition = next((s for s in playbook.steps if s.id == step.proposed.step), None)
        if definition is None:
            return None
        if step.status is StepStatus.FAILED and _only_looked(step):
            continue
        if step.status in _DONE:
            if looked_at(definition) is not None and step.status is not StepStatus.VERIFIED:
                return None
            continue
        if step.status is not StepStatus.PROPOSED:
            return None
        return step if len(step.approved_by) >= approvals_needed(step.proposed) else None
    return None
