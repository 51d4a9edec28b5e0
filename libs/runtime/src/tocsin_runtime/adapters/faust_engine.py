"""Consuming with Faust, made safe.

Faust 0.15 commits past a record whose agent raised, was cancelled, or overlapped with another
(measured on 0.15.3: an exception acknowledges). So Faust here fetches, assigns and
schedules, and never decides what is committed:

- topics are declared `acks=False`, so Faust's own commits do not touch them, whatever happens to
  an agent; the loop commits last + 1 itself after the handler returned;
- one agent a lane, concurrency 1, moves events into a small bounded lane; the loop takes natural
  batches from the lanes, the urgent ones first;
- the consumer is made here: Faust's own waits 1.5 s at the broker in a fetch that finds nothing,
  so that a lane with news stands behind a quiet one, and without tables it deals partitions out
  one by one, so that partition N of two topics may belong to two workers;
- an event fetched under an older generation of the group is dropped: it is not committed, so its
  owner, ourselves included, is given it again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from tocsin_runtime.adapters.group_member import GroupMember
from tocsin_runtime.adapters.kafka_connection import KafkaConnection, consumer_arguments
from tocsin_runtime.consume_loop import POLL, ConsumeLoop, Ends
from tocsin_runtime.ports import Handler
from tocsin_runtime.records import Position, Record

log = structlog.get_logger()

MAX_LANE = 20_000
"""Events a lane holds for the loop. Beyond it the agent waits, then Faust's fetching, and with it
every lane: so it is large, and `MAX_LANE_BYTES` bounds the memory."""

MAX_LANE_BYTES = 64 * 1024 * 1024
"""Bytes of values a lane holds at most."""

_TURNS = 1_000
"""Turns of the event loop given to Faust between two batches at most."""

_IDLE_TURNS = 8
"""Turns in which nothing came, after which nothing is on its way."""

_STREAM_BUFFER = 64
"""Events Faust buffers a stream (its default is 4096, all of it thrown away in a rebalance)."""

_MAX_POLL_RECORDS = 100
"""Small, so that an urgent record is not stuck behind a fetched backlog: Faust hands on a whole
poll before it polls again."""


class FaustEngine(ConsumeLoop):
    """An `Engine`. The range assignor gives partition N of every topic to one member."""

    def __init__(
        self,
        connection: KafkaConnection,
        group: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        session_timeout: timedelta = timedelta(seconds=30),
        instance: str | None = None,
        **loop: Any,  # noqa: ANN401 - dead_letter, clock, budgets: ConsumeLoop's
    ) -> None:
        super().__init__(handler, **loop)
        self._topics = tuple(topics)
        self._connection = connection
        self._group = group
        self._session_timeout = session_timeout
        self._instance = instance
        self._lanes: tuple[deque[Any], ...] = tuple(deque() for _ in self._topics)
        self._held = dict.fromkeys(self._topics, 0)
        self._room = asyncio.Event()
        self._app: faust.App | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def _open(self) -> None:
        # Faust makes a folder for tables even without any, by default in the working directory.
        self._folder = tempfile.TemporaryDirectory(prefix="tocsin-faust-")
        app = self._app = self._new_app(self._folder.name)
        for topic, lane in zip(self._topics, self._lanes, strict=True):
            self._feed(app, topic, lane)
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        app.finalize()
        await app.start()

    def _new_app(self, folder: str) -> faust.App:
        session = self._session_timeout.total_seconds()
        consumer = consumer_arguments(
            self._connection, self._group, self._session_timeout, self._instance, self.budgets
        ) | {"max_poll_records": _MAX_POLL_RECORDS, "tenure": self._tenure}
        return _App(
            self._group,
            broker=[f"kafka://{host}" for host in self._connection.bootstrap.split(",")],
            broker_credentials=_credentials(self._connection),
            broker_client_id=self._connection.client,
            broker_session_timeout=session,
            broker_heartbeat_interval=session / 10,
            broker_rebalance_timeout=max(60.0, 2 * session),
            broker_request_timeout=max(90.0, 2 * session),
            broker_max_poll_records=_MAX_POLL_RECORDS,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=self._instance,
            store="memory://",
            datadir=folder,
            stream_buffer_maxsize=_STREAM_BUFFER,
            # Nothing is acknowledged to Faust, so there is nothing it could wait for.
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            web_enabled=False,
            worker_redirect_stdouts=False,
            loghandlers=[],
            autodiscover=False,
            consumer_arguments=consumer,
        )

    def _feed(self, app: faust.App, topic: str, lane: deque[Any]) -> None:
        source = app.topic(
            topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            acks=False,
        )

        async def feed(stream: Any) -> None:  # noqa: ANN401 - Faust's
            async for event in stream.noack().events():
                while len(lane) >= MAX_LANE or self._held[topic] >= MAX_LANE_BYTES:
                    self._room.clear()
                    await self._room.wait()
                self._held[topic] += len(event.message.value or b"")
                lane.append(event.message)
                self._woken.set()

        app.agent(source, name=f"lane {topic}", concurrency=1)(feed)

    async def _close(self) -> None:
        if self._app is not None:
            await self._app.stop()
        if self._folder is not None:
            self._folder.cleanup()

    async def _on_revoked(self, _app: Any, /, *places: Any, **_: Any) -> None:  # noqa: ANN401 - a Faust signal
        await self._group_revoked(frozenset(place.partition for place in places[0]))

    async def _on_assigned(self, _app: Any, /, *places: Any, **_: Any) -> None:  # noqa: ANN401 - a Faust signal
        self._group_assigned(frozenset(place.partition for place in places[0]))

    async def _gather(self) -> None:
        """Let Faust hand on what it has polled, before the next batch is chosen.

        It moves one event a turn of the event loop, and a batch is one turn: without this an
        urgent record waited for as many batches as there were records polled before it.
        """
        idle = 0
        for _ in range(_TURNS):
            held = sum(map(len, self._lanes))
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, not time
            idle = 0 if sum(map(len, self._lanes)) > held else idle + 1
            if idle >= _IDLE_TURNS:
                return

    async def _fetch(self, owned: frozenset[int], room: int) -> list[Record]:
        app = self._running()
        if not any(self._lanes):
            await self._nap(POLL)
        await self._gather()
        generation = app.consumer_generation_id
        records: list[Record] = []
        taken = 0
        for topic, lane in zip(self._topics, self._lanes, strict=True):
            while lane and len(records) < room and taken < self.budgets.max_bytes:
                message = lane.popleft()
                taken += len(message.value or b"")
                self._held[topic] -= len(message.value or b"")
                if message.generation_id == generation and message.partition in owned:
                    records.append(_as_record(message))
            if records:
                # One lane at a time: what is urgent does not wait for what came beside it.
                break
        self._room.set()
        return records

    async def _commit(self, ends: Ends) -> None:
        # The thread's commit, awaited: Faust's bookkeeping counts a failed one as done.
        consumer: Any = self._running().consumer
        done = await consumer._commit(  # noqa: SLF001 - see above
            {TP(*place): end for place, end in ends.items()}
        )
        if not done:
            log.warning("commit.refused")

    def _put_back(self, starts: Ends) -> None:
        """Nothing: a rebalance or a stop came between, and both begin at what is committed."""

    async def _keep_alive(self) -> None:
        self._running()

    def _running(self) -> faust.App:
        assert self._app is not None, "run() was not called"  # noqa: S101 - an invariant
        if self._app.crashed or self._app.should_stop:
            reason = getattr(self._app, "_crash_reason", None)
            raise RuntimeError("Faust stopped by itself") from reason
        return self._app


class _App(faust.App):
    def __init__(self, *args: Any, consumer_arguments: dict[str, Any], **options: Any) -> None:  # noqa: ANN401 - Faust's
        super().__init__(*args, **options)
        self.consumer_arguments = consumer_arguments

    def _new_transport(self) -> Any:  # noqa: ANN401 - Faust's
        return _Transport(self.conf.broker_consumer, self)


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ANN401, ARG002 - Faust's
        assignor: Any = RangePartitionAssignor
        self._assignor = assignor
        app: Any = self.app
        return GroupMember(**app.consumer_arguments)

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        """Whether Kafka took them.

        Faust's own takes the app down for whatever Kafka says, and for a batch whose partition
        went to another worker while it was in hand. Both are survived: a later commit of the
        partition covers this one, or its next owner handles the records again.
        """
        consumer = self._ensure_consumer()
        held = consumer.assignment()
        ours = {
            place: end
            for place, end in ((TopicPartition(*tp), end) for tp, end in offsets.items())
            if place in held
        }
        if not ours:
            return False
        try:
            await consumer.commit(ours)
        except (IllegalStateError, KafkaError):
            return False
        return len(ours) == len(offsets)


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> Any:  # noqa: ANN401 - Faust's
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer


def _as_record(message: Any) -> Record:  # noqa: ANN401 - Faust's
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Record(
        position=Position(message.topic, message.partition, message.offset),
        key=message.key,
        value=message.value,
        headers=tuple(pairs),
        recorded_at=datetime.fromtimestamp(message.timestamp, UTC),
    )


def _credentials(connection: KafkaConnection) -> faust.types.auth.CredentialsT | None:
    options = dict(connection.options)
    protocol = str(options.get("security_protocol", "PLAINTEXT"))
    tls = options.get("ssl_context")
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=tls,
        )
    return faust.SSLCredentials(tls) if protocol == "SSL" else None
