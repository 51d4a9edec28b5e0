"""Who is on call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin_policy.document import WEEKDAYS, Layer, Schedule


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who answers, and why they; `contact` is `None` where the schedule has a gap."""

    contact: str | None
    reason: str


def on_call(schedule: Schedule, at: datetime) -> OnCall:
    """Who is on call at an instant.

    A handover belongs to whoever comes on. Shifts are counted in days on the wall of the
    schedule's time zone, so a handover at 09:00 stays at 09:00 when the clocks change; one at a
    local time that a change skips happens right after the gap, as late as the clock jumped.
    """
    for override in reversed(schedule.overrides):
        if override.begins_at <= at < override.ends_at:
            return OnCall(override.contact, f"override until {override.ends_at.isoformat()}")
    for layer in reversed(schedule.layers):
        turn = _turn(layer, ZoneInfo(schedule.time_zone), at)
        if turn >= 0:
            contact = layer.participants[turn % len(layer.participants)]
            return OnCall(contact, f"turn {turn + 1} of the rotation {schedule.name!r}")
    return OnCall(None, f"no layer of {schedule.name!r} has started")


def _turn(layer: Layer, zone: ZoneInfo, at: datetime) -> int:
    first = _first_day(layer)
    period = 1 if layer.handover.every == "day" else 7
    turn = (at.astimezone(zone).date() - first).days // period
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
