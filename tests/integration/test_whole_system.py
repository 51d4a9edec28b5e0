"""Five real processes on a real Kafka: one webhook in, one page out, one answer, and a crash."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import codec, incidents
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import derive
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.builders import a_webhook, an_alert
from tocsin_testkit.policies import a_policy, published

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 2
SERVICES_THAT_FOLD = ("classifier", "escalation-timer", "notifier", "remediation")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Stands for Slack and PagerDuty."""
    with Receiver(SystemClock()).serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def stack(receiver: Receiver) -> Iterator[Stack]:
    """The whole system, with the policy of the builders in force."""
    channels = {
        kind: channel_settings(receiver, kind, f"{kind}-of-the-test")
        for kind in ("slack", "pagerduty")
    }
    made = Stack(
        ROOT,
        partitions=PARTITIONS,
        ephemeral=True,
        env={"TOCSIN_CHANNELS": json.dumps(channels)},
    )
    made.start(print)
    try:
        asyncio.run(put_in_force(made.bootstrap))
        yield made
    finally:
        made.stop()


async def put_in_force(bootstrap: str) -> None:
    fact = published(a_policy())
    event: Event[Fact] = Event(
        id=derive(fact.TYPE, fact.system, fact.hash),
        source="tocsin/test",
        subject=fact.system,
        key=fact.system,
        occurred_at=datetime.now(UTC),  # noqa: TID251 - beside five processes that use it too
        fact=fact,
    )
    wire = codec.encode(event)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(
            wire.topic, wire.value, key=wire.key, headers=list(wire.headers)
        )


async def until(stack: Stack, enough: Callable[[list[Event[Fact]]], bool]) -> list[Event[Fact]]:
    """Every fact of every incident once there are enough; a failure shows what there was."""
    seen: list[Event[Fact]] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.bootstrap, auto_offset_reset="earliest")
    consumer.assign([TopicPartition("incidents", number) for number in range(PARTITIONS)])
    await consumer.start()
    try:
        async with asyncio.timeout(90):
            while not enough(seen):
                record = await consumer.getone()
                seen.append(codec.decode(record.headers, record.value, record.key))
    except TimeoutError:
        pytest.fail("not in the log in time; there is:\n" + "\n".join(map(repr, seen)))
    finally:
        await consumer.stop()
    return seen


async def push(stack: Stack, name: str) -> None:
    body = a_webhook(an_alert(name, system="shop", severity="critical"))
    await post(stack, "/v1/webhooks/alertmanager", stack.webhook_token, body)


async def post(stack: Stack, path: str, token: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=stack.ingestion_url, timeout=30) as client:
        answer = await client.post(path, content=body, headers=headers)
    assert answer.is_success, answer.text


def about(seen: list[Event[Fact]], name: str) -> list[Event[Fact]]:
    """What there is about the incident that an alert of this name opened."""
    opened = {
        event.subject
        for event in seen
        if isinstance(event.fact, incidents.Opened)
        and any(alert.labels.get("alertname") == name for alert in event.fact.alerts)
    }
    return [event for event in seen if event.subject in opened]


def has(seen: list[Event[Fact]], name: str, kind: type[Fact], count: int = 1) -> bool:
    return sum(isinstance(event.fact, kind) for event in about(seen, name)) >= count


async def test_a_webhook_becomes_an_incident_that_pages_until_it_is_acknowledged(
    stack: Stack, receiver: Receiver
) -> None:
    await push(stack, "Down")
    # Alice has two channels.
    seen = await until(
        stack, lambda seen: has(seen, "Down", incidents.NotificationDelivered, count=2)
    )
    kinds = [type(event.fact) for event in about(seen, "Down")]
    assert kinds.index(incidents.Opened) < kinds.index(incidents.LevelReached)
    assert kinds.index(incidents.NotificationAttempted) < kinds.index(
        incidents.NotificationDelivered
    )
    assert {one.kind for one in receiver.arrivals() if "Down" in one.subject} == {
        "slack",
        "pagerduty",
    }

    incident = about(seen, "Down")[0].subject
    answer = json.dumps({"by": "alice"}).encode()
    await post(stack, f"/v1/incidents/{incident}/acknowledge", stack.api_token, answer)
    await until(stack, lambda seen: has(seen, "Down", incidents.Acknowledged))


@pytest.mark.parametrize("name", SERVICES_THAT_FOLD)
async def test_a_service_that_is_killed_loses_nothing(stack: Stack, name: str) -> None:
    (victim,) = (one.said.pid for one in stack.status() if one.name == name)
    assert victim is not None
    await push(stack, f"Before{name}")
    os.kill(victim, signal.SIGKILL)
    await push(stack, f"After{name}")
    seen = await until(
        stack,
        lambda seen: all(
            has(seen, f"{when}{name}", incidents.NotificationDelivered, count=2)
            for when in ("Before", "After")
        ),
    )
    for when in ("Before", "After"):
        opened = [e for e in about(seen, f"{when}{name}") if isinstance(e.fact, incidents.Opened)]
        assert len({event.id for event in opened}) == 1
