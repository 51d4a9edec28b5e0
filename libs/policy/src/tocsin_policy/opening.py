"""Opening hours that are right across clock changes, holidays, leap days and year ends.

The expressions are OpenStreetMap's (`Mo-Fr 09:00-17:00; PH off`); the arithmetic and the holidays
are the library's, which works on the wall clock of the time zone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from opening_hours import (  # type: ignore[attr-defined]  # its stub leaves out its errors
    OpeningHours,
    ParserError,
    State,
    UnknownCountryError,
)

LOOK_AHEAD = timedelta(days=366)
"""How far an opening is searched for; what is closed for a year is closed."""

_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Opening:
    """Compiled opening hours. All instants given back are in UTC.

    Raises:
        ValueError: The expression cannot be read, or the country is unknown.
    """

    def __init__(
        self, time_zone: str, hours: str, country: str | None, days_off: tuple[date, ...]
    ) -> None:
        self._zone = ZoneInfo(time_zone)
        off = "".join(f"; {day.year} {_MONTHS[day.month - 1]} {day.day:02} off" for day in days_off)
        try:
            self._hours = OpeningHours(hours + off, timezone=self._zone, country=country)
        except ParserError as error:
            said = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{hours!r} are no opening hours (as in Mo-Fr 09:00-17:00; PH off): {said}"
            ) from error
        except UnknownCountryError as error:
            raise ValueError(f"{country!r} is no country whose holidays are known") from error

    def ever_opens(self) -> bool:
        """Whether it opens at all within a year of 2024."""
        try:
            self.next_open(_BEGINNING)
        except ValueError:
            return False
        return True

    def is_open(self, at: datetime) -> bool:
        """Whether it is open at this instant; the closing minute is closed."""
        return bool(self._hours.is_open(at.astimezone(self._zone)))

    def next_open(self, at: datetime) -> datetime:
        """`at` if it is open then, else the next opening. Raises `ValueError` if none comes."""
        if self.is_open(at):
            return at.astimezone(UTC)
        return self.opens_after(at)

    def opens_after(self, at: datetime) -> datetime:
        """The first opening after `at`, open or not. Raises `ValueError` if none comes."""
        for begins_at, _ in self.spans(at, at + LOOK_AHEAD):
            if begins_at > at:
                return begins_at
        raise ValueError(f"it does not open within {LOOK_AHEAD.days} days of {at:%Y-%m-%d}")

    def next_day(self, at: datetime) -> datetime:
        """The first opening on a later day, by the wall clock. Raises `ValueError`."""
        tomorrow = at.astimezone(self._zone).date() + timedelta(days=1)
        return self.next_open(datetime.combine(tomorrow, time(), self._zone))

    def closes_after(self, at: datetime) -> datetime:
        """When the span that is open at `at` ends; `at` itself if it is closed."""
        for begins_at, ends_at in self.spans(at, at + LOOK_AHEAD):
            if begins_at <= at < ends_at:
                return ends_at
            break
        return at.astimezone(UTC)

    def whole_spans(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Open spans that touch the time between two instants, uncut within a day around it."""
        day = timedelta(days=1)
        for begins_at, ends_at in self.spans(start - day, end + day):
            if begins_at <= end and ends_at >= start:
                yield begins_at, ends_at

    def spans(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Open spans between two instants, cut to them; adjoining ones are one."""
        held: tuple[datetime, datetime] | None = None
        local = (start.astimezone(self._zone), end.astimezone(self._zone))
        for begins_at, ends_at, state, _ in self._hours.intervals(*local):
            if state != State.OPEN:
                continue
            begins, ends = _utc(begins_at), _utc(ends_at)
            if held is not None and held[1] == begins:
                held = (held[0], ends)
                continue
            if held is not None:
                yield held
            held = (begins, ends)
        if held is not None:
            yield held


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)
