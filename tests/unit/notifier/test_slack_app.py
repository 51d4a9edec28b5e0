"""Slack as an app: what a channel looks like while an incident goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from ingestion.domain.delivery import Given, Received
from ingestion.domain.sources.slack import parse
from notifier.adapters.slack_app import SlackAppChannel
from notifier.domain.outcomes import Delivered, Refused, Unwell
from notifier.ports import Earlier, Sending
from tocsin_contracts.incidents import Purpose
from tocsin_simulation.clock import EPOCH, ManualClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_sending
from tocsin_testkit.calling import a_caller
from tocsin_testkit.providers import Reply, Said, Slack
from tocsin_testkit.providers.slack import Room

TOKEN = "xoxb-0000"
ALICE, BOB = "U0ALICE", "U0BOB00"
PAGE = a_sending(
    handle=ALICE,
    title="Checkout is down",
    link="https://tocsin.example.com/1",
    message=a_message("Checkout is down", "<!channel> & co"),
)
OPENED = replace(PAGE, purpose=Purpose.OPENED, target=None, handle=None)


@asynccontextmanager
async def slack(channel: str | None = "C0ALL") -> AsyncIterator[tuple[Slack, SlackAppChannel]]:
    double = Slack(TOKEN, "C0ALL", users=(ALICE, BOB))
    async with double.serving() as url, a_caller(url) as calls:
        yield double, SlackAppChannel(calls, f"{url}/api", TOKEN, channel, rooms=True)
    assert double.complaints == []


async def delivered(channel: SlackAppChannel, sending: Sending) -> Earlier:
    outcome = await channel.send(sending)
    assert isinstance(outcome, Delivered), outcome
    return Earlier(sending.purpose, outcome.ref, sending.message)


def buttons(payload: dict[str, Any]) -> dict[str, str]:
    return {
        button["action_id"]: button.get("value", "")
        for block in payload["blocks"]
        if block["type"] == "actions"
        for button in block["elements"]
    }


async def test_a_page_names_its_person_and_nobody_else_and_can_be_answered() -> None:
    async with slack() as (double, channel):
        await delivered(channel, PAGE)
        [posted] = double.messages("C0ALL")
        assert f"<@{ALICE}>" in posted.shown.text
        assert "&lt;!channel&gt; &amp; co" in posted.shown.text
        assert buttons(posted.payload) == {
            "acknowledge": AN_INCIDENT_ID,
            "escalate": AN_INCIDENT_ID,
            "mute": AN_INCIDENT_ID,
            "resolve": AN_INCIDENT_ID,
            "open": "",
            "handover": "",
        }


async def test_what_a_person_does_to_a_page_in_slack_is_what_the_door_reads() -> None:
    async with slack() as (double, channel):
        await delivered(channel, PAGE)
        [posted] = double.messages("C0ALL")
    elements = [
        (block["block_id"], element)
        for block in posted.payload["blocks"]
        for element in (*block.get("elements", ()), block.get("element"))
        if element is not None and "action_id" in element and element["action_id"] != "open"
    ]
    read: dict[str, Given] = {}
    for block_id, element in elements:
        action = {key: element[key] for key in ("type", "action_id", "value") if key in element}
        action["block_id"] = block_id
        if element["type"] == "users_select":
            action["selected_user"] = BOB
        if element["type"] == "plain_text_input":
            action["value"] = "the cable"
        payload = {"type": "block_actions", "user": {"id": ALICE}, "actions": [action]}
        body = urlencode({"payload": json.dumps(payload)}).encode()
        answer = parse(Received(body, EPOCH)).answer
        assert answer is not None
        read[answer.verb] = answer
    assert set(read) == {"acknowledge", "escalate", "mute", "resolve", "handover", "notes"}
    assert {answer.incident for answer in read.values()} == {AN_INCIDENT_ID}
    assert read["handover"].to == (BOB,)
    assert read["notes"].fields == {"text": "the cable"}


async def test_leave_for_a_step_is_given_or_refused_in_slack_on_the_plan_that_is_shown() -> None:
    asked = replace(
        PAGE, purpose=Purpose.APPROVAL, to_approve=f"{AN_INCIDENT_ID} some-remediation restart 2"
    )
    async with slack() as (double, channel):
        await delivered(channel, asked)
        [posted] = double.messages("C0ALL")
    read: dict[str, Given] = {}
    for verb, value in buttons(posted.payload).items():
        action = {"type": "button", "action_id": verb, "value": value, "block_id": "tocsin"}
        payload = {"type": "block_actions", "user": {"id": ALICE}, "actions": [action]}
        body = urlencode({"payload": json.dumps(payload)}).encode()
        answer = parse(Received(body, EPOCH)).answer
        assert answer is not None
        read[answer.verb] = answer
    assert {answer.incident for answer in read.values()} == {AN_INCIDENT_ID}
    assert read["approve"].fields == {
        "remediation": "some-remediation",
        "step": "restart",
        "plan": "2",
    }
    assert read["reject"].fields == {"remediation": "some-remediation"}


async def test_one_incident_is_one_thread_and_a_second_page_is_seen_in_the_channel() -> None:
    async with slack() as (double, channel):
        first = await delivered(channel, PAGE)
        second = replace(PAGE, notification="n-2", earlier=(first,), handle=BOB)
        await delivered(channel, second)
        root, reply = double.messages("C0ALL")
        assert root.thread is None
        assert reply.thread == root.ts
        assert reply.payload["reply_broadcast"] is True


async def test_whoever_takes_it_is_shown_where_the_page_stands() -> None:
    async with slack() as (double, channel):
        first = await delivered(channel, PAGE)
        taken = replace(
            PAGE,
            notification="n-2",
            purpose=Purpose.ACKNOWLEDGED,
            status="acknowledged",
            by="Alice <3",
            earlier=(first,),
            message=a_message("taken"),
        )
        await delivered(channel, taken)
        page, news = double.messages("C0ALL")
        assert page.edits == 1
        assert "*acknowledged* by Alice &lt;3" in page.shown.text
        assert "Checkout is down" in page.shown.text
        assert set(buttons(page.payload)) == {"escalate", "mute", "resolve", "open", "handover"}
        assert news.thread == page.ts
        assert buttons(news.payload) == {}
        over = replace(taken, notification="n-3", purpose=Purpose.RESOLVED, status="resolved")
        await delivered(channel, over)
        assert set(buttons(page.payload)) == {"open"}


async def test_news_for_all_who_were_paged_is_told_once_until_they_are_paged_again() -> None:
    async with slack() as (double, channel):
        first = await delivered(channel, PAGE)
        taken = replace(
            PAGE, notification="n-2", purpose=Purpose.ACKNOWLEDGED, status="acknowledged"
        )
        told = await delivered(channel, replace(taken, earlier=(first,)))
        again = replace(taken, notification="n-3", earlier=(first, told))
        assert (await delivered(channel, again)).ref == told.ref
        assert len(double.shown) == 2
        later = replace(taken, notification="n-4", earlier=(first, told, first))
        await delivered(channel, later)
        assert len(double.shown) == 3


async def test_without_a_channel_it_writes_to_the_person() -> None:
    async with slack(channel=None) as (double, channel):
        await delivered(channel, PAGE)
        assert len(double.messages("D0ALICE")) == 1
        nobody = await channel.send(replace(PAGE, handle="@alice"))
        assert isinstance(nobody, Refused)
        assert nobody.reason == "no_address"


async def test_an_incident_gets_a_channel_of_its_own_with_topic_and_people() -> None:
    async with slack() as (double, channel):
        wanted = replace(OPENED, room="#Incident 2026-11-21 1405", invited=(ALICE, BOB, "@carol"))
        opened = await delivered(channel, wanted)
        [room] = [one for one in double.rooms.values() if one.id != "C0ALL"]
        assert room.name == "incident-2026-11-21-1405"
        assert room.topic == "[P0] Checkout is down: open | https://tocsin.example.com/1"
        assert room.members == {ALICE, BOB}
        assert len(room.posted) == 1
        update = replace(
            OPENED, notification="n-2", purpose=Purpose.UPDATE, message=a_message("still down")
        )
        await delivered(channel, replace(update, earlier=(opened,)))
        assert len(room.posted) == 2


async def test_a_channel_that_is_there_already_is_used() -> None:
    async with slack() as (double, channel):
        wanted = replace(OPENED, room="incident-1", invited=(ALICE,))
        await delivered(channel, wanted)
        await delivered(channel, replace(wanted, attempt=2))
        assert len(double.rooms) == 2
        assert len(double.shown) == 2


async def test_a_channel_that_may_not_be_made_costs_no_message() -> None:
    async with slack() as (double, channel):
        double.missing_scopes = {"conversations.create", "conversations.list"}
        await delivered(channel, replace(OPENED, room="incident-1"))
        assert len(double.messages("C0ALL")) == 1


async def test_a_message_in_doubt_is_found_in_its_thread() -> None:
    async with slack() as (double, channel):
        first = await delivered(channel, PAGE)
        second = replace(PAGE, notification="n-2", earlier=(first,))
        said = await delivered(channel, second)
        again = await delivered(channel, replace(second, attempt=2))
        assert again.ref == said.ref
        assert len(double.messages("C0ALL")) == 2


async def test_a_message_in_doubt_is_found_though_it_is_older_than_the_thread() -> None:
    async with slack() as (double, channel):
        said = await delivered(channel, OPENED)
        page = await delivered(channel, replace(PAGE, notification="n-2"))
        again = await delivered(channel, replace(OPENED, attempt=2, earlier=(page,)))
        assert again.ref == said.ref
        assert len(double.messages("C0ALL")) == 2


async def test_a_message_in_doubt_is_found_behind_a_hundred_others() -> None:
    async with slack() as (double, channel):
        said = await delivered(channel, PAGE)
        for number in range(120):
            await channel.send(replace(PAGE, notification=f"other {number}"))
        again = await delivered(channel, replace(PAGE, attempt=2))
        assert again.ref == said.ref
        assert len(double.messages("C0ALL")) == 121


async def test_a_look_that_fails_sends_nothing() -> None:
    async with slack() as (double, channel):
        double.missing_scopes = {"conversations.history"}
        outcome = await channel.send(replace(PAGE, attempt=2))
        assert isinstance(outcome, Refused)
        assert double.shown == []


async def test_a_rate_limit_in_the_body_is_one() -> None:
    async with slack() as (double, channel):
        limited = Reply(200, '{"ok": false, "error": "ratelimited"}', {"Retry-After": "30"})
        double.fates.append(Said(limited))
        outcome = await channel.send(PAGE)
        assert outcome == Unwell("rate_limited", "200: ratelimited", timedelta(seconds=30))


def rooms_of(double: Slack) -> list[Room]:
    return [one for one in double.rooms.values() if one.id != "C0ALL"]


OTHER = replace(OPENED, notification="o-1", incident="shop-0000000000", title="Search is down")


async def test_two_incidents_of_one_name_have_a_channel_each() -> None:
    async with slack() as (double, channel):
        await delivered(channel, replace(OTHER, room="incident-1405"))
        await delivered(channel, replace(OPENED, room="incident-1405"))
        await delivered(channel, replace(OPENED, room="incident-1405", attempt=2))
        first, second = rooms_of(double)
        suffix = AN_INCIDENT_ID.rpartition("-")[2]
        assert [first.name, second.name] == ["incident-1405", f"incident-1405-{suffix}"]
        assert [len(first.posted), len(second.posted)] == [1, 1]


OLD = Room("C0OLD", "incident-1405")


@pytest.mark.parametrize("there", [replace(OLD, archived=True), replace(OLD, closed=True)])
async def test_a_name_that_nobody_can_use_is_made_longer(there: Room) -> None:
    async with slack() as (double, channel):
        double.rooms[there.id] = there
        await delivered(channel, replace(OPENED, room="incident-1405", invited=(ALICE,)))
        old, made = rooms_of(double)
        assert made.name.startswith("incident-1405-")
        assert made.members == {ALICE}
        assert old.posted == []


async def test_a_channel_of_which_only_the_name_came_to_be_is_taken_up_again() -> None:
    async with slack() as (double, channel):
        double.rooms["C0NEW"] = Room("C0NEW", "incident-1405")
        await delivered(channel, replace(OPENED, room="incident-1405", attempt=2))
        [room] = rooms_of(double)
        assert len(room.posted) == 1


async def test_buttons_change_in_the_channel_of_the_incident_too() -> None:
    async with slack() as (double, channel):
        opened = await delivered(channel, replace(OPENED, room="incident-1"))
        [room] = rooms_of(double)
        assert "acknowledge" in buttons(room.posted[0].payload)
        taken = replace(OPENED, notification="n-2", purpose=Purpose.ACKNOWLEDGED)
        taken = replace(taken, status="acknowledged", by="Alice", earlier=(opened,))
        told = await delivered(channel, taken)
        assert "acknowledge" not in buttons(room.posted[0].payload)
        assert "*acknowledged* by Alice" in room.posted[0].shown.text
        back = replace(OPENED, notification="n-3", earlier=(opened, told), room="incident-1")
        await delivered(channel, back)
        assert "acknowledge" in buttons(room.posted[0].payload)
        assert [one.id for one in rooms_of(double)] == [room.id]
        assert len(room.posted) == 3
        assert double.messages("C0ALL")[-1].payload["reply_broadcast"] is True


async def test_whoever_is_paged_later_comes_into_the_channel_of_the_incident() -> None:
    async with slack() as (double, channel):
        opened = await delivered(channel, replace(OPENED, room="incident-1", invited=(ALICE,)))
        second = replace(PAGE, notification="n-2", handle=BOB, invited=(ALICE, BOB))
        await delivered(channel, replace(second, earlier=(opened,)))
        [room] = rooms_of(double)
        assert room.members == {ALICE, BOB}
        assert len(room.posted) == 1


async def test_an_invitation_that_fails_costs_no_page() -> None:
    async with slack() as (double, channel):
        opened = await delivered(channel, replace(OPENED, room="incident-1"))
        second = replace(PAGE, notification="n-2", invited=("U0GONE0",), earlier=(opened,))
        await delivered(channel, second)
        assert len(double.messages("C0ALL")) == 2


async def test_a_message_in_doubt_is_found_however_long_the_channel_is_there() -> None:
    clock = ManualClock()
    double = Slack(TOKEN, "C0ALL", clock=clock)
    async with double.serving() as url, a_caller(url) as calls:
        channel = SlackAppChannel(calls, f"{url}/api", TOKEN, "C0ALL")
        await delivered(channel, replace(OTHER, notification="o-2"))
        clock.advance(timedelta(hours=1))
        opened = replace(OPENED, opened_at=clock.now())
        first = await delivered(channel, opened)
        again = await delivered(channel, replace(opened, attempt=2))
    assert again.ref == first.ref


async def test_a_page_that_nobody_has_any_more_can_be_taken_again_where_it_stands() -> None:
    async with slack() as (double, channel):
        first = await delivered(channel, PAGE)
        taken = replace(PAGE, notification="n-2", purpose=Purpose.ACKNOWLEDGED)
        taken = replace(taken, status="acknowledged", by="Alice", earlier=(first,))
        told = await delivered(channel, taken)
        [page, _] = double.messages("C0ALL")
        assert "acknowledge" not in buttons(page.payload)
        again = replace(PAGE, notification="n-3", handle=BOB, earlier=(first, told))
        await delivered(channel, again)
        assert "acknowledge" in buttons(page.payload)
        assert "*open*" in page.shown.text


async def test_a_page_stands_though_earlier_ones_could_not_be_changed() -> None:
    async with slack() as (double, channel):
        first = await delivered(channel, PAGE)
        told = replace(first, purpose=Purpose.ACKNOWLEDGED)
        double.limited = {"chat.update"}
        await delivered(channel, replace(PAGE, notification="n-3", earlier=(first, told)))
        assert len(double.messages("C0ALL")) == 2
