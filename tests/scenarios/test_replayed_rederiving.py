"""Today's code writes again what was recorded, on the worst of days; a change shows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.dispositions import Disposed, Outcome
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.policies import PolicyPublished
from tocsin_replay import HeldLog, Rederived, gather_all, rederive
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Record
from tocsin_simulation.faults import SeededFaults
from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System
from tocsin_testkit import seeded_days

SEEDS = range(1, 61)
CHUNK = 20


async def _live(seed: int) -> MemoryLog:
    system = System(
        policies=[seeded_days.day_policy(name) for name in seeded_days.SYSTEMS],
        faults=SeededFaults(seed, seeded_days.BAD),
        instances=2,
    )
    await system.start()
    await seeded_days._things_happen(system, random.Random(f"day {seed}"))  # noqa: S311
    await system.settle()
    return system.log


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, CHUNK))
def test_nothing_differs_after_days_of_crashes_pauses_and_repeats(first: int) -> None:
    for seed in range(first, first + CHUNK):
        found = asyncio.run(rederive(simulate(_live(seed), seed=seed)))
        assert found.differences == (), f"seed {seed}: {found.differences[0]}"
        assert found.checked > 10


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return simulate(_live(2), seed=2)


def _changed(log: MemoryLog, change: Callable[[Event[Fact]], Fact | None]) -> Rederived:
    """What comes of the recording in which `change` wrote other facts, or left some out."""
    gathered = asyncio.run(gather_all(log))
    records: list[Record] = []
    for record in gathered.records:
        try:
            event = decode(record)
        except Poison:
            records.append(record)
            continue
        fact = change(event)
        if fact is not None:
            written = outgoing(replace(event, fact=fact))
            records.append(replace(record, value=written.value))
    return asyncio.run(rederive(HeldLog(gathered.widths, records)))


def test_a_fact_that_the_code_would_write_otherwise_is_named(log: MemoryLog) -> None:
    def later(event: Event[Fact]) -> Fact:
        fact = event.fact
        if isinstance(fact, facts.LevelReached) and fact.level > 1:
            return fact.model_copy(update={"level": fact.level, "skipped": (7,)})
        return fact

    found = _changed(log, later)
    assert found.differences
    first = found.differences[0]
    assert (first.what, first.type) == ("changed", facts.LevelReached.TYPE)
    assert "skipped: recorded (7,), now ()" in first.detail


def test_a_fact_the_code_would_write_and_that_was_not_recorded_is_named(log: MemoryLog) -> None:
    """As if levels and targets due together had been written one by one."""
    found = _changed(
        log,
        lambda event: None if isinstance(event.fact, facts.NotificationAttempted) else event.fact,
    )
    assert {one.what for one in found.differences} >= {"not recorded"}


def test_a_policy_that_says_something_else_shows_in_what_it_decided(log: MemoryLog) -> None:
    def stricter(event: Event[Fact]) -> Fact:
        fact = event.fact
        if not isinstance(fact, PolicyPublished):
            return fact
        document = {**fact.document, "escalation": {}}
        return fact.model_copy(update={"document": document})

    found = _changed(log, stricter)
    assert (facts.LevelReached.TYPE, "not derived") in {
        (one.type, one.what) for one in found.differences
    }


def test_a_disposition_that_would_be_another_is_named(log: MemoryLog) -> None:
    def inhibited(event: Event[Fact]) -> Fact:
        fact = event.fact
        if not isinstance(fact, Disposed):
            return fact
        others = tuple(
            one.model_copy(update={"outcome": Outcome.INHIBITED}) for one in fact.dispositions
        )
        return fact.model_copy(update={"dispositions": others})

    found = _changed(log, inhibited)
    assert found.differences[0].type == Disposed.TYPE


def test_what_people_and_the_world_said_is_taken_as_it_was(log: MemoryLog) -> None:
    def other_words(event: Event[Fact]) -> Fact:
        fact = event.fact
        if isinstance(fact, facts.NotificationDelivered):
            return fact.model_copy(update={"provider_ref": "another"})
        if isinstance(fact, facts.NoteAdded):
            return fact.model_copy(update={"text": "something else"})
        return fact

    assert _changed(log, other_words).differences == ()
