"""The `Engine` port on a `MemoryLog`: what Faust and aiokafka do on Kafka, without them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock, Handler
from tocsin_runtime.records import Record
from tocsin_testkit.memory_groups import Assignment, Expelled, MemoryGroup, Standing
from tocsin_testkit.memory_log import MemoryLog, call

log = structlog.get_logger()

Dead = Callable[[Record, Poison], Awaitable[None]]
"""Writes a refused record to the dead letters and returns once that is acknowledged."""

MAX_BATCH = 500
"""Records handed over at once, at most."""

_FIRST_BACKOFF = timedelta(milliseconds=100)
_LONGEST_BACKOFF = timedelta(seconds=10)


class MemoryEngine:
    """Consumes topics of a `MemoryLog` in a group and feeds a handler.

    Args:
        name: Unique among the group's members, in every life of a process.
        topics: Lanes, most urgent first.
        dead: Where poison goes.
        heartbeat: Time between signs of life.
    """

    def __init__(
        self,
        memory: MemoryLog,
        group: MemoryGroup,
        *,
        name: str,
        topics: Sequence[str],
        handler: Handler,
        dead: Dead,
        clock: Clock,
        max_batch: int = MAX_BATCH,
        heartbeat: timedelta = timedelta(seconds=3),
    ) -> None:
        self._log = memory
        self._group = group
        self._name = name
        self._topics = tuple(topics)
        self._handler = handler
        self._dead = dead
        self._clock = clock
        self._max_batch = max_batch
        self._heartbeat = heartbeat
        self._stopping = False
        self._disturbed = asyncio.Event()
        self._positions: dict[tuple[str, int], int] = {}
        self._assignment = Assignment(0, frozenset())
        self._polled = self._finished = clock.monotonic()

    async def run(self) -> None:
        """See `Engine.run`."""
        beating = asyncio.create_task(self._beat())
        try:
            while not self._stopping:
                await self._live_one_generation()
        finally:
            beating.cancel()
        await call(lambda: self._group.leave(self._name), self._log.faults.ask())

    async def stop(self) -> None:
        """See `Engine.stop`; `run` returns when it is done."""
        self._stopping = True
        self._disturbed.set()

    def progress(self) -> Mapping[str, float]:
        """See `Engine.progress`."""
        now = self._clock.monotonic()
        return {"poll": now - self._polled, "batch": now - self._finished}

    async def _live_one_generation(self) -> None:
        assignment = await self._join()
        self._disturbed.clear()
        if self._stopping:
            return
        self._assignment = assignment
        for topic in self._topics:
            for partition in sorted(assignment.partitions):
                committed = self._group.committed.get((topic, partition), 0)
                self._positions[topic, partition] = self._log.faults.rewind(committed)
        await self._handler.assigned(assignment.partitions)
        backoff = _FIRST_BACKOFF
        while not self._disturbed.is_set():
            arrival = self._log.arrival(*self._topics)
            batch = await self._poll()
            if not batch:
                await self._either(arrival)
                continue
            try:
                await self._hand_over(batch)
            except Transient as error:
                log.warning("batch.put_off", reason=error.reason)
                await self._pause(error.retry_after or backoff)
                backoff = min(2 * backoff, _LONGEST_BACKOFF)
                continue
            backoff = _FIRST_BACKOFF
            await self._commit(batch)
        self._positions.clear()
        await self._handler.revoked(assignment.partitions)

    async def _join(self) -> Assignment:
        answer: asyncio.Future[Assignment] = asyncio.get_running_loop().create_future()
        await call(lambda: self._group.join(self._name, answer), self._log.faults.ask())
        return await answer

    async def _poll(self) -> list[Record]:
        """What has arrived, urgent lanes first, partitions in turn; never waits for more."""
        most = self._log.faults.batch(self._max_batch)
        starts = dict(self._positions)

        def fetch() -> list[Record]:
            fetched: list[Record] = []
            for (topic, partition), start in starts.items():
                room = most - len(fetched)
                if room <= 0:
                    break
                fetched += self._log.fetch(topic, partition, start, room)
            return fetched

        batch = await call(fetch, self._log.faults.ask())
        self._polled = self._clock.monotonic()
        return batch

    async def _hand_over(self, batch: Sequence[Record]) -> None:
        """Have the batch handled; a batch with poison in it is handled record by record.

        Raises:
            Transient: It comes again.
        """
        try:
            await self._handler.handle(batch)
        except Poison as poison:
            if len(batch) == 1:
                await self._dead(batch[0], poison)
                return
            for record in batch:
                await self._hand_over([record])

    async def _commit(self, batch: Sequence[Record]) -> None:
        self._finished = self._clock.monotonic()
        offsets = {
            (record.position.topic, record.position.partition): record.position.offset + 1
            for record in batch
        }
        self._positions.update(offsets)
        generation = self._assignment.generation
        try:
            await call(
                lambda: _commit(self._group, self._name, generation, offsets),
                self._log.faults.ask(),
            )
        except Transient:
            # Expelled: somebody else owns these now and will handle them again.
            self._disturbed.set()

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat)
            generation = self._assignment.generation
            standing = await call(
                lambda: self._group.heartbeat(self._name, generation),  # noqa: B023 - called now
                self._log.faults.ask(),
            )
            if standing is not Standing.STABLE and generation == self._assignment.generation:
                self._disturbed.set()

    async def _either(self, arrival: asyncio.Future[None]) -> None:
        """Wait for a record or for the end of this generation."""
        disturbed = asyncio.create_task(self._until_disturbed())
        await asyncio.wait([arrival, disturbed], return_when=asyncio.FIRST_COMPLETED)
        disturbed.cancel()

    async def _until_disturbed(self) -> None:
        await self._disturbed.wait()

    async def _pause(self, duration: timedelta) -> None:
        sleeping = asyncio.create_task(self._sleep(duration))
        disturbed = asyncio.create_task(self._until_disturbed())
        await asyncio.wait([sleeping, disturbed], return_when=asyncio.FIRST_COMPLETED)
        sleeping.cancel()
        disturbed.cancel()

    async def _sleep(self, duration: timedelta) -> None:
        await self._clock.sleep(duration)


def _commit(
    group: MemoryGroup, name: str, generation: int, offsets: Mapping[tuple[str, int], int]
) -> None:
    try:
        group.commit(name, generation, offsets)
    except Expelled as expelled:
        raise Transient("generation_over") from expelled
