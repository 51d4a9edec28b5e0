"""A record that nobody can read takes nothing away from what came beside it."""

from __future__ import annotations

import pytest

from escalation_timer.handlers import EscalationTimer
from tocsin_casebook import INCIDENTS, SNAPSHOTS, Casebook, Policies
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import incident_id
from tocsin_contracts.state import StateSnapshotted
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Outgoing
from tocsin_simulation.clock import ManualClock
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_testkit.builders import an_event, an_opening


def _opening(incident: str) -> Event[Fact]:
    return an_event(an_opening(incident=incident), incident=incident)


async def test_what_was_folded_before_it_is_in_the_next_checkpoint_of_every_partition() -> None:
    clock = ManualClock()
    log = MemoryLog(clock, registered_topics(2))
    incidents = [incident_id(system, "1") for system in ("shop", "mail", "search", "billing")]
    timer = EscalationTimer(casebook=Casebook(log), policies=Policies(), publisher=log, clock=clock)
    both = frozenset({0, 1})
    await timer.assigned(both)
    for incident in incidents:
        log.append(outgoing(_opening(incident)))
    batch = log.records(INCIDENTS)
    assert {record.position.partition for record in batch} == both
    log.append(Outgoing(INCIDENTS, b"shop", b"not ours"))
    [bad] = [record for record in log.records(INCIDENTS) if record.value == b"not ours"]
    with pytest.raises(Poison):
        await timer.handle([*batch, bad])
    for record in batch:
        await timer.handle([record])
    for partition in both:
        await timer.checkpoint(partition)
    kept = {
        event.fact.state["incident"]
        for event in map(decode, log.records(SNAPSHOTS))
        if isinstance(event.fact, StateSnapshotted)
    }
    assert kept == set(incidents)
