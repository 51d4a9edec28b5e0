"""The log in memory: order, places, fates."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from tocsin_runtime.failures import Transient
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.clock import EPOCH, ManualClock, SimulatedClock
from tocsin_simulation.faults import Fate, NoFaults, Outcome
from tocsin_simulation.loop import running_loop, simulate
from tocsin_simulation.memory_log import MemoryLog


def _note(value: str, key: str = "k") -> Outgoing:
    return Outgoing("notes", key.encode(), value.encode())


def _values(log: MemoryLog) -> list[str]:
    return [(record.value or b"").decode() for record in log.records("notes")]


async def _read(log: MemoryLog, start: int, end: int | None) -> list[Record]:
    return [record async for record in log.read("notes", 0, start, end)]


@given(st.binary(max_size=40))
def test_a_key_stands_where_aiokafka_would_put_it(key: bytes) -> None:
    partitions = list(range(48))
    log = MemoryLog(ManualClock(), {"notes": 48})
    assert log.partition_of("notes", key) == DefaultPartitioner()(key, partitions, partitions)


async def test_a_record_is_stamped_with_the_time_of_its_append() -> None:
    log = MemoryLog(ManualClock(), {"notes": 1})
    assert await log.publish([_note("a"), _note("b")]) == (
        Position("notes", 0, 0),
        Position("notes", 0, 1),
    )
    assert [record.recorded_at for record in log.records("notes")] == [EPOCH, EPOCH]


async def test_a_read_ends_where_it_was_told_to() -> None:
    log = MemoryLog(ManualClock(), {"notes": 1})
    await log.publish([_note(str(n)) for n in range(5)])
    assert await log.bounds("notes", 0) == (0, 5)
    assert [r.position.offset for r in await _read(log, 1, 3)] == [1, 2]


async def test_an_unknown_topic_is_refused_and_nothing_is_written() -> None:
    log = MemoryLog(ManualClock(), {"notes": 1})
    with pytest.raises(LookupError):
        await log.publish([Outgoing("nowhere", b"k", b"v")])
    with pytest.raises(LookupError):
        await log.partitions("nowhere")
    assert _values(log) == []


class _Gaps(NoFaults):
    def gap(self) -> int:
        return 2


async def test_offsets_may_have_gaps_and_reading_passes_over_them() -> None:
    log = MemoryLog(ManualClock(), {"notes": 1}, _Gaps())
    await log.publish([_note("a"), _note("b")])
    assert [r.position.offset for r in await _read(log, 0, log.end("notes", 0))] == [2, 5]


class _Fated(NoFaults):
    def __init__(self, *fates: Fate) -> None:
        self._fates = list(fates)

    def append(self) -> Fate:
        return self._fates.pop(0)


@pytest.mark.parametrize(
    ("outcome", "stands"), [(Outcome.REFUSED, []), (Outcome.UNKNOWN, ["a"]), (Outcome.DONE, ["a"])]
)
async def test_the_fate_of_an_append_decides_what_stands_and_what_is_heard(
    outcome: Outcome, stands: list[str]
) -> None:
    log = MemoryLog(ManualClock(), {"notes": 1}, _Fated(Fate(outcome)))
    if outcome is Outcome.DONE:
        await log.publish([_note("a")])
    else:
        with pytest.raises(Transient):
            await log.publish([_note("a")])
    assert _values(log) == stands


def test_what_a_process_sent_before_it_died_still_arrives() -> None:
    async def main() -> list[str]:
        loop = running_loop()
        faults = _Fated(Fate(there=5, back=5))
        log = MemoryLog(SimulatedClock(loop), {"notes": 1}, faults)
        actor = loop.spawn("sender", log.publish([_note("a")]))
        await asyncio.sleep(1)  # noqa: TID251 - virtual
        loop.kill(actor)
        await asyncio.sleep(10)  # noqa: TID251 - virtual
        return _values(log)

    assert simulate(main()) == ["a"]


def test_what_one_process_sends_keeps_its_order_though_the_first_is_slow() -> None:
    async def main() -> list[str]:
        loop = running_loop()
        faults = _Fated(Fate(there=5), Fate(there=1))
        log = MemoryLog(SimulatedClock(loop), {"notes": 1}, faults)
        await asyncio.gather(log.publish([_note("first")]), log.publish([_note("second")]))
        return _values(log)

    assert simulate(main()) == ["first", "second"]


def test_a_follower_sees_what_is_appended_later() -> None:
    async def main() -> list[bytes | None]:
        loop = running_loop()
        log, seen = MemoryLog(SimulatedClock(loop), {"notes": 1}), []

        async def follow() -> None:
            async for record in log.read("notes", 0, 0, None):
                seen.append(record.value)  # noqa: PERF401 - one at a time

        loop.spawn("follower", follow())
        for value in ("a", "b"):
            await asyncio.sleep(1)  # noqa: TID251 - virtual
            await log.publish([_note(value)])
        await asyncio.sleep(1)  # noqa: TID251 - virtual
        return seen

    assert simulate(main()) == [b"a", b"b"]
