"""What every `Engine` keeps: both on real Kafka, and the one in memory."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tocsin_runtime.adapters.aiokafka_engine import AiokafkaEngine
from tocsin_runtime.adapters.faust_engine import FaustEngine
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.consuming import Budgets, HandlerCrashed
from tocsin_runtime.dead_lettering import DeadLetters
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Engine
from tocsin_runtime.records import Outgoing, Record
from tocsin_simulation.memory_engine import MemoryEngine
from tocsin_simulation.memory_groups import MemoryGroup
from tocsin_simulation.memory_log import MemoryLog
from tocsin_testkit.real_kafka import RealKafka

pytestmark = [
    # Faust and mode leave tasks and sockets to the collector when a loop ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ENGINES = {"aiokafka": AiokafkaEngine, "faust": FaustEngine}
WORKER = Path(__file__).with_name("engine_worker.py")
Judge = Callable[[Record], Awaitable[None]]


class Recording:
    """Remembers what it handled; `judge` may raise. A `Handler`."""

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge = judge
        self.handled: list[Record] = []
        self.attempts = 0
        self.owned: frozenset[int] = frozenset()
        self.changed = asyncio.Condition()

    async def assigned(self, partitions: frozenset[int]) -> None:
        async with self.changed:
            self.owned |= partitions
            self.changed.notify_all()

    async def revoked(self, partitions: frozenset[int]) -> None:
        self.owned -= partitions

    async def handle(self, batch: Sequence[Record]) -> None:
        self.attempts += 1
        assert {record.position.partition for record in batch} <= self.owned
        if self._judge is not None:
            for record in batch:
                await self._judge(record)
        async with self.changed:
            self.handled.extend(batch)
            self.changed.notify_all()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: len(self.handled) >= count)

    def values(self) -> list[bytes | None]:
        return [record.value for record in self.handled]


class Bench:
    """A broker, a group and topics of one test."""

    def __init__(self, kafka: RealKafka, engine: str) -> None:
        self.kafka = kafka
        self.name = engine
        self.clock = SystemClock()
        self.connection = KafkaConnection(kafka.bootstrap, "conformance")
        self.publisher = KafkaPublisher(self.connection, self.clock)
        self.reader = KafkaReader(self.connection)
        self.group = kafka.named("group")
        self.dead = ""

    def engine(
        self, topics: Sequence[str], handler: Recording, budgets: Budgets | None = None
    ) -> Engine:
        return ENGINES[self.name](
            self.connection,
            self.group,
            topics,
            handler,
            dead_letter=DeadLetters(self.publisher, self.clock, "bench", topic=self.dead),
            clock=self.clock,
            budgets=budgets or Budgets(first_back_off=timedelta(milliseconds=10)),
            session_timeout=timedelta(seconds=10),
        )

    async def write(self, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
        await self.publisher.publish(
            [Outgoing(topic, b"k", value, partition=partition) for value in values]
        )

    async def committed(self, topic: str, partition: int = 0) -> int | None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap, group_id=self.group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            offset = await consumer.committed(TopicPartition(topic, partition))
        finally:
            await consumer.stop()
        return None if offset is None else int(offset)

    async def all_of(self, topic: str, partition: int = 0) -> list[Record]:
        start, end = await self.reader.bounds(topic, partition)
        return [record async for record in self.reader.read(topic, partition, start, end)]


class MemoryCluster:
    """As much of `RealKafka` as the suite asks for."""

    bootstrap = "memory"

    def __init__(self) -> None:
        self.log = MemoryLog(SystemClock(), {})

    async def create(self, name: str, *, partitions: int = 1) -> str:
        self.log.create(name, partitions)
        return name


class MemoryBench:
    """The same bench on a log in memory."""

    name = "memory"

    def __init__(self) -> None:
        self.kafka = MemoryCluster()
        self.group = MemoryGroup(partitions=1)
        self.dead = "dead"
        self._lives = 0

    def engine(
        self, topics: Sequence[str], handler: Recording, budgets: Budgets | None = None
    ) -> Engine:
        self._lives += 1
        clock = SystemClock()
        return MemoryEngine(
            self.kafka.log,
            self.group,
            topics,
            handler,
            name=f"life {self._lives}",
            dead_letter=DeadLetters(self.kafka.log, clock, "bench", topic=self.dead),
            clock=clock,
            budgets=budgets or Budgets(first_back_off=timedelta(milliseconds=10)),
        )

    async def write(self, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
        await self.kafka.log.publish(
            [Outgoing(topic, b"k", value, partition=partition) for value in values]
        )

    async def committed(self, topic: str, partition: int = 0) -> int | None:
        return self.group.committed.get((topic, partition))

    async def all_of(self, topic: str, partition: int = 0) -> list[Record]:
        return self.kafka.log.records(topic, partition)


AnyBench = Bench | MemoryBench


@pytest.fixture(
    params=[*(pytest.param(name, marks=pytest.mark.kafka) for name in sorted(ENGINES)), "memory"]
)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[AnyBench]:
    if request.param == "memory":
        in_memory = MemoryBench()
        await in_memory.kafka.create(in_memory.dead)
        yield in_memory
        return
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
    # Asked for here, so that the engine in memory needs no broker.
    kafka = RealKafka(request.getfixturevalue("kafka_bootstrap"), f"{test}.{os.getpid()}")
    made = Bench(kafka, request.param)
    made.dead = await kafka.create("dead")
    yield made
    await made.reader.stop()
    await made.publisher.stop()
    await kafka.delete_created()


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    task = asyncio.create_task(engine.run())
    try:
        yield
    finally:
        async with asyncio.timeout(20):
            await engine.stop()
            await task


def numbers(first: int, end: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, end)]


async def test_every_record_is_handled_in_order_and_then_committed(bench: AnyBench) -> None:
    topic = await bench.kafka.create("in")
    handler = Recording()
    await bench.write(topic, numbers(0, 1_000))
    async with running(bench.engine([topic], handler)):
        await handler.has(1_000)
    assert handler.values() == numbers(0, 1_000)
    assert await bench.committed(topic) == 1_000
    assert handler.owned == frozenset()


async def test_a_poison_record_is_dead_lettered_and_the_rest_flows_on(bench: AnyBench) -> None:
    async def judge(record: Record) -> None:
        if record.value == b"7":
            raise Poison("seven", "value: is seven")

    topic = await bench.kafka.create("in")
    handler = Recording(judge)
    await bench.write(topic, numbers(0, 20))
    async with running(bench.engine([topic], handler)):
        await handler.has(19)
    assert handler.values() == [n for n in numbers(0, 20) if n != b"7"]
    [dead] = await bench.all_of(bench.dead)
    fact = decode(dead).fact.model_dump()
    wanted = {"reason": "seven", "topic": topic, "offset": 7, "value": b"7"}
    assert {name: fact[name] for name in wanted} == wanted
    assert await bench.committed(topic) == 20


async def test_a_transient_failure_commits_nothing_and_keeps_the_order(bench: AnyBench) -> None:
    left = 3
    committed: list[int | None] = []

    async def judge(record: Record) -> None:
        nonlocal left
        if record.value == b"0" and left:
            left -= 1
            committed.append(await bench.committed(topic))
            raise Transient("unwell")

    topic = await bench.kafka.create("in")
    handler = Recording(judge)
    await bench.write(topic, numbers(0, 20))
    async with running(bench.engine([topic], handler)):
        await handler.has(20)
    assert handler.values() == numbers(0, 20)
    assert committed == [None, None, None]
    assert await bench.committed(topic) == 20


async def test_a_stop_during_a_transient_failure_commits_nothing(bench: AnyBench) -> None:
    met = asyncio.Event()

    async def judge(_record: Record) -> None:
        met.set()
        raise Transient("unwell")

    topic = await bench.kafka.create("in")
    await bench.write(topic, numbers(0, 5))
    async with running(bench.engine([topic], Recording(judge))):
        await met.wait()
    assert await bench.committed(topic) is None
    handler = Recording()
    async with running(bench.engine([topic], handler)):
        await handler.has(5)
    assert handler.values() == numbers(0, 5)


async def test_a_bug_ends_the_run_without_a_commit_and_the_record_comes_again(
    bench: AnyBench,
) -> None:
    async def judge(record: Record) -> None:
        if record.value == b"3":
            raise ZeroDivisionError

    topic = await bench.kafka.create("in")
    handler = Recording(judge)
    one_by_one = Budgets(max_batch=1)
    await bench.write(topic, numbers(0, 6))
    engine = bench.engine([topic], handler, one_by_one)
    with pytest.raises(HandlerCrashed):
        await engine.run()
    assert handler.values() == numbers(0, 3)
    assert await bench.committed(topic) == 3
    again = Recording()
    async with running(bench.engine([topic], again)):
        await again.has(3)
    assert again.values() == numbers(3, 6)


async def test_a_handler_that_overruns_its_budget_is_tried_again(bench: AnyBench) -> None:
    hung = asyncio.Event()

    async def judge(_record: Record) -> None:
        if not hung.is_set():
            hung.set()
            await asyncio.Event().wait()

    topic = await bench.kafka.create("in")
    handler = Recording(judge)
    await bench.write(topic, numbers(0, 3))
    budgets = Budgets(handler=timedelta(milliseconds=200))
    async with running(bench.engine([topic], handler, budgets)):
        await handler.has(3)
    assert handler.values() == numbers(0, 3)


async def test_a_clean_stop_finishes_and_commits_the_batch_in_hand(bench: AnyBench) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def judge(_record: Record) -> None:
        entered.set()
        await leave.wait()

    topic = await bench.kafka.create("in")
    handler = Recording(judge)
    await bench.write(topic, numbers(0, 1))
    engine = bench.engine([topic], handler)
    task = asyncio.create_task(engine.run())
    await entered.wait()
    stopping = asyncio.create_task(engine.stop())
    leave.set()
    async with asyncio.timeout(10):
        await stopping
        await task
    assert handler.values() == [b"0"]
    assert await bench.committed(topic) == 1


async def test_a_batch_that_outlives_a_rebalance_ends_nobody_and_nothing_is_lost(
    bench: AnyBench,
) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def judge(_record: Record) -> None:
        entered.set()
        await leave.wait()

    async def rebalanced(*engines: Engine) -> None:
        async with asyncio.timeout(30):
            while not all(engine.progress()["ready"] for engine in engines):
                await asyncio.get_running_loop().run_in_executor(None, int)

    topic = await bench.kafka.create("in")
    slow, second, third = Recording(judge), Recording(), Recording()
    await bench.write(topic, numbers(0, 3))
    joining = bench.engine([topic], second), bench.engine([topic], third)
    impatient = Budgets(drain=timedelta(seconds=1))
    async with running(bench.engine([topic], slow, impatient)):
        await entered.wait()
        async with running(joining[0]), running(joining[1]):
            if isinstance(bench, Bench):  # in memory, a member without partitions is not told
                await rebalanced(*joining)
            leave.set()
            await bench.write(topic, numbers(3, 6))
            async with asyncio.timeout(30):
                while await bench.committed(topic) != 6:
                    await asyncio.get_running_loop().run_in_executor(None, int)
    handled = slow.values() + second.values() + third.values()
    assert set(handled) == set(numbers(0, 6))


async def test_an_urgent_record_overtakes_a_backlog(bench: AnyBench) -> None:
    urgent, normal = await bench.kafka.create("urgent"), await bench.kafka.create("normal")
    backlog, batch = 2_000, 50
    asked = False

    async def judge(_record: Record) -> None:
        nonlocal asked
        if not asked:
            asked = True
            await bench.write(urgent, [b"urgent"])
        await asyncio.sleep(0.0005)  # noqa: TID251 - work takes time

    handler = Recording(judge)
    await bench.write(normal, numbers(0, backlog))
    async with running(bench.engine([urgent, normal], handler, Budgets(max_batch=batch))):
        await handler.has(backlog + 1)
    assert handler.values().index(b"urgent") < backlog / 2
    assert [value for value in handler.values() if value != b"urgent"] == numbers(0, backlog)


@asynccontextmanager
async def worker(
    bench: AnyBench, topics: Sequence[str], out: str, *, die_at: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    if isinstance(bench, MemoryBench):
        pytest.xfail("its processes are actors: tests/unit/testkit and the seeds kill those")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(WORKER),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ)  # noqa: TID251 - handed on to a child
        | {
            "BOOTSTRAP": bench.kafka.bootstrap,
            "GROUP": bench.group,
            "TOPICS": ",".join(topics),
            "OUT": out,
            "ENGINE": bench.name,
            "DIE_AT": str(die_at),
        },
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def heard(process: asyncio.subprocess.Process, word: str) -> list[int]:
    assert process.stdout is not None
    async with asyncio.timeout(40):
        while line := (await process.stdout.readline()).decode().split():
            if line[0] == word:
                return [int(number) for number in line[1:]]
    raise AssertionError(f"ended without {word!r}")


async def written(bench: AnyBench, out: str, partition: int, count: int) -> list[Record]:
    """Records of an output partition, once it holds `count` different values."""
    assert isinstance(bench, Bench)
    seen: list[Record] = []
    async with asyncio.timeout(60):
        async for record in bench.reader.read(out, partition, 0, None):
            seen.append(record)
            if len({r.value for r in seen}) == count:
                return seen
    raise AssertionError("unreachable")


async def test_a_worker_killed_at_any_point_loses_nothing(bench: AnyBench) -> None:
    topic, out = await bench.kafka.create("in"), await bench.kafka.create("out")
    await bench.write(topic, numbers(0, 30))
    for die_at in (1, 2, 3, 10, 24):
        async with worker(bench, [topic], out, die_at=die_at) as process:
            assert await process.wait() == -signal.SIGKILL
    async with worker(bench, [topic], out):
        await written(bench, out, 0, 30)
    firsts = list(dict.fromkeys(record.value for record in await bench.all_of(out)))
    assert firsts == numbers(0, 30)


async def test_two_workers_share_partitions_and_keep_the_order(bench: AnyBench) -> None:
    # An odd number: dealt out one by one, two topics would part.
    partitions, count = 5, 200
    topics = [await bench.kafka.create(name, partitions=partitions) for name in ("a", "b")]
    out = await bench.kafka.create("out", partitions=partitions)

    async def write(first: int, end: int) -> None:
        for partition in range(partitions):
            await bench.write(topics[0], numbers(first, end), partition)
            await bench.write(topics[1], [b"b%d" % n for n in range(first, end)], partition)

    async with worker(bench, topics, out) as first:
        assert await heard(first, "assigned") == [0, 1, 2, 3, 4]
        await write(0, count)
        async with worker(bench, topics, out) as second:
            owned = await heard(second, "assigned")
            assert sorted(owned + await heard(first, "assigned")) == [0, 1, 2, 3, 4]
            await write(count, 2 * count)
            for partition in range(partitions):
                seen = await written(bench, out, partition, 4 * count)
                firsts = list(dict.fromkeys(record.value for record in seen))
                assert [v for v in firsts if v and not v.startswith(b"b")] == numbers(0, 2 * count)
                assert [v for v in firsts if v and v.startswith(b"b")] == [
                    b"b%d" % n for n in range(2 * count)
                ]
            second.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                assert await second.wait() == 0
