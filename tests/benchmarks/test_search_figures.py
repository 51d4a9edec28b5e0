"""One incident looked for in a real topic of Kafka: until its state is there.

`BENCH_TOPIC=5000000 make bench` makes it the long one; it takes some minutes to write.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import incident_id
from tocsin_replay import read_incident, state_of
from tocsin_replay.reading import INCIDENTS
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.events import outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_person, an_alert, an_event, an_opening
from tocsin_testkit.real_kafka import RealKafka

pytestmark = pytest.mark.bench

TOPIC = int(os.environ.get("BENCH_TOPIC", "200000"))
"""Facts in the partition."""

OTHERS = 2_000
WANTED = incident_id("shop", "wanted")
EVERY = 50_000
"""One fact in so many is of the incident that is looked for."""


def _written(incident: str, number: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    fact: Fact = (
        an_opening(incident=incident, severity="critical", alerts=(an_alert("Down"),))
        if number == 0
        else facts.NoteAdded(by=a_person(), text=f"note {number}")
    )
    event: Event[Fact] = an_event(fact, incident=incident, at=EPOCH + timedelta(seconds=number))
    written = outgoing(event)
    return written.value or b"", list(written.headers)


async def _filled(bootstrap: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks=1, compression_type="gzip", max_batch_size=1 << 20
    )
    await producer.start()
    others = [_written(incident_id("shop", str(n % 100)), n) for n in range(OTHERS)]
    wanted = 0
    batch = producer.create_batch()
    try:
        for number in range(TOPIC):
            value, headers = others[number % OTHERS]
            if number % EVERY == 0:
                value, headers = _written(WANTED, wanted)
                wanted += 1
            held = batch.append(key=b"shop", value=value, timestamp=None, headers=headers)
            if held is None:
                await producer.send_batch(batch, INCIDENTS, partition=0)
                batch = producer.create_batch()
                batch.append(key=b"shop", value=value, timestamp=None, headers=headers)
        await producer.send_batch(batch, INCIDENTS, partition=0)
        await producer.flush()
    finally:
        await producer.stop()


async def test_the_first_state_of_one_incident_in_a_long_topic(kafka: RealKafka) -> None:
    await kafka.create_exactly({INCIDENTS: 1})
    began = time.perf_counter()
    await _filled(kafka.bootstrap)
    filled = time.perf_counter() - began
    reader = KafkaReader(KafkaConnection(kafka.bootstrap, "bench"))
    try:
        began, busy = time.perf_counter(), time.process_time()
        state = state_of(await read_incident(reader, WANTED))
        took, busy = time.perf_counter() - began, time.process_time() - busy
    finally:
        await reader.stop()
    print(  # noqa: T201 - a benchmark prints
        f"\nthe state of one incident in a partition of {TOPIC:,} facts of Kafka after "
        f"{took:.1f} s, {busy:.1f} s of processor; {TOPIC / took:,.0f} records/s; written in "
        f"{filled:.0f} s"
    )
    assert state is not None
    assert state.notes == (TOPIC - 1) // EVERY
