"""What others write to `alerts.raw` themselves, and what people answer by code and by key."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr

from ingestion.domain.authentication import Key
from ingestion.handlers import RAW
from tocsin_contracts.event import Fact
from tocsin_contracts.ids import incident_id, reply_code
from tocsin_contracts.incidents import (
    Acknowledged,
    NotificationRequested,
    Opened,
    Purpose,
    Resolved,
)
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import a_message, a_target, an_alert, an_event, an_opening
from tocsin_testkit.door import DoorUnderTest
from tocsin_testkit.policies import a_policy

SHOP = incident_id("shop", "a test")
WEBHOOK = a_webhook(an_alert(system="shop", severity="minor"))
EVENT = {"specversion": "1.0", "id": "1", "source": "/db-1", "type": "disk.full"}
DATA = {"system": "shop", "used": 1}


async def put(door: DoorUnderTest, value: bytes, key: bytes | None = None, **headers: str) -> None:
    """A record of somebody else's on `alerts.raw`."""
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    await door.log.publish([Outgoing(RAW, key, value, pairs)])
    await door.normalise()


async def test_the_key_of_a_record_names_its_source() -> None:
    door = DoorUnderTest()
    await put(door, WEBHOOK, b"alertmanager")
    assert [system for system, _ in door.observed()] == ["shop"]


async def test_a_cloudevent_needs_no_source_binary_or_structured() -> None:
    door = DoorUnderTest()
    attributes = {f"ce_{name}": value for name, value in EVENT.items()}
    pairs = tuple((name, text.encode()) for name, text in attributes.items())
    await door.log.publish([Outgoing(RAW, b"anybody", json.dumps(DATA).encode(), pairs)])
    structured = json.dumps(EVENT | {"data": DATA}).encode()
    content_type = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    await door.log.publish([Outgoing(RAW, b"anybody", structured, content_type)])
    await door.normalise()
    first, second = door.observed()
    assert first[0] == second[0] == "shop"
    assert first[1].fingerprint == second[1].fingerprint
    assert door.dead_letters == []


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ({"source": "nobody"}, WEBHOOK, "unknown_source"),
        ({"source": "alertmanager"}, b"{", "not_json"),
        ({"source": "alertmanager", "context": "{"}, WEBHOOK, "bad_context"),
        (
            {"source": "opsgenie", "path": "/v2/alerts/x/close?identifierType=alias"},
            b"{}",
            "unknown_alert",
        ),
        (
            {"source": "opsgenie", "path": "/v2/alerts/x/acknowledge?identifierType=alias"},
            b"{}",
            "no_incident",
        ),
    ],
)
async def test_what_nobody_can_make_anything_of_is_a_dead_letter(
    headers: dict[str, str], value: bytes, reason: str
) -> None:
    door = DoorUnderTest()
    await put(door, value, None, **headers)
    assert [error.reason for _, error in door.dead_letters] == [reason]
    assert door.observed() == []
    assert door.facts("incidents") == []


def contacts(**alice: str) -> dict[str, Any]:
    plain = a_policy().model_dump(mode="json", exclude_none=True)["contacts"]
    return {**plain, "alice": plain["alice"] | alice}


async def tell(door: DoorUnderTest, facts: Iterable[Fact]) -> None:
    events = [
        an_event(fact, incident=SHOP, at=EPOCH + timedelta(seconds=number))
        for number, fact in enumerate(facts)
    ]
    await door.log.publish([outgoing(event) for event in events])


def a_page() -> NotificationRequested:
    return NotificationRequested(
        notification="n-1",
        purpose=Purpose.PAGE,
        generation=1,
        level=1,
        target=a_target("alice"),
        channel="pagerduty",
        kind="pagerduty",
        provider_key=f"{SHOP}:1",
        message=a_message(),
    )


async def a_text(door: DoorUnderTest, words: str, number: str = "+15550100") -> str:
    answer = await door.send(
        "POST",
        "/v1/webhooks/twilio",
        urlencode({"MessageSid": "SM1", "From": number, "Body": words}),
        token=None,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize(
    ("words", "kind"), [("{code}", Acknowledged), ("fixed, {code} thanks", Resolved)]
)
async def test_the_code_of_a_page_answers_for_who_was_paged(
    words: str, kind: type[Acknowledged | Resolved]
) -> None:
    door = DoorUnderTest(
        anonymous=True, policies=[a_policy(contacts=contacts(phone="+1 555-0100"))]
    )
    await tell(door, [an_opening(incident=SHOP, severity="critical"), a_page()])
    said = await a_text(door, words.format(code=reply_code(SHOP)))
    assert SHOP in said
    [fact] = [e.fact for e in door.facts("incidents") if isinstance(e.fact, kind)]
    assert (fact.by.name, fact.by.via) == ("alice", "sms")


@pytest.mark.parametrize(
    ("number", "code"), [("+15550199", reply_code(SHOP)), ("+15550100", "000000")]
)
async def test_a_stranger_or_another_code_changes_nothing_and_is_told(
    number: str, code: str
) -> None:
    door = DoorUnderTest(anonymous=True, policies=[a_policy(contacts=contacts(phone="+15550100"))])
    await tell(door, [an_opening(incident=SHOP, severity="critical"), a_page()])
    before = door.written()
    assert "Not done" in await a_text(door, code, number)
    assert door.written() == before


async def test_slack_knows_a_person_by_the_id_the_policy_has() -> None:
    door = DoorUnderTest(anonymous=True, policies=[a_policy(contacts=contacts(slack="U2CERLKJA"))])
    await door.send(
        "POST",
        "/v1/webhooks/slack",
        urlencode({"command": "/incident", "text": f"ack {SHOP}", "user_id": "U2CERLKJA"}),
        token=None,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    [event] = door.facts("incidents")
    assert isinstance(event.fact, Acknowledged)
    assert event.fact.by.name == "alice"


async def test_a_note_by_alias_reaches_the_incident_that_holds_the_alert() -> None:
    keys = {"opsgenie": [Key(SecretStr("k"), {"system": "shop"})]}
    door = DoorUnderTest(keys=keys)
    headers = {"Authorization": "GenieKey k"}
    await door.send("POST", "/v2/alerts", '{"message": "full", "alias": "disk"}', headers=headers)
    [(_, seen)] = door.observed()
    opening = an_opening(incident=SHOP, severity="minor", alerts=[an_alert(system="shop")])
    assert isinstance(opening, Opened)
    held = opening.alerts[0].model_copy(update={"fingerprint": seen.fingerprint})
    await tell(door, [opening.model_copy(update={"alerts": (held,)})])
    answer = await door.send(
        "POST",
        "/v2/alerts/disk/notes?identifierType=alias",
        '{"note": "looking", "user": "bob"}',
        headers=headers,
    )
    assert answer.status_code == 202
    *_, event = door.facts("incidents")
    assert event.subject == SHOP
    assert event.type == "tocsin.incidents.note_added.v1"
