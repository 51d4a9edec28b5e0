"""Use cases of remediation: propose, and run what may run, at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from remediation.domain.duty import by_hand, event_of, looked_at, owed
from remediation.domain.plan import Lost, Ran, evidence
from remediation.ports import CommandRunner, HttpRunner
from tocsin_casebook import Casebook, Policies, Reconciler
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis
from tocsin_contracts.ids import system_of
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident import IncidentState
from tocsin_incident.state import Remediation, Step, StepStatus
from tocsin_policy import CommandCall, HttpCall, PlaybookStep
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Record

WORKERS = 4
"""Steps under way at once."""


class Remediator:
    """Runs playbooks. A `Handler` of `incidents`.

    A step has its effect only once the log has brought its start back and the fold has applied
    it: of two processes that start the same step exactly one runs it, and an incident that was
    resolved first in the log is left alone.

    Args:
        instance: Names this process; different after every start.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        policies: Policies,
        publisher: Publisher,
        clock: Clock,
        http: HttpRunner,
        command: CommandRunner,
        instance: str,
    ) -> None:
        self._casebook = casebook
        self._policies = policies
        self._publisher = publisher
        self._clock = clock
        self._http = http
        self._command = command
        self._instance = instance
        self._taken: set[tuple[str, str, StepStatus]] = set()
        self._work: asyncio.Queue[tuple[str, str, str, StepStatus]] = asyncio.Queue()
        self.reconciler = Reconciler(
            casebook=casebook,
            policies=policies,
            publisher=publisher,
            clock=clock,
            duty=partial(owed, instance=instance),
            looked=self._looked,
        )

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Restore; what another process started and did not finish is in doubt."""
        await self.reconciler.assigned(partitions)

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget."""
        await self.reconciler.revoked(partitions)

    async def handle(self, batch: Sequence[Record]) -> None:
        """Fold, propose and start; effects follow when their starts come back."""
        await self.reconciler.handle(batch)

    async def run(self) -> None:
        """Run steps, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reconciler.run())
            for _ in range(WORKERS):
                group.create_task(self._worker())

    def _looked(self, state: IncidentState) -> None:
        """Queue what is to be done: to run what we started, to verify what anybody finished."""
        for remediation in state.remediations.values():
            for step in remediation.steps:
                ours = step.started_by == self._instance
                if step.status is not StepStatus.FINISHED and not (
                    ours and step.status is StepStatus.STARTED
                ):
                    continue
                key = (remediation.remediation, step.proposed.step, step.status)
                if key in self._taken:
                    continue
                self._taken.add(key)
                self._work.put_nowait((state.incident, *key))

    async def _worker(self) -> None:
        while True:
            incident, remediation, step, status = await self._work.get()
            found = self._find(incident, remediation, step)
            if found is None:
                # The partition left while the step waited; if it comes back, the step is ours yet.
                self._taken.discard((remediation, step, status))
                continue
            held, proposed, definition = found
            if proposed.status is StepStatus.STARTED:
                await self._run(incident, held, proposed, definition)
            elif proposed.status is StepStatus.FINISHED:
                await self._verify(incident, held, proposed, definition)

    def _find(
        self, incident: str, remediation: str, step_id: str
    ) -> tuple[Remediation, Step, PlaybookStep | None] | None:
        found = self._casebook.find(incident)
        if found is None:
            return None
        _, state = found
        held = state.remediations.get(remediation)
        step = held.step(step_id) if held is not None else None
        if held is None or step is None:
            return None
        in_force = self._policies.get(state.system)
        playbook = in_force.policy.playbooks.get(held.playbook) if in_force else None
        steps = playbook.steps if playbook is not None else ()
        return held, step, next((s for s in steps if s.id == step_id), None)

    async def _run(
        self, incident: str, held: Remediation, step: Step, definition: PlaybookStep | None
    ) -> None:
        outcome: Ran | Lost
        if by_hand(step.proposed):
            names = ", ".join(person.name for person in step.approved_by)
            outcome = Ran(
                succeeded=True,
                reason="done_by_hand",
                evidence=evidence(f"{names} did it", timedelta()),
            )
        elif definition is None:
            outcome = Ran(
                succeeded=False,
                reason="step_is_gone",
                evidence=evidence("the policy in force has no such step", timedelta()),
            )
        else:
            outcome = await self._call(definition.http, definition.command, definition.timeout)
        remediation, name = held.remediation, step.proposed.step
        fact: IncidentFact
        if isinstance(outcome, Lost):
            fact = facts.RemediationInDoubt(
                remediation=remediation, step=name, reason=outcome.reason
            )
        else:
            fact = facts.RemediationStepFinished(
                remediation=remediation,
                step=name,
                succeeded=outcome.succeeded,
                reason=outcome.reason,
                evidence=outcome.evidence,
            )
        await self._write(incident, fact)

    async def _verify(
        self, incident: str, held: Remediation, step: Step, definition: PlaybookStep | None
    ) -> None:
        verify = looked_at(definition) if definition is not None else None
        if definition is None or verify is None:
            return
        looked = await self._call(verify.http, verify.command, definition.timeout)
        remediation, name = held.remediation, step.proposed.step
        if isinstance(looked, Ran) and looked.succeeded:
            verified = facts.RemediationVerified(
                remediation=remediation, step=name, evidence=looked.evidence
            )
            await self._write(incident, verified)
            return
        reason = "verification_lost" if isinstance(looked, Lost) else "not_verified"
        # Another process that ran the step may have undone it before it died: never a second time.
        ours = step.started_by == self._instance
        undone = await self._undo(definition) if ours else None
        if undone is not None:
            rolled_back = facts.RemediationRolledBack(
                remediation=remediation, step=name, reason=reason, evidence=undone.evidence
            )
            await self._write(incident, rolled_back)
        failed = facts.RemediationFailed(
            remediation=remediation, step=name, reason=reason, detail=looked.reason
        )
        await self._write(incident, failed)

    async def _undo(self, definition: PlaybookStep) -> Ran | None:
        undo = definition.undo
        if undo is None:
            return None
        outcome = await self._call(undo.http, undo.command, definition.timeout)
        return outcome if isinstance(outcome, Ran) and outcome.succeeded else None

    async def _call(
        self,
        http: HttpCall | None,
        command: CommandCall | None,
        timeout: timedelta,
    ) -> Ran | Lost:
        if http is not None:
            return await self._http.run(http, timeout)
        if command is not None:
            return await self._command.run(command, timeout)
        return Ran(
            succeeded=False,
            reason="nothing_to_run",
            evidence=evidence("the step names neither a call nor a command", timedelta()),
        )

    async def _write(self, incident: str, fact: IncidentFact) -> None:
        # Told even where the partition went to another meanwhile: it is what happened.
        found = self._casebook.find(incident)
        in_force = self._policies.get(system_of(incident))
        basis = Basis(
            incidents=found[0].end if found is not None else None,
            policy=in_force.hash if in_force is not None else None,
        )
        event = event_of(incident, fact, self._clock.now(), basis)
        await insist(self._publisher, self._clock, [outgoing(event)])
