"""The kernel finds planted bugs, in a pipeline small enough to see through.

Numbers come in on `numbers`; a worker writes each once to `squares`, and a ledger adds them up.
Whoever reads `squares` may see a number twice and must not count it twice.
"""
# ruff: noqa: TID251 - what sleeps here is virtual time

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tocsin_runtime.consuming import Budgets
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.records import Outgoing, Record
from tocsin_simulation.clock import SimulatedClock
from tocsin_simulation.faults import Rates, SeededFaults
from tocsin_simulation.loop import Actor, running_loop, simulate
from tocsin_simulation.memory_engine import MemoryEngine
from tocsin_simulation.memory_groups import MemoryGroup
from tocsin_simulation.memory_log import MemoryLog

NUMBERS = 30
SEEDS = range(40)
ROUGH = Rates(crash=0.03, pause=0.02, refused=0.05, unknown=0.05, rewind=0.2)


class Worker:
    """Squares what it reads. The planted bug is in `acknowledge_first`."""

    def __init__(self, log: MemoryLog, *, acknowledge_first: bool) -> None:
        self._log = log
        self._acknowledge_first = acknowledge_first
        self._sending: list[asyncio.Task[object]] = []

    async def assigned(self, partitions: frozenset[int]) -> None:
        pass

    async def revoked(self, partitions: frozenset[int]) -> None:
        pass

    async def handle(self, batch: Sequence[Record]) -> None:
        squares = [Outgoing("squares", record.key, record.value) for record in batch]
        if self._acknowledge_first:
            # As Faust does it: return, commit, and let the producer finish when it can.
            self._sending.append(asyncio.create_task(self._send_quietly(squares)))
            return
        await self._log.publish(squares)

    async def _send_quietly(self, squares: Sequence[Outgoing]) -> None:
        try:
            await self._log.publish(squares)
        except Transient:
            return


def _written(seed: int, *, acknowledge_first: bool = False) -> tuple[list[bytes], str]:
    """What stands in `squares` after a bad day, and the digest of that day."""

    async def main() -> tuple[list[bytes], str]:
        loop = running_loop()
        faults = SeededFaults(seed, ROUGH)
        clock = SimulatedClock(loop)
        log = MemoryLog(clock, {"numbers": 4, "squares": 1}, faults)
        faults.install(loop)
        group = MemoryGroup(partitions=4)

        async def dead(record: Record, poison: Poison) -> None:
            raise AssertionError(f"{record} was refused: {poison}")

        def process(name: str) -> Actor:
            worker = Worker(log, acknowledge_first=acknowledge_first)
            engine = MemoryEngine(
                log, group, ("numbers",), worker, name=name, dead_letter=dead, clock=clock
            )
            return loop.spawn(name, engine.run())

        async def supervise(name: str) -> None:
            for life in range(1000):
                actor = process(f"{name}#{life}")
                while actor.alive:  # noqa: ASYNC110 - a kill tells nobody
                    await asyncio.sleep(1)

        supervisors = [asyncio.create_task(supervise(name)) for name in ("one", "two")]
        for number in range(NUMBERS):
            log.append(Outgoing("numbers", str(number).encode(), str(number**2).encode()))
            await asyncio.sleep(faults.between(0, 2))
        await asyncio.sleep(60)
        faults.active = False
        await asyncio.sleep(300)
        for supervisor in supervisors:
            supervisor.cancel()
        return [record.value or b"" for record in log.records("squares")], loop.digest()

    return simulate(main(), seed=seed)


WANTED = sorted(str(number**2).encode() for number in range(NUMBERS))


@pytest.mark.parametrize("seed", SEEDS)
def test_at_least_once_holds_on_every_seed(seed: int) -> None:
    written, _ = _written(seed)
    assert sorted(set(written)) == WANTED


def test_a_bad_day_is_the_same_every_time() -> None:
    assert _written(11) == _written(11)


def test_a_commit_before_the_acknowledgement_is_found() -> None:
    assert any(sorted(set(_written(seed, acknowledge_first=True)[0])) != WANTED for seed in SEEDS)


def test_a_reader_that_does_not_tell_repeats_apart_is_found() -> None:
    assert any(sorted(_written(seed)[0]) != WANTED for seed in SEEDS)


def test_a_zombie_still_writes_after_the_group_has_moved_on_but_commits_no_more() -> None:
    async def main() -> tuple[list[bytes | None], dict[tuple[str, int], int], list[str]]:
        loop = running_loop()
        clock = SimulatedClock(loop)
        log = MemoryLog(clock, {"numbers": 1, "squares": 1})
        group = MemoryGroup(partitions=1, session=timedelta(seconds=10))
        events: list[str] = []

        class Slow(Worker):
            def __init__(self, name: str) -> None:
                super().__init__(log, acknowledge_first=False)
                self._name = name

            async def handle(self, batch: Sequence[Record]) -> None:
                await asyncio.sleep(2)
                await super().handle(batch)
                events.append(f"{self._name} wrote at {loop.time():g}")

            async def revoked(self, partitions: frozenset[int]) -> None:
                events.append(f"{self._name} lost {sorted(partitions)}")

        async def dead(record: Record, poison: Poison) -> None:
            raise AssertionError(f"{record} was refused: {poison}")

        def process(name: str) -> Actor:
            engine = MemoryEngine(
                log,
                group,
                ("numbers",),
                Slow(name),
                name=name,
                dead_letter=dead,
                clock=clock,
                budgets=Budgets(handler=timedelta(minutes=5)),
            )
            return loop.spawn(name, engine.run())

        first = process("first")
        await asyncio.sleep(1)
        log.append(Outgoing("numbers", b"k", b"1"))
        await asyncio.sleep(1)
        loop.pause(first, 60)
        process("second")
        await asyncio.sleep(200)
        return [record.value for record in log.records("squares")], group.committed, events

    written, committed, events = simulate(main())
    assert written == [b"1", b"1"]
    assert committed == {("numbers", 0): 1}
    assert events[0].startswith("second wrote")
    assert events[1] == "first wrote at 62"
    assert events[2] == "first lost [0]"
