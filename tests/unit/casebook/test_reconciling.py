"""What is written, and what is not any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tocsin_casebook import INCIDENTS, Casebook, Owed, Policies, Reconciler
from tocsin_runtime.records import Outgoing, Position
from tocsin_simulation.clock import ManualClock
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_testkit.builders import an_event, an_opening


class Door:
    """A log that answers only while it is open. A `Publisher`."""

    def __init__(self, log: MemoryLog) -> None:
        self.asked, self.open = asyncio.Event(), asyncio.Event()
        self._log = log

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        self.asked.set()
        await self.open.wait()
        return await self._log.publish(records)


@pytest.mark.parametrize(("revoked", "written"), [(False, 1), (True, 0)])
async def test_facts_of_an_interrupted_write_go_first_unless_they_are_others_to_decide_by_now(
    *, revoked: bool, written: int
) -> None:
    log = MemoryLog(ManualClock(), registered_topics(1))
    door = Door(log)
    reconciler = Reconciler(
        casebook=Casebook(log),
        policies=Policies(),
        publisher=door,
        clock=ManualClock(),
        duty=lambda *_: Owed(),
    )
    await reconciler.assigned(frozenset({0}))
    writing = asyncio.create_task(reconciler.write([an_event(an_opening())]))
    await door.asked.wait()
    writing.cancel()
    await asyncio.wait({writing})
    door.open.set()
    if revoked:
        await reconciler.revoked(frozenset({0}))
        await reconciler.assigned(frozenset({0}))
    async with asyncio.timeout(5):
        await reconciler.write(())
    assert len(log.records(INCIDENTS)) == written
