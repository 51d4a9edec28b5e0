"""Thousands that come due in one instant do not wait for one another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from tocsin_casebook import INCIDENTS, Casebook, InForce, Owed, Policies, Reconciler
from tocsin_casebook.reconciling import AT_ONCE
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import NoteAdded
from tocsin_incident import IncidentState
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing, Position
from tocsin_simulation.clock import EPOCH, ManualClock
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_testkit.builders import a_person, an_event, an_opening
from tocsin_testkit.policies import a_policy

COUNT = 2 * AT_ONCE + 10
DUE_AT = EPOCH + timedelta(minutes=5)


def a_note_when_due(state: IncidentState, _: InForce, now: datetime, __: int) -> Owed:
    if state.notes:
        return Owed()
    if now < DUE_AT:
        return Owed(next_at=DUE_AT)
    note = NoteAdded(by=a_person(), text=f"five minutes of {state.incident}")
    return Owed((an_event(note, incident=state.incident),))


class Watched:
    """A log that says what had been decided when each write came. A `Publisher`."""

    def __init__(self, log: MemoryLog) -> None:
        self.writes: list[int] = []
        self._log = log

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        self.writes.append(len(records))
        return await self._log.publish(records)


async def test_the_first_are_written_before_the_last_are_decided_and_none_is_forgotten() -> None:
    clock = ManualClock()
    log = MemoryLog(clock, registered_topics(1))
    for number in range(COUNT):
        incident = incident_id("shop", str(number))
        opening = an_opening(incident=incident)
        log.append(outgoing(an_event(opening, incident=incident)))
    policies = Policies()
    policies.publish(InForce(a_policy("shop"), "a hash"))
    watched = Watched(log)
    reconciler = Reconciler(
        casebook=Casebook(log),
        policies=policies,
        publisher=watched,
        clock=clock,
        duty=a_note_when_due,
    )
    await reconciler.assigned(frozenset({0}))
    assert watched.writes == []
    clock.advance(timedelta(minutes=5))
    running = asyncio.create_task(reconciler.run())
    async with asyncio.timeout(10):
        while len(log.records(INCIDENTS)) < 2 * COUNT:
            await clock.sleep(timedelta())
    running.cancel()
    await asyncio.wait({running})
    assert watched.writes == [AT_ONCE, AT_ONCE, 10]
