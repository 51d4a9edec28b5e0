"""When somebody may be asked, and until when something is due."""

from __future__ import annotations

from datetime import datetime

from tocsin_policy.document import Calendar, Hours, Policy, Severity


def is_open(calendar: Calendar, at: datetime) -> bool:
    """Whether somebody is at work at this instant; the closing minute is closed."""
    return calendar.opening.is_open(at)


def next_open(calendar: Calendar, at: datetime) -> datetime:
    """`at` if it is open then, else the next opening, in UTC.

    Raises:
        ValueError: It does not open within a year.
    """
    return calendar.opening.next_open(at)


def askable(policy: Policy, severity: Severity, hours: Hours, at: datetime) -> datetime:
    """When people may be asked about what happens at `at`: then, or at an opening minute.

    `next_business_day` means the first opening on a later day, by the calendar's wall clock, even
    if it is open now: "answered the next business day".
    """
    calendar = policy.calendars.get(severity.calendar)
    if hours is Hours.ALWAYS or calendar is None:
        return at
    if hours is Hours.NEXT_BUSINESS_DAY:
        return calendar.opening.next_day(at)
    return calendar.opening.next_open(at)


def review_due(policy: Policy, severity: Severity, resolved_at: datetime) -> datetime | None:
    """When the review of an incident is due; `None` for a severity nobody reviews."""
    review = severity.review
    if review is None:
        return None
    if review.due_within is not None:
        return resolved_at + review.due_within
    opening = policy.calendars[severity.calendar].opening
    day = resolved_at
    for _ in range(review.business_days or 0):
        day = opening.next_day(day)
    return opening.closes_after(day)
