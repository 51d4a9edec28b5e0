"""What every `Publisher` and `Reader` keeps, on every log we have."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tocsin_replay import ArchiveReader, HeldLog, archive, bundle_lines, gather_all, open_bundle
from tocsin_replay.gathering import EVERYTHING
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.failures import Poison
from tocsin_runtime.following import Follower, restore
from tocsin_runtime.ports import Publisher, Reader
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.memory_log import MemoryLog
from tocsin_testkit.real_kafka import RealKafka


@dataclass(frozen=True)
class Log:
    """A log with its two ports; another implementation is one more fixture parameter."""

    publisher: Publisher
    reader: Reader
    create: Callable[[str, int], Awaitable[str]]


LIVE = ["memory", pytest.param("kafka", marks=pytest.mark.kafka)]
RECORDINGS = ["held", "bundle", "archive"]
"""Logs that are only read: what was published to another is taken, and read from there."""


class Recording:
    """A `Reader` of what a log holds by now, brought into another form and opened again."""

    def __init__(self, log: MemoryLog, take: Callable[[MemoryLog], Awaitable[Reader]]) -> None:
        self._log = log
        self._take = take

    async def partitions(self, topic: str) -> int:
        return await (await self._take(self._log)).partitions(topic)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await (await self._take(self._log)).bounds(topic, partition)

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        async for record in (await self._take(self._log)).read(topic, partition, start, end):
            yield record


def recording(kind: str, folder: Path) -> Log:
    """A log whose reader is a recording of it."""
    memory = MemoryLog(SystemClock(), {EVERYTHING[count]: count for count in (1, 2, 3, 4)})

    async def held(log: MemoryLog) -> Reader:
        gathered = await gather_all(log)
        return HeldLog(gathered.widths, gathered.records)

    async def bundle(log: MemoryLog) -> Reader:
        file = folder / "all.tocsin"
        file.write_bytes(b"".join(bundle_lines(await gather_all(log), [])))
        return open_bundle(file).log

    async def archived(log: MemoryLog) -> Reader:
        await archive(log, folder / "archive")
        return ArchiveReader(folder / "archive")

    async def known(_name: str, partitions: int) -> str:
        return EVERYTHING[partitions]

    takes = {"held": held, "bundle": bundle, "archive": archived}
    return Log(memory, Recording(memory, takes[kind]), known)


@pytest.fixture(params=[*LIVE, *RECORDINGS])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    if request.param in RECORDINGS:
        yield recording(request.param, tmp_path)
        return
    async for one in live(request):
        yield one


@pytest.fixture(params=LIVE)
async def live_log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    async for one in live(request):
        yield one


async def live(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    if request.param == "memory":
        memory = MemoryLog(SystemClock(), {f"t{count}": count for count in (1, 2, 3, 4)})

        async def known(_name: str, partitions: int) -> str:
            return f"t{partitions}"

        yield Log(memory, memory, known)
        return
    kafka = await started(request)
    connection = KafkaConnection(kafka.bootstrap, kafka.named("client"))
    publisher = KafkaPublisher(connection, SystemClock())
    reader = KafkaReader(connection)

    async def create(name: str, partitions: int) -> str:
        return await kafka.create(name, partitions=partitions)

    yield Log(publisher, reader, create)
    await reader.stop()
    await publisher.stop()
    await kafka.delete_created()


async def started(request: pytest.FixtureRequest) -> RealKafka:
    """The broker, asked for only by the parameter that needs it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return RealKafka(request.getfixturevalue("kafka_bootstrap"), f"{name}.{os.getpid()}")


def some(topic: str, count: int, *, partition: int | None = 0) -> list[Outgoing]:
    return [
        Outgoing(topic, f"k{n}".encode(), f"v{n}".encode(), (("n", b"%d" % n),), partition)
        for n in range(count)
    ]


async def read(log: Log, topic: str, start: int, end: int) -> list[Record]:
    return [record async for record in log.reader.read(topic, 0, start, end)]


async def test_what_was_published_is_read_back_with_key_value_and_headers(log: Log) -> None:
    topic = await log.create("t", 1)
    positions = await log.publisher.publish(some(topic, 3))
    records = await read(log, topic, 0, 3)
    assert positions == tuple(Position(topic, 0, n) for n in range(3))
    assert [(r.position, r.key, r.value, r.headers) for r in records] == [
        (Position(topic, 0, n), f"k{n}".encode(), f"v{n}".encode(), (("n", b"%d" % n),))
        for n in range(3)
    ]


async def test_an_empty_publish_writes_nothing(log: Log) -> None:
    topic = await log.create("t", 1)
    assert await log.publisher.publish([]) == ()
    assert await log.reader.bounds(topic, 0) == (0, 0)


async def test_a_tombstone_is_read_as_a_record_without_a_value(log: Log) -> None:
    topic = await log.create("t", 1)
    await log.publisher.publish([Outgoing(topic, b"k", None)])
    [record] = await read(log, topic, 0, 1)
    assert (record.key, record.value) == (b"k", None)


async def test_records_of_one_key_stand_in_one_partition_in_the_order_of_publishing(
    log: Log,
) -> None:
    topic = await log.create("t", 4)
    await log.publisher.publish(
        [Outgoing(topic, f"k{n % 5}".encode(), b"%d" % n) for n in range(1_000)]
    )
    seen: dict[bytes | None, list[int]] = {}
    where: dict[bytes | None, set[int]] = {}
    for partition in range(4):
        start, end = await log.reader.bounds(topic, partition)
        async for record in log.reader.read(topic, partition, start, end):
            seen.setdefault(record.key, []).append(int(record.value or b""))
            where.setdefault(record.key, set()).add(partition)
    assert all(len(partitions) == 1 for partitions in where.values())
    assert sorted(n for numbers in seen.values() for n in numbers) == list(range(1_000))
    assert all(numbers == sorted(numbers) for numbers in seen.values())


async def test_a_range_read_holds_just_the_range(log: Log) -> None:
    topic = await log.create("t", 1)
    await log.publisher.publish(some(topic, 2_000))
    got = [record.position.offset for record in await read(log, topic, 700, 1_900)]
    assert got == list(range(700, 1_900))
    assert await read(log, topic, 5, 5) == []


async def test_an_unknown_topic_has_no_partitions(log: Log) -> None:
    topic = await log.create("t", 3)
    assert await log.reader.partitions(topic) == 3
    with pytest.raises(LookupError):
        await log.reader.partitions(topic + ".not")


async def test_restore_stops_at_the_end_found_at_start(log: Log) -> None:
    topic = await log.create("t", 1)
    await log.publisher.publish(some(topic, 10))
    seen: list[int] = []
    end = await restore(log.reader, topic, 0, 4, lambda r: seen.append(r.position.offset))
    assert (end, seen) == (10, list(range(4, 10)))


async def test_a_follower_is_caught_up_and_then_goes_on(live_log: Log) -> None:
    log = live_log
    topic = await log.create("t", 2)
    await log.publisher.publish([*some(topic, 3, partition=0), *some(topic, 2, partition=1)])
    seen: asyncio.Queue[Position] = asyncio.Queue()
    follower = Follower(log.reader, topic, lambda r: seen.put_nowait(r.position))
    task = asyncio.create_task(follower.run())
    await follower.caught_up()
    assert (seen.qsize(), follower.position) == (5, 5)
    [later] = await log.publisher.publish(some(topic, 1, partition=1))
    assert [await seen.get() for _ in range(6)][-1] == later
    task.cancel()


async def test_a_follower_of_an_empty_topic_is_caught_up_at_once(live_log: Log) -> None:
    follower = Follower(live_log.reader, await live_log.create("t", 1), lambda _: None)
    task = asyncio.create_task(follower.run())
    await follower.caught_up()
    task.cancel()


@pytest.mark.parametrize("kind", RECORDINGS)
async def test_a_recording_has_an_end_and_is_not_followed(kind: str, tmp_path: Path) -> None:
    log = recording(kind, tmp_path)
    topic = await log.create("t", 1)
    await log.publisher.publish(some(topic, 3))
    with pytest.raises(ValueError, match="cannot be followed"):
        await anext(aiter(log.reader.read(topic, 0, 0, None)))


@pytest.mark.kafka
async def test_a_record_kafka_refuses_for_its_size_is_poison_and_writes_nothing(
    kafka: RealKafka,
) -> None:
    topic = await kafka.create("t", configs={"max.message.bytes": "10000"})
    publisher = KafkaPublisher(KafkaConnection(kafka.bootstrap, "writer"), SystemClock())
    with pytest.raises(Poison, match="record_too_large"):
        await publisher.publish([Outgoing(topic, None, bytes(20_000))])
    [position] = await publisher.publish([Outgoing(topic, None, b"fits")])
    await publisher.stop()
    assert position.offset == 0


@pytest.mark.kafka
async def test_what_is_about_others_is_passed_over(kafka: RealKafka) -> None:
    connection = KafkaConnection(kafka.bootstrap, kafka.named("client"))
    publisher, reader = KafkaPublisher(connection, SystemClock()), KafkaReader(connection)
    topic = await kafka.create("about")
    about = [(("ce_subject", name),) if name else () for name in (b"a", b"b", b"", b"a", b"b")]
    for number, headers in enumerate(about):
        await publisher.publish([Outgoing(topic, b"k", b"%d" % number, headers, 0)])
    seen: list[int] = []
    found = [record async for record in reader.read_about(topic, 0, 1, 5, "a", seen.append)]
    everything = [record async for record in reader.read(topic, 0, 0, 5)]
    await reader.stop()
    await publisher.stop()
    assert found == [everything[2], everything[3]]
    assert sum(seen) == 4
