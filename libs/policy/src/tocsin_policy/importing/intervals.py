"""Alertmanager's time intervals as OpenStreetMap's opening hours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_OSM_DAYS = ("Su", "Mo", "Tu", "We", "Th", "Fr", "Sa")
_MOST_DAY = 31


class Unsayable(ValueError):
    """The interval cannot be said in opening hours."""


def opening_hours(specs: Sequence[Mapping[str, Any]]) -> str:
    """The opening hours of an interval: open while any of its parts holds.

    >>> opening_hours([{"weekdays": ["monday:friday"], "times": [
    ...     {"start_time": "09:00", "end_time": "17:00"}]}])
    'Mo-Fr 09:00-17:00'
    >>> opening_hours([{"months": ["12"], "days_of_month": ["24:26"]}, {"weekdays": ["sunday"]}])
    'Dec 24-Dec 26 00:00-24:00, Su 00:00-24:00'

    Raises:
        Unsayable: Days counted from a month's end, or something nobody can read.
    """
    if not specs:
        raise Unsayable("it has no parts")
    return ", ".join(_part(spec) for spec in specs)


def _part(spec: Mapping[str, Any]) -> str:
    years = ",".join(_ends(str(text)) for text in spec.get("years") or ())
    months = [_numbers(str(text), _MONTHS) for text in spec.get("months") or ()]
    days = [_day_range(str(text)) for text in spec.get("days_of_month") or ()]
    weekdays = [_numbers(str(text), _DAYS, first=0) for text in spec.get("weekdays") or ()]
    said = [years, _dates(months, days), ",".join(_week(one) for one in weekdays)]
    times = ",".join(
        f"{time.get('start_time', '00:00')}-{time.get('end_time', '24:00')}"
        for time in spec.get("times") or ()
    )
    return " ".join([*filter(None, said), times or "00:00-24:00"])


def _dates(months: list[tuple[int, int]], days: list[tuple[int, int]]) -> str:
    if not days:
        return ",".join(
            _month(first) if first == last else f"{_month(first)}-{_month(last)}"
            for first, last in months
        )
    named = [n for first, last in months or [(1, 12)] for n in range(first, last + 1)]
    return ",".join(
        f"{_month(month)} {first:02}-{_month(month)} {last:02}"
        if first != last
        else f"{_month(month)} {first:02}"
        for month in named
        for first, last in ((first, min(last, _length(month))) for first, last in days)
        if first <= last
    )


def _length(month: int) -> int:
    return {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}.get(month, _MOST_DAY)


def _month(number: int) -> str:
    return _MONTHS[number - 1][:3].title()


def _week(days: tuple[int, int]) -> str:
    first, last = (_OSM_DAYS[number] for number in days)
    return first if first == last else f"{first}-{last}"


def _ends(text: str) -> str:
    if re.fullmatch(r"\d{4}(:\d{4})?", text) is None:
        raise Unsayable(f"{text!r} are no years")
    return text.replace(":", "-")


def _day_range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(-?\d+)(?::(-?\d+))?", text)
    if match is None:
        raise Unsayable(f"{text!r} are no days of a month")
    first, last = int(match[1]), int(match[2] or match[1])
    if first < 1 or last < 1:
        raise Unsayable(f"{text!r} counts days from a month's end")
    return first, last


def _numbers(text: str, names: Sequence[str], first: int = 1) -> tuple[int, int]:
    begin, _, end = text.lower().partition(":")
    return _number(begin, names, first), _number(end or begin, names, first)


def _number(text: str, names: Sequence[str], first: int) -> int:
    if text in names:
        return names.index(text) + first
    if text.isdecimal() and first <= int(text) < len(names) + first:
        return int(text)
    raise Unsayable(f"{text!r} is none of {', '.join(names)}")
