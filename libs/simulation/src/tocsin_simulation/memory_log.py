"""Kafka's log in memory, behind the `Publisher` and `Reader` ports.

Partitions, offsets that need not be contiguous, append times from a clock, keys placed by murmur2
as every Kafka client places them. On a `SimulatedLoop` a call takes the time and meets the fate
that `Faults` draws for it; what was sent by a process that then died still arrives. On any other
event loop it all happens at once.
"""

from __future__ import annotations

import asyncio
import functools
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

from tocsin_contracts import registry
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.faults import Fate, Faults, NoFaults, Outcome
from tocsin_simulation.loop import SimulatedLoop

T = TypeVar("T")


READ_AT_ONCE = 500
"""Records a reader fetches in one call."""


def registered_topics(partitions: int) -> dict[str, int]:
    """Every topic of the registry, with this many partitions where the registry has several."""
    return {topic.name: partitions if topic.partitions > 1 else 1 for topic in registry.TOPICS}


class MemoryLog:
    """Topics of partitions of records; implements `Publisher` and `Reader`.

    Args:
        clock: Gives the append times.
        topics: Partition count of each topic.
        faults: What becomes of each call.

    Attributes:
        appended: Each is called with each record once it stands in the log.
    """

    def __init__(
        self, clock: Clock, topics: Mapping[str, int], faults: Faults | None = None
    ) -> None:
        self.clock = clock
        self.faults: Faults = NoFaults() if faults is None else faults
        self.appended: list[Callable[[Record], None]] = []
        self._topics: dict[str, list[_Partition]] = {}
        for name, count in topics.items():
            self.create(name, count)
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._keyless = 0
        self._last_arrival: dict[str, float] = {}

    # The broker's side: at once.

    def create(self, topic: str, partitions: int) -> None:
        """Add a topic."""
        self._topics[topic] = [_Partition(topic, number) for number in range(partitions)]

    def append(self, record: Outgoing) -> Position:
        """Put a record at the end of its partition, now.

        Raises:
            LookupError: There is no such topic or partition.
        """
        partitions = self._partitions(record.topic)
        number = self._place(record, len(partitions))
        stored = partitions[number].append(record, self.clock, self.faults.gap())
        for notify in self.appended:
            notify(stored)
        for future in self._waiting.pop(record.topic, ()):
            if not future.done():
                future.set_result(None)
        return stored.position

    def partition_of(self, topic: str, key: bytes) -> int:
        """Where records of this key stand."""
        return murmur2(key) % len(self._partitions(topic))

    def width(self, topic: str) -> int:
        """How many partitions the topic has."""
        return len(self._partitions(topic))

    def records(self, topic: str, partition: int | None = None) -> list[Record]:
        """What stands in the log, partition by partition."""
        numbers = range(self.width(topic)) if partition is None else (partition,)
        return [record for number in numbers for record in self._partitions(topic)[number].records]

    def end(self, topic: str, partition: int) -> int:
        """One past the last record."""
        return self._partitions(topic)[partition].end

    def fetch(self, topic: str, partition: int, start: int, most: int) -> list[Record]:
        """At most so many records at or after `start`."""
        return self._partitions(topic)[partition].fetch(start, most)

    def compact(self, topic: str) -> None:
        """Keep the newest record of each key in each partition, as the log cleaner does."""
        for partition in self._partitions(topic):
            newest = {record.key: record for record in partition.records}
            partition.keep([r for r in partition.records if newest[r.key] is r])

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Delete what stands before an offset, as retention does."""
        held = self._partitions(topic)[partition]
        held.keep([r for r in held.records if r.position.offset >= before])

    def arrival(self, *topics: str) -> asyncio.Future[None]:
        """Done at the next append to any of these topics."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for topic in topics:
            self._waiting.setdefault(topic, []).append(future)
        return future

    def _partitions(self, topic: str) -> list[_Partition]:
        try:
            return self._topics[topic]
        except KeyError:
            raise LookupError(f"no topic named {topic!r}") from None

    def _place(self, record: Outgoing, count: int) -> int:
        if record.partition is not None:
            if not 0 <= record.partition < count:
                raise LookupError(f"{record.topic} has no partition {record.partition}")
            return record.partition
        if record.key is None:
            self._keyless += 1
            return self._keyless % count
        return murmur2(record.key) % count

    # The client's side: what the ports promise.

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        """See `Publisher.publish`. What one process sends keeps its order in each partition."""
        if not records:
            return ()
        for record in records:
            if (
                size := len(record.key or b"") + len(record.value or b"")
            ) > registry.MAX_RECORD_BYTES:
                raise Poison(
                    "record_too_large",
                    f"value: {size} bytes are more than {registry.MAX_RECORD_BYTES}",
                )
        fate = self.faults.append()
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimulatedLoop):
            sender, now = loop.actor().name, loop.time()
            arrival = max(now + fate.there, self._last_arrival.get(sender, 0.0))
            self._last_arrival[sender] = arrival
            fate = Fate(fate.outcome, arrival - now, fate.back)

        def arrive() -> tuple[Position, ...]:
            if fate.outcome is Outcome.REFUSED:
                raise Transient("broker_unavailable")
            positions = tuple(self.append(record) for record in records)
            if fate.outcome is Outcome.UNKNOWN:
                raise Transient("broker_timeout")
            return positions

        return await call(arrive, fate)

    async def partitions(self, topic: str) -> int:
        """See `Reader.partitions`."""
        return await call(functools.partial(self.width, topic), self.faults.ask())

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """See `Reader.bounds`."""
        return await call(self._partitions(topic)[partition].bounds, self.faults.ask())

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        """See `Reader.read`."""
        source = self._partitions(topic)[partition]
        position = start
        while end is None or position < end:
            arrival = self.arrival(topic)
            fetch = functools.partial(source.fetch, position, READ_AT_ONCE)
            fetched = await call(fetch, self.faults.ask())
            for record in fetched:
                if end is not None and record.position.offset >= end:
                    return
                position = record.position.offset + 1
                yield record
            if not fetched:
                if end is not None:
                    return
                await arrival


class _Partition:
    """One partition: records in order, with the offsets they have."""

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.records: list[Record] = []
        self.end = 0
        self._offsets: list[int] = []

    def append(self, record: Outgoing, clock: Clock, gap: int) -> Record:
        offset = self.end + gap
        stored = Record(
            position=Position(self.topic, self.number, offset),
            key=record.key,
            value=record.value,
            headers=record.headers,
            recorded_at=clock.now(),
        )
        self.records.append(stored)
        self._offsets.append(offset)
        self.end = offset + 1
        return stored

    def bounds(self) -> tuple[int, int]:
        return (self._offsets[0] if self._offsets else self.end), self.end

    def fetch(self, start: int, most: int) -> list[Record]:
        index = bisect_left(self._offsets, start)
        return self.records[index : index + most]

    def keep(self, records: list[Record]) -> None:
        self.records = records
        self._offsets = [record.position.offset for record in records]


async def call(function: Callable[[], T], fate: Fate) -> T:
    """What `function` returns or raises, run by the world once the call has travelled there.

    On a loop without simulation it runs at once, after one turn of the loop.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, not a wait
        return function()
    answer: asyncio.Future[T] = loop.create_future()

    def arrive() -> None:
        try:
            result = function()
        except (Transient, LookupError) as error:
            loop.call_as(loop.world, fate.back, _fail, answer, error)
        else:
            loop.call_as(loop.world, fate.back, _resolve, answer, result)

    loop.call_as(loop.world, fate.there, arrive)
    return await answer


def _resolve(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[T], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


@functools.lru_cache(maxsize=4096)
def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, made positive as its default partitioner does.

    The reference is `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.

    >>> murmur2(b"mpc-transformer") % 48
    3
    """
    length = len(key)
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    hashed = 0x9747B28C ^ length
    whole = length - length % 4
    for index in range(0, whole, 4):
        word = int.from_bytes(key[index : index + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        hashed = hashed * multiplier & mask ^ word
    if rest := key[whole:]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * multiplier & mask
    hashed = (hashed ^ hashed >> 13) * multiplier & mask
    return (hashed ^ hashed >> 15) & 0x7FFFFFFF
