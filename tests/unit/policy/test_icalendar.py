"""Schedules to and from iCalendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_policy import Policy, on_call, parse_policy
from tocsin_policy.icalendar import BadCalendar, from_ical, to_ical

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = NOW + timedelta(days=90)


def a_policy(*overrides: dict[str, Any], people: tuple[str, ...] = ("ann", "ben")) -> Policy:
    names = {"ann": "Ann Arber", "ben": "Ben Bolt", "cat": "Cat Cole"}
    return parse_policy(
        {
            "system": "shop",
            "owner": "shop team",
            "severities": [{"name": "P0", "definition": "bad"}],
            "classification": {"default": "P0"},
            "grouping": {"reopen_within": "30m", "auto_resolve_after": "15m"},
            "contacts": {
                key: {"name": name, "role": "engineer", "email": f"{key}@shop.example"}
                for key, name in names.items()
            },
            "schedules": {
                "primary": {
                    "name": "primary",
                    "time_zone": "Europe/Berlin",
                    "layers": [{"participants": list(people), "start": "2026-01-05"}],
                    "overrides": list(overrides),
                }
            },
        }
    )


def with_overrides(policy: Policy, text: str) -> Policy:
    found = from_ical(text, policy, "primary", NOW, END)
    return a_policy(*(one.model_dump(mode="json") for one in found.overrides))


def ics(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", *lines, "END:VCALENDAR", ""])


def an_event(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", "UID:1", "DTSTAMP:20260301T000000Z", *lines, "END:VEVENT"])


def test_what_is_exported_says_what_the_schedule_says_so_nothing_is_imported() -> None:
    policy = a_policy()

    found = from_ical(to_ical(policy, "primary", NOW, END, NOW), policy, "primary", NOW, END)

    assert (found.overrides, found.unmatched) == ((), ())
    assert found.agreeing == 14


@settings(max_examples=25)
@given(
    begins=st.integers(0, 80 * 24 * 60),
    minutes=st.integers(1, 20_000),
    looks=st.lists(st.integers(0, 90 * 24 * 60 - 1), min_size=5, max_size=20),
)
def test_another_schedule_says_the_same_once_it_has_imported_the_first(
    begins: int, minutes: int, looks: list[int]
) -> None:
    begins_at = NOW + timedelta(minutes=begins)
    stands_in = {
        "contact": "cat",
        "begins_at": begins_at.isoformat(),
        "ends_at": (begins_at + timedelta(minutes=minutes)).isoformat(),
    }
    theirs = a_policy(stands_in, people=("ben", "cat", "ann"))

    ours = with_overrides(a_policy(), to_ical(theirs, "primary", NOW, END, NOW))

    for look in looks:
        at = NOW + timedelta(minutes=look)
        mine, hers = ours.schedules["primary"], theirs.schedules["primary"]
        assert on_call(mine, at).contact == on_call(hers, at).contact


def test_a_shift_keeps_its_uid_however_often_it_is_exported() -> None:
    policy = a_policy()

    later = to_ical(policy, "primary", NOW, END, NOW + timedelta(days=1))
    uids = [line for line in later.splitlines() if line.startswith("UID")]

    assert uids == [
        line
        for line in to_ical(policy, "primary", NOW, END, NOW).splitlines()
        if line.startswith("UID")
    ]


def test_a_gap_is_no_event() -> None:
    policy = a_policy()

    text = to_ical(policy, "primary", datetime(2025, 1, 1, tzinfo=UTC), NOW, NOW)

    assert "DTSTART:20250101" not in text
    assert text.count("BEGIN:VEVENT") == 8


def test_an_event_of_whole_days_is_local_days() -> None:
    event = an_event("SUMMARY:Cat Cole on call", "DTSTART;VALUE=DATE:20260328",
                     "DTEND;VALUE=DATE:20260330")  # fmt: skip

    (found,) = from_ical(ics(event), a_policy(), "primary", NOW, END).overrides

    assert found.contact == "cat"
    assert found.ends_at - found.begins_at == timedelta(hours=47)  # the clocks go forward


def test_a_time_without_a_zone_is_the_schedules() -> None:
    event = an_event("SUMMARY:cat", "DTSTART:20260401T090000", "DTEND:20260401T100000")

    (found,) = from_ical(ics(event), a_policy(), "primary", NOW, END).overrides

    assert found.begins_at == datetime(2026, 4, 1, 7, tzinfo=UTC)


def test_a_repeating_event_is_repeated_at_its_local_time_but_not_where_it_is_excepted() -> None:
    event = an_event(
        "SUMMARY:Swap",
        "ATTENDEE:mailto:CAT@shop.example",
        "DTSTART;TZID=Europe/Berlin:20260320T180000",
        "DTEND;TZID=Europe/Berlin:20260320T200000",
        "RRULE:FREQ=WEEKLY;COUNT=4",
        "EXDATE;TZID=Europe/Berlin:20260403T180000",
    )

    found = from_ical(ics(event), a_policy(), "primary", NOW, END).overrides

    assert [one.begins_at for one in found] == [
        datetime(2026, 3, 20, 17, tzinfo=UTC),
        datetime(2026, 3, 27, 17, tzinfo=UTC),
        datetime(2026, 4, 10, 16, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("SUMMARY:Company picnic",), "it names no contact"),
        (("SUMMARY:Ann Arber or Cat Cole",), "it could be ann or cat"),
        (("SUMMARY:cat", "X-TOCSIN-CONTACT:dan"), "no contact 'dan'"),
    ],
)
def test_an_event_that_names_nobody_for_certain_is_left_out_with_a_reason(
    lines: tuple[str, ...], reason: str
) -> None:
    event = an_event(*lines, "DTSTART:20260401T090000Z", "DTEND:20260401T100000Z")

    found = from_ical(ics(event), a_policy(), "primary", NOW, END)

    assert found.overrides == ()
    assert [one.reason for one in found.unmatched] == [reason]


def test_a_cancelled_event_says_nothing() -> None:
    event = an_event("SUMMARY:cat", "STATUS:CANCELLED", "DTSTART:20260401T090000Z",
                     "DTEND:20260401T100000Z")  # fmt: skip

    found = from_ical(ics(event), a_policy(), "primary", NOW, END)

    assert (found.overrides, found.unmatched, found.agreeing) == ((), (), 0)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", ics(an_event("DTSTART:yesterday"))],
)
def test_what_is_no_calendar_is_refused(text: str) -> None:
    with pytest.raises(BadCalendar, match="no iCalendar"):
        from_ical(text, a_policy(), "primary", NOW, END)


def test_an_event_that_repeats_every_second_is_refused_not_followed() -> None:
    event = an_event("SUMMARY:cat", "DTSTART:20260401T090000Z", "DTEND:20260401T090001Z",
                     "RRULE:FREQ=SECONDLY")  # fmt: skip

    with pytest.raises(BadCalendar, match=r"no iCalendar|more than 5000 events"):
        from_ical(ics(event), a_policy(), "primary", NOW, END)


def test_an_event_outside_of_the_days_asked_for_is_not_read() -> None:
    event = an_event("SUMMARY:cat", f"DTSTART:{date(2027, 1, 1):%Y%m%d}T090000Z",
                     "DTEND:20270101T100000Z")  # fmt: skip

    assert from_ical(ics(event), a_policy(), "primary", NOW, END).overrides == ()
