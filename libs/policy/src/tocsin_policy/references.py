"""Names in a policy that lead nowhere, with the nearest that lead somewhere."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tocsin_policy.document import Call, Policy
from tocsin_policy.templates import DEFAULTS, template_faults

Location = tuple[str | int, ...]

CONDITIONS = ("customer_facing",)
"""What a target may ask for with `if`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place in the document.

    Attributes:
        line_in_value: Line of a multi-line text, from 1; 0 where it is about the value itself.
    """

    location: Location
    message: str
    hint: str = ""
    line_in_value: int = 0


def nearest(name: str, names: Collection[str]) -> str:
    """A hint at the nearest right name, or at all there are if none is near."""
    near = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    if near:
        best = _likeness(name, near[0])
        equal = sorted(other for other in near if _likeness(name, other) == best)
        return f"did you mean {' or '.join(map(repr, equal))}?"
    if not names:
        return "none is defined"
    return f"one of: {', '.join(sorted(names)[:20])}"


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, name).ratio()


def findings(policy: Policy) -> tuple[Finding, ...]:
    """Every name that leads nowhere and every template that cannot be used, in document order."""
    return tuple(_all(policy))


def _all(policy: Policy) -> Iterator[Finding]:
    severities = tuple(severity.name for severity in policy.severities)
    yield from _calendars(policy)
    yield from _classification(policy, severities)
    yield from _people(policy)
    for name, levels in policy.escalation.items():
        yield from _known("severity", name, severities, ("escalation", name))
        for index, level in enumerate(levels):
            at: Location = ("escalation", name, index)
            if level.number != index + 1:
                yield Finding(
                    (*at, "number"), f"this is level {index + 1}", "number them 1, 2, 3 …"
                )
            if index and level.after < levels[index - 1].after:
                yield Finding((*at, "after"), "a level comes no earlier than the one before it")
            for place, target in enumerate(level.targets):
                yield from _target(policy, target, ("escalation", name, index, "targets", place))
    for name, held in policy.announcements.items():
        yield from _known("severity", name, severities, ("announcements", name))
        for about in ("opened", "updates", "resolved"):
            for index, channel in enumerate(getattr(held, about)):
                where = ("announcements", name, about, index)
                yield from _known("channel", channel, policy.channels, where)
    yield from _templates(policy)
    yield from _playbooks(policy)


def _known(kind: str, name: str, names: Collection[str], where: Location) -> Iterator[Finding]:
    if name not in names:
        yield Finding(where, f"unknown {kind} {name!r}", nearest(name, names))


def _calendars(policy: Policy) -> Iterator[Finding]:
    for index, severity in enumerate(policy.severities):
        if severity.hours != "always":
            where = ("severities", index, "calendar")
            yield from _known("calendar", severity.calendar, policy.calendars, where)


def _classification(policy: Policy, severities: tuple[str, ...]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, rule in enumerate(policy.classification.rules):
        where: Location = ("classification", "rules", index)
        if rule.name in seen:
            yield Finding((*where, "name"), f"a second rule is named {rule.name!r}")
        seen.add(rule.name)
        yield from _known("severity", rule.severity, severities, (*where, "severity"))
        if rule.playbook is not None:
            yield from _known("playbook", rule.playbook, policy.playbooks, (*where, "playbook"))
    default = policy.classification.default
    yield from _known("severity", default, severities, ("classification", "default"))


def _people(policy: Policy) -> Iterator[Finding]:
    for name, contact in policy.contacts.items():
        for index, channel in enumerate(contact.channels):
            where: Location = ("contacts", name, "channels", index)
            yield from _known("channel", channel, policy.channels, where)
    for name, team in policy.teams.items():
        for index, member in enumerate(team.members):
            yield from _known("contact", member, policy.contacts, ("teams", name, "members", index))
    for name, role in policy.roles.items():
        if role.default is not None:
            where = ("roles", name, "default")
            if role.default.startswith("role:"):
                yield Finding(where, "a role's default cannot be a role", "name a schedule")
            yield from _target(policy, role.default, where)
    for name, schedule in policy.schedules.items():
        for number, layer in enumerate(schedule.layers):
            for index, person in enumerate(layer.participants):
                where = ("schedules", name, "layers", number, "participants", index)
                yield from _known("contact", person, policy.contacts, where)
        for index, override in enumerate(schedule.overrides):
            where = ("schedules", name, "overrides", index, "contact")
            yield from _known("contact", override.contact, policy.contacts, where)


def _target(policy: Policy, text: str, where: Location) -> Iterator[Finding]:
    target, _, condition = text.partition(" if ")
    reference, _, via = target.partition(" via ")
    kind, _, name = reference.partition(":")
    names: dict[str, Collection[str]] = {
        "schedule": policy.schedules,
        "contact": policy.contacts,
        "team": policy.teams,
        "role": policy.roles,
    }
    if kind in names:
        yield from _known(kind, name, names[kind], where)
    for channel in via.split(",") if via else ():
        yield from _known("channel", channel.strip(), policy.channels, where)
    if condition:
        yield from _known("condition", condition.removeprefix("not "), CONDITIONS, where)


def _templates(policy: Policy) -> Iterator[Finding]:
    for name, template in policy.templates.items():
        if name not in DEFAULTS:
            yield Finding(
                ("templates", name), f"unknown template {name!r}", nearest(name, DEFAULTS)
            )
        for part in ("subject", "body"):
            for fault in template_faults(getattr(template, part)):
                hint = "" if fault.unknown is None else nearest(fault.unknown, fault.known)
                yield Finding(("templates", name, part), fault.message, hint, fault.line)


def _playbooks(policy: Policy) -> Iterator[Finding]:
    for name, playbook in policy.playbooks.items():
        if playbook.id != name:
            yield Finding(("playbooks", name, "id"), f"the playbook's name is {name!r}")
        for index, step in enumerate(playbook.steps):
            where: Location = ("playbooks", name, "steps", index)
            if step.http is not None:
                at = (*where, "http", "endpoint")
                yield from _known("endpoint", step.http.endpoint, policy.endpoints, at)
            for part in ("verify", "undo"):
                call: Call | None = getattr(step, part)
                if call is not None and call.http is not None:
                    at = (*where, part, "http", "endpoint")
                    yield from _known("endpoint", call.http.endpoint, policy.endpoints, at)
