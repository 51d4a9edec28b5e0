"""Use cases of remediation: propose, plan, run what may run at most once, look, take back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from remediation.domain.duty import event_of, is_another, owed, to_look_at, wants_plan
from remediation.domain.envelope import (
    Acting,
    Held,
    asked,
    budget_of,
    by_hand,
    changes,
    definition_of,
    is_over,
    over_budget,
    spent,
    still_wanted,
    taken_by,
    unseen,
)
from remediation.domain.filling import filled
from remediation.domain.plan import Lost, Ran, evidence
from remediation.domain.undoing import kept_of
from remediation.ports import Runner
from remediation.running import Runners, failed
from tocsin_casebook import (
    Casebook,
    Claimant,
    Claims,
    Freezes,
    InForce,
    Policies,
    Reconciler,
    claimed,
    released,
)
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis, Event, Fact
from tocsin_contracts.ids import key_of, system_of
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident import Change, IncidentState
from tocsin_incident.remedies import WORLD_CHANGED
from tocsin_incident.state import Remediation, RemediationStatus, Step, StepPlan, StepStatus
from tocsin_policy import Playbook, PlaybookStep
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Record

WORKERS = 4
"""Steps under way at once."""

MOST_TARGETS = 200
"""Targets of one step at most: more could not all be watched."""

GIVES_WAY = timedelta(milliseconds=250)
"""How old an opening is before it is looked at. On a machine that all services share, planning and
proposing would take the very moments in which somebody is paged."""

ONE_ORDER = 0
"""The partition of every claim."""

CLAIM_WITHIN = timedelta(seconds=30)
"""Time a claim may take to come back from the log; the step does not wait for it any longer."""

FREED = {"frozen": "thawed", "target_taken": "target_free"}
"""Holds that end because something else ends, and what is said then."""


GOES_ON = frozenset(
    {RemediationStatus.PROPOSED, RemediationStatus.ROLLING_BACK, RemediationStatus.IN_DOUBT}
)

UNDER_WAY = frozenset(
    {StepStatus.STARTED, StepStatus.UNDOING, StepStatus.IN_DOUBT, StepStatus.FINISHED}
)
"""Where a step stands whose place in the log may still decide something."""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do about a step.

    Attributes:
        what: `plan`, `run`, `verify`, `look`, `undo` or `release`; `let_go` of what it claimed.
        number: Which plan, or start and undo.
    """

    incident: str
    remediation: str
    step: str
    what: str
    number: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A step with everything that is known of it.

    Attributes:
        definition: As the policy in force has it, filled with what the proposal says; `None` if
            it is not what was proposed.
    """

    state: IncidentState
    remediation: Remediation
    step: Step
    in_force: InForce
    playbook: Playbook | None
    definition: PlaybookStep | None


class Remediator:
    """Runs playbooks. A `Handler` of `incidents`.

    A step has its effect only once the log has brought its start back and the fold has applied
    it: of two processes that start the same step exactly one runs it, and an incident that was
    resolved first in the log is left alone. What must still hold is asked again then, with nothing
    awaited in between.

    Args:
        runners: By the name a playbook gives them.
        instance: Names this process; different after every start.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        policies: Policies,
        freezes: Freezes,
        claims: Claims,
        publisher: Publisher,
        clock: Clock,
        runners: Mapping[str, Runner[Any]],
        instance: str,
    ) -> None:
        self._casebook = casebook
        self._policies = policies
        self._freezes = freezes
        self._claims = claims
        self._publisher = publisher
        self._clock = clock
        self._runners = Runners(runners)
        self._instance = instance
        self._taken: dict[str, set[Task]] = {}
        self._waiting: set[str] = set()
        self._order: dict[tuple[str, str, str], int] = {}
        self._starts = 0
        self._work: asyncio.Queue[Task] = asyncio.Queue()
        self.reconciler = Reconciler(
            casebook=casebook,
            policies=policies,
            publisher=publisher,
            clock=clock,
            duty=partial(owed, instance=instance),
            looked=self._looked,
            folded=self._folded,
        )
        freezes.on_change(self._look_again)
        claims.on_change(self._claims_changed)

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Restore; what another process started and did not finish is in doubt."""
        await self.reconciler.assigned(partitions)
        for claim in self._claims.claimants():
            self._let_go_of(claim)

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget."""
        await self.reconciler.revoked(partitions)

    async def handle(self, batch: Sequence[Record]) -> None:
        """Fold, propose and start; effects follow when their starts come back."""
        await self._let_pages_pass(batch)
        await self.reconciler.handle(batch)

    async def _let_pages_pass(self, batch: Sequence[Record]) -> None:
        opening = facts.Opened.TYPE.encode()
        opened = [r.recorded_at for r in batch if r.header("ce_type") == opening]
        if opened:
            wait = max(opened) + GIVES_WAY - self._clock.now()
            # Never longer, however the broker's clock goes.
            await self._clock.sleep(min(wait, GIVES_WAY))

    async def run(self) -> None:
        """Run steps, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reconciler.run())
            for _ in range(WORKERS):
                group.create_task(self._worker())

    # What is to be done.

    def _folded(self, event: Event[Fact], change: Change) -> None:
        """Remember in which order the log started steps: it decides who has used the budget."""
        fact = event.fact
        if change.ignored is not None:
            return
        if isinstance(fact, facts.RemediationStarted | facts.RemediationUndoStarted):
            self._starts += 1
            self._order[change.incident, fact.remediation, fact.step] = self._starts

    def _looked(self, state: IncidentState) -> None:
        """Queue what an incident asks for."""
        self._queue(state)

    def _look_again(self) -> None:
        """Queue what waits for something else to end, of incidents that are still ours."""
        for incident in sorted(self._waiting):
            found = self._casebook.find(incident)
            if found is not None:
                self._queue(found[1])
            else:
                self._waiting.discard(incident)

    def _claims_changed(self, by: Claimant) -> None:
        self._look_again()
        self._let_go_of(by)

    def _let_go_of(self, claim: Claimant) -> None:
        """Queue the release of a claim whose step acts no longer, if it is ours to say."""
        if claim not in self._claims or self._casebook.book_of(key_of(claim.incident)) is None:
            return
        found = self._casebook.find(claim.incident)
        if found is not None:
            self._queue(found[1])
        else:
            # Its incident is over for so long that nothing else remembers it.
            self._work.put_nowait(_letting_go(claim))

    def _queue(self, state: IncidentState) -> None:
        wanted = set(self._wanted(state))
        taken = self._taken.get(state.incident, set())
        for task in sorted(wanted - taken, key=astuple):
            self._work.put_nowait(task)
        if wanted:
            self._taken[state.incident] = wanted
        else:
            self._taken.pop(state.incident, None)
        if any(
            step.hold is not None and not step.hold.released and step.hold.reason in FREED
            for remediation in state.remediations.values()
            for step in remediation.steps
        ):
            self._waiting.add(state.incident)
        else:
            self._waiting.discard(state.incident)

    def _wanted(self, state: IncidentState) -> Iterator[Task]:
        yield from (
            _letting_go(claim)
            for claim in self._claims.held_by(state.incident)
            if self._is_over(claim, state)
        )
        in_force = self._policies.get(state.system)
        if in_force is None:
            return
        for remediation in state.remediations.values():
            playbook = in_force.policy.playbooks.get(remediation.playbook)
            for step in remediation.steps:
                definition = definition_of(playbook, step.proposed.step)
                what = self._what(state, remediation, step, definition)
                place = (state.incident, remediation.remediation, step.proposed.step)
                if what:
                    yield Task(*place, what, _numbers(what, step))
                if step.status not in UNDER_WAY:
                    self._order.pop(place, None)

    def _what(
        self,
        state: IncidentState,
        remediation: Remediation,
        step: Step,
        definition: PlaybookStep | None,
    ) -> str:
        if step.status is StepStatus.STARTED:
            return "run" if step.started_by == self._instance else ""
        if step.status is StepStatus.UNDOING:
            return "undo" if step.undone_by == self._instance else ""
        if to_look_at(remediation, step, definition) is not None:
            return "verify" if step.status is StepStatus.FINISHED else "look"
        if wants_plan(state, remediation, step):
            return "plan" if definition is not None else ""
        return "release" if self._is_free(state, remediation, step) else ""

    def _is_free(self, state: IncidentState, remediation: Remediation, step: Step) -> bool:
        if step.hold is None or step.hold.released:
            return False
        if step.hold.reason == "frozen":
            return self._freezes.of(state.system) is None
        if step.hold.reason == "target_taken":
            return self._waits_for(_claimant(state, remediation, step), step) is None
        return False

    def _waits_for(self, own: Claimant, step: Step) -> Held | None:
        """Who has a target of the step and claimed it before, or `None`."""
        return taken_by(self._claims.before(own, _targets(step)))

    def _is_over(self, claim: Claimant, state: IncidentState) -> bool:
        """Whether what a step of this incident claimed may be another's."""
        for remediation, step, playbook in self._steps(state):
            if _claimant(state, remediation, step).place == claim.place:
                return is_over(claim, _acting(state, remediation, step, 0), playbook)
        return False

    def _steps(self, state: IncidentState) -> Iterator[tuple[Remediation, Step, Playbook | None]]:
        in_force = self._policies.get(state.system)
        playbooks = in_force.policy.playbooks if in_force is not None else {}
        for remediation in state.remediations.values():
            for step in remediation.steps:
                yield remediation, step, playbooks.get(remediation.playbook)

    def _place(self, state: IncidentState, remediation: Remediation, step: Step) -> int:
        place = (state.incident, remediation.remediation, step.proposed.step)
        return self._order.get(place, 0)

    def _begun(self, of: IncidentState) -> list[Acting]:
        """Every step that was started for incidents of the same key."""
        return [
            _acting(state, remediation, step, self._place(state, remediation, step))
            for _, state in self._casebook.states()
            if state.key == of.key
            for remediation, step, _ in self._steps(state)
            if step.attempt
        ]

    # Doing it.

    async def _worker(self) -> None:
        while True:
            task = await self._work.get()
            if task.what == "let_go":
                await self._let_go(task)
                continue
            found = self._find(task)
            if found is None:
                # The partition left while the task waited; if it comes back, so does the task.
                self._taken.get(task.incident, set()).discard(task)
                continue
            match task.what:
                case "plan":
                    await self._plan(found)
                case "run":
                    await self._run(task, found)
                case "undo":
                    await self._undo(task, found)
                case "release":
                    await self._release(found)
                case _:
                    await self._look(task, found)

    def _find(self, task: Task) -> Found | None:
        """The step as the log has it now, if the task still is to be done."""
        held = self._casebook.find(task.incident)
        in_force = self._policies.get(system_of(task.incident))
        if held is None or in_force is None:
            return None
        _, state = held
        remediation = state.remediations.get(task.remediation)
        step = remediation.step(task.step) if remediation is not None else None
        if remediation is None or step is None:
            return None
        playbook = in_force.policy.playbooks.get(remediation.playbook)
        definition = definition_of(playbook, task.step)
        if _numbers(task.what, step) != task.number:
            return None
        if self._what(state, remediation, step, definition) != task.what:
            return None
        whole = None
        if definition is not None and not is_another(step, definition):
            whole = filled(definition, step.proposed.parameters)
        return Found(state, remediation, step, in_force, playbook, whole)

    async def _plan(self, found: Found) -> None:
        if found.definition is None:
            return
        number = found.step.plan.number + 1 if found.step.plan is not None else 1
        planned = await self._planned(found.definition, found.remediation, number)
        await self._write(found.state.incident, planned)

    async def _planned(
        self, definition: PlaybookStep, remediation: Remediation, number: int
    ) -> facts.RemediationStepPlanned:
        step = remediation.step(definition.id)
        parameters = step.proposed.parameters if step is not None else {}
        made = await self._runners.plan(definition, parameters)
        place = {"remediation": remediation.remediation, "step": definition.id, "plan": number}
        if isinstance(made, Ran):
            return facts.RemediationStepPlanned.model_validate(
                place | {"refused": made.reason, "detail": made.evidence.output}
            )
        if len(made.targets) > MOST_TARGETS:
            detail = f"{len(made.targets)} targets, at most {MOST_TARGETS}"
            return facts.RemediationStepPlanned.model_validate(
                place | {"refused": "too_many_targets", "detail": detail}
            )
        return facts.RemediationStepPlanned(
            remediation=remediation.remediation,
            step=definition.id,
            plan=number,
            targets=made.targets,
            state=made.state,
            diff=made.diff,
            pods=made.pods,
            share=made.share,
            fingerprint=made.fingerprint,
            before=dict(made.before),
        )

    async def _run(self, task: Task, found: Found) -> None:
        if by_hand(found.step):
            names = ", ".join(person.name for person in found.step.approved_by)
            told = evidence(f"{names} did it", timedelta())
            done = Ran(succeeded=True, reason="done_by_hand", evidence=told)
            await self._finished(found, done)
            return
        held = self._forbids(found)
        if held is None and changes(found.step.proposed):
            held = await self._claim(found)
            again = self._find(task)
            if again is None:
                self._forget(task)
                return
            found = again
            held = held or self._forbids(found)
        if held is None and found.step.proposed.planned and found.definition is not None:
            number = found.step.plan.number + 1 if found.step.plan is not None else 1
            planned = await self._planned(found.definition, found.remediation, number)
            again = self._find(task)
            if again is None:
                self._forget(task)
                return
            found = again
            held = self._forbids(found) or self._unclaimed(found)
            if held is None and not self._is_as_approved(found, planned):
                changed = Held(WORLD_CHANGED, "the world is not as it was planned upon")
                await self._write(found.state.incident, _held(found, changed), planned)
                return
        if held is not None:
            await self._write(found.state.incident, _held(found, held))
            return
        await self._finished(found, await self._call(found.definition))

    def _forget(self, task: Task) -> None:
        """The partition left meanwhile; nothing was begun, so the task may be had again."""
        self._taken.get(task.incident, set()).discard(task)

    async def _claim(self, found: Found) -> Held | None:
        """Have the targets of the step, as the log says, or the reason why not yet.

        All claims of all systems have one order, so of two steps that want one thing exactly one
        finds nobody before it, wherever both run.
        """
        own = _claimant(found.state, found.remediation, found.step)
        targets = _targets(found.step)
        if targets and own not in self._claims:
            # However wide somebody has made the topic, its claims have one order.
            event = outgoing(claimed(own, targets, self._clock.now()), partition=ONE_ORDER)
            (position,) = await insist(self._publisher, self._clock, [event])
            try:
                async with asyncio.timeout(CLAIM_WITHIN.total_seconds()):
                    await self._claims.read_up_to(position.offset + 1)
            except TimeoutError:
                return self._unclaimed(found)
        return None

    def _unclaimed(self, found: Found) -> Held | None:
        """Why the step has no claim on its targets, or `None` if it has, or needs none."""
        own = _claimant(found.state, found.remediation, found.step)
        if not _targets(found.step) or own in self._claims:
            return None
        detail = f"the log did not show the claim within {CLAIM_WITHIN}"
        return Held("claim_not_seen", detail, self._clock.now() + CLAIM_WITHIN)

    def _not_free(self, found: Found) -> Held | None:
        """Who has a target of the step, or `None`."""
        return self._waits_for(_claimant(found.state, found.remediation, found.step), found.step)

    def _forbids(self, found: Found) -> Held | None:
        """Why the step must not run now, or `None`; nothing may be awaited before it runs then."""
        state, remediation, step = found.state, found.remediation, found.step
        if found.definition is None or found.playbook is None:
            return Held("policy_changed", "the policy in force has another step here")
        own = _acting(state, remediation, step, self._place(state, remediation, step))
        held = still_wanted(state, remediation) or self._frozen(state)
        if held is not None or not changes(step.proposed):
            return held
        policy = found.in_force.policy
        budget = budget_of(policy, found.playbook, found.definition)
        return self._not_free(found) or spent(
            own, self._begun(state), budget, state.service, self._clock.now()
        )

    def _frozen(self, state: IncidentState) -> Held | None:
        freeze = self._freezes.of(state.system)
        if freeze is None:
            return None
        what = "everything" if freeze.subject != state.system else freeze.subject
        return Held("frozen", f"{freeze.by.name} froze {what}: {freeze.reason}")

    def _is_as_approved(self, found: Found, planned: facts.RemediationStepPlanned) -> bool:
        plan = found.step.plan
        if plan is None or found.definition is None or found.playbook is None:
            return False
        now = (planned.fingerprint, planned.targets, planned.refused)
        if now != (plan.fingerprint, plan.targets, plan.refused):
            return False
        fresh = found.step.model_copy(update={"plan": _as_plan(planned, plan)})
        budget = budget_of(found.in_force.policy, found.playbook, found.definition)
        return not over_budget(fresh, budget)

    async def _call(self, definition: PlaybookStep | None) -> Ran | Lost:
        if definition is None:
            return failed("nothing_to_run", "the policy in force has no such step")
        return await self._runners.run(definition, definition.timeout)

    async def _finished(self, found: Found, outcome: Ran | Lost) -> None:
        remediation, step = found.remediation.remediation, found.step.proposed.step
        fact: IncidentFact
        if isinstance(outcome, Lost):
            fact = self._in_doubt(found, outcome)
        else:
            declared = found.definition is not None and found.definition.before is not None
            before = found.step.plan.before if declared and found.step.plan is not None else {}
            fact = facts.RemediationStepFinished(
                remediation=remediation,
                step=step,
                attempt=found.step.attempt,
                succeeded=outcome.succeeded,
                reason=outcome.reason,
                evidence=outcome.evidence,
                changed=dict(kept_of(outcome, before)),
            )
        await self._write(found.state.incident, fact)

    def _in_doubt(self, found: Found, lost: Lost) -> facts.RemediationInDoubt:
        return facts.RemediationInDoubt(
            remediation=found.remediation.remediation,
            step=found.step.proposed.step,
            attempt=found.step.attempt,
            reason=lost.reason,
            targets=asked(found.in_force.policy, found.state, self._clock.now()),
        )

    async def _look(self, task: Task, found: Found) -> None:
        """Look whether a step worked: one that is finished, or one in doubt."""
        verify = to_look_at(found.remediation, found.step, found.definition)
        if verify is None or found.definition is None:
            return
        within = found.definition.verify_within or found.definition.timeout
        looked = await self._runners.look(verify, within)
        place: dict[str, Any] = {
            "remediation": found.remediation.remediation,
            "step": found.step.proposed.step,
            "attempt": found.step.attempt,
        }
        lost = isinstance(looked, Lost)
        told = evidence(looked.reason, timedelta())
        shown = told if isinstance(looked, Lost) else looked.evidence
        good = isinstance(looked, Ran) and looked.succeeded
        fact: IncidentFact
        if task.what == "look":
            seen = None if lost or unseen(looked.reason) else good
            fact = facts.RemediationLooked(
                **place, as_expected=seen, reason=looked.reason, evidence=shown
            )
        elif good:
            fact = facts.RemediationVerified(**place, evidence=shown)
        else:
            reason = looked.reason if unseen(looked.reason) else "not_as_expected"
            fact = facts.RemediationNotVerified(**place, reason=reason, evidence=shown)
        await self._write(found.state.incident, fact)

    async def _undo(self, task: Task, found: Found) -> None:
        """Take back what a step did: exactly where that is known, else as the playbook says."""
        held = self._forbids_undo(found)
        if held is None:
            held = await self._claim(found)
            again = self._find(task)
            if again is None:
                self._forget(task)
                return
            found = again
            held = held or self._forbids_undo(found) or self._unclaimed(found)
        if held is not None:
            await self._write(found.state.incident, _held(found, held, undo=found.step.undos))
            return
        outcome = await self._taken_back(found)
        place: dict[str, Any] = {
            "remediation": found.remediation.remediation,
            "step": found.step.proposed.step,
            "attempt": found.step.attempt,
        }
        fact: IncidentFact
        if isinstance(outcome, Lost):
            fact = self._in_doubt(found, outcome)
        elif outcome.succeeded:
            fact = facts.RemediationRolledBack(
                **place, reason=found.remediation.reason, evidence=outcome.evidence
            )
        else:
            fact = facts.RemediationUndoFailed(
                **place, reason=outcome.reason, evidence=outcome.evidence
            )
        await self._write(found.state.incident, fact)

    def _forbids_undo(self, found: Found) -> Held | None:
        if not found.state.status.live:
            return Held("resolved", f"the incident is {found.state.status}")
        return self._frozen(found.state) or self._not_free(found)

    async def _taken_back(self, found: Found) -> Ran | Lost:
        if found.definition is None:
            return failed("no_undo", "the policy in force has no such step")
        parameters = found.step.proposed.parameters
        return await self._runners.undo(found.definition, parameters, found.step.changed)

    async def _let_go(self, task: Task) -> None:
        """Say that a step acts no longer on what it claimed, if that still is so."""
        claim = Claimant(task.incident, task.remediation, task.step, *task.number)
        ours = self._casebook.book_of(key_of(task.incident)) is not None
        found = self._casebook.find(task.incident)
        if not ours or (found is not None and not self._is_over(claim, found[1])):
            self._forget(task)
            return
        event = outgoing(released(claim, self._clock.now()), partition=ONE_ORDER)
        await insist(self._publisher, self._clock, [event])

    async def _release(self, found: Found) -> None:
        hold = found.step.hold
        if hold is None:
            return
        fact = facts.RemediationStepReleased(
            remediation=found.remediation.remediation,
            step=found.step.proposed.step,
            attempt=found.step.attempt,
            undo=found.step.undos,
            reason=FREED[hold.reason],
        )
        await self._write(found.state.incident, fact)

    async def _write(self, incident: str, *written: IncidentFact) -> None:
        # Told even where the partition went to another meanwhile: it is what happened.
        found = self._casebook.find(incident)
        in_force = self._policies.get(system_of(incident))
        basis = Basis(
            incidents=found[0].end if found is not None else None,
            policy=in_force.hash if in_force is not None else None,
        )
        now = self._clock.now()
        events = [outgoing(event_of(incident, fact, now, basis)) for fact in written]
        await insist(self._publisher, self._clock, events)


def _acting(state: IncidentState, remediation: Remediation, step: Step, order: int) -> Acting:
    return Acting(
        incident=state.incident,
        remediation=remediation.remediation,
        step=step,
        service=state.service,
        on=state.status.live and remediation.status in GOES_ON,
        order=order,
    )


def _claimant(state: IncidentState, remediation: Remediation, step: Step) -> Claimant:
    """The start, or the undo, that a step stands at."""
    undo = step.undos if step.undone_by else 0
    place = (state.incident, remediation.remediation, step.proposed.step)
    return Claimant(*place, step.attempt, undo)


def _targets(step: Step) -> tuple[str, ...]:
    return step.plan.targets if step.plan is not None else ()


def _letting_go(claim: Claimant) -> Task:
    return Task(*claim.place, "let_go", (claim.attempt, claim.undo))


def _numbers(what: str, step: Step) -> tuple[int, int]:
    if what == "plan":
        return (step.plan.number if step.plan is not None else 0, step.attempt)
    return (step.attempt, step.undos)


def _held(found: Found, held: Held, *, undo: int = 0) -> facts.RemediationStepHeld:
    return facts.RemediationStepHeld(
        remediation=found.remediation.remediation,
        step=found.step.proposed.step,
        attempt=found.step.attempt,
        undo=undo,
        reason=held.reason,
        detail=held.detail,
        retry_at=held.retry_at,
    )


def _as_plan(planned: facts.RemediationStepPlanned, before: StepPlan) -> StepPlan:
    return before.model_copy(update={"pods": planned.pods, "share": planned.share})
