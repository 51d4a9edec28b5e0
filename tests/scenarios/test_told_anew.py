"""What was told before is told anew in words of what changed, and never as a second opening."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from tocsin_contracts.incidents import Purpose
from tocsin_policy import Policy
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario

DOWN = an_alert(system="shop", severity="critical")
MILD = an_alert(system="shop", severity="minor")
ROOMS = ["room", "status", "hub"]


def a_policy_with_rooms() -> Policy:
    """A room, the status page and a tracker hear of openings, of mild ones the room alone."""
    plain = a_policy().model_dump(mode="json", exclude_none=True)
    return a_policy(
        channels={
            **plain["channels"],
            "room": {"kind": "slack", "endpoint": "room"},
            "status": {
                "kind": "statuspage",
                "endpoint": "status",
                "templates": {"opened": "customers"},
            },
            "hub": {"kind": "github", "endpoint": "hub", "templates": {"opened": "ticket"}},
        },
        announcements={
            "critical": {"opened": ROOMS, "resolved": ROOMS},
            "minor": {"opened": ["room"]},
        },
        templates={
            "customers": {"subject": "We look into it", "body": "We are sorry."},
            "ticket": {"subject": "ticket", "body": "{{ rule }}"},
        },
    )


def openings(system: Timeline, channel: str) -> list[tuple[timedelta, str]]:
    """When a channel was told that it is there, and in what words."""
    return [
        (arrival.at - system.start, arrival.sending.message.subject)
        for arrival in system.system.providers.arrivals
        if arrival.sending.purpose is Purpose.OPENED and arrival.channel == channel
    ]


def pages(system: Timeline) -> list[str]:
    """What Alice reads by PagerDuty."""
    return [
        arrival.sending.message.body
        for arrival in system.system.providers.arrivals
        if arrival.sending.purpose is Purpose.PAGE
        and arrival.channel == "pagerduty"
        and arrival.sending.target is not None
        and arrival.sending.target.contact == "alice"
    ]


@scenario(a_policy_with_rooms)
async def test_what_comes_back_is_told_as_reopened_to_everybody_who_read_that_it_was_over(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=2).resolve("alice")
    system.at(minutes=6).reopen("bob", "it is down again")
    await system.play(until=minutes(8))
    again = "[critical] reopened by Bob: GlobalServiceUnavailable is firing"
    for channel, first, then in (
        ("room", "[critical] GlobalServiceUnavailable is firing", again),
        ("hub", "ticket", again),
        ("status", "We look into it", "We look into it"),
    ):
        assert openings(system, channel) == [(minutes(0), first), (minutes(6), then)], channel
    first, second = pages(system)
    assert "Changed" not in first
    assert "Changed: reopened by Bob, it is down again" in second


@scenario(a_policy_with_rooms)
async def test_an_acknowledgement_that_expires_is_told_where_people_believed_it_was_taken(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    await system.play(until=minutes(23))
    assert [text for _, text in openings(system, "room")] == [
        "[critical] GlobalServiceUnavailable is firing",
        "[critical] the acknowledgement of Alice has expired: GlobalServiceUnavailable is firing",
    ]
    assert openings(system, "status") == [(minutes(0), "We look into it")]
    assert "Changed: the acknowledgement of Alice has expired" in pages(system)[-1]


@scenario(a_policy_with_rooms)
async def test_a_hand_over_and_the_end_of_a_mute_are_told_as_what_they_are(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).hand_over("alice", "bob")
    system.at(minutes=2).mute("bob", minutes=5)
    await system.play(until=minutes(9))
    assert [text for _, text in openings(system, "room")] == [
        "[critical] GlobalServiceUnavailable is firing",
        "[critical] handed over to Bob by Alice: GlobalServiceUnavailable is firing",
        "[critical] no longer muted: GlobalServiceUnavailable is firing",
    ]
    assert len(openings(system, "status")) == 1


@scenario(a_policy_with_rooms)
async def test_a_severity_that_is_raised_is_told_once_and_as_an_opening_only_where_nobody_knew(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(MILD)
    system.at(minutes=3).raise_to("critical", "bob")
    await system.play(until=minutes(6))
    assert openings(system, "room") == [
        (minutes(0), "[minor] GlobalServiceUnavailable is firing"),
        (
            minutes(3),
            "[critical] severity raised from minor by Bob: GlobalServiceUnavailable is firing",
        ),
    ]
    assert openings(system, "hub") == [(minutes(3), "ticket")]
    assert openings(system, "status") == [(minutes(3), "We look into it")]
    [page] = pages(system)
    assert "Changed: severity raised from minor by Bob" in page
    assert 'rule "default"' not in page


def by_key(system: Timeline) -> dict[str, list[str]]:
    """What became of each of Alice's alerts at PagerDuty."""
    found: dict[str, list[str]] = {}
    for arrival in system.system.providers.arrivals:
        sending = arrival.sending
        contact = sending.target.contact if sending.target is not None else ""
        if (arrival.channel, contact) == ("pagerduty", "alice"):
            found.setdefault(sending.provider_key, []).append(str(sending.purpose))
    return found


@scenario()
async def test_an_alert_that_was_taken_once_does_not_stay_open_at_its_provider_for_ever(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).hand_over("alice", "bob")
    system.at(minutes=3).resolve("bob")
    await system.play(until=minutes(5))
    assert list(by_key(system).values()) == [["page", "acknowledged", "resolved"]]


@scenario()
async def test_an_alert_of_before_a_mute_is_taken_with_the_one_of_after_it(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).mute("alice", minutes=2)
    system.at(minutes=4).acknowledge("alice")
    await system.play(until=minutes(6))
    assert list(by_key(system).values()) == [["page", "acknowledged"]] * 2


@scenario()
async def test_whoever_handed_it_over_hears_once_by_each_means_that_it_is_over(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).hand_over("alice", "bob")
    system.at(minutes=3).hand_over("bob", "alice")
    system.at(minutes=4).resolve("bob")
    await system.play(until=minutes(6))
    over = Counter(
        (arrival.channel, arrival.sending.target.contact)
        for arrival in system.system.providers.arrivals
        if arrival.sending.purpose is Purpose.RESOLVED and arrival.sending.target is not None
    )
    # One for each alert of PagerDuty's.
    assert over == {("pagerduty", "alice"): 2, ("slack", "alice"): 1, ("pagerduty", "bob"): 1}


def a_policy_with_readers_of_mail() -> Policy:
    """Alice is paged by mail, and by the same channel others read what is announced."""
    return a_policy(
        contacts={
            "alice": {
                "name": "Alice",
                "role": "on-call engineer",
                "email": "alice@example.com",
                "channels": ["mail"],
            }
        },
        escalation={"critical": [{"number": 1, "after": "0m", "targets": ["contact:alice"]}]},
        channels={"mail": {"kind": "email", "endpoint": "mail"}},
        announcements={"critical": {"opened": ["mail"], "resolved": ["mail"]}},
    )


@scenario(a_policy_with_readers_of_mail)
async def test_readers_of_announcements_hear_the_end_though_a_person_was_paged_by_mail(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=2).resolve("alice")
    await system.play(until=minutes(4))
    announced = [
        str(arrival.sending.purpose)
        for arrival in system.system.providers.arrivals
        if arrival.sending.target is None
    ]
    assert announced == ["opened", "resolved"]
