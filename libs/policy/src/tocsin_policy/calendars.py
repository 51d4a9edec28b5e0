"""When somebody is at work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin_policy.document import WEEKDAYS, Calendar

_LOOK_AHEAD = 366
"""Days searched for an opening; a calendar closed for a year is closed."""


def is_open(calendar: Calendar, at: datetime) -> bool:
    """Whether somebody is at work at this instant; the closing minute is closed."""
    local = at.astimezone(ZoneInfo(calendar.time_zone))
    if WEEKDAYS[local.weekday()] not in calendar.weekdays or local.date() in calendar.holidays:
        return False
    return calendar.opens <= local.timetz().replace(tzinfo=None) < calendar.closes


def next_open(calendar: Calendar, at: datetime) -> datetime:
    """`at` if it is open then, else the next opening, in UTC.

    Days are counted on the wall, so an opening stays at the same local time across a change of
    the clock.

    Raises:
        ValueError: It does not open within a year.
    """
    if is_open(calendar, at):
        return at.astimezone(UTC)
    zone = ZoneInfo(calendar.time_zone)
    today = at.astimezone(zone).date()
    for days in range(_LOOK_AHEAD + 1):
        day = today + timedelta(days=days)
        if WEEKDAYS[day.weekday()] not in calendar.weekdays or day in calendar.holidays:
            continue
        opening = datetime.combine(day, calendar.opens, zone).astimezone(UTC)
        if opening >= at:
            return opening
    raise ValueError(f"the calendar does not open within {_LOOK_AHEAD} days of {at:%Y-%m-%d}")
