"""What a step is held to: who may approve it, how much it may touch, what it must not meet.

Everything here is decided from the log, the policy and the time. Two steps that want one target
are decided by the log too, whoever's systems they are of: the one whose claim stands first in it
runs, the other is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from remediation.domain.filling import filled
from tocsin_casebook import Claimant
from tocsin_contracts.event import Person
from tocsin_contracts.incidents import ProposedStep, Target
from tocsin_incident import IncidentState
from tocsin_incident.remedies import ENDED
from tocsin_incident.state import Approval, Remediation, RemediationStatus, Step, StepStatus
from tocsin_policy import Budget, Call, Playbook, PlaybookStep, Policy, resolve, severity_rank
from tocsin_policy.places import PLACEHOLDER

APPROVALS = {"automatic": 0, "one": 1, "two": 2, "never": 1}
"""People who must agree before a step may go on. A step that is `never` run by a machine, or has
the runner `manual`, is a person's to do: their approval says that they did it."""

AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an approval counts.

    Attributes:
        contact: Who gave it, as the policy knows them.
        reason: Why it does not count; empty if it does.
    """

    approval: Approval
    contact: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Why a step does not run now.

    Attributes:
        reason: One `snake_case` word.
        retry_at: When it may be tried again, where time alone decides.
    """

    reason: str
    detail: str = ""
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Acting:
    """A step that acts on the world, or may.

    Attributes:
        on: Whether its remediation goes on, in an incident that does.
        order: Place of its start in the log; 0 for one from before this process.
    """

    incident: str
    remediation: str
    step: Step
    service: str | None
    on: bool
    order: int


def by_hand(step: Step) -> bool:
    """Whether a person does the step and no machine may, or can."""
    return not _by_machine(step.proposed) or (step.plan is not None and bool(step.plan.refused))


def _by_machine(proposed: ProposedStep) -> bool:
    return proposed.runner != "manual" and proposed.approval != "never"


def changes(proposed: ProposedStep) -> bool:
    """Whether a machine that runs the step changes something."""
    return _by_machine(proposed) and proposed.risk != "read"


def only_looks(step: Step) -> bool:
    """Whether it only reads: what it found bad is evidence, and no reason to stop."""
    return step.proposed.risk == "read"


def definition_of(playbook: Playbook | None, step_id: str) -> PlaybookStep | None:
    """The step in the playbook, or `None`."""
    steps = playbook.steps if playbook is not None else ()
    return next((step for step in steps if step.id == step_id), None)


def looked_at(step: Step, definition: PlaybookStep) -> Call | None:
    """How it is seen that the step worked; `None` where only a person can, or nobody must."""
    whole = filled(definition, step.proposed.parameters)
    # A look that asks for what the incident did not bring is a person's, as its step is.
    unfilled = whole.verify is not None and PLACEHOLDER.search(whole.verify.model_dump_json())
    return None if unfilled else whole.verify


def unseen(reason: str) -> bool:
    """Whether a look failed because nobody could look here, not because of what was seen."""
    return reason.endswith("_not_configured") or reason == "program_not_allowed"


def went_well(step: Step, definition: PlaybookStep) -> bool:
    """Whether the next step may follow this one."""
    if step.status is StepStatus.FAILED:
        return only_looks(step)
    if step.status is StepStatus.NOT_VERIFIED:
        return unseen(step.reason) or only_looks(step)
    if looked_at(step, definition) is not None:
        return step.status is StepStatus.VERIFIED
    return step.status in {StepStatus.FINISHED, StepStatus.VERIFIED}


# Approvals.


def approvals_needed(step: Step) -> int:
    """How many different people must agree before the step may go on."""
    needed = APPROVALS.get(step.proposed.approval, max(APPROVALS.values()))
    return max(needed, 1) if by_hand(step) else needed


def contact_of(policy: Policy, person: Person) -> str:
    """Who a name is: a contact of the policy by id, name, address or handle; else the name."""
    name = person.name.strip().casefold()
    if person.name in policy.contacts:
        return person.name
    for contact, held in policy.contacts.items():
        known = (contact, held.name, held.email or "", held.slack or "", held.phone or "")
        if name in {text.strip().casefold() for text in known if text}:
            return contact
    return name


def verdicts(
    state: IncidentState, step: Step, definition: PlaybookStep, policy: Policy, now: datetime
) -> tuple[Verdict, ...]:
    """Which of the step's approvals count, each with the reason if it does not."""
    envelope = policy.remediation
    named = definition.approvers or envelope.approvers.get(definition.risk, ())
    counted: set[str] = set()
    found = []
    for approval in step.approvals:
        contact = contact_of(policy, approval.by)
        may = not named or _is_among(policy, named, contact, state, approval.at)
        reason = ""
        if now - approval.at >= envelope.approvals_expire_after and not by_hand(step):
            reason = "expired"
        elif not may:
            reason = "not_an_approver"
        elif contact in counted:
            reason = "same_person"
        else:
            counted.add(contact)
        found.append(Verdict(approval, contact, reason))
    return tuple(found)


def _is_among(
    policy: Policy, named: Sequence[str], contact: str, state: IncidentState, at: datetime
) -> bool:
    for text in named:
        kind, _, rest = text.partition(" ")[0].partition(":")
        team = policy.teams.get(rest) if kind == "team" else None
        # A team that is paged in turn is still a team of which anyone may approve.
        if team is not None and contact in team.members:
            return True
    return any(one.contact == contact for one in resolve(policy, named, at, state.roles))


def agreed(
    state: IncidentState, step: Step, definition: PlaybookStep, policy: Policy, now: datetime
) -> bool:
    """Whether enough different people, who may, have let the step run on the plan as it is."""
    good = [one for one in verdicts(state, step, definition, policy, now) if not one.reason]
    return len(good) >= approvals_needed(step)


def asked(policy: Policy, state: IncidentState, at: datetime) -> tuple[Target, ...]:
    """Who is told when a remediation needs a person; never nobody, if anybody can be reached."""
    found = resolve(policy, policy.remediation.tell, at, state.roles)
    if found:
        return found
    levels = policy.escalation.get(state.severity, ())
    return next((told for level in levels if (told := resolve(policy, level.targets, at))), ())


# How much, and how often.


def budget_of(policy: Policy, playbook: Playbook, definition: PlaybookStep) -> Budget:
    """The budget of a step: its own, then the playbook's, then the envelope's."""
    return policy.remediation.budget.within(playbook.budget).within(definition.budget)


def over_budget(step: Step, budget: Budget) -> str:
    """What of its plan is too much, for people to read; empty if nothing is."""
    plan = step.plan
    if plan is None or not changes(step.proposed):
        return ""
    if budget.pods is not None and plan.pods is not None and plan.pods > budget.pods:
        return f"it would touch {plan.pods}, and may touch {budget.pods}"
    if budget.share is not None and plan.share is not None and plan.share > budget.share:
        return f"it would touch {plan.share:.0%} of them, and may touch {budget.share:.0%}"
    if budget.pods is not None and plan.pods is None and plan.share is None:
        return f"nobody can say how much it would touch, and it may touch {budget.pods}"
    return ""


def spent(
    own: Acting, others: Iterable[Acting], budget: Budget, service: str | None, now: datetime
) -> Held | None:
    """Why the service has been acted on often enough for now, or `None`."""
    most = budget.actions_an_hour
    if most is None:
        return None
    begun = sorted(
        other.step.started_at
        for other in others
        if other.service == service
        and changes(other.step.proposed)
        and not by_hand(other.step)
        and other.step.started_at is not None
        and other.step.status is not StepStatus.PROPOSED
        and other.step.started_at > now - AN_HOUR
        and _before(other, own)
    )
    if len(begun) < most:
        return None
    return Held(
        "budget_spent",
        f"{len(begun)} actions on {service or 'this system'} within an hour, at most {most}",
        retry_at=begun[-most] + AN_HOUR,
    )


# One action a target.

_ACTS = frozenset({StepStatus.STARTED, StepStatus.UNDOING})


def is_over(claim: Claimant, acting: Acting, playbook: Playbook | None) -> bool:
    """Whether what a step claimed may be another's.

    A claim of a start or an undo that the log has not told yet is not: who asks is behind.
    """
    step = acting.step
    if (step.attempt, step.undos) < (claim.attempt, claim.undo):
        return False
    if (step.attempt, step.undos if step.undone_by else 0) != (claim.attempt, claim.undo):
        return True
    return not acts(acting, playbook)


def acts(acting: Acting, playbook: Playbook | None) -> bool:
    """Whether a step acts on its targets now, or nobody knows that it does not."""
    step = acting.step
    if not changes(step.proposed) or by_hand(step):
        return False
    if step.status in _ACTS:
        return True
    if not acting.on:
        return False
    if step.status is StepStatus.IN_DOUBT:
        return True
    definition = definition_of(playbook, step.proposed.step)
    waits = definition is not None and looked_at(step, definition) is not None
    return step.status is StepStatus.FINISHED and waits


def taken_by(other: tuple[Claimant, str] | None) -> Held | None:
    """Why a step waits for its target, if another that claimed before has it."""
    if other is None:
        return None
    by, target = other
    return Held("target_taken", f"step {by.step!r} of {by.incident} acts on {target}")


def _before(other: Acting, own: Acting) -> bool:
    same = (other.incident, other.remediation, other.step.proposed.step) == (
        own.incident,
        own.remediation,
        own.step.proposed.step,
    )
    return not same and other.order < own.order


def still_wanted(state: IncidentState, remediation: Remediation) -> Held | None:
    """Why nothing of the remediation is to run any more, or `None`."""
    if not state.status.live:
        return Held("resolved", f"the incident is {state.status}")
    if remediation.generation != state.generation:
        return Held("other_generation", "the incident came back since")
    if state.drill:
        return Held("drill", "a drill changes nothing")
    if remediation.status is not RemediationStatus.PROPOSED:
        return Held("stopped", f"the remediation is {remediation.status}: {remediation.reason}")
    return None


# Undoing.


def undoable(remediation: Remediation, playbook: Playbook | None) -> Iterator[Step]:
    """Steps a machine did and can take back, the last first."""
    for step in reversed(remediation.steps):
        if step.status not in ENDED or not changes(step.proposed) or by_hand(step):
            continue
        definition = definition_of(playbook, step.proposed.step)
        by_playbook = definition is not None and definition.undo is not None
        if step.changed or (by_playbook and step.succeeded):
            yield step


def left_undone(remediation: Remediation, playbook: Playbook | None) -> tuple[str, ...]:
    """Titles of steps that changed something and that a person has to take back, or judge."""
    can = {step.proposed.step for step in undoable(remediation, playbook)}
    return tuple(
        step.proposed.title
        for step in remediation.steps
        if step.proposed.risk != "read"
        and step.proposed.step not in can
        and (step.status in ENDED or step.status in {StepStatus.UNDO_FAILED, StepStatus.IN_DOUBT})
        and step.succeeded is not False
    )


def got_worse(state: IncidentState, remediation: Remediation, policy: Policy) -> Step | None:
    """The step after which the severity rose, if it rose soon after one that changed something."""
    within = policy.remediation.worse_within
    if within is None:
        return None
    for step in reversed(remediation.steps):
        if not changes(step.proposed) or by_hand(step) or step.status not in ENDED:
            continue
        began_at, ended_at, raised_at = step.started_at, step.finished_at, state.severity_raised_at
        if began_at is None or ended_at is None or raised_at is None or not step.severity:
            continue
        worse = severity_rank(policy, state.severity) < severity_rank(policy, step.severity)
        if worse and began_at <= raised_at <= ended_at + within:
            return step
    return None
