"""Links of mails: looked at they do nothing, used they do one thing once, and only for a while."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode

import httpx
import pytest

from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Fact
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import (
    Acknowledged,
    EscalationRequested,
    HandedOver,
    IncidentFact,
    NoteAdded,
    PagesMuted,
    Resolved,
)
from tocsin_contracts.links import ACTIONS, LONGEST, Link, sealed
from tocsin_runtime.events import outgoing
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import an_event, an_opening
from tocsin_testkit.door import LINK_KEY, DoorUnderTest

SHOP = incident_id("shop", "a test")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def a_link(verb: str = "acknowledge", **changes: object) -> Link:
    link = Link(
        incident=SHOP,
        verb=verb,
        contact="alice",
        notification="n-1",
        expires_at=EPOCH + timedelta(days=1),
    )
    return link.model_copy(update=changes)


def path(link: Link, key: str = LINK_KEY) -> str:
    return f"/v1/answers/{sealed(link, key)}"


async def a_door() -> DoorUnderTest:
    door = DoorUnderTest()
    event = an_event(an_opening(incident=SHOP, severity="critical"), incident=SHOP, at=EPOCH)
    await door.log.publish([outgoing(event)])
    return door


async def look(door: DoorUnderTest, where: str, method: str = "GET") -> httpx.Response:
    return await door.send(method, where, token=None)


async def press(door: DoorUnderTest, where: str, **fields: str) -> httpx.Response:
    form = urlencode({"confirmed": "yes", **fields})
    return await door.send("POST", where, form, token=None, headers=FORM)


def answers(door: DoorUnderTest) -> list[Fact]:
    """What people said, without the opening."""
    return [event.fact for event in door.facts("incidents")][1:]


async def test_a_link_acknowledges_once_the_button_is_pressed_for_whom_it_was_sent_to() -> None:
    door = await a_door()
    reply = await press(door, path(a_link()))
    assert reply.status_code == 200
    [fact] = answers(door)
    assert isinstance(fact, Acknowledged)
    assert (fact.by.name, fact.by.via) == ("alice", "email")


@pytest.mark.parametrize(
    ("verb", "fields", "kind"),
    [
        ("escalate", {"text": "need a hand"}, EscalationRequested),
        ("handover", {"contact": "bob"}, HandedOver),
        ("mute", {}, PagesMuted),
        ("notes", {"text": "it is the cable"}, NoteAdded),
        ("resolve", {"text": "cable replaced"}, Resolved),
    ],
)
async def test_every_button_of_a_mail_does_what_it_says(
    verb: str, fields: dict[str, str], kind: type[IncidentFact]
) -> None:
    door = await a_door()
    page = await look(door, path(a_link(verb)))
    assert ACTIONS[verb] in unescape(page.text)
    assert all(f'name="{name}"' in page.text for name in fields)
    reply = await press(door, path(a_link(verb)), **fields)
    assert reply.status_code == 200
    [fact] = answers(door)
    assert isinstance(fact, kind)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_scanner_that_follows_every_link_of_a_mail_changes_nothing(method: str) -> None:
    door = await a_door()
    for verb in ACTIONS:
        for _ in range(3):
            reply = await look(door, path(a_link(verb)), method)
            assert reply.status_code == 200
    assert answers(door) == []


@pytest.mark.parametrize("body", ["", "a=b", "confirmed=no", "\xff" * 10])
async def test_a_scanner_that_posts_without_the_button_changes_nothing(body: str) -> None:
    door = await a_door()
    reply = await door.send("POST", path(a_link()), body, token=None, headers=FORM)
    assert reply.status_code == 400
    assert answers(door) == []


async def test_a_link_works_once_and_says_how_it_stands_afterwards() -> None:
    door = await a_door()
    assert (await press(door, path(a_link("notes")), text="first")).status_code == 200
    again = await press(door, path(a_link("notes")), text="second")
    assert again.status_code == 410
    looked = await look(door, path(a_link("notes")))
    assert looked.status_code == 410
    assert "Already used" in looked.text
    assert [fact.text for fact in answers(door) if isinstance(fact, NoteAdded)] == ["first"]


async def test_a_link_pressed_twice_at_once_gives_one_fact_by_its_id() -> None:
    door = await a_door()
    await press(door, path(a_link("notes")), text="first")
    event = door.facts("incidents")[-1]
    assert event.id == a_link("notes").answer_id
    assert a_link("notes", notification="n-2").answer_id != event.id
    assert a_link("notes", contact="bob").answer_id != event.id


async def test_another_link_of_the_same_mail_still_works() -> None:
    door = await a_door()
    await press(door, path(a_link("acknowledge")))
    assert (await press(door, path(a_link("resolve")))).status_code == 200
    assert [type(fact) for fact in answers(door)] == [Acknowledged, Resolved]


@pytest.mark.parametrize("late", [timedelta(days=1), timedelta(days=300)])
async def test_an_expired_link_says_so_and_changes_nothing(late: timedelta) -> None:
    door = await a_door()
    door.clock.advance(late)
    for reply in (await look(door, path(a_link())), await press(door, path(a_link()))):
        assert reply.status_code == 410
        assert "expired" in reply.text
    assert answers(door) == []


async def test_a_link_whose_end_was_moved_is_refused() -> None:
    door = await a_door()
    said, _, signature = sealed(a_link(), LINK_KEY).partition(".")
    longer, _, _ = sealed(a_link(expires_at=EPOCH + timedelta(days=900)), "k" * 32).partition(".")
    assert longer != said
    reply = await press(door, f"/v1/answers/{longer}.{signature}")
    assert reply.status_code == 403
    assert answers(door) == []


def forged() -> list[str]:
    token = sealed(a_link(), LINK_KEY)
    said, _, signature = token.partition(".")
    return [
        sealed(a_link(), "another key, of thirty-two characters"),
        said,
        f"{said}.",
        f".{signature}",
        f"{said}.{signature[:-2]}",
        f"{said}.{signature}A",
        f"A{said}.{signature}",
        token.upper(),
        "x" * (LONGEST + 1),
        "%00",
        "é",
    ]


@pytest.mark.parametrize("token", forged())
async def test_a_forged_link_is_refused_and_the_log_is_not_even_asked(token: str) -> None:
    door = await a_door()
    before = door.written()
    for reply in (
        await look(door, f"/v1/answers/{token}"),
        await press(door, f"/v1/answers/{token}"),
    ):
        assert reply.status_code == 403
        assert SHOP not in reply.text
    assert door.written() == before


async def test_a_link_for_something_we_never_send_is_refused() -> None:
    door = await a_door()
    reply = await press(door, path(a_link("close")))
    assert reply.status_code == 403
    assert answers(door) == []


async def test_a_link_of_somebody_whom_the_policy_no_longer_knows_is_refused() -> None:
    door = await a_door()
    for reply in (
        await look(door, path(a_link(contact="mallory"))),
        await press(door, path(a_link(contact="mallory"))),
    ):
        assert reply.status_code == 403
        assert "no longer knows mallory" in reply.text
    assert answers(door) == []


@pytest.mark.parametrize("contact", ["nobody", "", "<b>"])
async def test_it_is_handed_over_to_nobody_whom_the_policy_does_not_know(contact: str) -> None:
    door = await a_door()
    reply = await press(door, path(a_link("handover")), contact=contact)
    assert reply.status_code == 422
    assert "<b>" not in reply.text
    assert answers(door) == []


async def test_the_page_works_without_scripts_and_shows_labels_as_they_are() -> None:
    door = DoorUnderTest()
    title = '<script>alert(1)</script> "down" & out'
    opening = an_opening(incident=SHOP, severity="critical").model_copy(update={"title": title})
    await door.log.publish([outgoing(an_event(opening, incident=SHOP, at=EPOCH))])
    page = await look(door, path(a_link("notes")))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text
    assert not re.search(r"(?i)\bon\w+=|javascript:|src=|href=", page.text)
    assert '<form method="post">' in page.text
    assert rfc3339(EPOCH)[:10] in page.text


async def test_the_address_of_a_page_goes_to_nobody_and_nothing_foreign_runs_on_it() -> None:
    door = await a_door()
    replies = [
        await look(door, path(a_link())),
        await press(door, path(a_link())),
        await look(door, path(a_link())),
        await look(door, "/v1/answers/forged"),
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 410, 403]
    for reply in replies:
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"


async def test_a_door_without_a_key_takes_no_link() -> None:
    door = DoorUnderTest(link_keys=())
    assert (await press(door, path(a_link()))).status_code == 403


async def test_an_old_key_still_counts_while_it_is_replaced() -> None:
    old = "the key before, of thirty-two characters"
    door = DoorUnderTest(link_keys=(LINK_KEY, old))
    assert (await look(door, path(a_link(), old))).status_code == 200
