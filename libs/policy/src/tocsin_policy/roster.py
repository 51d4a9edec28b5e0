"""Who answers at an instant, in every schedule and every role; and when nobody does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin_policy.document import Policy
from tocsin_policy.escalation import resolve
from tocsin_policy.on_call import Shift, gaps, on_call, shifts

HORIZON = timedelta(days=92)
"""How far a handover is looked for."""


@dataclass(frozen=True, slots=True)
class Attendance:
    """Who is on call in one schedule; `contact` is `None` where nobody is.

    Attributes:
        until: When somebody else comes on, or nobody; `None` if not within `HORIZON`.
        then: Who comes on; `None` for nobody.
    """

    schedule: str
    contact: str | None
    reason: str
    until: datetime | None
    then: str | None


@dataclass(frozen=True, slots=True)
class Holding:
    """Who has a role before anybody is assigned it; `contacts` may be empty, `reason` says why."""

    role: str
    contacts: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Roster:
    """Everybody who answers at one instant."""

    at: datetime
    schedules: tuple[Attendance, ...]
    roles: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class Unattended:
    """The gaps of one schedule in a span, and how long they are together."""

    schedule: str
    gaps: tuple[Shift, ...]

    @property
    def total(self) -> timedelta:
        """How long nobody is on call, in all."""
        return sum((gap.ends_at - gap.begins_at for gap in self.gaps), timedelta())


def roster(policy: Policy, at: datetime) -> Roster:
    """Everybody who answers at an instant, schedules and roles in the policy's order."""
    return Roster(
        at,
        tuple(_attendance(policy, name, at) for name in policy.schedules),
        tuple(_holding(policy, name, at) for name in policy.roles),
    )


def unattended(policy: Policy, start: datetime, end: datetime) -> tuple[Unattended, ...]:
    """The schedules in which nobody is on call at some time between two instants."""
    found = (
        Unattended(name, gaps(schedule, start, end, policy.calendars))
        for name, schedule in policy.schedules.items()
    )
    return tuple(one for one in found if one.gaps)


def _attendance(policy: Policy, name: str, at: datetime) -> Attendance:
    schedule = policy.schedules[name]
    now = on_call(schedule, at, policy.calendars)
    coming = shifts(schedule, at, at + HORIZON, policy.calendars)
    if len(coming) == 1:
        return Attendance(name, now.contact, now.reason, None, None)
    return Attendance(name, now.contact, now.reason, coming[0].ends_at, coming[1].contact)


def _holding(policy: Policy, name: str, at: datetime) -> Holding:
    default = policy.roles[name].default
    if default is None:
        return Holding(name, (), "nobody until somebody is assigned")
    people = tuple(target.contact for target in resolve(policy, [f"role:{name}"], at))
    return Holding(name, people, default if people else f"{default} names nobody then")
