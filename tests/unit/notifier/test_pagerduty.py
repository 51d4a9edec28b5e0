"""PagerDuty: what wakes somebody, and what only stands beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from notifier.adapters.pagerduty import PagerDutyChannel, Rest
from notifier.domain.outcomes import Delivered, Unknown
from notifier.ports import Earlier, Sending
from tocsin_contracts.incidents import Purpose
from tocsin_simulation.clock import ManualClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_sending
from tocsin_testkit.calling import a_caller
from tocsin_testkit.providers import Fate, PagerDuty

KEY = "0" * 32
PAGE = a_sending(
    provider_key=f"{AN_INCIDENT_ID}:1:P0:1:0:alice",
    link="https://t.example.com/1",
)
UPDATE = replace(
    PAGE,
    notification="n-2",
    purpose=Purpose.UPDATE,
    provider_key="n-2",
    target=None,
    message=a_message("news", "A fix is out."),
)


@asynccontextmanager
async def pagerduty(*, rest: bool) -> AsyncIterator[tuple[PagerDuty, PagerDutyChannel]]:
    double = PagerDuty(KEY, "t0ken")
    async with double.serving() as url, a_caller(url) as calls:
        access = Rest(url, "t0ken", "tocsin@example.com") if rest else None
        yield double, PagerDutyChannel(calls, f"{url}/v2/enqueue", KEY, ManualClock(), access)
    assert double.complaints == []


async def delivered(channel: PagerDutyChannel, sending: Sending) -> Earlier:
    outcome = await channel.send(sending)
    assert isinstance(outcome, Delivered), outcome
    return Earlier(sending.purpose, outcome.ref, sending.message)


async def test_an_alert_goes_from_triggered_to_resolved_under_one_key() -> None:
    async with pagerduty(rest=False) as (double, channel):
        await delivered(channel, PAGE)
        await delivered(channel, replace(PAGE, purpose=Purpose.ACKNOWLEDGED))
        assert double.states == {PAGE.provider_key: "acknowledge"}
        await delivered(channel, replace(PAGE, purpose=Purpose.RESOLVED))
        assert double.states == {PAGE.provider_key: "resolve"}
        assert len(double.shown) == 1


async def test_an_update_is_a_change_and_wakes_nobody() -> None:
    async with pagerduty(rest=False) as (double, channel):
        await delivered(channel, UPDATE)
        assert double.changes == ["news"]
        assert double.shown == []


async def test_an_update_is_a_note_on_the_incident_of_the_page() -> None:
    async with pagerduty(rest=True) as (double, channel):
        page = await delivered(channel, PAGE)
        await delivered(channel, replace(UPDATE, earlier=(page,)))
        [note] = double.notes[PagerDuty.INCIDENT]
        assert note == "news\nA fix is out.\n[n-2]"


async def test_a_note_in_doubt_is_found_and_not_written_again() -> None:
    async with pagerduty(rest=True) as (double, channel):
        page = await delivered(channel, PAGE)
        update = replace(UPDATE, earlier=(page,))
        double.fates.append(Fate.TAKEN_AND_CUT)
        assert isinstance(await channel.send(update), Unknown)
        await delivered(channel, replace(update, attempt=2))
        assert len(double.notes[PagerDuty.INCIDENT]) == 1
        assert double.changes == ["(may be a repeat) news"]


async def test_without_a_page_there_is_nothing_to_note_on() -> None:
    async with pagerduty(rest=True) as (double, channel):
        await delivered(channel, UPDATE)
        assert double.notes == {}
        assert double.changes == ["news"]


TAKEN = replace(
    PAGE,
    notification="n-3",
    purpose=Purpose.ACKNOWLEDGED,
    message=a_message("taken", "Alice has it."),
)


async def test_whoever_takes_it_is_named_on_the_incident_which_is_acknowledged_though_merged() -> (
    None
):
    async with pagerduty(rest=True) as (double, channel):
        double.merged = True
        await delivered(channel, PAGE)
        await delivered(channel, TAKEN)
        assert double.status == "acknowledged"
        assert double.asked_by == ["tocsin@example.com"]
        assert double.notes == {PagerDuty.INCIDENT: ["taken\nAlice has it.\n[n-3]"]}


async def test_an_incident_that_is_acknowledged_already_is_as_good() -> None:
    async with pagerduty(rest=True) as (double, channel):
        await delivered(channel, PAGE)
        await delivered(channel, TAKEN)
        await delivered(channel, replace(TAKEN, attempt=2))
        assert double.asked_by == []
        assert len(double.notes[PagerDuty.INCIDENT]) == 1


async def test_a_rest_key_that_opens_nothing_costs_no_acknowledgement() -> None:
    double = PagerDuty(KEY, "another")
    async with double.serving() as url, a_caller(url) as calls:
        access = Rest(url, "t0ken", "tocsin@example.com")
        channel = PagerDutyChannel(calls, f"{url}/v2/enqueue", KEY, ManualClock(), access)
        await delivered(channel, PAGE)
        await delivered(channel, TAKEN)
    assert double.states == {PAGE.provider_key: "acknowledge"}
