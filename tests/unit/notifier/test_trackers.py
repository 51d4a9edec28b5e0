"""Issues of an incident, as they are read afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from notifier.adapters.calling import Caller
from notifier.adapters.github import GitHubChannel
from notifier.adapters.jira import JiraChannel
from notifier.domain.outcomes import Delivered, Refused, Unknown, Unwell
from notifier.ports import Channel, Earlier, Sending
from tocsin_contracts.incidents import Purpose
from tocsin_simulation.clock import EPOCH, ManualClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_sending
from tocsin_testkit.calling import a_caller
from tocsin_testkit.providers import Fate, GitHub, Jira, Provider, Reply, Said

OPENED = a_sending(
    purpose=Purpose.OPENED,
    target=None,
    link="https://t.example.com/1",
    message=a_message("Checkout is down", "# What\n- [ ] look, @everyone\nfixes #12 <img src=x>"),
)
UPDATE = replace(
    OPENED, notification="n-2", purpose=Purpose.UPDATE, message=a_message("news", "A fix is out.")
)
OVER = replace(
    OPENED, notification="n-3", purpose=Purpose.RESOLVED, message=a_message("over", "It is over.")
)


def github(calls: Caller, url: str) -> Channel:
    return GitHubChannel(
        calls, url, "acme/shop", "t", ManualClock(), labels=["incident"], assignees=["alice"]
    )


def jira(calls: Caller, url: str) -> Channel:
    return JiraChannel(calls, url, "t@example.com", "t", "OPS", labels=["incident"])


@asynccontextmanager
async def tracker(
    double: Provider, over: Callable[[Caller, str], Channel]
) -> AsyncIterator[Channel]:
    async with double.serving() as url, a_caller(url) as calls:
        yield over(calls, url)
    assert double.complaints == []


async def delivered(channel: Channel, sending: Sending) -> Earlier:
    outcome = await channel.send(sending)
    assert isinstance(outcome, Delivered), outcome
    return Earlier(sending.purpose, outcome.ref, sending.message)


async def test_an_issue_of_github_is_opened_labelled_commented_and_closed() -> None:
    double = GitHub("acme/shop", "t")
    async with tracker(double, github) as channel:
        opened = await delivered(channel, OPENED)
        await delivered(channel, replace(UPDATE, earlier=(opened,)))
        await delivered(channel, replace(OVER, earlier=(opened,)))
    [issue] = double.issues
    assert issue["title"] == "Checkout is down"
    assert issue["labels"] == ["incident", "P0"]
    assert issue["assignees"] == ["alice"]
    assert issue["state"] == "closed"
    assert issue["state_reason"] == "completed"
    assert [len(issue["comments_held"]), len(double.shown)] == [2, 3]


async def test_a_ticket_is_called_and_labelled_as_the_policy_says() -> None:
    named = replace(OPENED, ticket="Incident: checkout", labels=("incident", "type: outage"))
    hub = GitHub("acme/shop", "t")
    async with tracker(hub, github) as channel:
        await delivered(channel, named)
    assert hub.issues[0]["title"] == "Incident: checkout"
    assert hub.issues[0]["labels"] == ["incident", "type: outage", "P0"]
    site = Jira("OPS", "t@example.com", "t")
    async with tracker(site, jira) as channel:
        await delivered(channel, named)
    assert site.issues["OPS-1"]["summary"] == "Incident: checkout"
    assert "type:-outage" in site.issues["OPS-1"]["labels"]


async def test_an_issue_keeps_its_headings_and_mentions_nobody() -> None:
    double = GitHub("acme/shop", "t")
    async with tracker(double, github) as channel:
        await delivered(channel, OPENED)
    body = double.issues[0]["body"]
    assert body.startswith("# What\n")
    assert "@everyone" not in body
    assert "#12" not in body
    assert "<img" not in body
    assert "https://t.example.com/1" in body


async def test_an_issue_of_jira_is_opened_labelled_commented_and_done() -> None:
    double = Jira("OPS", "t@example.com", "t")
    async with tracker(double, jira) as channel:
        opened = await delivered(channel, OPENED)
        assert opened.ref == "OPS-1"
        await delivered(channel, replace(UPDATE, earlier=(opened,)))
        await delivered(channel, replace(OVER, earlier=(opened,)))
    issue = double.issues["OPS-1"]
    assert issue["labels"] == ["incident", f"tocsin-{AN_INCIDENT_ID}"]
    assert issue["status"] == "Done"
    assert len(issue["comments"]) == 2


@pytest.mark.parametrize(
    ("double", "over"),
    [(GitHub("acme/shop", "t"), github), (Jira("OPS", "t@example.com", "t"), jira)],
    ids=["github", "jira"],
)
async def test_a_comment_in_doubt_is_found_and_not_written_again(
    double: Provider, over: Callable[[Caller, str], Channel]
) -> None:
    async with tracker(double, over) as channel:
        opened = await delivered(channel, OPENED)
        update = replace(UPDATE, earlier=(opened,))
        double.fates.append(Fate.TAKEN_AND_CUT)
        assert isinstance(await channel.send(update), Unknown)
        await delivered(channel, replace(update, attempt=2))
        assert len(double.shown) == 2
        double.fates.append(Fate.CUT)
        over_now = replace(OVER, earlier=(opened,))
        assert isinstance(await channel.send(over_now), Unknown)
        await delivered(channel, replace(over_now, attempt=2))
        assert len(double.shown) == 3


@pytest.mark.parametrize(
    ("double", "over"),
    [(GitHub("acme/shop", "t"), github), (Jira("OPS", "t@example.com", "t"), jira)],
    ids=["github", "jira"],
)
async def test_news_after_an_opening_in_doubt_goes_into_the_issue_that_it_made(
    double: Provider, over: Callable[[Caller, str], Channel]
) -> None:
    async with tracker(double, over) as channel:
        assert isinstance(await channel.send(OVER), Refused)
        double.fates.append(Fate.TAKEN_AND_CUT)
        assert isinstance(await channel.send(OPENED), Unknown)
        await delivered(channel, UPDATE)
        await delivered(channel, OVER)
    assert len(double.issues) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (Reply(403, "", {"Retry-After": "9"}), 9),
        (Reply(403, "", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "RESET"}), 30),
        (Reply(403, '{"message": "You have exceeded a secondary rate limit"}'), 60),
        (Reply(429, ""), 60),
    ],
)
async def test_github_s_limits_are_waited_for(reply: Reply, wait: int) -> None:
    double = GitHub("acme/shop", "t")
    reset = str(int(EPOCH.timestamp()) + 30)
    headers = {name: value.replace("RESET", reset) for name, value in reply.headers.items()}
    async with tracker(double, github) as channel:
        double.fates.append(Said(replace(reply, headers=headers)))
        outcome = await channel.send(OPENED)
        assert isinstance(outcome, Unwell)
        assert outcome.retry_after == timedelta(seconds=wait)


async def test_an_issue_of_github_that_was_closed_is_open_again_and_labelled_anew() -> None:
    double = GitHub("acme/shop", "t")
    async with tracker(double, github) as channel:
        opened = await delivered(channel, OPENED)
        over = await delivered(channel, replace(OVER, earlier=(opened,)))
        again = replace(OPENED, notification="n-4", severity="P-1", earlier=(opened, over))
        await delivered(channel, again)
    [issue] = double.issues
    assert (issue["state"], issue["state_reason"]) == ("open", "reopened")
    assert issue["labels"] == ["incident", "P0", "P-1"]
    assert len(issue["comments_held"]) == 2


async def test_an_issue_of_jira_that_was_done_is_taken_up_again() -> None:
    double = Jira("OPS", "t@example.com", "t")
    async with tracker(double, jira) as channel:
        opened = await delivered(channel, OPENED)
        worse = await delivered(channel, replace(OPENED, notification="n-4", earlier=(opened,)))
        assert double.issues["OPS-1"]["status"] == "To Do"
        over = await delivered(channel, replace(OVER, earlier=(opened, worse)))
        again = replace(OPENED, notification="n-5", earlier=(opened, worse, over))
        await delivered(channel, again)
    issue = double.issues["OPS-1"]
    assert issue["status"] == "In Progress"
    assert len(issue["comments"]) == 3
