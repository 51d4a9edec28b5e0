"""What customers read while an incident goes on, and what they never read twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from notifier.adapters.statuspage import StatuspageChannel
from notifier.domain.outcomes import Delivered, Refused, Unknown, Unwell
from notifier.ports import Earlier, Sending
from tocsin_contracts.incidents import Purpose
from tocsin_testkit.builders import a_message, a_sending
from tocsin_testkit.calling import a_caller
from tocsin_testkit.providers import Fate, Reply, Said, Statuspage

OPENED = a_sending(
    purpose=Purpose.OPENED,
    target=None,
    service="checkout",
    message=a_message("Checkout is down", "We are looking into it."),
)
UPDATE = replace(
    OPENED,
    notification="n-2",
    purpose=Purpose.UPDATE,
    status="mitigated",
    message=a_message("Checkout", "A fix is out."),
)
OVER = replace(
    UPDATE,
    notification="n-3",
    purpose=Purpose.RESOLVED,
    status="resolved",
    message=a_message("Checkout", "It is over."),
)


@asynccontextmanager
async def page() -> AsyncIterator[tuple[Statuspage, StatuspageChannel]]:
    double = Statuspage("p4ge", "key", ("c0mp",))
    async with double.serving() as url, a_caller(url) as calls:
        yield double, StatuspageChannel(calls, f"{url}/v1", "p4ge", "key", {"checkout": "c0mp"})
    assert double.complaints == []


async def delivered(channel: StatuspageChannel, sending: Sending) -> Earlier:
    outcome = await channel.send(sending)
    assert isinstance(outcome, Delivered), outcome
    return Earlier(sending.purpose, outcome.ref, sending.message)


async def test_one_incident_is_one_entry_from_investigating_to_resolved() -> None:
    async with page() as (double, channel):
        opened = await delivered(channel, OPENED)
        assert double.components == {"c0mp": "major_outage"}
        assert double.incidents[0]["status"] == "investigating"
        assert double.incidents[0]["impact_override"] == "critical"
        await delivered(channel, replace(UPDATE, earlier=(opened,)))
        assert double.incidents[0]["status"] == "monitoring"
        await delivered(channel, replace(OVER, earlier=(opened,)))
        [incident] = double.incidents
        assert incident["status"] == "resolved"
        assert double.components == {"c0mp": "operational"}
        assert incident["incident_updates"] == [
            "We are looking into it.",
            "A fix is out.",
            "It is over.",
        ]


async def test_an_update_after_a_post_in_doubt_finds_what_that_post_made() -> None:
    async with page() as (double, channel):
        double.fates.append(Fate.TAKEN_AND_CUT)
        assert isinstance(await channel.send(OPENED), Unknown)
        await delivered(channel, UPDATE)
        assert len(double.incidents) == 1


async def test_an_update_after_a_post_that_was_lost_is_the_first_that_customers_read() -> None:
    async with page() as (double, channel):
        double.fates.append(Fate.CUT)
        assert isinstance(await channel.send(OPENED), Unknown)
        await delivered(channel, UPDATE)
        [incident] = double.incidents
        assert incident["name"] == "Checkout"


async def test_what_customers_never_read_of_is_not_resolved_before_them() -> None:
    async with page() as (double, channel):
        outcome = await channel.send(OVER)
        assert isinstance(outcome, Refused)
        assert outcome.reason == "never_posted"
        assert double.shown == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_error_that_may_hide_a_post_leaves_it_in_doubt(status: int) -> None:
    async with page() as (double, channel):
        double.fates.append(Said(Reply(status)))
        assert isinstance(await channel.send(OPENED), Unknown)


@pytest.mark.parametrize("status", [420, 429])
async def test_too_many_in_a_minute_wait_one(status: int) -> None:
    async with page() as (double, channel):
        double.fates.append(Said(Reply(status)))
        outcome = await channel.send(OPENED)
        assert isinstance(outcome, Unwell)
        assert outcome.retry_after == timedelta(minutes=1)


@pytest.mark.parametrize(
    "purpose", [Purpose.PAGE, Purpose.REMINDER, Purpose.APPROVAL, Purpose.ACKNOWLEDGED]
)
async def test_customers_read_nothing_that_is_for_us(purpose: Purpose) -> None:
    async with page() as (double, channel):
        assert isinstance(await channel.send(replace(OPENED, purpose=purpose)), Refused)
        assert double.requests == []


async def test_what_else_is_affected_is_degraded_until_it_is_over() -> None:
    double = Statuspage("p4ge", "key", ("c0mp", "b4sk", "0ther"))
    services = {"checkout": "c0mp", "basket": "b4sk", "search": "0ther"}
    async with double.serving() as url, a_caller(url) as calls:
        channel = StatuspageChannel(calls, f"{url}/v1", "p4ge", "key", services)
        affects = ("basket", "checkout", "unknown to the page")
        opened = await delivered(channel, replace(OPENED, components=affects))
        assert double.components == {
            "c0mp": "major_outage",
            "b4sk": "degraded_performance",
            "0ther": "operational",
        }
        await delivered(channel, replace(OVER, components=affects, earlier=(opened,)))
        assert set(double.components.values()) == {"operational"}
    assert double.complaints == []
