"""What people can say by text, by key, by button and at PagerDuty; and who may say it."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from ingestion.adapters.slack_replies import SlackReplies
from ingestion.domain.authentication import Key
from tocsin_contracts.event import Fact
from tocsin_contracts.ids import incident_id, reply_code
from tocsin_contracts.incidents import (
    Acknowledged,
    EscalationRequested,
    HandedOver,
    IncidentFact,
    NoteAdded,
    NotificationRequested,
    PagesMuted,
    Purpose,
    Resolved,
)
from tocsin_policy import Policy
from tocsin_runtime.events import outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_message, a_target, an_event, an_opening
from tocsin_testkit.door import API_TOKEN, DoorUnderTest
from tocsin_testkit.policies import a_policy

SHOP = incident_id("shop", "a test")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def a_policy_with(system: str = "shop", **people: dict[str, str]) -> Policy:
    plain = a_policy(system).model_dump(mode="json", exclude_none=True)["contacts"]
    known = {name: held | people.get(name, {}) for name, held in plain.items()}
    return a_policy(system, contacts=known)


async def paged(door: DoorUnderTest, incident: str = SHOP) -> None:
    """The incident is there, and Alice was paged for it."""
    page = NotificationRequested(
        notification="n-1",
        purpose=Purpose.PAGE,
        generation=1,
        level=1,
        target=a_target("alice"),
        channel="sms",
        kind="sms",
        provider_key=f"{incident}:1",
        message=a_message(),
    )
    facts: Sequence[Fact] = (an_opening(incident=incident, severity="critical"), page)
    events = [
        an_event(fact, incident=incident, at=EPOCH + timedelta(seconds=number))
        for number, fact in enumerate(facts)
    ]
    await door.log.publish([outgoing(event) for event in events])


def answers(door: DoorUnderTest) -> list[Fact]:
    ours = {"tocsin.incidents.opened.v1", "tocsin.incidents.notification_requested.v1"}
    return [event.fact for event in door.facts("incidents") if event.type not in ours]


async def a_text(door: DoorUnderTest, words: str, number: str = "+15550100", sid: str = "") -> str:
    body = urlencode({"MessageSid": sid or f"SM{words}", "From": number, "Body": words})
    reply = await door.send("POST", "/v1/webhooks/twilio", body, token=None, headers=FORM)
    assert reply.status_code == 200
    return reply.text


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("{code}", Acknowledged, ""),
        ("resolve {code}", Resolved, ""),
        ("ESCALATE {code} it is the database", EscalationRequested, "it is the database"),
        ("Mute {code}", PagesMuted, ""),
        ("hand over {code} Bob", HandedOver, "bob"),
        ("HANDOVER {code} +1 555 0101", HandedOver, "bob"),
        ("note {code} the cable is done for", NoteAdded, "the cable is done for"),
    ],
)
async def test_a_text_with_the_code_says_all_that_can_be_said(
    words: str, kind: type[IncidentFact], said: str
) -> None:
    policy = a_policy_with(alice={"phone": "+1 555-0100"}, bob={"phone": "+15550101"})
    door = DoorUnderTest(anonymous=True, policies=[policy])
    await paged(door)
    assert SHOP in await a_text(door, words.format(code=reply_code(SHOP)))
    [fact] = answers(door)
    assert isinstance(fact, kind)
    document = fact.model_dump()
    assert document["by"]["name"] == "alice"
    assert said in {document.get("text"), document.get("reason"), document.get("contact"), ""}


@pytest.mark.parametrize("words", ["note {code}", "handover {code}", "help", "note it"])
async def test_a_text_that_lacks_something_is_answered_with_what_to_write(words: str) -> None:
    door = DoorUnderTest(anonymous=True, policies=[a_policy_with(alice={"phone": "+15550100"})])
    await paged(door)
    before = door.written()
    assert "Reply with the six digits" in await a_text(door, words.format(code=reply_code(SHOP)))
    assert door.written() == before


async def test_a_number_counts_only_for_the_system_whose_policy_has_it() -> None:
    shop = a_policy_with("shop")
    bank = a_policy_with("bank", alice={"phone": "+15550100"})
    door = DoorUnderTest(anonymous=True, policies=[shop, bank])
    await paged(door)
    before = door.written()
    assert "Not done" in await a_text(door, reply_code(SHOP))
    assert door.written() == before


def slack_form(user: str, **action: str) -> str:
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "roadrunner"},
        "actions": [{"type": "button", **action}],
        "response_url": "https://hooks.slack.com/actions/T1/1/x",
    }
    return urlencode({"payload": json.dumps(payload)})


async def test_somebody_no_policy_knows_presses_a_button_and_hears_why_nothing_happens() -> None:
    told: list[tuple[str, Any]] = []

    def slack(request: httpx.Request) -> httpx.Response:
        told.append((str(request.url), json.loads(request.content)))
        return httpx.Response(200, text="ok")

    replies = SlackReplies(httpx.MockTransport(slack))
    door = DoorUnderTest(
        anonymous=True, policies=[a_policy_with(alice={"slack": "U2CERLKJA"})], replies=replies
    )
    await paged(door)
    before = door.written()
    body = slack_form("USTRANGER", action_id="acknowledge", value=SHOP)
    reply = await door.send("POST", "/v1/webhooks/slack", body, token=None, headers=FORM)
    assert reply.status_code == 200
    assert door.written() == before
    [(url, said)] = told
    assert url == "https://hooks.slack.com/actions/T1/1/x"
    assert said["response_type"] == "ephemeral"
    assert "USTRANGER" in said["text"]
    body = slack_form("U2CERLKJA", action_id="acknowledge", value=SHOP)
    await door.send("POST", "/v1/webhooks/slack", body, token=None, headers=FORM)
    assert [type(fact) for fact in answers(door)] == [Acknowledged]
    assert len(told) == 1
    await replies.stop()


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com.evil.example/x",
        "http://hooks.slack.com/x",
        "https://evil.example/hooks.slack.com",
        "https://a:b@hooks.slack.com/x",
        "https://hooks.slack.com:8443/x",
        "https://[",
        "",
    ],
)
async def test_nobody_is_told_anything_at_an_address_that_is_not_slacks(url: str) -> None:
    asked: list[str] = []

    def anybody(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200)

    replies = SlackReplies(httpx.MockTransport(anybody))
    await replies.tell(url, "no")
    await replies.stop()
    assert asked == []


async def test_a_slack_that_does_not_answer_holds_nothing_up() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away", request=request)

    replies = SlackReplies(httpx.MockTransport(away))
    door = DoorUnderTest(anonymous=True, replies=replies)
    body = slack_form("USTRANGER", action_id="acknowledge", value=SHOP)
    reply = await door.send("POST", "/v1/webhooks/slack", body, token=None, headers=FORM)
    assert reply.status_code == 200
    await replies.stop()


def twilio_signed(door_url: str, path: str, body: dict[str, str], secret: str) -> dict[str, str]:
    signed = door_url + path + "".join(f"{name}{body[name]}" for name in sorted(body))
    made = hmac.new(secret.encode(), signed.encode(), hashlib.sha1).digest()
    return FORM | {"X-Twilio-Signature": b64encode(made).decode()}


async def test_a_text_that_is_replayed_without_its_token_escalates_once() -> None:
    door = DoorUnderTest(
        keys={"twilio": [Key(SecretStr("s"))]},
        policies=[a_policy_with(alice={"phone": "+15550100"})],
    )
    await paged(door)
    path = "/v1/webhooks/twilio"
    body = {"MessageSid": "SM1", "From": "+15550100", "Body": f"ESCALATE {reply_code(SHOP)}"}
    headers = twilio_signed("http://door", path, body, "s")
    for token in ("one", "two", "three"):
        reply = await door.send(
            "POST",
            path,
            urlencode(body),
            token=None,
            headers=headers | {"I-Twilio-Idempotency-Token": token},
        )
        assert reply.status_code == 200
    assert [type(fact) for fact in answers(door)] == [EscalationRequested]
    forged = await door.send(
        "POST", path, urlencode(body | {"MessageSid": "SM2"}), token=None, headers=headers
    )
    assert forged.status_code == 401
    assert len(answers(door)) == 1


async def test_an_event_of_pagerduty_that_is_replayed_under_another_id_counts_once() -> None:
    door = DoorUnderTest(keys={"pagerduty": [Key(SecretStr("s"))]})
    body = json.dumps(
        {
            "event": {
                "id": "01E1",
                "event_type": "incident.escalated",
                "agent": {"id": "PUSER01", "type": "user_reference", "summary": "Alice"},
                "data": {"id": "PGR0VU2", "incident_key": f"{SHOP}:1:critical:1:0:alice"},
            }
        }
    ).encode()
    made = hmac.new(b"s", body, hashlib.sha256).hexdigest()
    for delivery in ("a", "b", "c"):
        headers = {"X-PagerDuty-Signature": f"v1={made}", "X-Webhook-Id": delivery}
        reply = await door.send("POST", "/v1/webhooks/pagerduty", body, token=None, headers=headers)
        assert reply.status_code == 202
    assert [type(fact) for fact in answers(door)] == [EscalationRequested]


async def test_a_note_at_pagerduty_about_an_incident_nobody_named_reaches_none() -> None:
    door = DoorUnderTest(anonymous=True)
    body = json.dumps(
        {
            "event": {
                "id": "01E1",
                "event_type": "incident.annotated",
                "agent": {"id": "PUSER01", "type": "user_reference", "summary": "Alice"},
                "data": {"id": "PNOTE", "incident": {"id": "PELSE"}, "content": "hello"},
            }
        }
    )
    reply = await door.send("POST", "/v1/webhooks/pagerduty", body, token=None)
    assert reply.json()["unheard"] == "no open incident is meant by it"
    assert answers(door) == []


@pytest.mark.parametrize(
    ("verb", "body", "kind"),
    [
        ("escalate", {"text": "more hands"}, EscalationRequested),
        ("handover", {"contact": "bob"}, HandedOver),
        ("mute", {}, PagesMuted),
        ("mute", {"minutes": 5}, PagesMuted),
    ],
)
async def test_peoples_tools_say_it_too(
    verb: str, body: dict[str, object], kind: type[IncidentFact]
) -> None:
    door = DoorUnderTest()
    reply = await door.send(
        "POST",
        f"/v1/incidents/{SHOP}/{verb}",
        json.dumps(body | {"by": "alice"}),
        token=API_TOKEN,
    )
    assert reply.status_code == 202
    assert [type(fact) for fact in answers(door)] == [kind]


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("handover", {"contact": "nobody"}, "contact"),
        ("mute", {"minutes": 0}, "minutes"),
        ("mute", {"minutes": 1_441}, "minutes"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_the_field(
    verb: str, body: dict[str, object], field: str
) -> None:
    door = DoorUnderTest()
    path = f"/v1/incidents/{SHOP}/{verb}"
    reply = await door.send("POST", path, json.dumps(body | {"by": "alice"}), token=API_TOKEN)
    assert reply.status_code == 422
    assert reply.json()["error"]["field"] == field
    assert door.written() == 0
