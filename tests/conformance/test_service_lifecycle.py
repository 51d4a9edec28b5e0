"""What every service does at its start, at its end, and when asked how it is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.records import Outgoing
from tocsin_testkit.real_kafka import RealKafka

pytestmark = pytest.mark.kafka
PROGRAM = Path(__file__).with_name("service_process.py")


@asynccontextmanager
async def a_service(
    bootstrap: str, followed: str, consumed: str, *, engine: str = "aiokafka"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ)  # noqa: TID251 - handed on to a child
        | {
            "TOCSIN_KAFKA_BOOTSTRAP": bootstrap,
            "TOCSIN_KAFKA_GROUP": consumed,
            "TOCSIN_ENGINE": engine,
            "TOCSIN_OPS_HOST": "127.0.0.1",
            "TOCSIN_OPS_PORT": str(port),
            "TOCSIN_FOLLOWED": followed,
            "TOCSIN_CONSUMED": consumed,
        },
    )
    try:
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(40):
        return (await process.stdout.readline()).decode().strip()


@pytest.fixture
async def topics(kafka: RealKafka) -> tuple[str, str]:
    return await kafka.create("followed"), await kafka.create("consumed")


async def publish(kafka: RealKafka, topic: str, *values: bytes) -> None:
    publisher = KafkaPublisher(KafkaConnection(kafka.bootstrap, "test"), SystemClock())
    await publisher.publish([Outgoing(topic, b"k", value) for value in values])
    await publisher.stop()


@pytest.mark.parametrize("engine", ["aiokafka", "faust"])
async def test_a_service_works_tells_how_it_is_and_stops_cleanly(
    kafka: RealKafka, topics: tuple[str, str], engine: str
) -> None:
    followed, consumed = topics
    await publish(kafka, followed, b"1", b"2")
    await publish(kafka, consumed, b"a")
    async with a_service(kafka.bootstrap, followed, consumed, engine=engine) as (process, port):
        assert await line(process) == "followed 2"
        assert await line(process) == "handled 0"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            healthy, ready = await client.get("/healthz"), await client.get("/readyz")
            metrics = await client.get("/metrics")
        assert (healthy.status_code, ready.status_code) == (200, 200)
        assert "# TYPE tocsin_consumed_records_total counter" in metrics.text
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0


@pytest.mark.parametrize("engine", ["aiokafka", "faust"])
async def test_a_bug_ends_the_process_with_70_and_one_line_that_says_so(
    kafka: RealKafka, topics: tuple[str, str], engine: str
) -> None:
    followed, consumed = topics
    await publish(kafka, consumed, b"a", b"bug")
    async with a_service(kafka.bootstrap, followed, consumed, engine=engine) as (process, _):
        async with asyncio.timeout(40):
            _, errors = await process.communicate()
        assert process.returncode == 70
        assert errors.decode().count("handler.crashed") == 1


async def test_a_service_that_finds_no_kafka_ends_with_70() -> None:
    async with a_service("127.0.0.1:1", "x", "y") as (process, _):
        async with asyncio.timeout(40):
            assert await process.wait() == 70
