"""What people read: the policy's templates, filled from the state."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache, partial
from itertools import islice
from typing import Any

from jinja2 import TemplateError

from notifier.domain.wanted import CUSTOMERS, JOINED, PLAYBOOK, RAISED, Wanted
from tocsin_contracts.incidents import Message, Purpose, Target
from tocsin_incident import Early, IncidentState, gave_up_at
from tocsin_incident.state import Anew, Changed, RemediationStatus, Step, StepStatus
from tocsin_policy import (
    Policy,
    format_duration,
    levels_ahead,
    render,
    render_line,
    resolve,
    review_due,
    told_by,
    values_of,
)
from tocsin_policy.document import Naming
from tocsin_policy.planning import HANDED_OVER

LAST_RESORT = "last_resort"
"""Template of the page that nobody else could be given."""

AGAIN = "again"
"""Template of what is said where the opening was told before."""

_MOST_ALERTS = 10
_MOST_NAMED = 8
_MOST_LINKS = 20
_PLACES = ("cluster", "region", "namespace", "job", "instance", "host", "pod")
_ANNOTATED = {
    "runbook_url": "Runbook",
    "runbook": "Runbook",
    "dashboard_url": "Dashboard",
    "dashboard": "Dashboard",
    "panel_url": "Panel",
}
"""Annotations that hold an address, and what it is called."""
_SAYS_CHANGE = frozenset({Purpose.PAGE, Purpose.OPENED})
_LATE = timedelta(minutes=1)


def message_for(state: IncidentState, policy: Policy, want: Wanted, now: datetime) -> Message:
    """The message a template of the policy, or the default for its purpose, makes.

    The first update has words of its own, and a channel may have others for any purpose. What
    customers are told stays in the words meant for them.
    """
    purpose = str(want.purpose)
    template = _template(state, want)
    name = template
    channel = policy.channels.get(want.channel)
    if channel is not None:
        falls_back = template == "initial_update" or (
            template == AGAIN and channel.kind in CUSTOMERS
        )
        stand_in = channel.templates.get(purpose, name) if falls_back else name
        name = channel.templates.get(name, stand_in)
    default = template if template in {LAST_RESORT, AGAIN} else purpose
    return render(policy, name, _variables(state, policy, want, now), default)


def sent_late(message: Message, by: timedelta) -> Message:
    r"""The message, which says so if it comes a minute or more after it was owed.

    >>> sent_late(Message(subject="down", body="It is down."), timedelta(minutes=25)).body
    'Sent 25m late.\nIt is down.'
    """
    late = said_late(by)
    if not late:
        return message
    return message.model_copy(update={"body": f"Sent {late} late.\n{message.body}"})


def said_late(by: timedelta) -> str:
    """By how much a message is late, in words; empty for less than a minute.

    >>> said_late(timedelta(minutes=25, seconds=3)), said_late(timedelta(seconds=59))
    ('25m', '')
    """
    if by < _LATE:
        return ""
    return format_duration(timedelta(minutes=by // timedelta(minutes=1)))


def _template(state: IncidentState, want: Wanted) -> str:
    if want.purpose is Purpose.OPENED and _changed(state, want) is not None:
        return AGAIN
    if want.purpose is Purpose.UPDATE and want.about.startswith(JOINED):
        return "joined"
    if want.level is not None and want.level.reason == Early.LAST_RESORT:
        return LAST_RESORT
    first = want.purpose is Purpose.UPDATE and want.about in {"1", "public 1"}
    return "initial_update" if first else str(want.purpose)


NAMED = frozenset({"github", "jira", "slack-app"})
"""Kinds of channel that make a room or a ticket, and need a name for it."""


def names_of(state: IncidentState, policy: Policy) -> tuple[str, str]:
    """Name of the incident's chat channel, and title of its ticket, as the policy wants them.

    One that fails on what this incident has gives way to the default: a message must go out.
    """
    known = _standing(state, policy)
    named, default = policy.naming, Naming()
    return (
        _line(named.channel, default.channel, known),
        _line(named.ticket, default.ticket, known),
    )


def _line(text: str, instead: str, known: dict[str, Any]) -> str:
    try:
        return render_line(text, known)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
        return render_line(instead, known)


def _changed(state: IncidentState, want: Wanted) -> Changed | None:
    """What an announcement, or a page, says has changed; nothing for one of the opening."""
    if want.purpose is Purpose.OPENED:
        if want.about.startswith(RAISED):
            return state.raised
        told = any(
            one.purpose is Purpose.OPENED
            and one.channel == want.channel
            and one.notification != want.notification
            for one in state.notifications.values()
        )
        return state.again if told else None
    found = [one for one in (state.again, state.raised) if one is not None]
    return max(found, key=lambda one: one.at, default=None)


def _said_change(state: IncidentState, policy: Policy, changed: Changed) -> str:
    by = f" by {_name(policy, changed.by.name)}" if changed.by is not None else ""
    match changed.what:
        case Anew.REOPENED:
            return f"reopened{by}"
        case Anew.SEVERITY_RAISED:
            return f"severity raised from {changed.was}{by}"
        case Anew.ACKNOWLEDGEMENT_EXPIRED:
            return f"the acknowledgement of {_name(policy, changed.was)} has expired"
        case Anew.ESCALATED:
            return f"escalated{by}"
        case Anew.HANDED_OVER:
            return f"handed over to {_name(policy, state.handed_to or '')}{by}"
        case Anew.MUTE_ENDED:
            return "no longer muted"
        case Anew.HEARD_AGAIN:
            return "its alerts are heard again"


def _standing(state: IncidentState, policy: Policy) -> dict[str, Any]:
    """What is so whatever the message is about."""
    severity = policy.severity(state.severity)
    return {
        "incident": state.incident,
        "system": state.system,
        "severity": state.severity,
        "definition": severity.definition if severity is not None else "",
        "impact": (severity.impact or "") if severity is not None else "",
        "title": ("[DRILL] " if state.drill else "") + state.title,
        "service": state.service or "",
        "components": list(state.components),
        "rule": state.raised.rule if state.raised is not None else state.rule,
        "opened_at": _shown(state.opened_at),
        "opened_date": f"{state.opened_at:%Y-%m-%d}",
        "opened_time": f"{state.opened_at:%H%M}",
    }


def _holders(state: IncidentState, policy: Policy, now: datetime) -> dict[str, str]:
    """Role -> name of who has it."""
    found: dict[str, str] = {}
    for role in policy.roles:
        people = resolve(policy, (f"role:{role}",), now, state.roles)
        if people:
            found[role] = people[0].name
    return found


def _variables(state: IncidentState, policy: Policy, want: Wanted, now: datetime) -> dict[str, Any]:
    severity = policy.severity(state.severity)
    cadence = severity.updates if severity is not None else None
    playbook = policy.playbooks.get(state.playbook or "")
    # What takes long to find out, and few templates speak of, is found out where one does.
    names = cache(lambda: names_of(state, policy))
    holders = cache(lambda: _holders(state, policy, now))
    page = cache(lambda: _page(state, policy, want, now))
    variables: dict[str, Any] = _standing(state, policy) | {
        "channel": lambda: names()[0],
        "ticket": lambda: names()[1],
        "commander": lambda: holders().get("incident_commander", ""),
        "technical_lead": lambda: holders().get("technical_lead", ""),
        "roles": lambda: [
            {"name": policy.roles[role].name, "holder": name} for role, name in holders().items()
        ],
        "links": partial(_links, state, policy),
        "where": partial(_where, state),
        "values": partial(_values, state),
        "waited": _waited(want),
        "worst": policy.severities[0].name,
        "undelivered": partial(_undelivered, state),
        "firing": lambda: state.firing,
        "reason": _reason(state, want),
        "playbook": playbook.title if playbook is not None else "",
        "now": _shown(now),
        "status": str(state.status),
        "level": want.level.level if want.level else "",
        "target": want.target.name if want.target else "",
        "role": want.target.role if want.target else "",
        "via": want.target.via if want.target else "",
        "by": _by(state, policy, want.purpose),
        "text": _text(state, want),
        "duration": _duration((state.resolved_at or now) - state.opened_at),
        "updates_every": format_duration(cadence.every) if cadence is not None else "",
        "next_update": "",
        "alerts": partial(_alerts, state),
    }
    asked = want.level is not None and want.level.by is not None
    changed = _changed(state, want) if want.purpose in _SAYS_CHANGE and not asked else None
    if changed is not None:
        variables["change"] = _said_change(state, policy, changed)
        variables["change_reason"] = changed.reason
    if want.purpose is Purpose.PAGE:
        variables |= {name: lambda name=name: page().get(name, "") for name in _OF_A_PAGE}
    if cadence is not None and state.status.live:
        variables["next_update"] = _shown((state.updated_at or now) + cadence.every)
    if severity is not None and state.resolved_at is not None:
        due_at = review_due(policy, severity, state.resolved_at)
        variables["review_due"] = "" if due_at is None else _shown(due_at)
    return variables | _waiting_step(state, want)


_OF_A_PAGE = ("also_paged", "why_now", "next", "next_level", "next_at", "next_who")
"""What only a page speaks of."""


def _page(state: IncidentState, policy: Policy, want: Wanted, now: datetime) -> dict[str, Any]:
    """Who else knows of it, why now, and what happens if nobody answers."""
    level = want.level
    said: dict[str, Any] = {"also_paged": _also_paged(state, want), "next": _LAST}
    if level is not None and level.by is not None:
        verb = "handed it over" if level.reason == HANDED_OVER else "asked for this level"
        words = f": {level.text}" if level.text else ""
        said["why_now"] = f"{_name(policy, level.by.name)} {verb}{words}"
    severity = policy.severity(state.severity)
    ahead = () if severity is None else levels_ahead(state, policy, severity)
    following = min(
        (one for one in ahead if one.level is not None and one.due_at > now),
        key=lambda one: one.due_at,
        default=None,
    )
    if following is None or following.level is None:
        return said
    texts = told_by(state, policy, following.level)
    conditions = {"customer_facing": "true" if state.customer_facing else "false"}
    turn = (state.incident, state.generation - 1 + following.repeat)
    people = resolve(policy, texts, following.due_at, state.roles, conditions, turn)
    who = _people(people)
    again = " again" if following.repeat else ""
    return said | {
        "next_level": following.level.number,
        "next_at": _shown(following.due_at),
        "next_who": who,
        "next": f"level {following.level.number}{again} at {_shown(following.due_at)} "
        f"({who or 'nobody can be named yet'}), unless somebody answers",
    }


_LAST = "this is the last level, nobody else is told"


def _also_paged(state: IncidentState, want: Wanted) -> str:
    """Everybody whom the levels of this escalation told, without whom this is for."""
    told = {
        target.contact: target
        for level in state.levels
        if level.generation == state.generation
        for target in level.targets
    }
    if want.target is not None:
        told.pop(want.target.contact, None)
    return _people(tuple(told.values()))


def _people(targets: tuple[Target, ...]) -> str:
    named = [f"{target.name} ({target.role})" for target in targets[:_MOST_NAMED]]
    more = len(targets) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _alerts(state: IncidentState) -> list[dict[str, Any]]:
    """The first of them."""
    return [
        {
            "name": held.alert.name,
            "labels": held.alert.labels,
            "annotations": held.alert.annotations,
        }
        for held in islice(state.alerts.values(), _MOST_ALERTS)
    ]


def _where(state: IncidentState) -> str:
    """The service and the system, and what all of its alerts say of their place."""
    held = [one.alert.labels for one in state.alerts.values() if not one.guest]
    common = [
        f"{name} {held[0][name]}"
        for name in _PLACES
        if held and held[0].get(name) and all(one.get(name) == held[0][name] for one in held)
    ]
    first = f"{state.service} of {state.system}" if state.service else state.system
    return ", ".join((first, *common))


def _links(state: IncidentState, policy: Policy) -> list[dict[str, str]]:
    """The policy's pages, then those the alerts bring: what to do, what to look at."""
    found = {link.url: link.title for link in policy.links}
    for held in state.alerts.values():
        for name, title in _ANNOTATED.items():
            url = held.alert.annotations.get(name, "")
            if url.startswith(("https://", "http://")) and len(found) < _MOST_LINKS:
                found.setdefault(url, title)
    return [{"title": title, "url": url} for url, title in found.items()]


def _text(state: IncidentState, want: Wanted) -> str:
    if want.purpose is Purpose.RESOLVED:
        return state.resolution
    return state.public_text if want.about.startswith("public ") else state.update_text


def _values(state: IncidentState) -> list[dict[str, Any]]:
    """What was measured, of the first alert that says so."""
    for held in state.alerts.values():
        found = values_of(held.alert.annotations)
        if found:
            return [{"name": name, "value": value} for name, value in found.items()]
    return []


def _undelivered(state: IncidentState) -> list[dict[str, str]]:
    """Pages of this escalation that failed for good."""
    return [
        {"name": held.target.name, "channel": held.channel, "reason": held.reason}
        for held in state.notifications.values()
        if held.purpose is Purpose.PAGE
        and held.generation == state.generation
        and held.target is not None
        and gave_up_at(held) is not None
    ]


def _waited(want: Wanted) -> str:
    held = want.level.waited if want.level is not None else None
    return _duration(held) if held is not None else ""


def _waiting_step(state: IncidentState, want: Wanted) -> dict[str, Any]:
    remediation = state.remediations.get(want.about)
    if remediation is None:
        return {}
    step: Step | None = next(
        (
            step
            for step in remediation.steps
            if step.status is StepStatus.PROPOSED and step.proposed.approval in {"one", "two"}
        ),
        None,
    )
    if step is None:
        return {}
    return {
        "step": step.proposed.title,
        "call": step.proposed.call,
        "risk": step.proposed.risk,
        "approvals": 2 if step.proposed.approval == "two" else 1,
    }


def to_approve(state: IncidentState) -> str:
    """What a button hands back of the step that waits for a person; empty where none does."""
    for remediation in state.remediations.values():
        if remediation.status is not RemediationStatus.PROPOSED:
            continue
        for step in remediation.steps:
            if step.status is StepStatus.PROPOSED and step.proposed.approval in {"one", "two"}:
                plan = str(step.plan.number) if step.plan is not None else ""
                parts = (state.incident, remediation.remediation, step.proposed.step, plan)
                return " ".join(part for part in parts if part)
    return ""


def _reason(state: IncidentState, want: Wanted) -> str:
    if want.purpose is Purpose.REMINDER:
        needed = want.about.startswith(PLAYBOOK)
        return f"{want.about}; somebody has to look" if needed else f"{want.about} is overdue"
    return state.raised.reason if state.raised is not None else state.reason


def _by(state: IncidentState, policy: Policy, purpose: Purpose) -> str:
    person = state.resolved_by if purpose is Purpose.RESOLVED else state.acknowledged_by
    return "" if person is None else _name(policy, person.name)


def _name(policy: Policy, said: str) -> str:
    contact = policy.contacts.get(said)
    return contact.name if contact is not None else said


def _shown(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(duration: timedelta) -> str:
    return format_duration(timedelta(seconds=int(duration.total_seconds())))
