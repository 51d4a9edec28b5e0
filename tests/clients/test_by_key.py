"""What senders close and acknowledge by key alone, through a whole real system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 2
KEYS = {"pagerduty-events": [{"secret": "k", "labels": {"system": "shop"}}]}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole system, with the policy of the builders in force and a key for PagerDuty events."""
    with Receiver(SystemClock()).serving() as receiver:
        channels = {
            kind: channel_settings(receiver, kind, f"{kind}-of-the-test")
            for kind in ("slack", "pagerduty")
        }
        env = {
            "TOCSIN_CHANNELS": json.dumps(channels),
            "TOCSIN_SOURCE_KEYS": json.dumps(KEYS),
            "TOCSIN_MAPPINGS": json.dumps({"mine": {"labels": {"alertname": "item.name"}}}),
        }
        made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
        made.start(print)
        try:
            asyncio.run(system_of(made).put_in_force(published(a_policy())))
            yield made
        finally:
            made.stop()


def system_of(stack: Stack) -> RealSystem:
    tokens = (stack.webhook_token, stack.api_token)
    return RealSystem(stack.bootstrap, stack.ingestion_url, *tokens, PARTITIONS)


def an_event(action: str, key: str) -> dict[str, object]:
    payload = {"summary": f"{key} is full", "source": "db-1", "severity": "critical"}
    return {"routing_key": "k", "event_action": action, "dedup_key": key} | (
        {"payload": payload} if action == "trigger" else {}
    )


def has(kind: type[Fact], seen: list[Event[Fact]]) -> bool:
    return any(isinstance(event.fact, kind) for event in seen)


async def test_an_alert_is_acknowledged_and_closed_by_the_key_it_was_opened_with(
    stack: Stack,
) -> None:
    system = system_of(stack)
    async with httpx.AsyncClient(base_url=stack.ingestion_url, timeout=30) as client:

        async def send(action: str) -> None:
            answer = await client.post("/v2/enqueue", json=an_event(action, "disk"))
            assert (answer.status_code, answer.json()["dedup_key"]) == (202, "disk")
            assert answer.json()["message"] == "Event processed"

        await send("trigger")
        await system.until("incidents", lambda seen: has(incidents.NotificationDelivered, seen))
        await send("acknowledge")
        seen = await system.until("incidents", lambda seen: has(incidents.Acknowledged, seen))
        [acknowledged] = [e for e in seen if isinstance(e.fact, incidents.Acknowledged)]
        [opened] = [e for e in seen if isinstance(e.fact, incidents.Opened)]
        assert acknowledged.subject == opened.subject
        looking = {"Authorization": f"Bearer {stack.webhook_token}"}
        shown = (await client.get("/api/v2/alerts", headers=looking)).json()
        assert [alert["labels"]["alertname"] for alert in shown] == ["disk"]
        await send("resolve")
        await system.until("incidents", lambda seen: has(incidents.AlertsCleared, seen))
        assert (await client.get("/api/v2/alerts", headers=looking)).json() == []


async def test_a_silence_set_through_the_api_stands_and_can_be_ended(stack: Stack) -> None:
    silence = {
        "matchers": [{"name": "alertname", "value": "disk", "isRegex": False}],
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "2036-01-01T00:00:00Z",
        "createdBy": "ada",
        "comment": "we know",
    }
    person = {"Authorization": f"Bearer {stack.api_token}"}
    async with httpx.AsyncClient(base_url=stack.ingestion_url, headers=person) as client:
        made = (await client.post("/api/v2/silences", json=silence)).json()["silenceID"]
        [shown] = (await client.get("/api/v2/silences")).json()
        assert (shown["id"], shown["status"]["state"]) == (made, "active")
        assert (await client.delete(f"/api/v2/silence/{made}")).status_code == 200
        [shown] = (await client.get("/api/v2/silences")).json()
        assert shown["status"]["state"] == "expired"
