"""What is to come, day by day: shifts, handovers, gaps, overrides, drills, office hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tocsin_policy.document import Calendar, Override, Policy
from tocsin_policy.on_call import Shift, shifts
from tocsin_policy.opening import Opening

MOST_DAYS = 370
"""Days of one agenda."""

_LONGEST_DRILL = timedelta(days=8)
"""A drill that began this long ago is not cut off as if it began now."""


@dataclass(frozen=True, slots=True)
class Office:
    """One calendar on one day: when it is open, and if it is closed for a holiday or a day off."""

    calendar: str
    spans: tuple[tuple[datetime, datetime], ...]
    holiday: bool
    day_off: bool


@dataclass(frozen=True, slots=True)
class StandIn:
    """An override of a schedule."""

    schedule: str
    override: Override


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A drill that begins."""

    drill: str
    begins_at: datetime


@dataclass(frozen=True, slots=True)
class ComesOn:
    """A handover of a schedule; `contact` is `None` where a gap begins."""

    schedule: str
    at: datetime
    contact: str | None


@dataclass(frozen=True, slots=True)
class Day:
    """One day on the wall of the agenda's time zone; 23 or 25 hours where the clocks change.

    Attributes:
        shifts: By schedule, cut to the day, gaps included, without a break.
    """

    date: date
    begins_at: datetime
    ends_at: datetime
    shifts: Mapping[str, tuple[Shift, ...]]
    handovers: tuple[ComesOn, ...]
    offices: tuple[Office, ...]
    stand_ins: tuple[StandIn, ...]
    rehearsals: tuple[Rehearsal, ...]

    @property
    def hours(self) -> timedelta:
        """How long the day is."""
        return self.ends_at - self.begins_at


def time_zone_of(policy: Policy) -> str:
    """Whose clocks a policy's days go by: its first calendar's, else its first schedule's."""
    zones = [calendar.time_zone for calendar in policy.calendars.values()]
    zones += [schedule.time_zone for schedule in policy.schedules.values()]
    return zones[0] if zones else "UTC"


def agenda(policy: Policy, start: date, days: int) -> tuple[Day, ...]:
    """The days from `start` on.

    Raises:
        ValueError: They are none, or more than `MOST_DAYS`.
    """
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"an agenda has 1 to {MOST_DAYS} days, not {days}")
    zone = ZoneInfo(time_zone_of(policy))
    dates = [start + timedelta(days=number) for number in range(days + 1)]
    midnights = [datetime.combine(day, time(), zone).astimezone(UTC) for day in dates]
    first, last = midnights[0], midnights[-1]
    offices = [_Wall(name, calendar) for name, calendar in policy.calendars.items()]
    handovers = _handovers(policy, first, last)
    rehearsals = _rehearsals(policy, first, last)
    return tuple(
        Day(
            day,
            begins_at,
            ends_at,
            {
                name: shifts(schedule, begins_at, ends_at, policy.calendars)
                for name, schedule in policy.schedules.items()
            },
            tuple(one for one in handovers if begins_at <= one.at < ends_at),
            tuple(office.on(day, begins_at, ends_at) for office in offices),
            tuple(
                StandIn(name, override)
                for name, schedule in policy.schedules.items()
                for override in schedule.overrides
                if override.begins_at < ends_at and begins_at < override.ends_at
            ),
            tuple(one for one in rehearsals if begins_at <= one.begins_at < ends_at),
        )
        for day, begins_at, ends_at in zip(dates, midnights, midnights[1:], strict=False)
    )


class _Wall:
    """A calendar's holidays beside its hours, compiled once."""

    def __init__(self, name: str, calendar: Calendar) -> None:
        self._name = name
        self._calendar = calendar
        holidays = "PH 00:00-24:00" if calendar.country else "off"
        self._holidays = Opening(calendar.time_zone, holidays, calendar.country, ())

    def on(self, day: date, begins_at: datetime, ends_at: datetime) -> Office:
        noon = datetime.combine(day, time(12), ZoneInfo(self._calendar.time_zone))
        return Office(
            self._name,
            tuple(self._calendar.opening.spans(begins_at, ends_at)),
            self._holidays.is_open(noon),
            day in self._calendar.days_off,
        )


def _handovers(policy: Policy, start: datetime, end: datetime) -> tuple[ComesOn, ...]:
    # From a day before, so that one at the first midnight is seen as a change.
    return tuple(
        ComesOn(name, later.begins_at, later.contact)
        for name, schedule in policy.schedules.items()
        for later in shifts(schedule, start - timedelta(days=1), end, policy.calendars)[1:]
        if later.begins_at >= start
    )


def _rehearsals(policy: Policy, start: datetime, end: datetime) -> tuple[Rehearsal, ...]:
    found = [
        Rehearsal(name, begins_at)
        for name, drill in policy.drills.items()
        for begins_at, _ in drill.opening.spans(start - _LONGEST_DRILL, end)
        if begins_at >= start
    ]
    return tuple(sorted(found, key=lambda one: (one.begins_at, one.drill)))
