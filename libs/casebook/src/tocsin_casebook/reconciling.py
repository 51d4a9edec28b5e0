"""The one loop of every service that reacts to incidents: fold, ask what is owed, write it.

Reactions are level-triggered: what a service owes an incident is a pure function of its state,
its policy and the time, not of the record that came last. So nothing is lost with a restart, a
rebalance or a record seen twice: the state still owes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from tocsin_casebook.casebook import Casebook
from tocsin_casebook.policies import InForce, Policies
from tocsin_contracts.event import Event, Fact
from tocsin_incident import Change, IncidentState
from tocsin_runtime.agenda import Agenda
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Record

log = structlog.get_logger()

LONGEST_SLEEP = timedelta(seconds=1)
"""Pause of the loop at most, so that a clock that jumps or a machine that slept is noticed."""

AT_ONCE = 256
"""Incidents that came due together and are looked at before what they owe is written.

Of thousands the first are on their way while the rest is decided, and a rebalance, a record or a
look at the health of the process waits for some of them only.
"""

ROUNDS = 20
"""Times one state may owe more after what it owed was written; more is a rule feeding itself."""


class Owed(NamedTuple):
    """What a state owes now, and when it owes next if nothing else happens."""

    events: tuple[Event[Fact], ...] = ()
    next_at: datetime | None = None


Duty = Callable[[IncidentState, InForce, datetime, int], Owed]
"""(expected state, policy in force, now, end of the book) -> what is owed. Pure."""


class Reconciler:
    """Keeps every owned incident's debts paid. A `Handler` of the topic `incidents`.

    Args:
        duty: What this service owes.
        looked: Called with each incident's settled state after its facts are written: where a
            service with effects in the world starts them.
        folded: Called with each fact of the log and what it did, as it is folded.
        expected: Called with each fact that is owed and the state it leads to, before it is
            written.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        policies: Policies,
        publisher: Publisher,
        clock: Clock,
        duty: Duty,
        looked: Callable[[IncidentState], None] | None = None,
        folded: Callable[[Event[Fact], Change], None] | None = None,
        expected: Callable[[Event[Fact], IncidentState], None] | None = None,
    ) -> None:
        self._casebook = casebook
        self._policies = policies
        self._publisher = publisher
        self._clock = clock
        self._duty = duty
        self._looked = looked
        self._folded = folded
        self._expected = expected
        self._touched: dict[str, None] = {}
        self._unsent: list[Event[Fact]] = []
        self._writing = asyncio.Lock()
        self.agenda = Agenda()

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Restore, then owe: what came due while nobody owned these is written once, now."""
        await self._casebook.restore(partitions)
        await self.reconcile(
            [
                state.incident
                for partition, state in self._casebook.states()
                if partition in partitions
            ]
        )

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget, facts included that an interrupted write has left behind.

        A group takes everything at once, and gives again what stays. Whoever owns it then decides
        from the log; what was decided here before would come late, and on a state that is gone.
        """
        for partition, state in self._casebook.states():
            if partition in partitions:
                self.agenda.put(state.incident, None)
        self._casebook.drop(partitions)
        if not self._casebook.partitions:
            self._unsent.clear()
            self._touched.clear()

    async def handle(self, batch: Sequence[Record]) -> None:
        """Fold the batch, then write what its incidents owe."""
        await self.reconcile(self.fold(batch))

    def fold(self, batch: Iterable[Record]) -> list[str]:
        """Fold records of `incidents`; the incidents they touched, each once, in order.

        A poisonous record ends the batch before what was folded of it was looked at. Those
        incidents are kept, and returned by the call that hands over the rest.
        """
        for record in batch:
            folded = self._casebook.fold(record)
            if folded is None:
                continue
            event, change = folded
            self._touched[change.incident] = None
            if self._folded is not None:
                self._folded(event, change)
            if change.ignored is not None:
                log.info(
                    "fact.ignored",
                    incident=change.incident,
                    type=event.type,
                    reason=change.ignored,
                )
        touched = list(self._touched)
        self._touched.clear()
        return touched

    def policy_changed(self, system: str) -> None:
        """Look at every incident of the system at once: its policy is another now."""
        now = self._clock.now()
        for _, state in self._casebook.states():
            if state.system == system:
                self.agenda.put(state.incident, now)

    async def run(self) -> None:
        """Look at what comes due, for ever."""
        while True:
            due = self.agenda.due(self._clock.now())
            for first in range(0, len(due), AT_ONCE):
                await self.reconcile(due[first : first + AT_ONCE])
            if due:
                continue
            next_at = self.agenda.next_at()
            pause = LONGEST_SLEEP
            if next_at is not None:
                pause = min(pause, next_at - self._clock.now())
            await self._clock.sleep(pause)

    async def reconcile(self, incidents: Iterable[str]) -> None:
        """Write what these incidents owe now.

        A fact is expected by the book before it is on its way, so that nothing else in this
        process decides it a second time while the broker answers.
        """
        looked = list(incidents)
        events: list[Event[Fact]] = []
        written = False
        try:
            await self.write(())
            for incident in looked:
                events.extend(self._owed(incident))
            if events:
                await self.write(events)
            written = True
        finally:
            if not written:
                # The same records come again, but are folded already: only this remembers them.
                self._touched.update(dict.fromkeys(looked))
        if self._looked is not None:
            for incident in looked:
                found = self._casebook.find(incident)
                if found is not None:
                    self._looked(found[1])

    async def write(self, events: Sequence[Event[Fact]]) -> None:
        """Write facts that the books expect already, in the order in which they are expected.

        A handler that is interrupted here (its budget, a stop) must not leave facts behind that
        this process counts on and the log never gets: they go first with the next write. One
        write at a time: a fact that was refused and is tried again must not be overtaken by one
        that was decided on it, which the fold would then ignore for ever.
        """
        self._unsent.extend(events)
        if not self._unsent and not self._writing.locked():
            return
        async with self._writing:
            unsent, self._unsent = self._unsent, []
            if not unsent:
                return
            sent = False
            try:
                await insist(self._publisher, self._clock, [outgoing(event) for event in unsent])
                sent = True
            finally:
                if not sent:
                    self._unsent = [*unsent, *self._unsent]

    def _owed(self, incident: str) -> list[Event[Fact]]:
        written: list[Event[Fact]] = []
        for _ in range(ROUNDS):
            found = self._casebook.find(incident)
            if found is None:
                return written
            book, settled = found
            state = book.expected(incident) or settled
            policy = self._policies.get(state.system)
            if policy is None:
                return written
            owed = self._duty(state, policy, self._clock.now(), book.end)
            self.agenda.put(incident, owed.next_at)
            if not owed.events:
                return written
            for event in owed.events:
                holder = self._casebook.find(event.subject)
                after, ignored = (holder[0] if holder else book).expect(event)
                if ignored is not None:
                    # Writing it would change nothing, so the state would owe it for ever.
                    log.error("duty.refused", incident=incident, type=event.type, reason=ignored)
                    return written
                if self._expected is not None and after is not None:
                    self._expected(event, after)
                written.append(event)
        raise RuntimeError(f"{incident} owes without end: {written[-1].type}")
