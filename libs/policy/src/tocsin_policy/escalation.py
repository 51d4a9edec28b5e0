"""Who is told next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from tocsin_contracts.ids import derive
from tocsin_contracts.incidents import Target
from tocsin_policy.document import Level, Policy, Team
from tocsin_policy.on_call import on_call

_TARGET = re.compile(
    r"(?P<kind>everyone|schedule|contact|team|role)(?::(?P<name>[\w.-]+))?"
    r"(?: via (?P<via>[\w.,-]+(?:, ?[\w.-]+)*))?(?: if (?P<no>not )?(?P<condition>[a-z_]+))?",
    re.ASCII,
)
_NOTHING: Mapping[str, str] = MappingProxyType({})


def levels_for(policy: Policy, severity: str) -> tuple[Level, ...]:
    """The levels of a severity in order; none for one without escalation."""
    return policy.escalation.get(severity, ())


def severity_rank(policy: Policy, name: str) -> int:
    """Place of a severity, 0 for the most severe; one that is unknown comes after all others."""
    return policy.ranks.get(name, len(policy.severities))


def resolve(
    policy: Policy,
    targets: Sequence[str],
    at: datetime,
    roles: Mapping[str, str] = _NOTHING,
    conditions: Mapping[str, str] = _NOTHING,
    turn: tuple[str, int] = ("", 0),
) -> tuple[Target, ...]:
    """The people whom targets name at an instant, each once, in the order they are named.

    A target that names nobody (a gap in a schedule, a role nobody has and that has no default)
    gives nobody. `everyone` is every contact who has a channel, so not a vendor's hotline.

    Args:
        roles: Role -> contact id, as assigned in the incident; somebody the policy does not know
            cannot be reached, so the role's default is taken.
        conditions: What `if` asks for: `customer_facing` -> `true`.
        turn: Incident, and how often it was escalated or repeated before: whose turn it is in a
            team that is paged in turn.
    """
    found: dict[str, Target] = {}
    for text in targets:
        for target in _resolve(policy, text, at, roles, conditions, turn):
            found.setdefault(target.contact, target)
    return tuple(found.values())


def resolve_targets(
    policy: Policy,
    level: Level,
    at: datetime,
    roles: Mapping[str, str] = _NOTHING,
    conditions: Mapping[str, str] = _NOTHING,
    turn: tuple[str, int] = ("", 0),
) -> tuple[Target, ...]:
    """The people a level pages at an instant."""
    return resolve(policy, level.targets, at, roles, conditions, turn)


def _resolve(
    policy: Policy,
    text: str,
    at: datetime,
    roles: Mapping[str, str],
    conditions: Mapping[str, str],
    turn: tuple[str, int],
) -> Iterator[Target]:
    parsed = _TARGET.fullmatch(text)
    if parsed is None:
        raise ValueError(f"{text!r} is no target")
    condition = parsed["condition"]
    if condition is not None:
        holds = conditions.get(condition) == "true"
        if holds == (parsed["no"] is not None):
            return
    only = None if parsed["via"] is None else re.split(r", ?", parsed["via"])
    kind, name = parsed["kind"], parsed["name"] or ""
    via = text.partition(" ")[0]
    match kind:
        case "everyone":
            people = [(contact, "") for contact, held in policy.contacts.items() if held.channels]
        case "contact":
            people = [(name, "")]
        case "team":
            team = policy.teams.get(name)
            people = [(member, "") for member in _members(team, turn)] if team is not None else []
        case "schedule":
            schedule = policy.schedules.get(name)
            person = (
                on_call(schedule, at, policy.calendars).contact if schedule is not None else None
            )
            people = [(person, "on-call engineer")] if person is not None else []
        case _:
            yield from _role(policy, name, at, roles, conditions, only, turn)
            return
    for contact, role in people:
        target = _target(policy, contact, role, via, only)
        if target is not None:
            yield target


def _members(team: Team, turn: tuple[str, int]) -> tuple[str, ...]:
    if team.page == "all":
        return team.members
    incident, times = turn
    first = derive("turn", incident).int
    return (team.members[(first + times) % len(team.members)],)


def _role(
    policy: Policy,
    name: str,
    at: datetime,
    roles: Mapping[str, str],
    conditions: Mapping[str, str],
    only: Sequence[str] | None,
    turn: tuple[str, int],
) -> Iterator[Target]:
    role = policy.roles.get(name)
    title = role.name if role is not None else name.replace("_", " ")
    target = _target(policy, roles.get(name, ""), title, f"role:{name}", only)
    if target is not None:
        yield target
        return
    # A default that is a role again could run in a circle; `references` refuses it.
    if role is None or role.default is None or role.default.startswith("role:"):
        return
    for default in _resolve(policy, role.default, at, roles, conditions, turn):
        named = _target(policy, default.contact, title, f"role:{name}, {default.via}", only)
        if named is not None:
            yield named


def _target(
    policy: Policy, contact: str, role: str, via: str, only: Sequence[str] | None
) -> Target | None:
    person = policy.contacts.get(contact)
    if person is None:
        return None
    chosen = [means for means in person.channels if only is None or means.channel in only]
    waits = {means.channel: means.after for means in chosen}
    return Target(
        contact=contact,
        name=person.name,
        role=role or person.role,
        via=via,
        channels=tuple(waits),
        after=from_the_first(waits),
    )


def from_the_first(waits: Mapping[str, timedelta]) -> dict[str, timedelta]:
    """Waits counted from the first of these means; what is used at once is left out.

    >>> from_the_first({"text": timedelta(minutes=2), "call": timedelta(minutes=4)})
    {'call': datetime.timedelta(seconds=120)}
    """
    first = min(waits.values(), default=timedelta())
    return {name: after - first for name, after in waits.items() if after > first}
