"""The broker and the Valkey that every other integration test stands on."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tocsin_testkit.real_kafka import RealKafka


@pytest.mark.kafka
async def test_what_is_acknowledged_can_be_read_back(kafka: RealKafka) -> None:
    topic = await kafka.create("letters", partitions=3)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    sent = await producer.send_and_wait(topic, b"hello", key=b"k", partition=2)
    await producer.stop()

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    async with asyncio.timeout(20):
        record = await consumer.getone()
    await consumer.stop()
    assert (record.partition, record.offset, record.value) == (2, sent.offset, b"hello")


@pytest.mark.kafka
@pytest.mark.parametrize("turn", [1, 2])
async def test_every_test_has_topics_of_its_own(kafka: RealKafka, turn: int) -> None:
    assert (await kafka.create("same")).startswith(f"test-every-test-has-topics-of-its-own-{turn}")


async def test_the_valkey_answers(valkey: str) -> None:
    host, port = valkey.removeprefix("redis://").removesuffix("/0").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PING\r\n")
    assert await reader.readline() == b"+PONG\r\n"
    writer.close()
    await writer.wait_closed()
