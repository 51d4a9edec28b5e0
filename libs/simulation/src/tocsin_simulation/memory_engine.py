"""The `Engine` port on a `MemoryLog`: the real consume loop, fed from memory.

What becomes of a batch is decided by `tocsin_runtime.consuming`, as it is for Faust and aiokafka;
this only fetches, waits, commits and takes part in the group.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from tocsin_runtime.consuming import Batch, Budgets, Consuming, DeadLetter
from tocsin_runtime.ports import Clock, Handler
from tocsin_runtime.records import Record
from tocsin_simulation.memory_groups import Assignment, MemoryGroup, Standing
from tocsin_simulation.memory_log import MemoryLog, call

log = structlog.get_logger()


class MemoryEngine:
    """Consumes topics of a `MemoryLog` in a group and feeds a handler. An `Engine`.

    Args:
        group: Shared by all its members.
        name: Unique among the members, in every life of a process.
        topics: Lanes, most urgent first; all of the same partition count.
        heartbeat: Time between signs of life.
    """

    def __init__(
        self,
        memory: MemoryLog,
        group: MemoryGroup,
        topics: Sequence[str],
        handler: Handler,
        *,
        name: str,
        dead_letter: DeadLetter,
        clock: Clock,
        budgets: Budgets | None = None,
        heartbeat: timedelta = timedelta(seconds=3),
    ) -> None:
        self._log = memory
        self._group = group
        self._name = name
        self._topics = tuple(topics)
        self._consuming = Consuming(handler, dead_letter, clock, budgets or Budgets())
        self._clock = clock
        self._heartbeat = heartbeat
        self._stopping = False
        self._ready = False
        self._disturbed = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._positions: dict[tuple[str, int], int] = {}
        self._assignment = Assignment(0, frozenset())
        self._polled_at = clock.monotonic()
        self._batch_since: float | None = None

    async def run(self) -> None:
        """Consume until `stop`; raise `HandlerCrashed` if the handler met a bug."""
        self._running = True
        beating = asyncio.create_task(self._beat())
        try:
            while not self._stopping:
                await self._one_generation()
        finally:
            beating.cancel()
            self._ready = False
            self._ended.set()
            # A process that ends closes its connection, and the group goes on without it.
            self._group.leave(self._name)

    async def stop(self) -> None:
        """Finish the batch in hand, commit, leave the group."""
        self._stopping = True
        self._disturbed.set()
        if self._running:
            await self._ended.wait()

    def progress(self) -> Mapping[str, float]:
        """As every engine: seconds since the last poll, for how long a batch has been in hand."""
        now = self._clock.monotonic()
        since = self._batch_since
        return {
            "poll": now - self._polled_at,
            "batch": 0.0 if since is None else now - since,
            "ready": float(self._ready),
        }

    async def _one_generation(self) -> None:
        assignment = await self._join()
        if assignment is None:
            return
        self._disturbed.clear()
        self._assignment = assignment
        for topic in self._topics:
            for partition in sorted(assignment.partitions):
                committed = self._group.committed.get((topic, partition), 0)
                self._positions[topic, partition] = self._log.faults.rewind(committed)
        if await self._restore(assignment.partitions):
            while not self._disturbed.is_set() and not self._stopping:
                await self._one_batch()
        self._ready = False
        self._positions.clear()
        if assignment.partitions:
            await self._consuming.revoked(assignment.partitions)

    async def _join(self) -> Assignment | None:
        """What the next generation gives us; `None` if we were stopped meanwhile."""
        answer: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()
        await call(functools.partial(self._group.join, self._name, answer), self._log.faults.ask())
        while not answer.done():
            if self._stopping:
                return None
            self._disturbed.clear()
            await self._until_disturbed_or(answer)
        return answer.result()

    async def _restore(self, partitions: frozenset[int]) -> bool:
        """Whether the handler has restored; `False` if the generation ended before."""
        while partitions:
            wait = await self._consuming.assigned(partitions)
            if wait is None:
                break
            if not await self._pause(wait):
                return False
        self._ready = True
        return True

    async def _one_batch(self) -> None:
        arrival = self._log.arrival(*self._topics)
        fetch = functools.partial(
            self._fetch, dict(self._positions), self._log.faults.batch(self._most)
        )
        records = await call(fetch, self._log.faults.ask())
        self._polled_at = self._clock.monotonic()
        if not records:
            await self._until_disturbed_or(arrival)
            return
        batch = Batch(records)
        self._batch_since = self._clock.monotonic()
        try:
            while batch.left:
                try:
                    wait = await self._consuming.attempt(batch)
                finally:
                    ends = batch.take_ends()
                await self._commit(ends)
                if wait is not None and not await self._pause(wait):
                    return
        finally:
            self._batch_since = None

    @property
    def _most(self) -> int:
        return self._consuming.budgets.max_batch

    def _fetch(self, starts: Mapping[tuple[str, int], int], most: int) -> list[Record]:
        """What has arrived, urgent lanes first, partitions in turn; never waits for more."""
        fetched: list[Record] = []
        for (topic, partition), start in starts.items():
            room = most - len(fetched)
            if room <= 0:
                break
            fetched += self._log.fetch(topic, partition, start, room)
        return fetched

    async def _commit(self, ends: Mapping[tuple[str, int], int]) -> None:
        if not ends:
            return
        self._positions.update(ends)
        commit = functools.partial(
            self._group.commit, self._name, self._assignment.generation, ends
        )
        if not await call(commit, self._log.faults.ask()):
            # The group has gone on: the new owner handles these again.
            log.warning("commit.refused", member=self._name)
            self._disturbed.set()

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat)
            generation = self._assignment.generation
            heartbeat = functools.partial(self._group.heartbeat, self._name, generation)
            standing = await call(heartbeat, self._log.faults.ask())
            if standing is not Standing.STABLE and generation == self._assignment.generation:
                self._disturbed.set()

    async def _until_disturbed_or(self, other: asyncio.Future[Any]) -> None:
        disturbed = asyncio.create_task(self._until_disturbed())
        await asyncio.wait([other, disturbed], return_when=asyncio.FIRST_COMPLETED)
        disturbed.cancel()

    async def _until_disturbed(self) -> None:
        await self._disturbed.wait()

    async def _pause(self, wait: timedelta) -> bool:
        """Wait; `False` if the generation ended meanwhile."""
        sleeping = asyncio.create_task(self._sleep(wait))
        await self._until_disturbed_or(sleeping)
        sleeping.cancel()
        return not self._disturbed.is_set()

    async def _sleep(self, duration: timedelta) -> None:
        await self._clock.sleep(duration)
