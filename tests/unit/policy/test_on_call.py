"""Who is on call, and when business is open, also where the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from tocsin_policy import Calendar, Handover, Layer, Override, Schedule, is_open, next_open, on_call

BERLIN = ZoneInfo("Europe/Berlin")


def weekly(**changes: object) -> Schedule:
    return Schedule.model_validate(
        {
            "name": "primary",
            "time_zone": "Europe/Berlin",
            "layers": (Layer(participants=("ann", "ben", "cat"), start=date(2026, 1, 5)),),
            **changes,
        }
    )


def test_a_handover_belongs_to_who_comes_on() -> None:
    handover = datetime(2026, 1, 12, 9, tzinfo=BERLIN)

    assert on_call(weekly(), handover - timedelta(microseconds=1)).contact == "ann"
    assert on_call(weekly(), handover).contact == "ben"


def test_before_the_first_handover_nobody_is_on_call_and_the_reason_says_so() -> None:
    answer = on_call(weekly(), datetime(2026, 1, 5, 8, 59, tzinfo=BERLIN))

    assert answer.contact is None
    assert answer.reason == "no layer of 'primary' holds then"


def test_an_override_stands_in_until_its_end() -> None:
    begins = datetime(2026, 1, 6, 12, tzinfo=UTC)
    ends = begins + timedelta(hours=2)
    schedule = weekly(overrides=(Override(contact="dan", begins_at=begins, ends_at=ends),))

    assert on_call(schedule, begins).contact == "dan"
    assert on_call(schedule, ends).contact == "ann"


def test_a_later_layer_takes_over_once_it_has_started() -> None:
    layers = (*weekly().layers, Layer(participants=("eva",), start=date(2026, 2, 2)))
    schedule = weekly(layers=layers)

    assert on_call(schedule, datetime(2026, 2, 2, 8, 59, tzinfo=BERLIN)).contact == "ann"
    assert on_call(schedule, datetime(2026, 2, 2, 9, tzinfo=BERLIN)).contact == "eva"


@given(
    week=st.integers(0, 520),
    hour=st.sampled_from([0, 2, 3, 9, 23]),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
)
def test_a_handover_stays_at_its_local_time_across_clock_changes(
    week: int, hour: int, zone: str
) -> None:
    handover = Handover(every="week", weekday="sunday", at=time(hour, 30))
    start = date(2026, 1, 4)
    layer = Layer(participants=("ann", "ben"), start=start, handover=handover)
    schedule = Schedule(name="primary", time_zone=zone, layers=(layer,))
    at = datetime.combine(start + timedelta(weeks=week), handover.at, ZoneInfo(zone))
    at = at.astimezone(UTC)

    now, before = ("ann", "ben") if week % 2 == 0 else ("ben", "ann")
    assert on_call(schedule, at).contact == now
    if week:
        assert on_call(schedule, at - timedelta(seconds=1)).contact == before


def test_a_week_with_a_clock_change_is_an_hour_shorter() -> None:
    first = datetime(2026, 3, 23, 9, tzinfo=BERLIN).astimezone(UTC)

    assert on_call(weekly(), first).contact != on_call(weekly(), first - timedelta(1)).contact
    late = first + timedelta(days=7) - timedelta(hours=1)
    assert on_call(weekly(), late).contact != on_call(weekly(), late - timedelta(seconds=1)).contact


def test_what_comes_on_friday_evening_waits_for_monday_morning() -> None:
    calendar = Calendar(time_zone="Europe/Berlin")
    friday = datetime(2026, 3, 27, 17, tzinfo=BERLIN)

    assert not is_open(calendar, friday)
    assert next_open(calendar, friday) == datetime(2026, 3, 30, 9, tzinfo=BERLIN)


def test_a_holiday_is_no_working_day_and_an_open_instant_is_its_own_answer() -> None:
    calendar = Calendar(time_zone="Europe/Berlin", days_off=(date(2026, 3, 30),))
    tuesday = datetime(2026, 3, 31, 9, tzinfo=BERLIN)

    assert next_open(calendar, datetime(2026, 3, 30, 10, tzinfo=BERLIN)) == tuesday
    assert next_open(calendar, tuesday) == tuesday
