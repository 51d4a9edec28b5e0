"""Reading Kafka outside any consumer group: for restore, replay and people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tocsin_runtime.adapters.kafka_connection import KafkaConnection, as_record
from tocsin_runtime.failures import Transient
from tocsin_runtime.records import Record

MAX_RECORDS = 500
"""Records held in memory at a time by one `read` beyond Kafka's own fetch buffer."""

MAX_IDLE = 4
"""Connections kept for the next `read`; a restore of 48 partitions opens as few as it can."""

_SUBJECT = "ce_subject"

_POLL_MS = 200
_EMPTY_POLLS = 5
"""Empty answers (a second) after which a range that cannot be filled is over."""


_STOP_LIMIT = 5.0


class KafkaReader:
    """A `Reader`. What Kafka cannot tell just now is `Transient`: a restore is tried again."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._idle: list[AIOKafkaConsumer] = []
        self._open: set[AIOKafkaConsumer] = set()

    async def stop(self) -> None:
        """Disconnect; reads under way end with an error."""
        consumers, self._open, self._idle = self._open, set(), []
        await asyncio.gather(*(_stop(consumer) for consumer in consumers))

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises `LookupError` if there is no such topic."""
        admin = AIOKafkaAdminClient(**self._connection.arguments())
        try:
            await admin.start()
            [described] = await admin.describe_topics([topic])
        except KafkaError as error:
            raise Transient("kafka_unread") from error
        finally:
            await admin.close()
        if described["error_code"]:
            raise LookupError(f"no topic named {topic!r}")
        return len(described["partitions"])

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First available offset and the end offset (one past the last record)."""
        place = TopicPartition(topic, partition)
        async with self._consumer(place) as consumer:
            starts = await consumer.beginning_offsets([place])
            ends = await consumer.end_offsets([place])
        return starts[place], ends[place]

    async def offset_since(self, topic: str, partition: int, at: datetime) -> int:
        """Offset of the first record at or after an instant; the end if there is none."""
        place = TopicPartition(topic, partition)
        async with self._consumer(place) as consumer:
            found = await consumer.offsets_for_times({place: int(at.timestamp() * 1000)})
            if found[place] is not None:
                return int(found[place].offset)
            ends = await consumer.end_offsets([place])
        return int(ends[place])

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        """Records of `[start, end)` in order; with `end=None`, follow for ever.

        Offsets may have gaps: transaction markers and what compaction removed hold no record. A
        range is therefore over when the position has passed its end, or when Kafka, which has
        told that the log goes at least that far, has nothing more to give before it.
        """
        async with aclosing(self._batches(TopicPartition(topic, partition), start, end)) as found:
            async for messages in found:
                for message in messages:
                    yield as_record(message)

    async def read_about(
        self,
        topic: str,
        partition: int,
        start: int,
        end: int,
        subject: str,
        progress: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Record]:
        """Records of `[start, end)` that are about a subject, or do not say about which.

        As `read`, in half of its time: of what is about others nothing is looked at but a header.

        Args:
            progress: Called with how many more were looked at.
        """
        wanted = subject.encode()
        async with aclosing(self._batches(TopicPartition(topic, partition), start, end)) as found:
            async for messages in found:
                if progress is not None:
                    progress(len(messages))
                for message in messages:
                    for name, value in message.headers:
                        if name == _SUBJECT:
                            about = value == wanted
                            break
                    else:
                        about = True
                    if about:
                        yield as_record(message)

    async def _batches(
        self, place: TopicPartition, start: int, end: int | None
    ) -> AsyncGenerator[Sequence[ConsumerRecord[bytes, bytes]], None]:
        if end is not None and start >= end:
            return
        async with self._consumer(place) as consumer:
            consumer.seek(place, start)
            empty = 0
            while True:
                got = await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=MAX_RECORDS)
                messages = got.get(place, [])
                # A batch is fetched whole; the seek may lie inside of it, and the end.
                if messages and messages[0].offset < start:
                    messages = [one for one in messages if one.offset >= start]
                if end is not None and messages and messages[-1].offset >= end:
                    yield [one for one in messages if one.offset < end]
                    return
                if messages:
                    yield messages
                if end is None:
                    continue
                if await consumer.position(place) >= end:
                    return
                empty = 0 if got else empty + 1
                if empty >= _EMPTY_POLLS and (consumer.highwater(place) or 0) >= end:
                    return

    @asynccontextmanager
    async def _consumer(self, place: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = self._idle.pop() if self._idle else await self._connect()
        reusable = False
        try:
            consumer.assign([place])
            yield consumer
            reusable = True
        except KafkaError as error:
            raise Transient("kafka_unread") from error
        finally:
            if reusable and len(self._idle) < MAX_IDLE and consumer in self._open:
                # Paused, not unsubscribed: aiokafka 0.14 loses a stop that comes while its fetcher
                # winds up an assignment, and then waits for ever.
                consumer.pause(place)
                self._idle.append(consumer)
            elif consumer in self._open:
                self._open.discard(consumer)
                await _stop(consumer)

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._connection.arguments(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=1024 * 1024,
        )
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise Transient("kafka_unread") from error
        self._open.add(consumer)
        return consumer


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_LIMIT):
            await consumer.stop()
