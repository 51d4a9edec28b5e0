"""What people read: the policy's templates, filled from the state."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from notifier.domain.wanted import Wanted
from tocsin_contracts.incidents import Message, Purpose
from tocsin_incident import IncidentState
from tocsin_incident.state import Step, StepStatus
from tocsin_policy import Policy, format_duration, render, review_due

_MOST_ALERTS = 10


def message_for(state: IncidentState, policy: Policy, want: Wanted, now: datetime) -> Message:
    """The message a template of the policy, or the default of that name, makes."""
    return render(policy, str(want.purpose), _variables(state, policy, want, now))


def _variables(state: IncidentState, policy: Policy, want: Wanted, now: datetime) -> dict[str, Any]:
    severity = policy.severity(state.severity)
    cadence = severity.updates if severity is not None else None
    playbook = policy.playbooks.get(state.playbook or "")
    variables: dict[str, Any] = {
        "incident": state.incident,
        "system": state.system,
        "severity": state.severity,
        "definition": severity.definition if severity is not None else "",
        "title": ("[DRILL] " if state.drill else "") + state.title,
        "service": state.service or "",
        "rule": state.rule,
        "reason": _reason(state, want),
        "playbook": playbook.title if playbook is not None else "",
        "opened_at": _shown(state.opened_at),
        "now": _shown(now),
        "status": str(state.status),
        "level": want.level.level if want.level else "",
        "target": want.target.name if want.target else "",
        "role": want.target.role if want.target else "",
        "via": want.target.via if want.target else "",
        "by": _by(state, want.purpose),
        "text": state.resolution if want.purpose is Purpose.RESOLVED else state.update_text,
        "duration": _duration((state.resolved_at or now) - state.opened_at),
        "updates_every": format_duration(cadence.every) if cadence is not None else "",
        "next_update": "",
        "alerts": [
            {
                "name": held.alert.name,
                "labels": held.alert.labels,
                "annotations": held.alert.annotations,
            }
            for held in list(state.alerts.values())[:_MOST_ALERTS]
        ],
    }
    if cadence is not None and state.status.live:
        variables["next_update"] = _shown((state.updated_at or now) + cadence.every)
    if severity is not None and state.resolved_at is not None:
        due_at = review_due(policy, severity, state.resolved_at)
        variables["review_due"] = "" if due_at is None else _shown(due_at)
    return variables | _waiting_step(state, want)


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


def _reason(state: IncidentState, want: Wanted) -> str:
    if want.purpose is Purpose.REMINDER:
        return f"{want.about} is overdue"
    return state.reason


def _by(state: IncidentState, purpose: Purpose) -> str:
    person = state.resolved_by if purpose is Purpose.RESOLVED else state.acknowledged_by
    return person.name if person is not None else ""


def _shown(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(duration: timedelta) -> str:
    return format_duration(timedelta(seconds=int(duration.total_seconds())))
