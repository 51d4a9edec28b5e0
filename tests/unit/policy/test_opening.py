"""Opening hours where the year is awkward: clocks, leap days, year ends, holidays."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_policy.opening import Opening

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")

OFFICE = "Mo-Fr 09:00-17:00; PH off"


def office(zone: str = "Europe/Berlin", country: str | None = "DE", *off: date) -> Opening:
    return Opening(zone, OFFICE, country, off)


def test_monday_opens_at_nine_on_the_wall_after_the_clocks_went_forward() -> None:
    friday = datetime(2026, 3, 27, 17, tzinfo=BERLIN)

    assert office().next_open(friday) == datetime(2026, 3, 30, 7, tzinfo=UTC)
    assert office().next_open(friday - timedelta(days=7)) == datetime(2026, 3, 23, 8, tzinfo=UTC)


def test_monday_opens_at_nine_on_the_wall_after_the_clocks_went_back() -> None:
    friday = datetime(2026, 10, 30, 18, tzinfo=NEW_YORK)
    opening = office("America/New_York", "US")

    assert opening.next_open(friday) == datetime(2026, 11, 2, 14, tzinfo=UTC)
    assert opening.next_open(friday - timedelta(days=7)) == datetime(2026, 10, 26, 13, tzinfo=UTC)


def test_a_night_in_which_the_clocks_go_forward_is_an_hour_shorter() -> None:
    nights = Opening("Europe/Berlin", "Sa 22:00-06:00", None, ())
    saturday = datetime(2026, 3, 28, 23, tzinfo=BERLIN)

    opens, closes = nights.next_open(saturday - timedelta(days=1)), nights.closes_after(saturday)

    assert closes - opens == timedelta(hours=7)


def test_a_night_in_which_the_clocks_go_back_is_an_hour_longer() -> None:
    nights = Opening("Europe/Berlin", "Sa 22:00-06:00", None, ())
    saturday = datetime(2026, 10, 24, 23, tzinfo=BERLIN)

    opens, closes = nights.next_open(saturday - timedelta(days=1)), nights.closes_after(saturday)

    assert closes - opens == timedelta(hours=9)


def test_a_leap_day_is_a_working_day_like_any_other() -> None:
    monday = datetime(2028, 2, 28, 17, tzinfo=BERLIN)
    tuesday = datetime(2028, 2, 29, 9, tzinfo=BERLIN)

    assert office().next_open(monday) == tuesday
    assert office().next_day(tuesday) == datetime(2028, 3, 1, 9, tzinfo=BERLIN)


def test_a_leap_day_can_be_a_day_off() -> None:
    monday = datetime(2028, 2, 28, 17, tzinfo=BERLIN)

    opening = office("Europe/Berlin", "DE", date(2028, 2, 29))

    assert opening.next_open(monday) == datetime(2028, 3, 1, 9, tzinfo=BERLIN)


def test_over_the_end_of_a_year_holidays_and_weekend_are_skipped() -> None:
    # New Year's Day of 2027 is a Friday, so after Thursday's close comes Monday.
    thursday = datetime(2026, 12, 31, 17, tzinfo=BERLIN)

    assert office().next_open(thursday) == datetime(2027, 1, 4, 9, tzinfo=BERLIN)


def test_a_holiday_belongs_to_its_country() -> None:
    # Thanksgiving of 2026; Germany works.
    evening = datetime(2026, 11, 25, 20, tzinfo=NEW_YORK)

    american = office("America/New_York", "US").next_open(evening)
    german = office("America/New_York", "DE").next_open(evening)

    assert german == datetime(2026, 11, 26, 9, tzinfo=NEW_YORK)
    assert american == datetime(2026, 11, 27, 9, tzinfo=NEW_YORK)


def test_the_next_business_day_comes_later_even_while_it_is_open() -> None:
    friday = datetime(2026, 4, 2, 10, tzinfo=BERLIN)  # Maundy Thursday; then Easter

    assert office().is_open(friday)
    assert office().next_day(friday) == datetime(2026, 4, 7, 9, tzinfo=BERLIN)


def test_what_never_opens_is_said_to_not_open() -> None:
    closed = Opening("UTC", "off", None, ())

    assert not closed.ever_opens()
    with pytest.raises(ValueError, match="does not open within 366 days"):
        closed.next_open(datetime(2026, 1, 1, tzinfo=UTC))


@given(
    at=st.datetimes(datetime(2024, 1, 1), datetime(2032, 12, 31)),  # noqa: DTZ001 - given a zone below
    zone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("UTC")]),
)
def test_the_next_opening_is_open_and_nothing_before_it_is(at: datetime, zone: ZoneInfo) -> None:
    opening = Opening(zone.key, "Mo-Fr 09:00-17:00", None, ())
    instant = at.replace(tzinfo=zone).astimezone(UTC)

    opens = opening.next_open(instant)

    assert opening.is_open(opens)
    local = opens.astimezone(zone)
    assert opens == instant or local.time() == time(9)
    assert all(not opening.is_open(instant + (opens - instant) * n / 7) for n in range(7)) or (
        opens == instant
    )
