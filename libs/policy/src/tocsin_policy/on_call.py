"""Who is on call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from types import MappingProxyType
from zoneinfo import ZoneInfo

from tocsin_policy.document import Calendar, Layer, Schedule
from tocsin_policy.parts import WEEKDAYS

_NO_CALENDARS: Mapping[str, Calendar] = MappingProxyType({})

MOST_SHIFTS = 10_000
"""Shifts given for one span of time."""


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who answers, and why they; `contact` is `None` where the schedule has a gap."""

    contact: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Shift:
    """A span in which one person is on call, or, where `contact` is `None`, nobody."""

    contact: str | None
    begins_at: datetime
    ends_at: datetime
    reason: str


def on_call(
    schedule: Schedule, at: datetime, calendars: Mapping[str, Calendar] = _NO_CALENDARS
) -> OnCall:
    """Who is on call at an instant.

    The last override that covers it, else the last layer that holds then.

    A handover belongs to whoever comes on. Shifts are counted in days on the wall of the
    schedule's time zone, so a handover at 09:00 stays at 09:00 when the clocks change; one at a
    local time that a change skips happens right after the gap, as late as the clock jumped.
    """
    for override in reversed(schedule.overrides):
        if override.begins_at <= at < override.ends_at:
            return OnCall(override.contact, f"override until {override.ends_at.isoformat()}")
    zone = ZoneInfo(schedule.time_zone)
    for layer in reversed(schedule.layers):
        turn = _turn(layer, zone, at)
        if turn >= 0 and _holds(layer, zone, at, calendars):
            contact = layer.participants[turn % len(layer.participants)]
            return OnCall(contact, f"turn {turn + 1} of the rotation {schedule.name!r}")
    return OnCall(None, f"no layer of {schedule.name!r} holds then")


def _holds(layer: Layer, zone: ZoneInfo, at: datetime, calendars: Mapping[str, Calendar]) -> bool:
    if layer.ends is not None and at >= datetime.combine(layer.ends, time(), zone):
        return False
    calendar = calendars.get(layer.calendar or "")
    return calendar is None or calendar.opening.is_open(at)


def shifts(
    schedule: Schedule,
    start: datetime,
    end: datetime,
    calendars: Mapping[str, Calendar] = _NO_CALENDARS,
) -> tuple[Shift, ...]:
    """Who is on call from `start` to `end`, gaps included, without a break; at most `MOST_SHIFTS`.

    Neighbouring shifts of one person are one.
    """
    edges = sorted({start, end, *_edges(schedule, start, end, calendars)})
    found: list[Shift] = []
    for begins_at, ends_at in pairwise(edges):
        now = on_call(schedule, begins_at, calendars)
        if found and found[-1].contact == now.contact:
            last = found.pop()
            found.append(Shift(last.contact, last.begins_at, ends_at, last.reason))
        else:
            found.append(Shift(now.contact, begins_at, ends_at, now.reason))
        if len(found) >= MOST_SHIFTS:
            break
    return tuple(found)


def gaps(
    schedule: Schedule,
    start: datetime,
    end: datetime,
    calendars: Mapping[str, Calendar] = _NO_CALENDARS,
) -> tuple[Shift, ...]:
    """Spans in which nobody is on call."""
    return tuple(one for one in shifts(schedule, start, end, calendars) if one.contact is None)


def _edges(
    schedule: Schedule, start: datetime, end: datetime, calendars: Mapping[str, Calendar]
) -> Iterator[datetime]:
    """Every instant in between at which somebody else may come on."""
    zone = ZoneInfo(schedule.time_zone)
    found: list[datetime] = []
    for override in schedule.overrides:
        found += [override.begins_at, override.ends_at]
    for layer in schedule.layers:
        if layer.ends is not None:
            found.append(datetime.combine(layer.ends, time(), zone).astimezone(UTC))
        calendar = calendars.get(layer.calendar or "")
        if calendar is not None:
            found += [edge for span in calendar.opening.spans(start, end) for edge in span]
        found += _handovers(layer, zone, start, end)
    return (edge.astimezone(UTC) for edge in found if start < edge < end)


def _handovers(layer: Layer, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    day = _first_day(layer)
    period = timedelta(days=1 if layer.handover.every == "day" else 7)
    days_before = (start.astimezone(zone).date() - day) // period - 1
    day += period * max(0, days_before)
    while (edge := _handover(layer, zone, day)) < end:
        yield edge
        day += period


def _turn(layer: Layer, zone: ZoneInfo, at: datetime) -> int:
    first = _first_day(layer)
    period = 1 if layer.handover.every == "day" else 7
    # One more than the date says: clocks set back over midnight bring yesterday's date again.
    turn = (at.astimezone(zone).date() - first).days // period + 1
    while _handover(layer, zone, first + timedelta(days=period * turn)) > at:
        turn -= 1
    return turn


def _first_day(layer: Layer) -> date:
    if layer.handover.every == "day":
        return layer.start
    wanted = WEEKDAYS.index(layer.handover.weekday)
    return layer.start + timedelta(days=(wanted - layer.start.weekday()) % 7)


def _handover(layer: Layer, zone: ZoneInfo, day: date) -> datetime:
    return datetime.combine(day, layer.handover.at, zone).astimezone(UTC)
