"""Shifts to and from iCalendar (RFC 5545), the form every calendar program reads and writes.

Nothing else of this package imports this module: the library behind it takes long to load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import islice
from zoneinfo import ZoneInfo

from ical.calendar import Calendar as Ical
from ical.calendar_stream import IcsCalendarStream
from ical.event import Event, EventStatus
from ical.exceptions import CalendarError
from ical.types import CalAddress, ExtraProperty, Uri

from tocsin_contracts.ids import derive
from tocsin_policy.document import Contact, Override, Policy
from tocsin_policy.on_call import shifts

MOST_CHARACTERS = 5_000_000
"""Of a file that is read."""

MOST_EVENTS = 5_000
"""Events taken from one file, each repetition of an event counted."""

_CONTACT = "x-tocsin-contact"


class BadCalendar(ValueError):
    """A text that is no calendar, or one that is too large."""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An event that says nothing about who is on call, and why."""

    summary: str
    begins_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a calendar says that the schedule does not.

    Attributes:
        overrides: In order of time; a policy that gains them says what the calendar says.
        agreeing: Events of people who are on call then anyway.
        unmatched: Events that name nobody the policy knows.
    """

    overrides: tuple[Override, ...]
    agreeing: int
    unmatched: tuple[Unmatched, ...]


def to_ical(policy: Policy, name: str, start: datetime, end: datetime, now: datetime) -> str:
    """The shifts of a schedule between two instants as a calendar; gaps are left out.

    The same shift has the same UID in every export, so a calendar that is imported again changes
    and does not double.

    Raises:
        KeyError: No schedule has this name.
    """
    schedule = policy.schedules[name]
    calendar = Ical(prodid="-//Tocsin//on call//EN", name=[schedule.name])
    for shift in shifts(schedule, start, end, policy.calendars):
        if shift.contact is None:
            continue
        contact = policy.contacts.get(shift.contact)
        uid = derive("shift", policy.system, name, shift.begins_at.isoformat())
        calendar.events.append(
            Event(
                uid=str(uid),
                dtstamp=now.astimezone(UTC),
                dtstart=shift.begins_at.astimezone(UTC),
                dtend=shift.ends_at.astimezone(UTC),
                summary=f"{contact.name if contact else shift.contact}: {schedule.name}",
                description=shift.reason,
                attendees=_attendees(contact),
                extras=[ExtraProperty(name=_CONTACT, value=shift.contact)],
            )
        )
    return IcsCalendarStream(calendars=[calendar]).ics()


def from_ical(text: str, policy: Policy, name: str, start: datetime, end: datetime) -> Imported:
    """The overrides that make a schedule say what a calendar says between two instants.

    An event is a contact's who is named by `X-TOCSIN-CONTACT`, by an attendee's address, or by
    name or id in its summary. Days and times without a zone are the schedule's. Repeating events
    are repeated; cancelled ones are left out.

    Raises:
        KeyError: No schedule has this name.
        BadCalendar: The text is no calendar, or too large.
    """
    schedule = policy.schedules[name]
    zone = ZoneInfo(schedule.time_zone)
    overrides: list[Override] = []
    unmatched: list[Unmatched] = []
    agreeing = 0
    for event in _events(text, zone, start, end):
        begins_at, ends_at = _instant(event.start, zone), _instant(event.end, zone)
        contact, reason = _whose(event, policy.contacts)
        if contact is None or begins_at >= ends_at:
            said = reason if contact is None else "it takes no time"
            unmatched.append(Unmatched(event.summary or "", begins_at, said))
            continue
        held = shifts(schedule, begins_at, ends_at, policy.calendars)
        if all(shift.contact == contact for shift in held):
            agreeing += 1
            continue
        overrides.append(Override(contact=contact, begins_at=begins_at, ends_at=ends_at))
    return Imported(tuple(overrides), agreeing, tuple(unmatched))


def _attendees(contact: Contact | None) -> list[CalAddress]:
    if contact is None or contact.email is None:
        return []
    return [CalAddress(uri=Uri(f"mailto:{contact.email}"), common_name=contact.name)]


def _events(text: str, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Event]:
    if len(text) > MOST_CHARACTERS:
        raise BadCalendar(f"a calendar of more than {MOST_CHARACTERS} characters")
    try:
        stream = IcsCalendarStream.from_ics(text)
        events = [
            event
            for calendar in stream.calendars
            for event in islice(calendar.timeline_tz(zone).overlapping(start, end), MOST_EVENTS + 1)
        ]
    except (CalendarError, ValueError) as error:
        raise BadCalendar(f"no iCalendar: {str(error).splitlines()[0][:200]}") from error
    if not stream.calendars:
        raise BadCalendar("no iCalendar: it holds no VCALENDAR")
    if len(events) > MOST_EVENTS:
        raise BadCalendar(f"more than {MOST_EVENTS} events; ask for fewer days")
    live = [event for event in events if event.status is not EventStatus.CANCELLED]
    return iter(sorted(live, key=lambda one: (_instant(one.start, zone), _instant(one.end, zone))))


def _instant(at: date | datetime, zone: ZoneInfo) -> datetime:
    if not isinstance(at, datetime):
        at = datetime.combine(at, time())
    return (at if at.tzinfo is not None else at.replace(tzinfo=zone)).astimezone(UTC)


def _whose(event: Event, contacts: Mapping[str, Contact]) -> tuple[str | None, str]:
    """The contact an event is about; or `None`, and why."""
    for extra in event.extras:
        if extra.name.lower() == _CONTACT:
            known = extra.value in contacts
            return (str(extra.value), "") if known else (None, f"no contact {extra.value!r}")
    addresses = {str(one.uri).lower().removeprefix("mailto:") for one in event.attendees}
    by_address = [k for k, one in contacts.items() if one.email and one.email.lower() in addresses]
    summary = event.summary or ""
    found = by_address or [
        key for key, held in contacts.items() if _named(key, summary) or _named(held.name, summary)
    ]
    if len(found) == 1:
        return found[0], ""
    return None, f"it could be {' or '.join(found)}" if found else "it names no contact"


def _named(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None
