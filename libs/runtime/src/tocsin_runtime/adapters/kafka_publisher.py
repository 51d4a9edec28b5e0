"""Writing to Kafka: one producer a process, every record acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordTooLargeError
from aiokafka.structs import RecordMetadata

from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock
from tocsin_runtime.records import Outgoing, Position
from tocsin_runtime.telemetry import counter, gauge, inject, seconds

log = structlog.get_logger()

MAX_IN_FLIGHT = 5_000
"""Records sent and not yet acknowledged; further publishing waits."""

MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""Larger records are refused here; the brokers' `message.max.bytes` is usually smaller."""

_published = counter("tocsin_published_records", "Records acknowledged by Kafka")
_failed = counter("tocsin_publish_failures", "Publish calls whose outcome is unknown")
_waited = counter("tocsin_publish_throttled", "Records that waited for MAX_IN_FLIGHT")
_took = seconds("tocsin_publish_duration", "From publish to the acknowledgement of all")


class KafkaPublisher:
    """A `Publisher`.

    Without idempotence on purpose. aiokafka keeps one request in flight a broker, which keeps
    the order of a partition, retries included; ids are derived, so a repeat is harmless; and an
    idempotent producer never gives up on a batch and can stick at OutOfOrderSequenceNumber until
    it is restarted (aiokafka #1017). What idempotence would save is a repeat now and then.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Clock,
        *,
        timeout: timedelta = timedelta(seconds=30),
        compression: str | None = None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._timeout = timeout.total_seconds()
        self._compression = compression
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._in_flight = 0
        gauge(
            "tocsin_publish_in_flight",
            "Records sent and not yet acknowledged",
            lambda: self._in_flight,
        )

    async def start(self) -> None:
        """Connect. Raises `KafkaError` if no broker answers."""
        await self._running()

    async def stop(self) -> None:
        """Wait for what is in flight and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        """Where each record stands, once Kafka has acknowledged all.

        Raises:
            Transient: The outcome of at least one record is unknown.
            Poison: A record is larger than the broker takes.
        """
        if not records:
            return ()
        started = self._clock.monotonic()
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._running()
                sent = [await self._send(producer, record) for record in records]
                done = await asyncio.gather(*sent, return_exceptions=True)
        except TimeoutError as error:
            # What is queued in the old producer may still arrive; that is what a repeat is.
            await self._renew(producer)
            _failed.add(1, {"reason": "publish_timed_out"})
            raise Transient("publish_timed_out") from error
        except (MessageSizeTooLargeError, RecordTooLargeError) as error:
            raise Poison("record_too_large", str(error)) from error
        except KafkaError as error:
            await self._trouble(producer, error)
            raise Transient("publish_failed") from error
        positions = []
        for outcome in done:
            if isinstance(outcome, (MessageSizeTooLargeError, RecordTooLargeError)):
                raise Poison("record_too_large", str(outcome)) from outcome
            if isinstance(outcome, KafkaError):
                await self._trouble(producer, outcome)
                raise Transient("publish_failed") from outcome
            if isinstance(outcome, BaseException):
                raise outcome
            positions.append(Position(outcome.topic, outcome.partition, outcome.offset))
        _published.add(len(positions))
        _took.record(self._clock.monotonic() - started)
        return tuple(positions)

    async def _send(
        self, producer: AIOKafkaProducer, record: Outgoing
    ) -> asyncio.Future[RecordMetadata]:
        if self._room.locked():
            _waited.add(1)
        await self._room.acquire()
        try:
            future: asyncio.Future[RecordMetadata] = await producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                headers=list(inject(record.headers)),
            )
        except BaseException:
            self._room.release()
            raise
        self._in_flight += 1
        future.add_done_callback(self._acknowledged)
        return future

    def _acknowledged(self, future: asyncio.Future[RecordMetadata]) -> None:
        self._in_flight -= 1
        self._room.release()
        if not future.cancelled():
            # Of a call that gave up nobody asks, and asyncio would complain about it.
            future.exception()

    async def _running(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._connection.arguments(),
                    acks="all",
                    enable_idempotence=False,
                    # An awaited send costs 0.25 ms with 0 and 5.6 ms with 5; batches form by
                    # themselves while a request is in flight.
                    linger_ms=0,
                    max_batch_size=256 * 1024,
                    max_request_size=MAX_REQUEST_BYTES,
                    compression_type=self._compression,
                    request_timeout_ms=int(self._timeout * 1000),
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
        return self._producer

    async def _trouble(self, producer: AIOKafkaProducer | None, error: KafkaError) -> None:
        _failed.add(1, {"reason": type(error).__name__})
        if not error.retriable:
            await self._renew(producer)

    async def _renew(self, producer: AIOKafkaProducer | None) -> None:
        """Have the next publish use a new producer; others of this one fail and come again."""
        if producer is None or self._producer is not producer:
            return
        self._producer = None
        log.warning("producer.renewed")
        try:
            async with asyncio.timeout(1):
                await producer.stop()
        except (TimeoutError, KafkaError):
            log.warning("producer.abandoned")
