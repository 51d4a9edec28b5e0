"""What the adapters make of a Kafka that does not answer."""

from __future__ import annotations

import pytest

from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.failures import Transient
from tocsin_runtime.records import Outgoing

NOBODY = KafkaConnection("127.0.0.1:1", "test")


async def test_reading_is_transient_so_that_a_restore_is_tried_again() -> None:
    reader = KafkaReader(NOBODY)
    with pytest.raises(Transient):
        await reader.bounds("t", 0)
    with pytest.raises(Transient):
        await reader.partitions("t")
    await reader.stop()


async def test_publishing_is_transient() -> None:
    publisher = KafkaPublisher(NOBODY, SystemClock())
    with pytest.raises(Transient):
        await publisher.publish([Outgoing("t", None, b"v")])
    await publisher.stop()
