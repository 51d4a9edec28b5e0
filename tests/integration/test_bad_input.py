"""What the door refuses, and how: named, and nothing of it written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from ingestion.adapters.http import HttpDoor
from ingestion.handlers import RAW, Door, Normaliser
from tocsin_casebook import Policies
from tocsin_casebook.policies import InForce
from tocsin_contracts.ids import incident_id
from tocsin_policy import policy_hash
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Publisher
from tocsin_runtime.records import Outgoing, Position
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy

MOST = 10_000
WEBHOOK = "/v1/webhooks/alertmanager"
AUTHORISED = {"Authorization": "Bearer for-alerts"}
STRICT = {"Prefer": "handling=strict"}
PERSON = {"Authorization": "Bearer for-people"}
GOOD = a_webhook(an_alert(system="shop", severity="minor"))


class Away:
    """A log that is away until it is back."""

    def __init__(self, log: MemoryLog, *, silent: bool = False) -> None:
        self.log = log
        self.silent = silent
        self.away = True

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        if self.away and self.silent:
            await asyncio.get_running_loop().create_future()
        if self.away:
            raise Transient("publish_failed")
        return await self.log.publish(records)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(SystemClock(), registered_topics(2))


def policies() -> Policies:
    known = Policies()
    policy = a_policy()
    known.publish(InForce(policy, policy_hash(policy)))
    return known


def a_client(publisher: Publisher, *, max_requests: int = 10) -> httpx.AsyncClient:
    clock = SystemClock()
    door = HttpDoor(
        Door(publisher=publisher, policies=policies(), clock=clock),
        clock,
        webhook_token=SecretStr("for-alerts"),
        api_token=SecretStr("for-people"),
        max_body_bytes=MOST,
        max_requests=max_requests,
        accept_timeout=timedelta(milliseconds=50),
    )
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(door.application), base_url="http://door"
    )


def written(log: MemoryLog) -> int:
    return sum(len(log.records(topic)) for topic in registered_topics(2))


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(GOOD) | fields).encode()


def with_alert(**fields: object) -> bytes:
    webhook = json.loads(GOOD)
    webhook["alerts"][0] |= fields
    return json.dumps(webhook).encode()


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [
        (b"not json", 400, "not_json", ""),
        (b"", 400, "not_json", ""),
        (b"[]", 422, "not_an_object", ""),
        (b"{}", 422, "invalid_field", "alerts"),
        (changed(alerts={}), 422, "invalid_field", "alerts"),
        (changed(version="3"), 422, "invalid_field", "version"),
        (changed(truncatedAlerts="1"), 422, "invalid_field", "truncatedAlerts"),
        (with_alert(labels={}), 422, "invalid_field", "alerts.0.labels"),
        (with_alert(labels={"a": 1}), 422, "invalid_field", "alerts.0.labels.a"),
        (with_alert(status="burning"), 422, "invalid_field", "alerts.0.status"),
        (with_alert(startsAt="today"), 422, "invalid_field", "alerts.0.startsAt"),
        (with_alert(fingerprint="x"), 422, "invalid_field", "alerts.0.fingerprint"),
        (b"x" * (MOST + 1), 413, "too_large", ""),
    ],
)
async def test_a_malformed_webhook_is_refused_with_its_field_and_leaves_nothing(
    log: MemoryLog, body: bytes, status: int, reason: str, field: str
) -> None:
    async with a_client(log) as client:
        answer = await client.post(WEBHOOK, content=body, headers=AUTHORISED | STRICT)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["reason"], error["field"]) == (reason, field)
    assert written(log) == 0


@pytest.mark.parametrize("body", [b"not json", b"", b"{}", with_alert(status="burning")])
async def test_a_malformed_webhook_of_a_known_sender_is_kept_whole_and_not_sent_again(
    log: MemoryLog, body: bytes
) -> None:
    """Alertmanager repeats what is refused at every group interval, for ever."""
    async with a_client(log) as client:
        answer = await client.post(WEBHOOK, content=body, headers=AUTHORISED)
    assert answer.status_code == 202
    assert answer.json()["status"] == "kept"
    assert answer.json()["error"]["message"]
    [kept] = log.records(RAW)
    assert kept.value == body
    with pytest.raises(Poison) as dead_lettered:
        await Normaliser(publisher=log, policies=policies()).handle([kept])
    assert dead_lettered.value.reason == answer.json()["error"]["reason"]
    assert written(log) == 1


async def test_a_body_that_grows_past_the_limit_is_refused_though_it_declared_no_length(
    log: MemoryLog,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * (MOST // 10)

    async with a_client(log) as client:
        answer = await client.post(WEBHOOK, content=chunks(), headers=AUTHORISED)
    assert answer.status_code == 413
    assert written(log) == 0


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Basic for-alerts", "Bearer for-people"])
async def test_nobody_without_the_token_writes_an_alert(log: MemoryLog, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with a_client(log) as client:
        answer = await client.post(WEBHOOK, content=GOOD, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert written(log) == 0


async def test_an_unknown_source_is_not_found(log: MemoryLog) -> None:
    async with a_client(log) as client:
        answer = await client.post("/v1/webhooks/nobody", content=GOOD, headers=AUTHORISED)
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "source")
    assert written(log) == 0


@pytest.mark.parametrize("incident", ["nonsense", incident_id("no-such-system", "x")])
async def test_an_answer_to_no_incident_is_not_found(log: MemoryLog, incident: str) -> None:
    async with a_client(log) as client:
        answer = await client.post(
            f"/v1/incidents/{incident}/acknowledge", json={"by": "alice"}, headers=PERSON
        )
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "incident")
    assert written(log) == 0


@pytest.mark.parametrize(
    ("body", "field"), [({}, "by"), ({"by": 1}, "by"), ({"by": "a", "more": 1}, "more")]
)
async def test_a_malformed_answer_is_refused_with_its_field(
    log: MemoryLog, body: dict[str, object], field: str
) -> None:
    path = f"/v1/incidents/{incident_id('shop', 'x')}/acknowledge"
    async with a_client(log) as client:
        answer = await client.post(path, json=body, headers=PERSON)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert written(log) == 0


@pytest.mark.parametrize("silent", [False, True])
async def test_while_the_log_is_away_the_sender_is_told_to_come_again_and_then_is_heard(
    log: MemoryLog,
    silent: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    away = Away(log, silent=silent)
    async with a_client(away) as client:
        answer = await client.post(WEBHOOK, content=GOOD, headers=AUTHORISED)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert written(log) == 0
        away.away = False
        answer = await client.post(WEBHOOK, content=GOOD, headers=AUTHORISED)
    assert answer.status_code == 202
    assert [record.value for record in log.records(RAW)] == [GOOD]


async def test_a_full_door_answers_503() -> None:
    away = Away(MemoryLog(SystemClock(), registered_topics(2)), silent=True)
    async with a_client(away, max_requests=1) as client:
        answers = await asyncio.gather(
            *(client.post(WEBHOOK, content=GOOD, headers=AUTHORISED) for _ in range(2))
        )
    assert all(answer.status_code == 503 for answer in answers)
    assert {answer.json()["error"]["reason"] for answer in answers} == {"busy", "log_unavailable"}


@pytest.mark.parametrize("value", [b"not json", b"[]", b'{"alerts": 1}', None])
async def test_a_poison_record_is_refused_and_the_next_one_flows(
    log: MemoryLog, value: bytes | None
) -> None:
    normaliser = Normaliser(publisher=log, policies=policies())
    await log.publish([Outgoing(RAW, b"alertmanager", each) for each in (value, GOOD)])
    poison, good = log.records(RAW)
    with pytest.raises(Poison) as refused:
        await normaliser.handle([poison])
    assert refused.value.detail
    await normaliser.handle([good])
    assert len(log.records("alerts")) == 1
