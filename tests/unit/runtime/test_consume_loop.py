"""The loop between a group and a handler, with a group of our own making."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from tocsin_runtime.clock import SystemClock
from tocsin_runtime.consume_loop import ConsumeLoop, Ends
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Record


class Ahead(SystemClock):
    """A clock whose `monotonic` can be put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Group(ConsumeLoop):
    """An engine whose group is the test, and that has nothing to fetch."""

    async def _open(self) -> None: ...

    async def _close(self) -> None: ...

    async def _fetch(self, owned: frozenset[int], room: int) -> list[Record]:
        del owned, room
        await self._nap(timedelta(milliseconds=5))
        return []

    async def _commit(self, ends: Ends) -> None: ...

    def _put_back(self, starts: Ends) -> None: ...

    async def _keep_alive(self) -> None: ...

    def assign(self, *partitions: int) -> None:
        self._group_assigned(frozenset(partitions))

    async def revoke(self, *partitions: int) -> None:
        await self._group_revoked(frozenset(partitions))


class Restoring:
    """Restores for as long as it is not told to go on. A `Handler`."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        self.restored: list[frozenset[int]] = []
        self.forgotten: list[frozenset[int]] = []

    async def assigned(self, partitions: frozenset[int]) -> None:
        self.began.set()
        await self.go_on.wait()
        self.restored.append(partitions)

    async def revoked(self, partitions: frozenset[int]) -> None:
        self.forgotten.append(partitions)

    async def handle(self, batch: Sequence[Record]) -> None: ...


async def refuse(_record: Record, error: Poison) -> None:
    raise AssertionError(error)


@asynccontextmanager
async def a_group(handler: Restoring, clock: SystemClock | None = None) -> AsyncIterator[Group]:
    group = Group(handler, dead_letter=refuse, clock=clock or SystemClock())
    task = asyncio.create_task(group.run())
    try:
        yield group
    finally:
        async with asyncio.timeout(5):
            await group.stop()
            await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.get_running_loop().run_in_executor(None, int)


async def test_a_stop_does_not_wait_for_a_restore_and_what_was_given_is_forgotten() -> None:
    handler = Restoring()
    async with a_group(handler) as group:
        group.assign(0, 1)
        await handler.began.wait()
    assert (handler.restored, handler.forgotten) == ([], [frozenset({0, 1})])


async def test_a_rebalance_calls_a_restore_off_and_the_new_share_is_restored() -> None:
    handler = Restoring()
    async with a_group(handler) as group:
        group.assign(0, 1)
        await handler.began.wait()
        await group.revoke(0, 1)
        assert handler.forgotten == [frozenset({0, 1})]
        handler.go_on.set()
        group.assign(1)
        await until(lambda: bool(handler.restored))
    assert handler.restored == [frozenset({1})]


async def test_a_long_restore_is_progress_but_not_ready() -> None:
    handler, clock = Restoring(), Ahead()
    async with a_group(handler, clock) as group:
        group.assign(0)
        await handler.began.wait()
        clock.ahead = 600.0
        await until(lambda: group.progress()["poll"] < 60)
        assert group.progress()["ready"] == 0
        handler.go_on.set()
        await until(lambda: group.progress()["ready"] == 1)


async def test_a_member_that_was_given_nothing_is_ready() -> None:
    async with a_group(Restoring()) as group:
        assert group.progress()["ready"] == 0
        group.assign()
        await until(lambda: group.progress()["ready"] == 1)
