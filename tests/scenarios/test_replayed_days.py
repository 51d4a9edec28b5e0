"""What replay says is what the services held: after days of faults, and at every moment of them."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tocsin_incident import IncidentState, state_bytes
from tocsin_replay import (
    Recorded,
    chain,
    first_difference,
    moment_after,
    read_all,
    read_incident,
    read_policies,
    state_of,
    states_at,
    states_of,
    system_hash,
)
from tocsin_simulation.faults import SeededFaults
from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System
from tocsin_testkit import seeded_days

SEEDS = range(1, 201)
CHUNK = 20


@dataclass(frozen=True)
class Seen:
    """What a process had folded at some moment, and how far."""

    who: str
    partition: int
    end: int
    states: dict[str, IncidentState]


async def _live(seed: int) -> tuple[MemoryLog, list[Seen]]:
    system = System(
        policies=[seeded_days.day_policy(name) for name in seeded_days.SYSTEMS],
        faults=SeededFaults(seed, seeded_days.BAD),
        instances=2,
    )
    seen: list[Seen] = []
    await system.start()

    async def look() -> None:
        while True:
            seen.extend(_seen(system))
            await system.sleep(timedelta(seconds=20))

    looking = asyncio.create_task(look())
    await seeded_days._things_happen(system, random.Random(f"day {seed}"))  # noqa: S311
    await system.settle()
    looking.cancel()
    seen.extend(_seen(system))
    return system.log, seen


def _seen(system: System) -> list[Seen]:
    return [
        Seen(instance.name, partition, book.end, dict(book.settled()))
        for instance in system.instances.values()
        if instance.casebook is not None
        for partition in sorted(instance.casebook.partitions)
        for book in [instance.casebook.book(partition)]
    ]


def _by_partition(recorded: tuple[Recorded, ...]) -> dict[int, list[Recorded]]:
    found: dict[int, list[Recorded]] = {}
    for one in recorded:
        found.setdefault(one.position.partition, []).append(one)
    return found


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, CHUNK))
def test_replay_gives_the_states_that_the_services_held_at_every_moment(first: int) -> None:
    looked = 0
    incidents = set()
    for seed in range(first, first + CHUNK):
        log, seen = simulate(_live(seed), seed=seed)
        by_partition = _by_partition(asyncio.run(read_all(log)))
        replayed: dict[tuple[int, int], dict[str, bytes]] = {}
        for moment in seen:
            place = (moment.partition, moment.end)
            if place not in replayed:
                facts = by_partition.get(moment.partition, [])
                prefix = states_of(one for one in facts if one.position.offset < moment.end)
                replayed[place] = {name: state_bytes(state) for name, state in prefix.items()}
            held = {name: state_bytes(state) for name, state in moment.states.items()}
            assert held == replayed[place], f"seed {seed}, {moment.who} at {place}"
            looked += len(held)
            incidents |= {(seed, name) for name in held}
    assert len(incidents) >= 4 * CHUNK
    assert looked > 25 * len(incidents)


def test_any_prefix_of_an_incident_replays_to_a_link_of_its_chain() -> None:
    log, _ = simulate(_live(3), seed=3)
    versions = asyncio.run(read_policies(log))
    for incident in states_of(asyncio.run(read_all(log))):
        recorded = asyncio.run(read_incident(log, incident))
        links = chain(recorded)
        for count in range(1, len(recorded) + 1, 7):
            offset = recorded[count - 1].position.offset
            moment = moment_after(recorded, versions, incident, offset)
            assert moment.chain == links[count - 1].chain
            assert first_difference(links, chain(recorded[:count])) is None
            state = state_of(recorded[:count])
            assert (state is None) == (moment.known is None)


def test_a_whole_system_replays_to_what_it_was_then() -> None:
    log, _ = simulate(_live(5), seed=5)
    recorded = asyncio.run(read_all(log))
    by_partition = _by_partition(recorded)
    for one in recorded[:: len(recorded) // 5]:
        at = one.recorded_at
        expected: dict[str, IncidentState] = {}
        for facts in by_partition.values():
            ends = [fact.position.offset for fact in facts if fact.recorded_at <= at]
            prefix = (fact for fact in facts if fact.position.offset <= max(ends, default=-1))
            expected |= states_of(prefix)
        assert system_hash(asyncio.run(states_at(log, at))) == system_hash(expected)
