"""Use cases of the classifier: dispose of what is seen, pay what incidents owe to their alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NoReturn
from uuid import UUID

from classifier.domain.deciding import Delivery, decide, refuse
from classifier.domain.duty import Outlook, owed
from classifier.domain.holdings import Holdings
from tocsin_casebook import INCIDENTS, Casebook, InForce, Owed, Policies, Reconciler, Silences
from tocsin_contracts.alerts import Observed
from tocsin_contracts.event import Cause, Event, Fact
from tocsin_contracts.ids import key_of
from tocsin_incident import Book, Change, IncidentState
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Outgoing, Record

POLICY_PATIENCE = timedelta(seconds=10)
"""How long an alert waits for the policy that claimed it at the door; that came another way."""

UNCLAIMED = "unclaimed"
"""Key ingestion gives to alerts that no policy claims."""


class Classifier:
    """Gives every observation one disposition. A `Handler` of the lanes, then of `incidents`.

    Facts for `incidents` are acknowledged before the dispositions that speak of them are
    written: a disposition never names an incident the log does not hold.

    Args:
        accounts: Whether dispositions are written: where a recording is lived through again,
            nobody asks what became of an alert.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        policies: Policies,
        silences: Silences,
        publisher: Publisher,
        clock: Clock,
        accounts: bool = True,
    ) -> None:
        self._accounts = accounts
        self._casebook = casebook
        self._policies = policies
        self._silences = silences
        self._publisher = publisher
        self._clock = clock
        self._holdings = Holdings()
        self._indexed: set[UUID] = set()
        self._restless: dict[str, None] = {}
        self.reconciler = Reconciler(
            casebook=casebook,
            policies=policies,
            publisher=publisher,
            clock=clock,
            duty=self._owed,
            folded=self._folded,
            expected=self._expected,
        )
        silences.on_change(self._silences_changed)

    def _owed(self, state: IncidentState, in_force: InForce, now: datetime, end: int) -> Owed:
        self._holdings.update(state)
        outlook = Outlook(self._find, self._holdings, self._silences.book)
        return owed(state, in_force, now, end, outlook)

    def _find(self, incident: str) -> IncidentState | None:
        book = self._casebook.book_of(key_of(incident))
        return None if book is None else book.expected(incident)

    def _expected(self, event: Event[Fact], state: IncidentState) -> None:
        self._holdings.follow(state, event.fact)
        self._indexed.add(event.id)
        self._stir()

    def _stir(self) -> None:
        """Look again at what may be heard, or no longer, because of something else."""
        for key in self._holdings.stir():
            in_force = self._policies.get(key.partition("/")[0])
            inhibition = in_force.policy.inhibition if in_force is not None else None
            if inhibition is not None and (inhibition.rules or inhibition.along_dependencies):
                self._look_at(key)

    def _look_at(self, key: str) -> None:
        now = self._clock.now()
        for incident in self._holdings.attentive(key):
            # On the agenda as well: what stirs may be the agenda's own doing.
            self.reconciler.agenda.put(incident, now)
            self._restless[incident] = None

    def _silences_changed(self) -> None:
        for key in self._holdings.systems():
            self._look_at(key)

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Restore, index, and pay what is owed."""
        await self._casebook.restore(partitions)
        states = [state for p, state in self._casebook.states() if p in partitions]
        for state in sorted(states, key=lambda state: (state.opened_at, state.incident)):
            self._holdings.update(state)
        await self.reconciler.reconcile([state.incident for state in states])

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget."""
        for partition, state in self._casebook.states():
            if partition in partitions:
                self._holdings.drop(state.incident)
        self._indexed.clear()
        self._restless.clear()
        await self.reconciler.revoked(partitions)

    def forget(self, incident: str) -> None:
        """Let go of an incident to which nothing can happen any more."""
        self._holdings.drop(incident)

    async def handle(self, batch: Sequence[Record]) -> None:
        """Fold what the log brought, then dispose of what was seen, key by key."""
        facts = [record for record in batch if record.position.topic == INCIDENTS]
        await self.reconciler.reconcile(self.reconciler.fold(facts))
        by_key: dict[tuple[int, str], list[Delivery]] = {}
        for record in batch:
            if record.position.topic != INCIDENTS:
                delivery = _delivery(record)
                place = (record.position.partition, delivery.event.key)
                by_key.setdefault(place, []).append(delivery)
        await self._dispose(by_key)
        # What stirred is looked at before anybody reacts to what was written, as far as can be.
        restless, self._restless = self._restless, {}
        if restless:
            await self.reconciler.reconcile(restless)

    async def run(self) -> None:
        """Resolve what stays clear, for ever."""
        await self.reconciler.run()

    def _folded(self, event: Event[Fact], change: Change) -> None:
        found = self._casebook.find(change.incident)
        if found is None:
            return
        book, settled = found
        state = book.expected(change.incident) or settled
        if event.id in self._indexed and change.ignored is None:
            # What this process wrote was indexed when it was decided; a storm is indexed once.
            self._holdings.know(state)
        elif change.ignored is None:
            self._holdings.follow(state, event.fact)
        else:
            self._holdings.update(state)
        self._indexed.discard(event.id)
        self._stir()

    async def _dispose(self, by_key: dict[tuple[int, str], list[Delivery]]) -> None:
        # Refusals come before anything is decided: what is decided must be written.
        in_force_of: dict[str, InForce] = {}
        for (_, key), deliveries in by_key.items():
            in_force = self._policies.get(key.partition("/")[0])
            if in_force is None:
                self._await_policy(deliveries)
                await self._refuse(deliveries)
            in_force_of[key] = in_force
        incidents: list[Event[Fact]] = []
        disposed: list[Event[Fact]] = []
        for (partition, key), deliveries in by_key.items():
            book = self._casebook.book(partition)
            decision = decide(
                deliveries,
                key=key,
                in_force=in_force_of[key],
                find=book.expected,
                holdings=self._holdings,
                silences=self._silences.book,
                now=self._clock.now(),
                end=book.end,
            )
            for event in decision.incidents:
                self._expect(book, event)
            incidents.extend(decision.incidents)
            if self._accounts:
                disposed.extend(decision.disposed)
        # Even with nothing new: facts an interrupted batch left behind come before dispositions
        # that speak of them.
        await self.reconciler.write(incidents)
        if disposed:
            await self._write(disposed)
        await self.reconciler.reconcile(dict.fromkeys(event.subject for event in incidents))

    def _expect(self, book: Book, event: Event[Fact]) -> None:
        folded = book.expect(event)
        if folded.state is not None and folded.ignored is None:
            self._holdings.follow(folded.state, event.fact)
            self._indexed.add(event.id)
            self._stir()

    async def _write(self, events: Sequence[Event[Fact]]) -> None:
        records: list[Outgoing] = [outgoing(event) for event in events]
        await insist(self._publisher, self._clock, records)

    def _await_policy(self, deliveries: Sequence[Delivery]) -> None:
        """Have deliveries come again that may have overtaken the policy they belong to."""
        newest = max(delivery.observed.received_at for delivery in deliveries)
        if deliveries[0].event.key != UNCLAIMED and self._clock.now() - newest < POLICY_PATIENCE:
            raise Transient("policy_on_its_way")

    async def _refuse(self, deliveries: Sequence[Delivery]) -> NoReturn:
        now = self._clock.now()
        await self._write([refuse(delivery, "no_policy", now) for delivery in deliveries])
        system = deliveries[0].event.key
        if system == UNCLAIMED:
            raise Poison("no_policy", "labels: no policy claims them; see `claims` of the policies")
        raise Poison("no_policy", f"key: no policy is in force for system {system!r}")


def _delivery(record: Record) -> Delivery:
    event = decode(record)
    if not isinstance(event.fact, Observed):
        raise Poison("unexpected_type", f"ce_type: {event.type} does not belong on this topic")
    try:
        key_of(f"{event.key.replace('/', '.')}-0000000000")
    except ValueError as error:
        raise Poison("bad_key", f"key: {event.key[:100]!r} names no system") from error
    position = record.position
    cause = Cause(
        event=event.id,
        topic=position.topic,
        partition=position.partition,
        offset=position.offset,
    )
    return Delivery(event, event.fact, cause)
