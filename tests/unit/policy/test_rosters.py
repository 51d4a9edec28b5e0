"""Shifts, rosters and agendas: who answers, without a break, also where the year is awkward."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_policy import Calendar, Policy, Schedule, gaps, on_call, parse_policy, shifts
from tocsin_policy.agenda import agenda
from tocsin_policy.roster import roster, unattended

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Cairo",
    "UTC",
]
OFFICE = {"business": Calendar(time_zone="Europe/Berlin", country="DE")}


def a_schedule(**changes: Any) -> Schedule:
    document: dict[str, Any] = {
        "name": "primary",
        "time_zone": "Europe/Berlin",
        "layers": [{"participants": ["ann", "ben"], "start": date(2026, 1, 5)}],
    }
    return Schedule.model_validate(document | changes)


def a_policy(**changes: Any) -> Policy:
    document: dict[str, Any] = {
        "system": "shop",
        "owner": "shop team",
        "calendars": {"business": {"time_zone": "Europe/Berlin", "country": "DE"}},
        "severities": [{"name": "P0", "definition": "bad"}],
        "classification": {"default": "P0"},
        "grouping": {"reopen_within": "30m", "auto_resolve_after": "15m"},
        "contacts": {
            name: {"name": name.title(), "role": "engineer", "email": f"{name}@shop.example"}
            for name in ("ann", "ben", "cat")
        },
        "roles": {
            "commander": {"name": "commander", "default": "schedule:primary"},
            "scribe": {"name": "scribe"},
        },
        "schedules": {
            "primary": {
                "name": "primary",
                "time_zone": "Europe/Berlin",
                "layers": [{"participants": ["ann", "ben"], "start": "2026-01-05"}],
            }
        },
    }
    return parse_policy(document | changes)


def test_a_week_is_an_hour_shorter_where_the_clocks_go_forward() -> None:
    start = datetime(2026, 3, 23, 9, tzinfo=BERLIN)

    week = shifts(a_schedule(), start, start + timedelta(days=14))[0]

    assert week.ends_at - week.begins_at == timedelta(days=7, hours=-1)


def test_a_week_is_an_hour_longer_where_the_clocks_go_back() -> None:
    start = datetime(2026, 10, 19, 9, tzinfo=BERLIN)

    week = shifts(a_schedule(), start, start + timedelta(days=14))[0]

    assert week.ends_at - week.begins_at == timedelta(days=7, hours=1)


def test_a_turn_does_not_go_back_when_the_clocks_go_back_over_midnight() -> None:
    # In Newfoundland it was 00:01 on 7 November 2010, and then 23:01 on the 6th again.
    layer = {
        "participants": ["ann", "ben"],
        "start": date(2010, 11, 1),
        "handover": {"every": "day", "at": time(0)},
    }
    schedule = a_schedule(time_zone="America/St_Johns", layers=[layer])
    handover = datetime(2010, 11, 7, 0, tzinfo=ZoneInfo("America/St_Johns")).astimezone(UTC)

    after = {on_call(schedule, handover + timedelta(minutes=m)).contact for m in range(24 * 60)}

    assert len(after) == 1


def test_a_daily_rotation_counts_the_leap_day() -> None:
    layer = {
        "participants": ["ann", "ben", "cat"],
        "start": date(2028, 2, 27),
        "handover": {"every": "day", "at": time(9)},
    }
    noons = [datetime(2028, 2, 27, 12, tzinfo=BERLIN) + timedelta(days=n) for n in range(4)]

    found = [on_call(a_schedule(layers=[layer]), noon).contact for noon in noons]

    assert found == ["ann", "ben", "cat", "ann"]


def test_a_rotation_goes_on_over_the_end_of_a_year() -> None:
    # 2026 has 53 weeks; the turn does not start again with the year.
    mondays = [datetime(2026, 12, 21, 9, tzinfo=BERLIN) + timedelta(weeks=n) for n in range(4)]

    found = [on_call(a_schedule(), monday).contact for monday in mondays]

    assert found == ["ann", "ben", "ann", "ben"]


def test_the_later_of_two_overrides_counts_and_then_the_layer_again() -> None:
    noon = datetime(2026, 1, 6, 12, tzinfo=UTC)
    hour = timedelta(hours=1)
    overrides = [
        {"contact": "cat", "begins_at": noon, "ends_at": noon + 4 * hour},
        {"contact": "dan", "begins_at": noon + hour, "ends_at": noon + 2 * hour},
    ]

    found = shifts(a_schedule(overrides=overrides), noon - hour, noon + 5 * hour)

    assert [one.contact for one in found] == ["ann", "cat", "dan", "cat", "ann"]
    assert [(one.ends_at - one.begins_at) / hour for one in found] == [1, 1, 1, 2, 1]


def test_a_layer_with_a_calendar_holds_only_while_it_is_open() -> None:
    layers = [
        {"participants": ["ann"], "start": date(2026, 1, 5)},
        {"participants": ["ben"], "start": date(2026, 1, 5), "calendar": "business"},
    ]
    friday = datetime(2026, 4, 30, 8, tzinfo=BERLIN)  # a Thursday; then comes Labour Day

    found = shifts(a_schedule(layers=layers), friday, friday + timedelta(days=4, hours=2), OFFICE)

    hours = [(one.contact, one.begins_at.astimezone(BERLIN).strftime("%a %H")) for one in found]
    assert hours == [("ann", "Thu 08"), ("ben", "Thu 09"), ("ann", "Thu 17"), ("ben", "Mon 09")]


def test_a_layer_ends_at_the_midnight_that_begins_its_last_day() -> None:
    layers = [{"participants": ["ann"], "start": date(2026, 1, 5), "ends": date(2026, 3, 30)}]
    ends = datetime(2026, 3, 30, tzinfo=BERLIN).astimezone(UTC)

    (gap,) = gaps(a_schedule(layers=layers), ends - timedelta(days=2), ends + timedelta(days=2))

    assert (gap.begins_at, gap.ends_at) == (ends, ends + timedelta(days=2))
    assert gap.reason == "no layer of 'primary' holds then"


def test_a_rotation_without_an_end_has_no_gap() -> None:
    start = datetime(2026, 1, 5, 9, tzinfo=BERLIN)

    assert gaps(a_schedule(), start, start + timedelta(days=400)) == ()


_DAYS = st.integers(0, 800).map(lambda days: date(2024, 1, 1) + timedelta(days=days))
_INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2026, 6, 1)).map(  # noqa: DTZ001 - UTC next
    lambda at: at.replace(tzinfo=UTC, microsecond=0)
)
_LAYERS = st.fixed_dictionaries(
    {
        "participants": st.lists(st.sampled_from("abcd"), min_size=1, max_size=4),
        "start": _DAYS,
        "calendar": st.sampled_from([None, None, "business"]),
        "handover": st.fixed_dictionaries(
            {
                "every": st.sampled_from(["day", "week"]),
                "weekday": st.sampled_from(["monday", "sunday"]),
                "at": st.sampled_from([time(0), time(0, 30), time(2, 30), time(9), time(23, 30)]),
            }
        ),
    },
    optional={"ends": _DAYS},
)
_OVERRIDES = st.tuples(_INSTANTS, st.integers(1, 20_000)).map(
    lambda pair: {
        "contact": "z",
        "begins_at": pair[0],
        "ends_at": pair[0] + timedelta(minutes=pair[1]),
    }
)


@given(
    zone=st.sampled_from(ZONES),
    layers=st.lists(_LAYERS, min_size=1, max_size=3),
    overrides=st.lists(_OVERRIDES, max_size=3),
    start=_INSTANTS,
    hours=st.integers(1, 24 * 40),
    shares=st.lists(st.integers(0, 9_999), min_size=1, max_size=20),
)
def test_shifts_cover_the_span_without_a_break_and_agree_with_any_instant(
    zone: str,
    layers: list[dict[str, Any]],
    overrides: list[dict[str, Any]],
    start: datetime,
    hours: int,
    shares: list[int],
) -> None:
    schedule = a_schedule(time_zone=zone, layers=layers, overrides=overrides)
    end = start + timedelta(hours=hours)

    found = shifts(schedule, start, end, OFFICE)

    assert (found[0].begins_at, found[-1].ends_at) == (start, end)
    for before, after in pairwise(found):
        assert before.ends_at == after.begins_at
        assert before.contact != after.contact
    for share in shares:
        at = start + (end - start) * share / 10_000
        (covering,) = (one for one in found if one.begins_at <= at < one.ends_at)
        assert covering.contact == on_call(schedule, at, OFFICE).contact


def test_a_roster_says_who_until_when_who_then_and_who_holds_a_role() -> None:
    at = datetime(2026, 1, 6, 12, tzinfo=UTC)

    found = roster(a_policy(), at)

    (primary,) = found.schedules
    assert (primary.contact, primary.then) == ("ann", "ben")
    assert primary.until == datetime(2026, 1, 12, 9, tzinfo=BERLIN)
    commander, scribe = found.roles
    assert (commander.contacts, commander.reason) == (("ann",), "schedule:primary")
    assert (scribe.contacts, scribe.reason) == ((), "nobody until somebody is assigned")


def test_a_roster_says_whose_default_names_nobody() -> None:
    found = roster(a_policy(), datetime(2025, 1, 1, tzinfo=UTC))

    assert found.schedules[0].contact is None
    assert found.roles[0].reason == "schedule:primary names nobody then"


def test_nobody_is_missed_only_in_schedules_with_a_gap() -> None:
    policy = a_policy()
    first = datetime(2026, 1, 5, 9, tzinfo=BERLIN)

    assert unattended(policy, first, first + timedelta(days=90)) == ()
    (found,) = unattended(policy, first - timedelta(hours=3), first + timedelta(days=90))
    assert (found.schedule, found.total) == ("primary", timedelta(hours=3))


def test_an_agenda_shows_holidays_days_off_drills_and_the_clock_change() -> None:
    calendar = {"time_zone": "Europe/Berlin", "country": "DE", "days_off": ["2026-04-02"]}
    policy = a_policy(
        calendars={"business": calendar},
        drills={
            "rehearsal": {
                "title": "Lost region",
                "on": "Fr[1] 10:00-11:00",
                "time_zone": "Europe/Berlin",
                "labels": {"alertname": "Drill"},
            }
        },
    )

    days = {day.date: day for day in agenda(policy, date(2026, 3, 28), 9)}

    assert days[date(2026, 3, 29)].hours == timedelta(hours=23)
    assert days[date(2026, 4, 1)].offices[0].spans[0][0] == datetime(2026, 4, 1, 9, tzinfo=BERLIN)
    assert days[date(2026, 4, 2)].offices[0].day_off
    assert days[date(2026, 4, 2)].offices[0].spans == ()
    good_friday = days[date(2026, 4, 3)]
    assert good_friday.offices[0].holiday
    assert good_friday.rehearsals[0].begins_at == datetime(2026, 4, 3, 10, tzinfo=BERLIN)
    (handover,) = days[date(2026, 3, 30)].handovers
    assert (handover.contact, handover.at) == ("ann", datetime(2026, 3, 30, 9, tzinfo=BERLIN))


def test_a_handover_at_midnight_belongs_to_the_day_it_begins() -> None:
    layer = {"participants": ["ann", "ben"], "start": "2026-01-05", "handover": {"at": "00:00"}}
    schedule = {"name": "primary", "time_zone": "Europe/Berlin", "layers": [layer]}

    (day,) = agenda(a_policy(schedules={"primary": schedule}), date(2026, 1, 12), 1)

    assert [one.contact for one in day.handovers] == ["ben"]


def test_an_override_is_shown_on_every_day_it_touches() -> None:
    schedule = {
        "name": "primary",
        "time_zone": "Europe/Berlin",
        "layers": [{"participants": ["ann"], "start": "2026-01-05"}],
        "overrides": [
            {
                "contact": "cat",
                "begins_at": "2026-01-12T22:00:00Z",
                "ends_at": "2026-01-13T23:00:00Z",
            }
        ],
    }

    days = agenda(a_policy(schedules={"primary": schedule}), date(2026, 1, 12), 3)

    assert [len(day.stand_ins) for day in days] == [1, 1, 0]


@pytest.mark.parametrize("days", [0, 371])
def test_an_agenda_of_no_days_or_of_too_many_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="1 to 370 days"):
        agenda(a_policy(), date(2026, 1, 1), days)
