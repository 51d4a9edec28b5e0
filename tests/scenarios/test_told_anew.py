"""What was told before is told anew in words of what changed, and never as a second opening."""

from __future__ import annotations

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
