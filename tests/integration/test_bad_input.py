"""What is not as it should be: the right answer, the field named, and nothing written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ingestion.adapters.http import HttpDoor
from ingestion.handlers import Door, Normaliser
from tocsin_casebook import InForce, Policies
from tocsin_cli.stack import kafka as kafka_process
from tocsin_contracts.registry import TOPICS
from tocsin_policy import policy_hash
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Publisher
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_testkit.builders import EPOCH, a_webhook, an_alert
from tocsin_testkit.policies import a_policy

ROOT = Path(__file__).resolve().parents[2]
WEBHOOK = "/v1/webhooks/alertmanager"
ANSWER = "/v1/incidents/shop-0000000000"
GOOD = {"Authorization": "Bearer senders", "Content-Type": "application/json"}
PEOPLE = {"Authorization": "Bearer people", "Content-Type": "application/json"}
LIMIT = 20_000


class Kept(Publisher):
    """A publisher that keeps what it is given, unless the log is away."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.away = False

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        if self.away:
            raise Transient("away")
        self.records.extend(records)
        return tuple(Position(one.topic, 0, 0) for one in records)


def policies() -> Policies:
    made = Policies()
    policy = a_policy()
    made.publish(InForce(policy, policy_hash(policy)))
    return made


def a_door(publisher: Publisher, **changes: Any) -> HttpDoor:
    clock = SystemClock()
    arguments: dict[str, Any] = {
        "webhook_token": SecretStr("senders"),
        "api_token": SecretStr("people"),
        "max_body_bytes": LIMIT,
        "max_requests": 8,
    }
    door = Door(publisher=publisher, policies=policies(), clock=clock)
    return HttpDoor(door, clock, **arguments | changes)


def client_of(door: HttpDoor) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=door.application)
    return httpx.AsyncClient(transport=transport, base_url="http://door")


def a_body(**changes: Any) -> bytes:
    body = json.loads(a_webhook(an_alert("Down", system="shop")))
    body["alerts"][0].update(changes)
    return json.dumps(body).encode()


async def in_pieces() -> AsyncIterator[bytes]:
    for _ in range(30):
        yield b"x" * 1_000


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason", "field"),
    [
        (GOOD, b"{not json", 400, "not_json", ""),
        (GOOD, b"", 400, "not_json", ""),
        (GOOD, b"[]", 422, "not_an_object", ""),
        (GOOD, b"{}", 422, "invalid_field", "alerts"),
        (GOOD, b'{"alerts": 7}', 422, "invalid_field", "alerts"),
        (GOOD, a_body(labels={"alertname": 7}), 422, "invalid_field", "alerts.0.labels.alertname"),
        (GOOD, a_body(labels={}), 422, "invalid_field", "alerts.0.labels"),
        (GOOD, a_body(startsAt="yesterday"), 422, "invalid_field", "alerts.0.startsAt"),
        (GOOD, a_body(status="maybe"), 422, "invalid_field", "alerts.0.status"),
        (GOOD, a_body(fingerprint="xyz"), 422, "invalid_field", "alerts.0.fingerprint"),
        (GOOD, b" " * (LIMIT + 1), 413, "too_large", ""),
        (GOOD, in_pieces, 413, "too_large", ""),
        ({}, a_body(), 401, "unauthenticated", ""),
        ({"Authorization": "Bearer wrong"}, a_body(), 401, "unauthenticated", ""),
        ({"Authorization": "Basic senders"}, a_body(), 401, "unauthenticated", ""),
    ],
)
async def test_a_webhook_that_is_wrong_is_refused_and_nothing_is_written(
    headers: dict[str, str], body: Any, status: int, reason: str, field: str
) -> None:
    log = Kept()
    async with client_of(a_door(log)) as client:
        content = body() if callable(body) else body
        answer = await client.post(WEBHOOK, content=content, headers=headers)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["reason"], error["field"]) == (reason, field)
    assert error["message"]
    assert log.records == []


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "field"),
    [
        ("/acknowledge", {}, {"by": "alice"}, 401, ""),
        ("/acknowledge", GOOD, {"by": "alice"}, 401, ""),
        ("/acknowledge", PEOPLE, {}, 422, "by"),
        ("/acknowledge", PEOPLE, {"by": ""}, 422, "by"),
        ("/acknowledge", PEOPLE, {"by": "alice", "mood": "calm"}, 422, "mood"),
        ("/notes", PEOPLE, {"by": "alice"}, 422, "text"),
        ("/severity", PEOPLE, {"by": "alice"}, 422, "severity"),
    ],
)
async def test_an_answer_that_is_wrong_is_refused_and_nothing_is_written(
    path: str, headers: dict[str, str], body: dict[str, str], status: int, field: str
) -> None:
    log = Kept()
    async with client_of(a_door(log)) as client:
        answer = await client.post(ANSWER + path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert log.records == []


@pytest.mark.parametrize("incident", ["nonsense", "elsewhere-0000000000", "SHOP-0000000000"])
async def test_an_answer_about_no_incident_of_ours_is_not_found(incident: str) -> None:
    log = Kept()
    async with client_of(a_door(log)) as client:
        answer = await client.post(
            f"/v1/incidents/{incident}/acknowledge", json={"by": "alice"}, headers=PEOPLE
        )
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "incident"
    assert log.records == []


async def test_an_unknown_source_is_not_found_and_the_known_are_named() -> None:
    log = Kept()
    async with client_of(a_door(log)) as client:
        answer = await client.post("/v1/webhooks/carrier-pigeon", content=b"{}", headers=GOOD)
    assert answer.status_code == 404
    assert "alertmanager" in answer.json()["error"]["message"]
    assert log.records == []


async def test_while_the_log_is_away_senders_are_told_to_come_again() -> None:
    log = Kept()
    log.away = True
    async with client_of(a_door(log)) as client:
        webhook = await client.post(WEBHOOK, content=a_body(), headers=GOOD)
        answer = await client.post(f"{ANSWER}/acknowledge", json={"by": "alice"}, headers=PEOPLE)
        log.away = False
        later = await client.post(WEBHOOK, content=a_body(), headers=GOOD)
    for refused in (webhook, answer):
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
    assert later.status_code == 202
    assert [record.value for record in log.records] == [a_body()]


async def test_a_full_door_says_so() -> None:
    log = Kept()
    async with client_of(a_door(log, max_requests=0)) as client:
        answer = await client.post(WEBHOOK, content=a_body(), headers=GOOD)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["error"]["reason"] == "busy"
    assert log.records == []


async def test_an_urgent_webhook_takes_the_urgent_lane_byte_for_byte() -> None:
    log = Kept()
    calm = a_webhook(an_alert("Slow", system="shop", severity="minor"))
    async with client_of(a_door(log)) as client:
        assert (await client.post(WEBHOOK, content=calm, headers=GOOD)).status_code == 202
    [record] = log.records
    assert (record.topic, record.key, record.value) == ("alerts.raw", b"alertmanager", calm)


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"alerts": [{}]}', None])
async def test_a_poisonous_record_is_refused_alone(value: bytes | None) -> None:
    log = Kept()
    stage = Normaliser(publisher=log, policies=policies())
    poison = Record(Position("alerts.raw", 0, 0), b"alertmanager", value, (), EPOCH)
    good = Record(Position("alerts.raw", 0, 1), b"alertmanager", a_body(), (), EPOCH)
    with pytest.raises(Poison):
        await stage.handle([poison])
    assert log.records == []
    await stage.handle([good])
    assert [record.topic for record in log.records] == ["alerts"]


@pytest.mark.kafka
async def test_what_was_accepted_is_there_after_the_log_was_away(tmp_path: Path) -> None:
    installation = kafka_process.install(ROOT, print)
    data, log = tmp_path / "data", tmp_path / "kafka.log"
    broker = kafka_process.start(installation, data, log=log)
    ports = broker.ports
    connection = KafkaConnection(broker.bootstrap, "test")
    publisher = KafkaPublisher(connection, SystemClock(), timeout=timedelta(seconds=3))
    try:
        from tocsin_cli.stack.topics import apply_topics  # noqa: PLC0415 - after the broker

        await apply_topics(broker.bootstrap, 2)
        await publisher.start()
        door = a_door(publisher, accept_timeout=timedelta(seconds=2))
        async with client_of(door) as client:
            first = await client.post(WEBHOOK, content=a_body(), headers=GOOD)
            broker.stop()
            away = await client.post(WEBHOOK, content=a_body(), headers=GOOD)
            broker = kafka_process.start(installation, data, log=log, ports=ports)
            statuses = []
            for _ in range(30):
                back = await client.post(WEBHOOK, content=a_body(), headers=GOOD)
                statuses.append(back.status_code)
                if back.status_code == 202:
                    break
        assert (first.status_code, away.status_code, statuses[-1]) == (202, 503, 202)
        assert away.headers["retry-after"]
        reader = KafkaReader(connection)
        found = 0
        for partition in range(2):
            start, end = await reader.bounds("alerts.raw", partition)
            found += len([r async for r in reader.read("alerts.raw", partition, start, end)])
        await reader.stop()
        assert found >= 2
    finally:
        await publisher.stop()
        broker.stop()


def test_the_registry_has_the_topics_the_door_writes() -> None:
    assert {"alerts.raw", "alerts.raw.urgent", "incidents"} <= {topic.name for topic in TOPICS}
