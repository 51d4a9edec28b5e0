"""Names in a policy that lead nowhere, with the nearest that lead somewhere."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tocsin_policy.classification import classify
from tocsin_policy.document import Contact, Hours, Means, Policy
from tocsin_policy.heartbeats import SILENT_KINDS, heartbeat_alert
from tocsin_policy.playbooks import DEFAULT, AnyCall, Before, Call, Envelope, PlaybookStep
from tocsin_policy.templates import (
    DEFAULTS,
    PURPOSES,
    VARIABLES,
    TemplateFault,
    template_faults,
)

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


_NEEDS = {
    "email": ("email", "an e-mail address", "add email:"),
    "sms": ("phone", "a telephone number", "add phone:"),
    "voice": ("phone", "a telephone number", "add phone:"),
}
"""By kind of channel: the field of the contact that it sends to, in words, and the fix."""


def reach_findings(policy: Policy) -> Iterator[Finding]:
    """Means that can reach nobody, in document order.

    Asked of a file only. A policy that is in force stays in force, whatever a newer version of
    this asks of it: with means that fail it still pages, and refused it pages nobody.
    """
    for name, contact in policy.contacts.items():
        for index, means in enumerate(contact.channels):
            channel = policy.channels.get(means.channel)
            if channel is None or channel.kind not in _NEEDS:
                continue
            field, words, fix = _NEEDS[channel.kind]
            if getattr(contact, field) is None:
                where: Location = ("contacts", name, "channels", index)
                yield Finding(where, f"{means.channel!r} needs {words} of {name!r}", fix)
    for index, target in enumerate(policy.last_resort or ()):
        kind, _, name = target.partition(" ")[0].partition(":")
        held = policy.contacts.get(name)
        if kind == "contact" and held is not None and not held.channels:
            yield Finding(("last_resort", index), f"{name!r} has no channel: nothing reaches it")


def undo_findings(policy: Policy) -> Iterator[Finding]:
    """Steps of a machine that change something and say nothing of how that is taken back.

    Asked of a file only, as `reach_findings` is.
    """
    for name, playbook in policy.playbooks.items():
        for index, step in enumerate(playbook.steps):
            where: Location = ("playbooks", name, "steps", index)
            if step.runner == "manual" or step.risk not in {"disruptive", "destructive"}:
                continue
            if step.undo is None and not step.takes_itself_back and not step.irreversible:
                why = f"nothing says how {step.id!r} is taken back"
                yield Finding(where, why, "name an undo:, or say irreversible: true")
            emptied = step.redis is not None and step.redis.action == "flush_database"
            if emptied and step.risk != "destructive":
                yield Finding((*where, "risk"), "no undo fills a database again", "destructive")


def _all(policy: Policy) -> Iterator[Finding]:
    severities = tuple(severity.name for severity in policy.severities)
    yield from _severities(policy)
    yield from _services(policy)
    yield from _classification(policy, severities)
    if policy.grouping.storm is not None:
        storm = policy.grouping.storm.severity
        yield from _known("severity", storm, severities, ("grouping", "storm", "severity"))
    yield from _people(policy)
    for name, levels in policy.escalation.items():
        yield from _known("severity", name, severities, ("escalation", name))
        for index, level in enumerate(levels):
            at: Location = ("escalation", name, index)
            if level.number != index + 1:
                yield Finding(
                    (*at, "number"), f"this is level {index + 1}", "number them 1, 2, 3 …"
                )
            follows = level.counted_from == "last_level"
            if index == 0 and follows:
                yield Finding((*at, "counted_from"), "the first level has no level before it")
            if level.hours not in {None, Hours.ALWAYS}:
                held = policy.severity(name)
                calendar = held.calendar if held is not None else "business"
                yield from _known("calendar", calendar, policy.calendars, (*at, "hours"))
            if index and not follows and level.after < levels[index - 1].after:
                yield Finding((*at, "after"), "a level comes no earlier than the one before it")
            for place, target in enumerate(level.targets):
                yield from _target(policy, target, ("escalation", name, index, "targets", place))
    for place, target in enumerate(policy.last_resort or ()):
        yield from _target(policy, target, ("last_resort", place))
    yield from _heartbeats(policy)
    yield from _announcements(policy, severities)
    for name in policy.success.time_to_resolve if policy.success is not None else ():
        yield from _known("severity", name, severities, ("success", "time_to_resolve", name))
    yield from _templates(policy)
    yield from _playbooks(policy)


def _heartbeats(policy: Policy) -> Iterator[Finding]:
    """Heartbeats that cannot beat, and those whose absence nobody would hear of."""
    for name, channel in policy.channels.items():
        if channel.heartbeat is None:
            continue
        where: Location = ("channels", name, "heartbeat")
        contact = channel.heartbeat.contact
        if channel.kind in SILENT_KINDS:
            yield Finding(where, f"a {channel.kind} channel takes no synthetic pages")
        if contact is not None:
            yield from _known("contact", contact, policy.contacts, (*where, "contact"))
        elif channel.kind in _NEEDS:
            yield Finding(where, f"{name!r} writes to a person", "say contact:")
        severity = classify(policy, heartbeat_alert(policy, name), {}).severity
        others = {
            other
            for level in policy.escalation.get(severity, ())
            for target in level.targets
            for other in _channels_of(policy, target)
            if other in policy.channels and policy.channels[other].endpoint != channel.endpoint
        }
        if not others:
            yield Finding(
                where,
                f"its absence is {severity!r}, of which nobody hears by another channel",
                "give it labels: that a rule takes for worse, or people another channel",
            )


def _channels_of(policy: Policy, text: str) -> Iterator[str]:
    """Every channel by which a target may be told, whoever it turns out to be."""
    reference, _, via = text.partition(" if ")[0].partition(" via ")
    if via:
        yield from (name.strip() for name in via.split(","))
        return
    kind, _, name = reference.partition(":")
    role = policy.roles.get(name) if kind == "role" else None
    if role is not None and role.default is not None and not role.default.startswith("role:"):
        yield from _channels_of(policy, role.default)
    schedule = policy.schedules.get(name) if kind == "schedule" else None
    team = policy.teams.get(name) if kind == "team" else None
    people: tuple[str, ...] = ()
    if kind == "contact":
        people = (name,)
    elif kind == "everyone":
        people = tuple(policy.contacts)
    elif team is not None:
        people = team.members
    elif schedule is not None:
        people = tuple(person for layer in schedule.layers for person in layer.participants)
    for person in people:
        contact = policy.contacts.get(person)
        for means in contact.channels if contact is not None else ():
            yield means.channel


def _announcements(policy: Policy, severities: tuple[str, ...]) -> Iterator[Finding]:
    for name, announced in policy.announcements.items():
        where: Location = ("announcements", name)
        yield from _known("severity", name, severities, where)
        named: list[tuple[Location, tuple[str, ...]]] = [
            ((*where, about), getattr(announced, about))
            for about in ("opened", "updates", "public", "resolved")
        ]
        if announced.prolonged is not None:
            named.append(((*where, "prolonged", "resolved"), announced.prolonged.resolved))
        for at, channels in named:
            for index, channel in enumerate(channels):
                yield from _known("channel", channel, policy.channels, (*at, index))


def _known(kind: str, name: str, names: Collection[str], where: Location) -> Iterator[Finding]:
    if name not in names:
        yield Finding(where, f"unknown {kind} {name!r}", nearest(name, names))


def _severities(policy: Policy) -> Iterator[Finding]:
    for index, severity in enumerate(policy.severities):
        where: Location = ("severities", index)
        review = severity.review
        counted = review is not None and review.business_days is not None
        if severity.hours is not Hours.ALWAYS or counted:
            at = (*where, "calendar") if "calendar" in severity.model_fields_set else where
            yield from _known("calendar", severity.calendar, policy.calendars, at)
        if review is None:
            continue
        for place, target in enumerate(review.attendees):
            yield from _target(policy, target, (*where, "review", "attendees", place))
        known = {*policy.templates, "review"}
        yield from _known("template", review.template, known, (*where, "review", "template"))


def _services(policy: Policy) -> Iterator[Finding]:
    for name, service in policy.services.items():
        for index, needed in enumerate(service.depends_on):
            where = ("services", name, "depends_on", index)
            yield from _known("service", needed, policy.services, where)
        circle = {name, *policy.dependents(name)}
        if circle.intersection(service.depends_on):
            yield Finding(("services", name, "depends_on"), f"{name!r} depends on itself")


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
        if rule.threshold is not None:
            yield from _known("threshold", rule.threshold, policy.thresholds, (*where, "threshold"))
    used = {rule.threshold for rule in policy.classification.rules}
    for name in policy.thresholds:
        if name not in used:
            yield Finding(
                ("thresholds", name),
                f"no rule uses the threshold {name!r}, so nobody says how bad it is",
                "add a rule with threshold: and severity:",
            )
    default = policy.classification.default
    yield from _known("severity", default, severities, ("classification", "default"))


def _contact(policy: Policy, name: str, contact: Contact) -> Iterator[Finding]:
    before: Means | None = None
    for index, means in enumerate(contact.channels):
        where: Location = ("contacts", name, "channels", index)
        yield from _known("channel", means.channel, policy.channels, where)
        if before is None and means.after:
            yield Finding((*where, "after"), "the first means is used at once", "leave after out")
        if before is not None and means.after < before.after:
            yield Finding(
                (*where, "after"), "a means comes no earlier than the one before it", "reorder them"
            )
        before = means


def _people(policy: Policy) -> Iterator[Finding]:
    for name, contact in policy.contacts.items():
        yield from _contact(policy, name, contact)
    for name, team in policy.teams.items():
        for index, member in enumerate(team.members):
            yield from _known("contact", member, policy.contacts, ("teams", name, "members", index))
    for name, role in policy.roles.items():
        if role.default is not None:
            where = ("roles", name, "default")
            if role.default.startswith("role:"):
                yield Finding(where, "a role's default cannot be a role", "name a schedule")
            yield from _target(policy, role.default, where)
    yield from _schedules(policy)


def _schedules(policy: Policy) -> Iterator[Finding]:
    for name, schedule in policy.schedules.items():
        for number, layer in enumerate(schedule.layers):
            if layer.calendar is not None:
                at: Location = ("schedules", name, "layers", number, "calendar")
                yield from _known("calendar", layer.calendar, policy.calendars, at)
            for index, person in enumerate(layer.participants):
                where: Location = ("schedules", name, "layers", number, "participants", index)
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
    known = {*DEFAULTS, *policy.templates}
    reviews = {severity.review.template for severity in policy.severities if severity.review}
    asked = set(reviews)
    for name, channel in policy.channels.items():
        for purpose, template_name in channel.templates.items():
            where: Location = ("channels", name, "templates", purpose)
            yield from _known("purpose", purpose, PURPOSES, where)
            yield from _known("template", template_name, known, where)
            asked.add(template_name)
    for field in ("channel", "ticket"):
        for fault in template_faults(getattr(policy.naming, field)):
            yield Finding(("naming", field), fault.message, _nearest_to(fault), fault.line)
    for name, template in policy.templates.items():
        if name not in DEFAULTS and name not in asked:
            yield Finding(
                ("templates", name),
                f"nothing uses the template {name!r}",
                nearest(name, DEFAULTS) + " or name it in a channel's templates",
            )
        # In a review a name that means nothing is a part for people to write, under that name.
        review = name == "review" or name in reviews
        for part in ("subject", "body"):
            for fault in template_faults(getattr(template, part)):
                if review and fault.known == tuple(VARIABLES):
                    continue
                yield Finding(
                    ("templates", name, part), fault.message, _nearest_to(fault), fault.line
                )


def _nearest_to(fault: TemplateFault) -> str:
    return "" if fault.unknown is None else nearest(fault.unknown, fault.known)


def _envelope(policy: Policy) -> Iterator[Finding]:
    for risk, targets in policy.remediation.approvers.items():
        for place, target in enumerate(targets):
            yield from _target(policy, target, ("remediation", "approvers", risk, place))
    # The default names a role that a small policy need not have; a document holds it all the same.
    if policy.remediation.tell != Envelope().tell:
        for place, target in enumerate(policy.remediation.tell):
            yield from _target(policy, target, ("remediation", "tell", place))


def _playbooks(policy: Policy) -> Iterator[Finding]:
    yield from _envelope(policy)
    for name, playbook in policy.playbooks.items():
        if playbook.id != name:
            yield Finding(("playbooks", name, "id"), f"the playbook's name is {name!r}")
        for index, step in enumerate(playbook.steps):
            where: Location = ("playbooks", name, "steps", index)
            yield from _approval(policy, step, where)
            for at, runner, call in _calls(step, where):
                field = {"kubernetes": "cluster", "aws": "profile"}.get(runner, "endpoint")
                asked = getattr(call, field, None)
                if asked is not None:
                    yield from _known("endpoint", asked, policy.endpoints, (*at, runner, field))


def _approval(policy: Policy, step: PlaybookStep, where: Location) -> Iterator[Finding]:
    for place, target in enumerate(step.approvers):
        yield from _target(policy, target, (*where, "approvers", place))
    if isinstance(step.approval, Mapping):
        for severity in sorted(set(step.approval) - {DEFAULT}):
            yield from _known("severity", severity, policy.ranks, (*where, "approval", severity))


def _calls(step: PlaybookStep, where: Location) -> Iterator[tuple[Location, str, AnyCall]]:
    for runner, call in step.calls():
        yield where, runner, call
    for part in ("verify", "undo", "before"):
        held: Call | Before | None = getattr(step, part)
        for runner, call in held.calls() if held is not None else ():
            yield (*where, part), runner, call
