"""Use cases of the notifier: attempt in the log, then in the world, then tell the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from notifier.domain.duty import IN_DOUBT, event_of, owed
from notifier.domain.outcomes import (
    Delivered,
    InDoubt,
    Outcome,
    Refused,
    Unknown,
    Unwell,
    retry_at,
)
from notifier.domain.wanted import unwanted
from notifier.ports import Channel, Gate, Sending
from tocsin_casebook import Casebook, InForce, Policies, Reconciler
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Basis
from tocsin_contracts.ids import system_of
from tocsin_contracts.incidents import IncidentFact, Purpose
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_policy import severity_rank
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Record

log = structlog.get_logger()

WORKERS = 4
"""Calls under way at once to one channel.

Each channel has workers of its own, so that a provider that is slow, or wants to be left alone,
holds up no other.
"""

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


class Notifier:
    """Turns levels, answers and updates into messages. A `Handler` of `incidents`.

    A call is made only once the log has brought its attempt back and the fold has applied it: an
    acknowledgement that came first in the log stops the page, and of two processes that attempt
    the same message exactly one calls.

    Args:
        channels: By the endpoint a policy's channel names.
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
    ) -> None:
        self._casebook = casebook
        self._policies = policies
        self._publisher = publisher
        self._clock = clock
        self._channels = channels
        self._gate = gate
        self._instance = instance
        self._made: dict[str, int] = {}
        self._queues: dict[str, asyncio.PriorityQueue[_Call]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._number = 0
        self.reconciler = Reconciler(
            casebook=casebook,
            policies=policies,
            publisher=publisher,
            clock=clock,
            duty=partial(owed, instance=instance),
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
            for queue in self._queues.values():
                self._staff(queue)
            group.create_task(self.reconciler.run())

    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return sum(queue.qsize() for queue in self._queues.values())

    def _queue(self, channel: str) -> asyncio.PriorityQueue[_Call]:
        """The channel's queue, worst severity first; bounded by what the log says is attempted."""
        queue = self._queues.get(channel)
        if queue is None:
            queue = self._queues[channel] = asyncio.PriorityQueue()
            self._staff(queue)
        return queue

    def _staff(self, queue: asyncio.PriorityQueue[_Call]) -> None:
        if self._group is not None:
            for _ in range(WORKERS):
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
            call = _Call(rank, self._number, state.incident, held.notification, held.attempts)
            self._queue(held.channel).put_nowait(call)

    def _ours(self, held: Notification) -> bool:
        attempted = held.status is NotificationStatus.ATTEMPTED
        return attempted and held.attempted_by == self._instance

    async def _work(self, queue: asyncio.PriorityQueue[_Call]) -> None:
        while True:
            await self._call(await queue.get())

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
        if not await self._gate.claim(call.notification, call.attempt):
            await self._tell(call, Unknown("claimed_elsewhere"), found[1])
            return
        await self._hold_off(call, found[1].channel)
        # Asked last, after every wait: what was wanted then may not be wanted now.
        found = self._still(call)
        if found is None:
            self._unmade(call)
            return
        state, held, in_force, _ = found
        reason = unwanted(state, held)
        if reason is not None:
            await self._write(
                call,
                facts.NotificationSuperseded(notification=held.notification, reason=reason),
                held.notification,
            )
            return
        named = in_force.policy.channels.get(held.channel)
        channel = self._channels.get(named.endpoint) if named is not None else None
        if channel is None:
            outcome: Outcome = Refused(
                "channel_not_configured", f"no settings for channel {held.channel!r}"
            )
        else:
            outcome = await channel.send(self._sending(state, held, in_force))
            healthy = not isinstance(outcome, Unwell | Unknown)
            await self._gate.report(held.channel, healthy=healthy)
        await self._tell(call, outcome, held)

    def _unmade(self, call: _Call) -> None:
        # The partition left while the call waited. If it comes back to this process the attempt
        # is still ours, and has to be made then.
        if self._made.get(call.notification) == call.attempt:
            del self._made[call.notification]

    async def _hold_off(self, call: _Call, channel: str) -> None:
        for _ in range(MOST_HOLDS):
            wait = await self._gate.hold_off(channel)
            if wait is None or self._still(call) is None:
                return
            await self._clock.sleep(wait)
        log.warning("call.hurried", channel=channel, notification=call.notification)

    def _sending(self, state: IncidentState, held: Notification, in_force: InForce) -> Sending:
        contact = None
        if held.target is not None:
            contact = in_force.policy.contacts.get(held.target.contact)
        return Sending(
            notification=held.notification,
            incident=state.incident,
            system=state.system,
            purpose=held.purpose,
            provider_key=held.provider_key,
            attempt=held.attempts,
            severity=state.severity,
            severity_rank=severity_rank(in_force.policy, state.severity),
            opened_at=state.opened_at,
            target=held.target,
            address=contact.email if contact is not None else None,
            message=held.message,
        )

    async def _tell(self, call: _Call, outcome: Outcome, held: Notification) -> None:
        """Tell what became of a call, whoever owns the partition by now.

        If another does, it has declared the attempt in doubt, and the fold takes a yes and ignores
        the rest. If it is on its way back to this process, nobody else ever tells.

        Args:
            held: The notification as it was when the call was made.
        """
        now = self._clock.now()
        policy = IN_DOUBT.get(held.kind, InDoubt.AGAIN_IF_PAGE)
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
                    retry_at=retry_at(outcome, held, policy, now),
                )
            case Unknown(reason):
                fact = facts.NotificationInDoubt(
                    notification=call.notification,
                    attempt=call.attempt,
                    reason=reason,
                    retry_at=retry_at(outcome, held, policy, now),
                )
        await self._write(call, fact, *_parts(call))

    def _delivered(
        self, call: _Call, outcome: Delivered, held: Notification
    ) -> facts.NotificationDelivered:
        late_by = None
        if held.purpose is Purpose.PAGE:
            waited = self._clock.now() - held.requested_at
            late_by = waited if waited.total_seconds() > _LATE else None
        return facts.NotificationDelivered(
            notification=call.notification,
            attempt=call.attempt,
            provider_ref=outcome.ref[:200],
            late_by=late_by,
        )

    async def _write(self, call: _Call, fact: IncidentFact, *parts: str) -> None:
        found = self._casebook.find(call.incident)
        in_force = self._policies.get(system_of(call.incident))
        basis = Basis(
            incidents=found[0].end if found is not None else None,
            policy=in_force.hash if in_force is not None else None,
        )
        event = event_of(call.incident, fact, self._clock.now(), basis, *parts)
        await insist(self._publisher, self._clock, [outgoing(event)])


def _parts(call: _Call) -> tuple[str, str]:
    return call.notification, str(call.attempt)
