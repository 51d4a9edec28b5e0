"""What has been appended to topics since it was last asked, and nothing until then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tocsin_runtime.adapters.kafka_connection import KafkaConnection, as_record
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock, Reader
from tocsin_runtime.records import Record

LOOK_BACK = timedelta(hours=6)
"""How far back the first question reads."""

MAX_RECORDS = 20
"""Records handed over at once; each may hold 500 observations, and the door must not stand."""

_POLL_MS = 200
_EMPTY_POLLS = 5


class Tail(Protocol):
    """The end of some topics."""

    def news(self) -> AsyncGenerator[Sequence[Record], None]:
        """What was appended since this was last asked, up to the end as it is now.

        Raises:
            Transient: The log is away; what was handed over is not handed over again.
        """
        ...


class KafkaTail:
    """A `Tail` of Kafka: one consumer for all partitions, paused between questions."""

    def __init__(
        self,
        connection: KafkaConnection,
        reader: Reader,
        clock: Clock,
        topics: Sequence[str],
        look_back: timedelta = LOOK_BACK,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._clock = clock
        self._topics = tuple(topics)
        self._look_back = look_back
        self._consumer: AIOKafkaConsumer | None = None
        self._positions: dict[TopicPartition, int] = {}

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(KafkaError):
                await consumer.stop()

    async def news(self) -> AsyncGenerator[Sequence[Record], None]:
        """See `Tail`."""
        try:
            consumer = self._consumer or await self._connected()
            places = sorted(self._positions)
            ends = await consumer.end_offsets(places)
            behind = [place for place in places if self._positions[place] < ends[place]]
            consumer.resume(*behind)
            empty = 0
            while behind and empty < _EMPTY_POLLS:
                got = await consumer.getmany(*behind, timeout_ms=_POLL_MS, max_records=MAX_RECORDS)
                empty = 0 if got else empty + 1
                records = [as_record(each) for held in got.values() for each in held]
                for place, held in got.items():
                    self._positions[place] = held[-1].offset + 1
                if records:
                    yield records
                behind = [place for place in behind if self._positions[place] < ends[place]]
            consumer.pause(*places)
        except KafkaError as error:
            await self.stop()
            raise Transient("kafka_unread") from error

    async def _connected(self) -> AIOKafkaConsumer:
        """A consumer that stands where the last one did, or that long before now."""
        consumer = AIOKafkaConsumer(
            **self._connection.arguments(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            places = [
                TopicPartition(topic, number)
                for topic in self._topics
                for number in range(await self._reader.partitions(topic))
            ]
            consumer.assign(places)
            consumer.pause(*places)
            since = int((self._clock.now() - self._look_back).timestamp() * 1000)
            new = {place: since for place in places if place not in self._positions}
            if new:
                firsts = await consumer.offsets_for_times(new)
                ends = await consumer.end_offsets(list(new))
                for place in new:
                    first = firsts[place]
                    self._positions[place] = ends[place] if first is None else first.offset
            for place in places:
                consumer.seek(place, self._positions[place])
        except KafkaError:
            await consumer.stop()
            raise
        self._consumer = consumer
        return consumer
