"""Who is on call, who a target names, and when business is open. Pure, and right across DST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin_contracts.incidents import Target
from tocsin_policy.document import Calendar, Level, Policy, Rotation, Schedule

_DAYS = {Rotation.DAILY: 1, Rotation.WEEKLY: 7}
_CONDITION = " if "


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who is on call, and why they."""

    contact: str
    reason: str


def on_call(schedule: Schedule, at: datetime) -> OnCall:
    """Who is on call at an instant; an override wins, the newest listed first.

    Handovers are at a local time of day, so a week with a clock change is an hour longer or
    shorter for whoever has it, and the change still comes at the same time by the wall.
    """
    for override in reversed(schedule.overrides):
        if override.starts_at <= at < override.ends_at:
            return OnCall(override.contact, "override")
    local = at.astimezone(ZoneInfo(schedule.time_zone))
    day = local.date()
    if local.time() < schedule.handover:
        day -= timedelta(days=1)
    turn = (day - schedule.start).days // _DAYS[schedule.rotation]
    contact = schedule.participants[turn % len(schedule.participants)]
    return OnCall(contact, f"turn {turn + 1} of the rotation")


def levels_for(policy: Policy, severity: str) -> tuple[Level, ...]:
    """The escalation levels of a severity, by number; none for one without escalation."""
    return tuple(sorted(policy.escalation.get(severity, ()), key=lambda level: level.number))


def resolve(
    policy: Policy,
    targets: Sequence[str],
    at: datetime,
    roles: Mapping[str, str],
    conditions: Mapping[str, str],
) -> tuple[Target, ...]:
    """The people that targets name at an instant, each once, in order.

    Args:
        roles: Role -> contact, as people assigned them in the incident; wins over the policy.
        conditions: Name -> `true` or `false`, for targets that end in ` if name`.
    """
    found: dict[str, Target] = {}
    for text in targets:
        target, _, condition = text.partition(_CONDITION)
        if condition and conditions.get(condition.strip()) != "true":
            continue
        for contact_id, via in _contacts(policy, target.strip(), at, roles, depth=0):
            contact = policy.contacts.get(contact_id)
            if contact is None or contact_id in found:
                continue
            found[contact_id] = Target(
                contact=contact_id,
                name=contact.name,
                role=contact.role,
                via=via,
                channels=contact.channels,
            )
    return tuple(found.values())


_MOST_DEPTH = 3


def _contacts(
    policy: Policy, target: str, at: datetime, roles: Mapping[str, str], *, depth: int
) -> list[tuple[str, str]]:
    if depth > _MOST_DEPTH:
        return []
    kind, _, name = target.partition(":")
    match kind:
        case "everyone":
            return [(contact, "everyone") for contact in policy.contacts]
        case "contact":
            return [(name, target)]
        case "schedule" if name in policy.schedules:
            chosen = on_call(policy.schedules[name], at)
            return [(chosen.contact, f"{target}, {chosen.reason}")]
        case "team":
            return [(contact, target) for contact in policy.teams.get(name, ())]
        case "role":
            if name in roles:
                return [(roles[name], f"{target}, assigned")]
            default = policy.roles.get(name)
            if default is None:
                return []
            inner = _contacts(policy, default, at, roles, depth=depth + 1)
            return [(contact, f"{target}, {via}") for contact, via in inner]
        case _:
            return []


_LONGEST_CLOSURE = 400


def next_open(calendar: Calendar, at: datetime) -> datetime:
    """`at` if business is open then, else the next opening.

    Raises:
        ValueError: It does not open within a year.
    """
    zone = ZoneInfo(calendar.time_zone)
    local = at.astimezone(zone)
    for days in range(_LONGEST_CLOSURE):
        day = local.date() + timedelta(days=days)
        if day.weekday() not in calendar.weekdays or day in calendar.holidays:
            continue
        opens = datetime.combine(day, calendar.opens, zone)
        closes = datetime.combine(day, calendar.closes, zone)
        if at < opens:
            return opens.astimezone(at.tzinfo)
        if at < closes:
            return at
    raise ValueError("the calendar does not open within a year")
