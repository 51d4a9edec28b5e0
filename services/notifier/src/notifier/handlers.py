"""Use cases of the notifier: attempt in the log, then in the world, then tell the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from notifier.domain.answering import AnswerLink
from notifier.domain.bundling import BUNDLED, MOST_BUNDLED, Part, bundle
from notifier.domain.duty import event_of, owed
from notifier.domain.means import is_last_resort
from notifier.domain.outcomes import (
    Delivered,
    Outcome,
    Refused,
    Unknown,
    Unwell,
    retry_at,
)
from notifier.domain.pacing import RATES, Asking, Rate
from notifier.domain.wanted import unwanted
from notifier.domain.wording import NAMED, names_of, said_late, sent_late, to_approve
from notifier.ports import Channel, Earlier, Gate, Sending
from tocsin_casebook import Casebook, InForce, Policies, Reconciler
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis, Event, Fact
from tocsin_contracts.ids import system_of
from tocsin_contracts.incidents import IncidentFact, Purpose
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_policy import Policy, severity_rank
from tocsin_policy.redacting import Redactor
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Record

log = structlog.get_logger()

WORKERS = 12
"""Calls under way at once to one endpoint; with the urgent ones fewer than its connections.

Each endpoint has workers of its own, so that a provider that is slow, or wants to be left alone,
holds up no other.
"""

MOST_UNTOLD = 128
"""Outcomes on their way to the log at once; whoever has one more waits.

A worker makes its next call meanwhile, and outcomes that come together are written together.
"""

GATHER = timedelta(milliseconds=50)
"""How long an outcome waits for others, while calls wait; with nothing to call it is told at once.

One by one they cost Kafka a request and every service a fetch, a batch and a commit each: more
than the calls.
"""

URGENT_WORKERS = 2
"""More of them, for pages of a policy's worst severity only: whatever else waits or hangs."""

MOST_HOLDS = 50
"""Times a call waits for its provider's rate or circuit before it is made all the same."""

_LATE = 5.0


@dataclass(order=True, slots=True)
class _Call:
    rank: int
    number: int
    incident: str = field(compare=False)
    notification: str = field(compare=False)
    attempt: int = field(compare=False)
    taken: bool = field(default=False, compare=False)


_BundleKey = tuple[str, str, bool]
"""Account, person, and whether it is of the worst severity, which waits for nothing else."""


class _Lane:
    """Calls to one endpoint, worst severity first; bounded by what the log says is attempted."""

    def __init__(self) -> None:
        self.calls: asyncio.PriorityQueue[_Call] = asyncio.PriorityQueue()
        self.urgent: asyncio.Queue[_Call] = asyncio.Queue()

    def put(self, call: _Call, *, urgent: bool) -> None:
        """An urgent call stands in both queues; whoever is free first takes it."""
        self.calls.put_nowait(call)
        if urgent:
            self.urgent.put_nowait(call)


class Notifier:
    """Turns levels, answers and updates into messages. A `Handler` of `incidents`.

    A call is made only once the log has brought its attempt back and the fold has applied it: an
    acknowledgement that came first in the log stops the page, and of two processes that attempt
    the same message exactly one calls.

    Args:
        channels: By the endpoint a policy's channel names.
        rates: Of endpoints that have another than their kind's.
        link_to: Where an incident can be read.
        answers: Links by which the reader of a page answers.
        redact: Blanks out what must not be told, before it stands in the log.
        instance: Names this process; different after every start.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        policies: Policies,
        publisher: Publisher,
        clock: Clock,
        channels: Mapping[str, Channel],
        gate: Gate,
        instance: str,
        rates: Mapping[str, Rate] | None = None,
        link_to: Callable[[str], str | None] = lambda _: None,
        answers: Callable[[str, Notification], tuple[AnswerLink, ...]] = lambda *_: (),
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._casebook = casebook
        self._policies = policies
        self._publisher = publisher
        self._clock = clock
        self._channels = channels
        self._gate = gate
        self._rates = rates or {}
        self._link_to = link_to
        self._answers = answers
        self._redact = redact or Redactor()
        self._instance = instance
        self._made: dict[str, int] = {}
        self._lanes: dict[str, _Lane] = {}
        self._bundles: dict[_BundleKey, list[_Call]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._room = asyncio.Semaphore(MOST_UNTOLD)
        self._untold: list[Event[Fact]] = []
        self._telling = False
        self._number = 0
        self.reconciler = Reconciler(
            casebook=casebook,
            policies=policies,
            publisher=publisher,
            clock=clock,
            duty=partial(owed, instance=instance, redact=self._redact),
            looked=self._looked,
        )

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Restore the backlog whole before anybody is called for any of it."""
        await self.reconciler.assigned(partitions)

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget; queued calls find no incident and are dropped."""
        await self.reconciler.revoked(partitions)

    async def handle(self, batch: Sequence[Record]) -> None:
        """Fold, request and attempt; calls follow when their attempts come back."""
        await self.reconciler.handle(batch)

    async def run(self) -> None:
        """Retry what comes due and make calls, for ever."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for lane in self._lanes.values():
                self._staff(lane)
            group.create_task(self.reconciler.run())

    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return sum(lane.calls.qsize() for lane in self._lanes.values())

    def _lane(self, endpoint: str) -> _Lane:
        lane = self._lanes.get(endpoint)
        if lane is None:
            lane = self._lanes[endpoint] = _Lane()
            self._staff(lane)
        return lane

    def _staff(self, lane: _Lane) -> None:
        if self._group is not None:
            for queue in (lane.calls,) * WORKERS + (lane.urgent,) * URGENT_WORKERS:
                self._group.create_task(self._work(queue))

    def _looked(self, state: IncidentState) -> None:
        in_force = self._policies.get(state.system)
        if in_force is None:
            return
        rank = severity_rank(in_force.policy, state.severity)
        for held in state.notifications.values():
            if not self._ours(held) or self._made.get(held.notification) == held.attempts:
                continue
            self._made[held.notification] = held.attempts
            self._number += 1
            rank = _rank(in_force.policy, state, held)
            call = _Call(rank, self._number, state.incident, held.notification, held.attempts)
            named = in_force.policy.channels.get(held.channel)
            endpoint = named.endpoint if named is not None else held.channel
            self._lane(endpoint).put(call, urgent=_urgent(rank, held))

    def _ours(self, held: Notification) -> bool:
        attempted = held.status is NotificationStatus.ATTEMPTED
        return attempted and held.attempted_by == self._instance

    async def _work(self, queue: asyncio.Queue[_Call]) -> None:
        while True:
            call = await queue.get()
            if not call.taken:
                call.taken = True
                await self._call(call)

    def _still(self, call: _Call) -> tuple[IncidentState, Notification, InForce, int] | None:
        found = self._casebook.find(call.incident)
        if found is None:
            return None
        book, state = found
        held = state.notifications.get(call.notification)
        in_force = self._policies.get(state.system)
        if held is None or in_force is None:
            return None
        if not self._ours(held) or held.attempts != call.attempt:
            return None
        return state, held, in_force, book.end

    async def _call(self, call: _Call) -> None:
        found = self._still(call)
        if found is None:
            self._unmade(call)
            return
        state, held, in_force, _ = found
        if not await self._gate.claim(call.notification, call.attempt):
            await self._tell(call, Unknown("claimed_elsewhere"), held)
            return
        asking = self._asking(state, held, in_force)
        if asking is None:
            await self._make([call], None)
        elif asking.person is None:
            await self._hold_off([call], asking)
            await self._make([call], asking)
        else:
            await self._bundled(call, asking)

    async def _bundled(self, call: _Call, asking: Asking) -> None:
        """Make the call if the person may be reached now; else wait with others, as one."""
        key = (asking.account, asking.person or "", asking.urgent)
        waiting = self._bundles.get(key)
        if waiting is not None and len(waiting) < MOST_BUNDLED:
            waiting.append(call)
        elif await self._gate.hold_off(asking) is None:
            await self._make([call], asking)
        elif (waiting := self._bundles.get(key)) is not None and len(waiting) < MOST_BUNDLED:
            # It came while the gate was asked.
            waiting.append(call)
        elif self._group is not None:
            calls = self._bundles[key] = [call]
            self._group.create_task(self._bundle(key, calls, asking))

    async def _bundle(self, key: _BundleKey, calls: list[_Call], asking: Asking) -> None:
        await self._hold_off(calls, asking)
        if self._bundles.get(key) is calls:
            del self._bundles[key]
        await self._make(calls, asking)

    async def _make(self, calls: Sequence[_Call], asking: Asking | None) -> None:
        """Make one call for all that are still wanted, and tell what became of each.

        Asked last, after every wait: what was wanted then may not be wanted now.
        """
        made: list[tuple[_Call, Notification, Sending]] = []
        channel: Channel | None = None
        for call in calls:
            found = self._still(call)
            if found is None:
                self._unmade(call)
                continue
            state, held, in_force, _ = found
            reason = unwanted(state, held)
            if reason is not None:
                superseded = facts.NotificationSuperseded(
                    notification=call.notification, reason=reason
                )
                await self._told(call, superseded, call.notification)
                continue
            channel = self._channels.get(asking.account) if asking is not None else None
            made.append((call, held, self._sending(state, held, in_force)))
        if not made:
            return
        if channel is None or asking is None:
            what = made[0][1].channel
            outcome: Outcome = Refused("channel_not_configured", f"no settings for {what!r}")
        else:
            outcome = await channel.send(_one([sending for _, _, sending in made]))
            healthy = not isinstance(outcome, Unwell | Unknown)
            await self._gate.report(asking.account, healthy=healthy)
        for call, held, _ in made:
            await self._tell(call, outcome, held)

    def _unmade(self, call: _Call) -> None:
        # The partition left while the call waited. If it comes back to this process the attempt
        # is still ours, and has to be made then.
        if self._made.get(call.notification) == call.attempt:
            del self._made[call.notification]

    async def _hold_off(self, calls: Sequence[_Call], asking: Asking) -> None:
        for _ in range(MOST_HOLDS):
            wait = await self._gate.hold_off(asking)
            if wait is None or not any(self._still(call) for call in calls):
                return
            await self._clock.sleep(wait)
        log.warning("call.hurried", account=asking.account, calls=len(calls))

    def _asking(self, state: IncidentState, held: Notification, in_force: InForce) -> Asking | None:
        named = in_force.policy.channels.get(held.channel)
        if named is None:
            return None
        rank = _rank(in_force.policy, state, held)
        rate = self._rates.get(named.endpoint) or RATES[named.kind]
        person = None
        if held.target is not None and named.kind in BUNDLED:
            person = f"{held.target.contact}/{named.kind}"
        return Asking(named.endpoint, rate, urgent=_urgent(rank, held), person=person)

    def _sending(self, state: IncidentState, held: Notification, in_force: InForce) -> Sending:
        contact = None
        policy = in_force.policy
        if held.target is not None:
            contact = policy.contacts.get(held.target.contact)
        room, ticket = names_of(state, policy) if held.kind in NAMED else ("", "")
        late_by = self._clock.now() - _owed_at(held)
        return Sending(
            notification=held.notification,
            incident=state.incident,
            system=state.system,
            purpose=held.purpose,
            provider_key=held.provider_key,
            attempt=held.attempts,
            severity=state.severity,
            severity_rank=_rank(policy, state, held),
            opened_at=state.opened_at,
            target=held.target,
            address=contact.email if contact is not None else None,
            phone=contact.phone if contact is not None else None,
            handle=contact.slack if contact is not None else None,
            message=sent_late(held.message, late_by),
            late=said_late(late_by),
            to_approve=to_approve(state) if held.purpose is Purpose.APPROVAL else "",
            title=state.title,
            service=state.service,
            components=state.components,
            status=str(state.status),
            by=_by(state, policy),
            link=self._link_to(state.incident),
            room=room,
            invited=_paged(state, policy),
            ticket=self._redact(ticket),
            labels=policy.naming.ticket_labels,
            earlier=_earlier(state, held),
            answers=self._answers(state.incident, held),
        )

    async def _tell(self, call: _Call, outcome: Outcome, held: Notification) -> None:
        """Tell what became of a call, whoever owns the partition by now.

        If another does, it has declared the attempt in doubt, and the fold takes a yes and ignores
        the rest. If it is on its way back to this process, nobody else ever tells.

        Args:
            held: The notification as it was when the call was made.
        """
        now = self._clock.now()
        fact: IncidentFact
        match outcome:
            case Delivered():
                fact = self._delivered(call, outcome, held)
            case Refused(reason, detail):
                fact = facts.NotificationFailed(
                    notification=call.notification,
                    attempt=call.attempt,
                    reason=reason,
                    detail=detail,
                )
            case Unwell(reason, detail, _):
                fact = facts.NotificationFailed(
                    notification=call.notification,
                    attempt=call.attempt,
                    reason=reason,
                    detail=detail,
                    retry_at=retry_at(outcome, held, now),
                )
            case Unknown(reason):
                fact = facts.NotificationInDoubt(
                    notification=call.notification,
                    attempt=call.attempt,
                    reason=reason,
                    retry_at=retry_at(outcome, held, now),
                )
        await self._told(call, fact, *_parts(call))

    def _delivered(
        self, call: _Call, outcome: Delivered, held: Notification
    ) -> facts.NotificationDelivered:
        late_by = None
        if held.purpose is Purpose.PAGE:
            waited = self._clock.now() - _owed_at(held)
            late_by = waited if waited.total_seconds() > _LATE else None
        return facts.NotificationDelivered(
            notification=call.notification,
            attempt=call.attempt,
            provider_ref=outcome.ref[:200],
            late_by=late_by,
        )

    async def _told(self, call: _Call, fact: IncidentFact, *parts: str) -> None:
        """Have the log told of a call; waits only for room, not for the log."""
        found = self._casebook.find(call.incident)
        in_force = self._policies.get(system_of(call.incident))
        basis = Basis(
            incidents=found[0].end if found is not None else None,
            policy=in_force.hash if in_force is not None else None,
        )
        event = event_of(call.incident, fact, self._clock.now(), basis, *parts)
        await self._room.acquire()
        if self._group is None:
            raise RuntimeError("calls are made while it runs, and only then")
        self._untold.append(event)
        if not self._telling:
            self._telling = True
            self._group.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        """Write what became of calls, all that came together at once, until none is left."""
        while self._untold:
            if self.waiting():
                await self._clock.sleep(GATHER)
            events, self._untold = self._untold, []
            await insist(self._publisher, self._clock, [outgoing(event) for event in events])
            for _ in events:
                self._room.release()
        self._telling = False


def _parts(call: _Call) -> tuple[str, str]:
    return call.notification, str(call.attempt)


def _owed_at(held: Notification) -> datetime:
    return held.due_at or held.requested_at


def _rank(policy: Policy, state: IncidentState, held: Notification) -> int:
    """Place of the severity a message is of; that nobody could be reached is of the worst."""
    return 0 if is_last_resort(state, held) else severity_rank(policy, state.severity)


def _urgent(rank: int, held: Notification) -> bool:
    return rank == 0 and held.purpose is Purpose.PAGE


def _one(sendings: Sequence[Sending]) -> Sending:
    """A message that stands for all of these; the worst, if it is alone."""
    worst = min(sendings, key=lambda sending: sending.severity_rank)
    if len(sendings) == 1:
        return worst
    parts = [
        Part(one.severity_rank, one.incident, one.message.subject, one.link, one.late)
        for one in sendings
    ]
    return replace(
        worst,
        message=bundle(parts),
        # One would answer for the worst alone.
        answers=(),
        attempt=max(sending.attempt for sending in sendings),
        earlier=(),
        bundled=tuple(sending.notification for sending in sendings),
    )


def _by(state: IncidentState, policy: Policy) -> str:
    person = state.resolved_by if state.resolved_at is not None else state.acknowledged_by
    if person is None:
        return ""
    contact = policy.contacts.get(person.name)
    return contact.name if contact is not None else person.name


def _paged(state: IncidentState, policy: Policy) -> tuple[str, ...]:
    """Names in chat of whom the levels reached so far told."""
    told = (target.contact for level in state.levels for target in level.targets)
    people = (policy.contacts[name] for name in dict.fromkeys(told) if name in policy.contacts)
    return tuple(person.slack for person in people if person.slack)


def _earlier(state: IncidentState, held: Notification) -> tuple[Earlier, ...]:
    """What the same channel delivered of the incident before, in the order of their requests."""
    return tuple(
        Earlier(one.purpose, one.provider_ref, one.message)
        for one in state.notifications.values()
        if one.channel == held.channel and one.status is NotificationStatus.DELIVERED
    )
