"""Five real processes on a real Kafka: one webhook in, one page out, one answer, and a crash."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.dead_letters import DeadLettered
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

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
        asyncio.run(seen_from_outside(made).put_in_force(published(a_policy())))
        yield made
    finally:
        made.stop()


@pytest.fixture
def system(stack: Stack) -> RealSystem:
    """The same, as its surroundings see it."""
    return seen_from_outside(stack)


def seen_from_outside(stack: Stack) -> RealSystem:
    tokens = (stack.webhook_token, stack.api_token)
    return RealSystem(stack.bootstrap, stack.ingestion_url, *tokens, PARTITIONS)


def a_critical(name: str) -> bytes:
    return a_webhook(an_alert(name, system="shop", severity="critical"))


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
    system: RealSystem, receiver: Receiver
) -> None:
    await system.push(a_critical("Down"))
    # Alice has two channels.
    seen = await system.until(
        "incidents", lambda seen: has(seen, "Down", incidents.NotificationDelivered, count=2)
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
    await system.answer(incident, "acknowledge", answer)
    await system.until("incidents", lambda seen: has(seen, "Down", incidents.Acknowledged))


@pytest.mark.parametrize("name", SERVICES_THAT_FOLD)
async def test_a_service_that_is_killed_loses_nothing(
    stack: Stack, system: RealSystem, name: str
) -> None:
    (victim,) = (one.said.pid for one in stack.status() if one.name == name)
    assert victim is not None
    await system.push(a_critical(f"Before{name}"))
    os.kill(victim, signal.SIGKILL)
    await system.push(a_critical(f"After{name}"))
    seen = await system.until(
        "incidents",
        lambda seen: all(
            has(seen, f"{when}{name}", incidents.NotificationDelivered, count=2)
            for when in ("Before", "After")
        ),
    )
    for when in ("Before", "After"):
        opened = [e for e in about(seen, f"{when}{name}") if isinstance(e.fact, incidents.Opened)]
        assert len({event.id for event in opened}) == 1


async def test_a_poisonous_record_is_set_aside_and_the_rest_flows_on(
    stack: Stack, system: RealSystem
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.bootstrap) as producer:
        headers = [("source", b"alertmanager")]
        await producer.send_and_wait("alerts.raw", b"{not json", key=b"anyone", headers=headers)
    await system.push(a_critical("AfterPoison"))
    await system.until(
        "incidents", lambda seen: has(seen, "AfterPoison", incidents.NotificationDelivered)
    )
    alone = replace(system, partitions=1)
    [letter] = await alone.until("dead-letters", lambda seen: len(seen) >= 1)
    assert isinstance(letter.fact, DeadLettered)
    assert (letter.fact.service, letter.fact.reason) == ("ingestion", "not_json")
    assert letter.fact.value == b"{not json"
    assert letter.fact.topic == "alerts.raw"
