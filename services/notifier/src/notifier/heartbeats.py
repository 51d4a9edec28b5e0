"""Synthetic pages: attempted in the log, made, told to the log; an alert where they do not arrive.

Every instance reads all beats and attempts what is due; whose attempt came first in the log calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from notifier.domain.heartbeats import (
    Pulse,
    beat_id,
    beating,
    closing_id,
    event_of,
    fold,
    over,
    owed,
    told,
    webhook,
)
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.domain.pacing import RATES, Asking, Rate
from notifier.ports import Channel, Earlier, Gate, Sending
from tocsin_casebook import InForce, Policies
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.heartbeats import (
    HeartbeatAttempted,
    HeartbeatFact,
    HeartbeatMissed,
    HeartbeatReturned,
)
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import Message, Purpose, Target
from tocsin_policy import Policy
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Outgoing, Record
from tocsin_runtime.telemetry import counter

log = structlog.get_logger()

HEARTBEATS = "heartbeats"

LONGEST_SLEEP = timedelta(seconds=1)
"""Pause of the loop at most, so that a clock that jumps or a policy that changes is noticed."""

SHORTEST_SLEEP = timedelta(milliseconds=10)
"""At least, while the log has not brought back yet what was just written."""

MOST_HOLDS = 10
"""Times a beat waits for its provider's rate or circuit before it counts as not taken."""

_ALERTS = "alerts.raw"
_SOURCE = "alertmanager"
_KEPT = frozenset({"pagerduty", "slack-app"})
"""Kinds where a page leaves something open; the beat closes it again."""

_BEATS = counter("tocsin_heartbeats_total", "Synthetic pages by what became of them")

Key = tuple[str, str]


class Heart:
    """Keeps the beats of every channel that has a heartbeat.

    Args:
        channels: By the endpoint a policy's channel names.
        rates: Of endpoints that have another than their kind's.
        instance: Names this process; different after every start.
    """

    def __init__(
        self,
        *,
        policies: Policies,
        publisher: Publisher,
        clock: Clock,
        channels: Mapping[str, Channel],
        gate: Gate,
        instance: str,
        rates: Mapping[str, Rate] | None = None,
    ) -> None:
        self._policies = policies
        self._publisher = publisher
        self._clock = clock
        self._channels = channels
        self._gate = gate
        self._instance = instance
        self._rates = rates or {}
        self._pulses: dict[Key, Pulse] = {}
        self._written: dict[Key, HeartbeatFact] = {}
        self._calls: list[tuple[str, HeartbeatAttempted]] = []

    def apply(self, record: Record) -> None:
        """Fold one record of `heartbeats`; an attempt of ours that came first is then made."""
        try:
            event = decode(record)
        except Poison as error:
            log.warning("heartbeat.refused", position=record.position, reason=error.reason)
            return
        if not isinstance(event.fact, HeartbeatFact):
            return
        key = (event.subject, event.fact.channel)
        pulse, ignored = fold(self._pulses.get(key, Pulse()), event)
        if ignored is not None:
            return
        self._pulses[key] = pulse
        ours = isinstance(event.fact, HeartbeatAttempted) and event.fact.instance == self._instance
        if ours and isinstance(event.fact, HeartbeatAttempted):
            self._calls.append((event.subject, event.fact))

    def pulses(self) -> Mapping[Key, Pulse]:
        """What the log says of each channel, by system and channel."""
        return self._pulses

    def deadlines(self) -> Iterable[tuple[float, dict[str, str]]]:
        """Unix time by which each channel's next beat must have arrived, with its labels."""
        for policy in self._policies.all():
            for channel, heartbeat in beating(policy).items():
                pulse = self._pulses.get((policy.system, channel), Pulse())
                deadline = pulse.deadline(heartbeat)
                if deadline is not None:
                    yield deadline.timestamp(), {"system": policy.system, "channel": channel}

    async def run(self) -> None:
        """Attempt and make beats, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(group))

    async def _beat(self, group: asyncio.TaskGroup) -> None:
        while True:
            calls, self._calls = self._calls, []
            for system, attempted in calls:
                group.create_task(self._call(system, attempted))
            next_at = await self.look()
            pause = LONGEST_SLEEP
            if next_at is not None:
                pause = min(pause, next_at - self._clock.now())
            await self._clock.sleep(max(pause, SHORTEST_SLEEP))

    async def look(self) -> datetime | None:
        """Write what is owed now; when something is owed next."""
        soonest: datetime | None = None
        for policy in self._policies.all():
            in_force = self._policies[policy.system]
            for channel, heartbeat in beating(policy).items():
                key = (policy.system, channel)
                pulse = self._pulses.get(key, Pulse())
                owing = owed(pulse, policy, channel, heartbeat, self._clock.now(), self._instance)
                await self._write(in_force, key, pulse, owing.fact)
                soonest = owing.next_at if soonest is None else min(soonest, owing.next_at)
            await self._let_go(in_force)
        return soonest

    async def _let_go(self, in_force: InForce) -> None:
        """End what was raised for a channel that the policy gives no heartbeat any more."""
        system, kept = in_force.policy.system, beating(in_force.policy)
        for (of, channel), pulse in list(self._pulses.items()):
            if of == system and channel not in kept and pulse.missed_at is not None:
                fact = over(pulse, channel, pulse.missed_at)
                await self._write(in_force, (of, channel), pulse, fact)

    async def _write(
        self, in_force: InForce, key: Key, pulse: Pulse, fact: HeartbeatFact | None
    ) -> None:
        if fact is None or self._written.get(key) == fact:
            # What was written and has not come back yet is not owed twice.
            return
        system = key[0]
        if isinstance(fact, HeartbeatMissed | HeartbeatReturned):
            # The alert first: it is the same one whoever repeats it. The other way round a crash
            # between the two would leave a silence that the log knows of and nobody hears of.
            await insist(self._publisher, self._clock, [self._alert(webhook(fact, pulse))])
            _BEATS.add(1, {"outcome": "missed" if isinstance(fact, HeartbeatMissed) else "back"})
            log.warning(
                "heartbeat.missed" if isinstance(fact, HeartbeatMissed) else "heartbeat.returned",
                system=system,
                channel=fact.channel,
                reason=getattr(fact, "reason", ""),
            )
        self._written[key] = fact
        await self._tell(system, fact, in_force.hash)

    def _alert(self, body: bytes) -> Outgoing:
        headers = (
            ("source", _SOURCE.encode()),
            ("received_at", rfc3339(self._clock.now()).encode()),
            ("content-type", b"application/json"),
        )
        return Outgoing(_ALERTS, _SOURCE.encode(), body, headers)

    async def _tell(self, system: str, fact: HeartbeatFact, policy: str) -> None:
        event = event_of(system, fact, self._clock.now(), policy)
        await insist(self._publisher, self._clock, [outgoing(event)])

    async def _call(self, system: str, attempted: HeartbeatAttempted) -> None:
        in_force = self._policies.get(system)
        named = None if in_force is None else in_force.policy.channels.get(attempted.channel)
        if in_force is None or named is None:
            return
        outcome = await self._made(in_force.policy, attempted)
        _BEATS.add(1, {"outcome": "delivered" if isinstance(outcome, Delivered) else "failed"})
        await self._tell(system, told(attempted, outcome), in_force.hash)

    async def _made(self, policy: Policy, attempted: HeartbeatAttempted) -> Outcome:
        named = policy.channels[attempted.channel]
        channel = self._channels.get(named.endpoint)
        if channel is None:
            return Refused("channel_not_configured", f"no settings for {attempted.channel!r}")
        asking = Asking(named.endpoint, self._rates.get(named.endpoint) or RATES[named.kind])
        for _ in range(MOST_HOLDS):
            wait = await self._gate.hold_off(asking)
            if wait is None:
                break
            await self._clock.sleep(wait)
        else:
            return Unwell("held_off", "its rate or circuit left no room")
        sending = _sending(policy, attempted, self._clock.now())
        outcome = await channel.send(sending)
        healthy = not isinstance(outcome, Unwell | Unknown)
        await self._gate.report(asking.account, healthy=healthy)
        if isinstance(outcome, Delivered) and named.kind in _KEPT:
            closed = await channel.send(_over(sending, outcome))
            if not isinstance(closed, Delivered):
                log.warning("heartbeat.left_open", system=policy.system, channel=attempted.channel)
        return outcome


def _sending(policy: Policy, attempted: HeartbeatAttempted, now: datetime) -> Sending:
    """The synthetic page: of the policy's mildest severity, under one key for all beats."""
    heartbeat = policy.channels[attempted.channel].heartbeat
    contact = policy.contacts.get(heartbeat.contact or "") if heartbeat is not None else None
    target = None
    if contact is not None and heartbeat is not None and heartbeat.contact is not None:
        target = Target(
            contact=heartbeat.contact,
            name=contact.name,
            role=contact.role,
            via="heartbeat",
            channels=(attempted.channel,),
        )
    rank = len(policy.severities) - 1
    key = f"heartbeat:{policy.system}:{attempted.channel}"
    due = rfc3339(attempted.due_at)
    return Sending(
        notification=beat_id(policy.system, attempted.channel, attempted.due_at),
        incident=incident_id(policy.system, "heartbeat", attempted.channel),
        system=policy.system,
        purpose=Purpose.PAGE,
        provider_key=key,
        attempt=attempted.attempt,
        severity=policy.severities[rank].name,
        severity_rank=rank,
        opened_at=attempted.due_at,
        target=target,
        address=contact.email if contact is not None else None,
        phone=contact.phone if contact is not None else None,
        handle=contact.slack if contact is not None else None,
        title="[HEARTBEAT] Tocsin",
        message=Message(
            subject=f"[HEARTBEAT] {policy.system} by {attempted.channel}",
            body=f"Nothing is wrong, and no answer is needed. This page of {due} was sent at "
            f"{rfc3339(now)} to see that pages arrive.",
        ),
    )


def _over(sending: Sending, delivered: Delivered) -> Sending:
    return replace(
        sending,
        notification=closing_id(sending.notification),
        purpose=Purpose.RESOLVED,
        status="resolved",
        message=Message(subject="[HEARTBEAT] over", body="The heartbeat arrived."),
        earlier=(Earlier(sending.purpose, delivered.ref, sending.message),),
    )
