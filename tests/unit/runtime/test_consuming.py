"""What happens to a batch, with fakes in place of Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from tocsin_runtime.clock import SystemClock
from tocsin_runtime.consuming import Batch, Budgets, Consuming, HandlerCrashed
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.records import Position, Record

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def a_record(offset: int, *, partition: int = 0, topic: str = "t") -> Record:
    return Record(Position(topic, partition, offset), b"k", b"%d" % offset, (), NOW)


class Scripted:
    """Handles records, but raises what is laid down for an offset, once for each entry."""

    def __init__(self, **raises: list[Exception]) -> None:
        self._raises = {int(name[1:]): list(errors) for name, errors in raises.items()}
        self.handled: list[int] = []

    async def assigned(self, partitions: frozenset[int]) -> None: ...

    async def revoked(self, partitions: frozenset[int]) -> None: ...

    async def handle(self, batch: Sequence[Record]) -> None:
        for record in batch:
            if errors := self._raises.get(record.position.offset):
                raise errors.pop(0)
        self.handled += [record.position.offset for record in batch]


class DeadPile:
    """Takes what is set aside; raises first what it is told to."""

    def __init__(self, *raises: Exception) -> None:
        self._raises = list(raises)
        self.taken: list[tuple[int, str]] = []

    async def __call__(self, record: Record, error: Poison) -> None:
        if self._raises:
            raise self._raises.pop(0)
        self.taken.append((record.position.offset, error.reason))


def consuming(handler: Scripted, pile: DeadPile) -> Consuming:
    return Consuming(handler, pile, SystemClock(), Budgets())


async def test_a_handled_batch_may_be_committed_up_to_its_last_record_by_partition() -> None:
    batch = Batch([a_record(4), a_record(7, partition=1), a_record(5)])
    assert await consuming(Scripted(), DeadPile()).attempt(batch) is None
    assert batch.take_ends() == {("t", 0): 6, ("t", 1): 8}
    assert batch.take_ends() == {}


async def test_poison_is_isolated_and_only_it_is_set_aside() -> None:
    poison: list[Exception] = [Poison("bad", "x"), Poison("bad", "x")]
    handler, pile = Scripted(o2=poison), DeadPile()
    batch = Batch([a_record(n) for n in range(4)])
    assert await consuming(handler, pile).attempt(batch) is None
    assert (handler.handled, pile.taken) == ([0, 1, 3], [(2, "bad")])
    assert batch.take_ends() == {("t", 0): 4}


async def test_transient_waits_and_offers_the_same_records_in_the_same_order() -> None:
    handler = Scripted(o1=[Transient("unwell")])
    batch = Batch([a_record(n) for n in range(3)])
    loop = consuming(handler, DeadPile())
    assert await loop.attempt(batch) == Budgets().first_back_off
    assert (handler.handled, batch.take_ends()) == ([], {})
    assert batch.starts() == {("t", 0): 0}
    assert await loop.attempt(batch) is None
    assert handler.handled == [0, 1, 2]


async def test_the_back_off_doubles_up_to_its_limit_and_honours_retry_after() -> None:
    batch, budgets = Batch([a_record(0)]), Budgets()
    waits = [batch.back_off(Transient("x"), budgets) for _ in range(9)]
    assert waits[:3] == [timedelta(milliseconds=ms) for ms in (100, 200, 400)]
    assert waits[-1] == budgets.longest_back_off
    fresh = Batch([a_record(0)])
    assert fresh.back_off(Transient("x", timedelta(seconds=3)), budgets) == timedelta(seconds=3)
    assert fresh.back_off(Transient("x", timedelta(days=1)), budgets) == budgets.longest_back_off


async def test_a_record_that_cannot_be_set_aside_yet_is_not_committed() -> None:
    handler = Scripted(o0=[Poison("bad", "x"), Poison("bad", "x")])
    pile = DeadPile(Transient("kafka_away"))
    batch = Batch([a_record(0)])
    loop = consuming(handler, pile)
    assert await loop.attempt(batch) is not None
    assert (batch.take_ends(), pile.taken) == ({}, [])
    assert await loop.attempt(batch) is None
    assert (batch.take_ends(), pile.taken) == ({("t", 0): 1}, [(0, "bad")])


async def test_a_bug_commits_nothing_of_its_batch() -> None:
    handler = Scripted(o1=[ZeroDivisionError()])
    batch = Batch([a_record(n) for n in range(3)])
    with pytest.raises(HandlerCrashed) as caught:
        await consuming(handler, DeadPile()).attempt(batch)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert (handler.handled, batch.take_ends()) == ([], {})


async def test_a_bug_after_an_isolated_poison_leaves_what_came_before_committable() -> None:
    handler = Scripted(o1=[Poison("bad", "x"), Poison("bad", "x")], o2=[ZeroDivisionError()])
    batch = Batch([a_record(n) for n in range(3)])
    with pytest.raises(HandlerCrashed):
        await consuming(handler, DeadPile()).attempt(batch)
    assert batch.take_ends() == {("t", 0): 2}


async def test_a_timeout_of_the_handlers_own_is_a_bug_and_not_an_overrun() -> None:
    with pytest.raises(HandlerCrashed):
        await consuming(Scripted(o0=[TimeoutError()]), DeadPile()).attempt(Batch([a_record(0)]))
