"""`tocsin policy explain` and `tocsin policy diff`: what a policy would do, and what changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from escalation_timer.domain.deadlines import Deadline, deadlines
from tocsin_cli.printing import Json, console, print_json
from tocsin_contracts.event import Event, event_id
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import Opened, Target
from tocsin_incident import IncidentState, fold
from tocsin_policy import (
    Classification,
    Policy,
    classify,
    format_duration,
    group_key,
    load_policy,
    resolve_targets,
)
from tocsin_policy.differing import differences
from tocsin_runtime.clock import SystemClock


def register(policies: typer.Typer) -> None:
    """Add the commands."""
    policies.command("explain")(explain)
    policies.command("diff")(diff)


def explain(
    path: Annotated[Path, typer.Argument(help="A policy file.")],
    labels: Annotated[str, typer.Option(help="name=value, … of the alert.")],
    annotations: Annotated[str, typer.Option(help="name=value, … of the alert.")] = "",
    at: Annotated[str, typer.Option(help="When it opens, as 2026-11-21T09:00Z; now.")] = "",
    as_json: Json = False,
) -> None:
    """Say what an alert would be, rule by rule, and who would be told when."""
    policy = load_policy(path)
    held, noted = _pairs(labels), _pairs(annotations)
    found = classify(policy, held, noted)
    opened_at = _instant(at)
    state = _opened(policy, held, found, opened_at)
    due = [one for one in deadlines(state, policy) if one.due_at >= opened_at]
    if as_json:
        print_json(_document(policy, held, found, state, due))
        return
    rules = Table("rule", "why", title=f"{policy.system}: {found.title}")
    for rule, why in found.considered:
        rules.add_row(rule, why, style="dim")
    rules.add_row(found.rule, f"fits: {found.reason}", style="bold green")
    console.print(rules)
    severity = policy.severity(found.severity)
    definition = severity.definition if severity is not None else ""
    console.print(f"severity [bold]{found.severity}[/bold]: {definition}")
    for name, value in (
        ("service", found.service),
        ("affects", ", ".join(found.components)),
        ("customer-facing", "yes" if found.customer_facing else ""),
        ("playbook", found.playbook),
        ("group", group_key(policy, held)),
        ("came close", "; ".join(found.near_misses)),
    ):
        if value:
            console.print(f"{name}: {value}", markup=False)
    times = Table("after", "at", "what", "who", title="if nobody answers")
    for one in due:
        times.add_row(
            format_duration(one.due_at - opened_at),
            f"{one.due_at:%a %Y-%m-%d %H:%M} UTC",
            _what(one),
            ", ".join(_people(policy, state, one)),
        )
    console.print(times)


def diff(
    old: Annotated[Path, typer.Argument(help="A policy file.")],
    new: Annotated[Path, typer.Argument(help="Another.")],
    as_json: Json = False,
) -> None:
    """Say what changes from one policy to the other, in words."""
    found = differences(load_policy(old), load_policy(new))
    if as_json:
        rows = [{"part": one.part, "what": one.what, "change": one.change} for one in found]
        print_json(rows)
        return
    if not found:
        console.print("no difference")
        return
    table = Table("part", "what", "change")
    part = ""
    for one in found:
        table.add_row("" if one.part == part else one.part, one.what, one.change)
        part = one.part
    console.print(table)


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = one.partition("=")
        if not equals:
            raise ValueError(f"{one!r} is no name=value")
        pairs[name.strip()] = value.strip().strip('"')
    return pairs


def _instant(text: str) -> datetime:
    if not text:
        return SystemClock().now()
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _opened(
    policy: Policy, labels: dict[str, str], found: Classification, at: datetime
) -> IncidentState:
    """The incident such an alert would open: what is due of it is what would be due."""
    group = group_key(policy, labels)
    incident = incident_id(policy.system, group, "explained")
    fact = Opened(
        system=policy.system,
        title=found.title,
        severity=found.severity,
        rule=found.rule,
        reason=found.reason,
        group_key=group,
        service=found.service,
        playbook=found.playbook,
        customer_facing=found.customer_facing,
        components=found.components,
        near_misses=found.near_misses,
        urgent=found.urgent,
    )
    event = Event(
        id=event_id(fact.TYPE, incident),
        source="tocsin/cli",
        subject=incident,
        key=policy.system,
        occurred_at=at,
        fact=fact,
    )
    state = fold(None, event).state
    if state is None:
        raise ValueError("an incident that opens has a state")
    return state


def _what(one: Deadline) -> str:
    if one.level is None:
        return one.kind.replace("_", " ")
    held = f", held {format_duration(one.waited)} for office hours" if one.waited else ""
    return f"level {one.level.number}{held}"


def _people(policy: Policy, state: IncidentState, one: Deadline) -> Iterator[str]:
    if one.level is None:
        return
    conditions = {"customer_facing": "true" if state.customer_facing else "false"}
    for target in resolve_targets(policy, one.level, one.due_at, conditions=conditions):
        yield f"{target.name} ({', '.join(_means(target)) or 'no channel'})"


def _means(target: Target) -> Iterator[str]:
    for channel in target.channels:
        after = target.after.get(channel)
        yield channel if after is None else f"{channel} after {format_duration(after)}"


def _document(
    policy: Policy,
    labels: dict[str, str],
    found: Classification,
    state: IncidentState,
    due: list[Deadline],
) -> dict[str, Any]:
    return {
        "system": policy.system,
        "severity": found.severity,
        "rule": found.rule,
        "reason": found.reason,
        "considered": [{"rule": rule, "why": why} for rule, why in found.considered],
        "near_misses": list(found.near_misses),
        "service": found.service,
        "components": list(found.components),
        "customer_facing": found.customer_facing,
        "playbook": found.playbook,
        "group_key": group_key(policy, labels),
        "due": [
            {
                "at": one.due_at.isoformat(),
                "what": _what(one),
                "who": list(_people(policy, state, one)),
            }
            for one in due
        ],
    }
