"""Texts and calls, as a telephone gets them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

from notifier.adapters.calling import Caller
from notifier.adapters.twilio import Account, SmsChannel, VoiceChannel
from notifier.domain.outcomes import Delivered, Refused, Unwell
from tocsin_contracts.ids import reply_code
from tocsin_contracts.incidents import Purpose
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_sending
from tocsin_testkit.calling import a_caller
from tocsin_testkit.providers import Reply, Said, Twilio

ACCOUNT = "AC" + "1" * 32
PAGE = a_sending(
    phone="+44 (0)20 7946-0100",
    link="https://t.example.com/1",
    message=a_message("Checkout is down", "Since 14:05, <b> & rising."),
)
ANSWER = "https://door.example.com/v1/twilio/voice"


@asynccontextmanager
async def twilio(sender: str = "+15005550006") -> AsyncIterator[tuple[Twilio, Caller, Account]]:
    double = Twilio(ACCOUNT, "t0ken")
    async with double.serving() as url, a_caller(url) as calls:
        account = Account(url, ACCOUNT, ACCOUNT, "t0ken", sender)
        yield double, calls, account
    assert double.complaints == []


async def test_a_text_asks_for_the_code_that_names_its_incident() -> None:
    async with twilio() as (double, calls, account):
        await SmsChannel(calls, account, answered=True).send(PAGE)
        [form] = double.forms
        assert form["To"] == "+442079460100"
        assert form["From"] == "+15005550006"
        assert form["ValidityPeriod"] == "600"
        assert f"Reply {reply_code(AN_INCIDENT_ID)} to acknowledge; RESOLVE," in form["Body"]
        assert form["Body"].endswith("https://t.example.com/1")


async def test_a_text_asks_for_no_reply_that_nobody_reads() -> None:
    async with twilio("MG" + "2" * 32) as (double, calls, account):
        channel = SmsChannel(calls, account, answered=False)
        await channel.send(PAGE)
        assert "Reply" not in double.shown[0].text
        assert double.forms[0]["MessagingServiceSid"] == account.sender


async def test_a_long_text_keeps_its_code_and_its_link() -> None:
    async with twilio() as (double, calls, account):
        long = replace(PAGE, message=a_message("down", "x" * 5_000))
        await SmsChannel(calls, account, answered=True).send(long)
        assert len(double.shown[0].text) == 640
        assert reply_code(AN_INCIDENT_ID) in double.shown[0].text


async def test_a_call_says_it_and_leads_the_key_to_the_incident() -> None:
    async with twilio() as (double, calls, account):
        await VoiceChannel(calls, account, ANSWER).send(PAGE)
        response = ET.fromstring(double.forms[0]["Twiml"])  # noqa: S314 - our own
        [gather] = response.findall("Gather")
        where = urlsplit(gather.attrib["action"])
        assert f"{where.scheme}://{where.netloc}{where.path}" == ANSWER
        assert parse_qs(where.query) == {"incident": [AN_INCIDENT_ID], "contact": ["alice"]}
        assert gather.findtext("Say") == (
            "Checkout is down. Since 14:05, <b> & rising. Press 1 to acknowledge, 2 to escalate "
            "now, 3 to mute it for an hour, 9 to say it is resolved."
        )


async def test_what_an_alert_says_is_no_part_of_the_call_s_script() -> None:
    async with twilio() as (double, calls, account):
        said = a_message("</Say><Dial>+1900</Dial>", "\x00\ufffe see http://evil.example")
        await VoiceChannel(calls, account, None).send(replace(PAGE, message=said))
        response = ET.fromstring(double.forms[0]["Twiml"])  # noqa: S314 - our own
        assert [node.tag for node in response.iter()] == ["Response", "Say"]
        assert "evil" not in (response.findtext("Say") or "")


async def test_nobody_is_called_to_hear_that_it_is_over() -> None:
    async with twilio() as (double, calls, account):
        over = replace(PAGE, purpose=Purpose.RESOLVED)
        assert isinstance(await VoiceChannel(calls, account, ANSWER).send(over), Refused)
        assert double.requests == []


@pytest.mark.parametrize("phone", [None, "", "call the desk", "044 555 01 00", "+0123456789"])
async def test_what_is_no_number_is_not_dialled(phone: str | None) -> None:
    async with twilio() as (double, calls, account):
        outcome = await SmsChannel(calls, account, answered=True).send(replace(PAGE, phone=phone))
        assert isinstance(outcome, Refused)
        assert outcome.reason == "no_number"
        assert double.requests == []


async def test_twilio_s_codes_are_told_apart() -> None:
    async with twilio() as (double, calls, account):
        channel = SmsChannel(calls, account, answered=True)
        double.opted_out.add("+442079460100")
        outcome = await channel.send(PAGE)
        assert isinstance(outcome, Refused)
        assert outcome.reason == "opted_out"
        busy = Reply.of(400, {"code": 20429, "message": "Too Many Requests", "status": 429})
        double.fates.append(Said(busy))
        assert isinstance(await channel.send(PAGE), Unwell)
        double.opted_out.clear()
        assert isinstance(await channel.send(PAGE), Delivered)
