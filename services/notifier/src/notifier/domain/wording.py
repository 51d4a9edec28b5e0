"""What people read: the policy's templates, filled from the state."""

from __future__ import annotations

from typing import Any

from notifier.domain.wanted import Wanted
from tocsin_contracts.incidents import Message
from tocsin_incident import IncidentState
from tocsin_policy import Policy, Template, TemplateFailed, levels_for, render_text

_MOST_ALERTS = 10
_MOST_SUBJECT = 500

_DEFAULTS = {
    "page": Template(
        subject="[{{ severity }}] {{ title }}",
        body="{{ incident }} opened {{ opened_at }}: {{ reason }}. Level {{ level }}.",
    ),
    "acknowledged": Template(
        subject="[{{ severity }}] {{ title }}: {{ by }} has it",
        body="{{ incident }} was acknowledged by {{ by }}.",
    ),
    "resolved": Template(
        subject="[{{ severity }}] {{ title }}: resolved",
        body="{{ incident }} is resolved after {{ duration }}. {{ text }}",
    ),
    "update": Template(
        subject="[{{ severity }}] {{ title }}: update", body="{{ incident }}: {{ text }}"
    ),
    "reminder": Template(
        subject="[{{ severity }}] {{ title }}: {{ about }} is overdue",
        body="{{ incident }}: {{ about }} is overdue.",
    ),
    "approval": Template(
        subject="[{{ severity }}] {{ title }}: steps wait for approval",
        body="{{ incident }}: {{ text }}",
    ),
}


def message_for(state: IncidentState, policy: Policy, want: Wanted) -> Message:
    """The message; a template that fails gives way to the plain one, never to silence."""
    name = str(want.purpose)
    variables = _variables(state, policy, want)
    template = policy.templates.get(name, _DEFAULTS[name])
    try:
        return _render(template, variables)
    except TemplateFailed:
        return _render(_DEFAULTS[name], variables)


def _render(template: Template, variables: dict[str, Any]) -> Message:
    subject = " ".join(render_text(template.subject, variables).split())
    return Message(
        subject=subject[:_MOST_SUBJECT], body=render_text(template.body, variables).strip()
    )


def _variables(state: IncidentState, policy: Policy, want: Wanted) -> dict[str, Any]:
    level = want.level
    others = [t.name for t in level.targets if t != want.target] if level else []
    return {
        "incident": state.incident,
        "system": state.system,
        "severity": state.severity,
        "title": ("[DRILL] " if state.drill else "") + state.title,
        "service": state.service or "",
        "rule": state.rule,
        "reason": state.reason,
        "opened_at": state.opened_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "status": str(state.status),
        "level": level.level if level else "",
        "target": want.target.name if want.target else "",
        "also_told": ", ".join(others),
        "next_level": _next_level(state, policy, want),
        "alerts": [
            held.alert.annotations.get("summary") or held.alert.name
            for held in list(state.alerts.values())[:_MOST_ALERTS]
        ],
        "firing": state.firing,
        "by": _by(state),
        "text": _text(state, want),
        "about": want.about,
        "status_page": policy.communication.status_page,
        "duration": _duration(state),
        "drill": state.drill,
    }


def _by(state: IncidentState) -> str:
    person = state.acknowledged_by or state.resolved_by
    return person.name if person is not None else ""


def _text(state: IncidentState, want: Wanted) -> str:
    remediation = state.remediations.get(want.about)
    if remediation is not None:
        waiting = [
            f"{step.proposed.title}: {step.proposed.call} ({step.proposed.risk})"
            for step in remediation.steps
            if step.proposed.approval in {"one", "two"}
        ]
        return "; ".join(waiting)
    return state.resolution if state.resolved_at is not None else state.update_text


def _duration(state: IncidentState) -> str:
    if state.resolved_at is None:
        return ""
    return str(state.resolved_at - state.opened_at).partition(".")[0]


def _next_level(state: IncidentState, policy: Policy, want: Wanted) -> str:
    if want.level is None:
        return ""
    for level in levels_for(policy, state.severity):
        if level.number > want.level.level:
            due_at = state.escalation_from + level.after
            return f"level {level.number} at {due_at.strftime('%H:%M:%S UTC')}"
    return "none"
