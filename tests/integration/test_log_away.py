"""A real broker goes away and comes back: senders are told, and nothing accepted is lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from ingestion.adapters.http import HttpDoor
from ingestion.handlers import Door
from tocsin_casebook import InForce, Policies
from tocsin_cli.stack import kafka as kafka_process
from tocsin_cli.stack.topics import apply_topics
from tocsin_policy import policy_hash
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {"Authorization": "Bearer senders", "Content-Type": "application/json"}
PARTITIONS = 2
TRIES = 30


def a_door(publisher: KafkaPublisher) -> HttpDoor:
    clock = SystemClock()
    policies = Policies()
    policies.publish(InForce(a_policy(), policy_hash(a_policy())))
    return HttpDoor(
        Door(publisher=publisher, policies=policies, clock=clock),
        clock,
        webhook_token=SecretStr("senders"),
        api_token=SecretStr("people"),
        max_body_bytes=100_000,
        max_requests=8,
        accept_timeout=timedelta(seconds=2),
    )


async def standing(connection: KafkaConnection) -> list[bytes | None]:
    """The bytes that stand on the raw lanes."""
    reader = KafkaReader(connection)
    found = []
    for topic in ("alerts.raw", "alerts.raw.urgent"):
        for partition in range(PARTITIONS):
            start, end = await reader.bounds(topic, partition)
            found += [r.value async for r in reader.read(topic, partition, start, end)]
    await reader.stop()
    return found


@pytest.mark.kafka
async def test_what_was_accepted_is_there_after_the_broker_was_away(tmp_path: Path) -> None:
    installation = kafka_process.install(ROOT, print)
    data, log = tmp_path / "data", tmp_path / "kafka.log"
    broker = kafka_process.start(installation, data, log=log)
    connection = KafkaConnection(broker.bootstrap, "test")
    publisher = KafkaPublisher(connection, SystemClock(), timeout=timedelta(seconds=3))
    accepted = []
    try:
        await apply_topics(broker.bootstrap, PARTITIONS)
        await publisher.start()
        transport = httpx.ASGITransport(app=a_door(publisher).application)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:

            async def post(name: str) -> httpx.Response:
                body = a_webhook(an_alert(name, system="shop", severity="minor"))
                answer = await client.post(
                    "/v1/webhooks/alertmanager", content=body, headers=HEADERS
                )
                if answer.status_code == 202:
                    accepted.append(body)
                return answer

            assert (await post("Before")).status_code == 202
            broker.stop()
            away = await post("While")
            assert away.status_code == 503
            assert int(away.headers["retry-after"]) > 0
            broker = kafka_process.start(installation, data, log=log, ports=broker.ports)
            for _ in range(TRIES):
                if (await post("After")).status_code == 202:
                    break
        assert len(accepted) == 2
        found = await standing(connection)
        assert all(body in found for body in accepted)
    finally:
        await publisher.stop()
        broker.stop()
