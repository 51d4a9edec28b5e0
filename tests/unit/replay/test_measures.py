"""Reports over many incidents: times, promises, noise, nights."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_contracts.incidents import Purpose
from tocsin_policy import Policy
from tocsin_replay import (
    Measures,
    Recorded,
    Summary,
    measures,
    measures_picture,
    measures_table,
    read_policies,
    spread,
    summaries,
    summarise,
)
from tocsin_runtime.records import Position
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.memory_log import MemoryLog
from tocsin_testkit.builders import a_message, a_person, a_target, an_alert, an_event, an_opening
from tocsin_testkit.policies import a_policy

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def told(story: MemoryLog) -> Measures:
    versions = asyncio.run(read_policies(story))
    found = asyncio.run(summaries(story, versions, EPOCH, EPOCH + DAY))
    policies = {version.policy.system: version.policy for version in versions}
    return measures(found, policies, EPOCH, EPOCH + DAY)


def test_times_are_over_those_incidents_in_which_it_happened(told: Measures) -> None:
    whole = told.groups[0]
    assert (whole.by, whole.incidents) == ("all", 3)
    assert whole.acknowledge is not None
    assert whole.acknowledge.count == 2
    assert whole.acknowledge.mean == (timedelta(seconds=90) + 12 * MINUTE) / 2


def test_incidents_are_grouped_by_system_severity_service_and_hour(told: Measures) -> None:
    groups = [(group.by, group.name, group.incidents) for group in told.groups[1:]]
    assert groups == [
        ("system", "shop", 2),
        ("system", "slow", 1),
        ("severity", "P0", 1),
        ("severity", "critical", 1),
        ("severity", "P1", 1),
        ("service", "-", 3),
        ("hour", "09", 3),
    ]


def test_promises_are_counted(told: Measures) -> None:
    by_name = {group.name: group for group in told.groups}
    assert (by_name["slow"].targets_met, by_name["slow"].targets_set) == (0, 1)
    assert (by_name["slow"].updates_kept, by_name["slow"].updates_promised) == (1, 3)
    assert (by_name["P0"].targets_met, by_name["P0"].targets_set) == (2, 2)


def test_two_channels_of_one_page_are_one_page(told: Measures) -> None:
    assert {person.name: person.pages for person in told.people}["Alice"] == 4
    assert told.noise.pages == 9


def test_an_expired_acknowledgement_is_no_reopening(told: Measures) -> None:
    assert told.noise.reopened == 1


def test_incidents_outside_of_the_range_do_not_count(story: MemoryLog) -> None:
    versions = asyncio.run(read_policies(story))
    begin = EPOCH + 5 * MINUTE
    found = asyncio.run(summaries(story, versions, begin, EPOCH + DAY))
    assert [one.system for one in found] == ["slow"]


def _paged(opened_at: datetime, *then: Fact, drill: bool = False) -> Summary:
    opening = an_opening(severity="critical", alerts=(an_alert("Flappy"),))
    happened: list[Fact] = [
        opening.model_copy(update={"drill": drill}),
        facts.NotificationRequested(
            notification="page-1",
            purpose=Purpose.PAGE,
            generation=1,
            level=1,
            target=a_target(),
            channel="pagerduty",
            kind="pagerduty",
            provider_key="key",
            message=a_message(),
        ),
        facts.NotificationAttempted(notification="page-1", attempt=1, instance="n"),
        facts.NotificationDelivered(notification="page-1", attempt=1),
        *then,
    ]
    recorded: Sequence[Recorded] = [
        Recorded(an_event(fact, at=opened_at), Position("incidents", 0, n), opened_at)
        for n, fact in enumerate(happened)
    ]
    return summarise(recorded, None)


def _cleared(at: datetime) -> tuple[Fact, Fact]:
    opening = an_opening(severity="critical", alerts=(an_alert("Flappy"),))
    (alert,) = opening.alerts
    cleared = facts.Cleared(fingerprint=alert.fingerprint, starts_at=alert.starts_at, ended_at=at)
    return (
        facts.AlertsCleared(alerts=(cleared,)),
        facts.AutoResolved(generation=1, reason="clear", due_at=at),
    )


def _in_berlin() -> dict[str, Policy]:
    return {
        "mpc-transformer": a_policy(
            "mpc-transformer",
            schedules={
                "primary": {
                    "name": "primary",
                    "time_zone": "Europe/Berlin",
                    "layers": [{"start": "2026-01-05", "participants": ["alice"]}],
                }
            },
        )
    }


@pytest.mark.parametrize(
    ("hour", "at_night"),
    [(4, 1), (5, 1), (6, 0), (20, 0), (21, 1), (22, 1)],  # Berlin is an hour ahead in March
)
def test_the_night_is_that_of_the_schedules_time_zone(hour: int, at_night: int) -> None:
    at = EPOCH.replace(hour=hour)
    (alice,) = measures([_paged(at)], _in_berlin(), EPOCH, EPOCH + DAY).people
    assert (alice.pages, alice.night_pages) == (1, at_night)


def test_an_evening_and_the_morning_after_it_are_one_night() -> None:
    evening = EPOCH.replace(hour=22)
    incidents = [_paged(evening), _paged(evening + timedelta(hours=5))]
    (alice,) = measures(incidents, _in_berlin(), EPOCH, EPOCH + DAY).people
    assert (alice.night_pages, alice.nights) == (2, 1)


def test_an_alert_that_woke_somebody_for_nothing_is_named_first() -> None:
    for_nothing = _paged(EPOCH, *_cleared(EPOCH))
    for_something = _paged(EPOCH, facts.Acknowledged(by=a_person()))
    found = measures([for_nothing, for_something], {}, EPOCH, EPOCH + DAY)
    assert found.noise.to_nothing == 1
    (worst,) = found.worst
    assert (worst.name, worst.pages, worst.pages_to_nothing) == ("Flappy", 2, 1)


def test_an_alert_that_comes_again_and_again_flaps() -> None:
    found = measures([_paged(EPOCH)] * 3, {}, EPOCH, EPOCH + DAY)
    assert list(found.noise.flapping.values()) == [3]
    assert measures([_paged(EPOCH)] * 2, {}, EPOCH, EPOCH + DAY).noise.flapping == {}


def test_percentiles_are_values_that_occurred() -> None:
    held = spread(n * MINUTE for n in range(1, 11))
    assert held is not None
    assert (held.median, held.p90, held.longest) == (5 * MINUTE, 9 * MINUTE, 10 * MINUTE)
    assert spread([None]) is None


def test_what_a_runbook_calls_success_is_judged(told: Measures, story: MemoryLog) -> None:
    policy = a_policy(
        "slow",
        success={
            "time_to_resolve": {"critical": "30m", "minor": "1h"},
            "time_to_detect": "1m",
            "fewer_a_month": 31,
            "reviewed_within": "48h",
        },
    )
    versions = asyncio.run(read_policies(story))
    incidents = asyncio.run(summaries(story, versions, EPOCH, EPOCH + DAY))
    found = measures(incidents, {"slow": policy}, EPOCH, EPOCH + DAY)
    assert [(one.what, one.measured, one.met) for one in found.success] == [
        ("mean time to resolve critical", "32 min", False),
        ("mean time to resolve minor", "nothing to judge by", None),
        ("mean time to detect", "0 s", True),
        ("incidents a month", "30.0", True),
        ("reviews published", "nothing to judge by", None),
    ]
    assert told.success == ()


def test_nothing_to_report_is_a_report_too() -> None:
    found = measures([], {}, EPOCH, EPOCH + DAY)
    assert found.groups[0].acknowledge is None
    ET.fromstring(measures_picture(found))  # noqa: S314 - we drew it


def test_people_can_read_it(told: Measures) -> None:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(measures_table(told))
    assert "9 pages, 3.0 an incident" in captured.get()
    assert "6 min 45 s" in captured.get()
    assert "12 min" in captured.get()
    assert "pages at night, by person" in measures_picture(told)
    assert "response targets met, by severity" in measures_picture(told)
