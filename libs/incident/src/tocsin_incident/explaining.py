"""`explain`: why an incident is as it is, in sentences, from its state alone."""

from __future__ import annotations

from datetime import timedelta

from tocsin_incident.state import IncidentState, Level, Notification, NotificationStatus, Status


def explain(state: IncidentState) -> tuple[str, ...]:
    """What decided, who was told, who answered, what is pending: one sentence each."""
    lines = [
        _severity(state),
        f"{state.firing} of {len(state.alerts)} alerts still fire.",
    ]
    if state.severity != state.opened_severity:
        lines.append(f"It opened as {state.opened_severity}.")
    lines.extend(_level(level) for level in state.levels)
    lines.append(_answer(state))
    if state.handed_to is not None:
        lines.append(f"It was handed over to {state.handed_to}.")
    if state.muted_until is not None:
        who = state.muted_by.name if state.muted_by else "someone"
        lines.append(f"{who} muted it: nobody is paged until {state.muted_until:%H:%M:%S}.")
    left = [n for n in state.notifications.values() if _left_in_doubt(n)]
    unsettled = [n for n in state.notifications.values() if not n.status.settled and n not in left]
    failed = [n for n in state.notifications.values() if n.status is NotificationStatus.FAILED]
    if unsettled:
        lines.append(f"{len(unsettled)} notifications are not settled yet.")
    lines.extend(
        f"{n.channel} for {n.target.name if n.target else 'everyone'} failed: {n.reason}."
        for n in failed
    )
    lines.extend(
        f"Whether {n.purpose} by {n.channel} arrived is not known, and it is not sent again."
        for n in left
    )
    lines.extend(
        f"Response target of {duration(missed.target)} for {missed.severity} was missed."
        for missed in state.missed
    )
    return tuple(lines)


def _left_in_doubt(held: Notification) -> bool:
    return held.status is NotificationStatus.IN_DOUBT and held.retry_at is None


def _level(level: Level) -> str:
    names = ", ".join(f"{target.name} ({target.role})" for target in level.targets) or "nobody"
    skipped = f", after skipping {', '.join(map(str, level.skipped))}" if level.skipped else ""
    late = level.reached_at - level.due_at
    early = f", early: {level.reason.replace('_', ' ')}" if level.reason else ""
    asked = f", asked for by {level.by.name}" if level.by is not None else ""
    when = f"{duration(late)} after it was due" if late >= _SAME_TIME else "when it was due"
    return f"Level {level.level} told {names}, {when}{skipped}{early}{asked}."


_SAME_TIME = timedelta(seconds=1)
"""A level told sooner after it was due is told when it was due, for people."""


def _severity(state: IncidentState) -> str:
    rule = f"rule {state.rule!r}"
    because = state.reason if state.reason.startswith(rule) else f"{rule}: {state.reason}"
    return f"{state.severity} by {because}."


def _answer(state: IncidentState) -> str:
    match state.status:
        case Status.MUTED:
            return "It only keeps alerts that nobody is to hear of."
        case Status.OPEN if state.quiet:
            return "Everything that fires in it is muted; nobody is asked for."
        case Status.OPEN:
            return "Nobody has acknowledged it."
        case Status.ACKNOWLEDGED | Status.MITIGATED:
            name = state.acknowledged_by.name if state.acknowledged_by else "someone"
            return f"{name} acknowledged it; the escalation stands still."
        case Status.MERGED:
            return f"It goes on as {state.merged_into}."
        case Status.RESOLVED | Status.REVIEWED | Status.CLOSED:
            who = state.resolved_by.name if state.resolved_by else "its alerts"
            return f"Resolved by {who}: {state.resolution or 'no reason given'}."


_TENTHS_BELOW = 10.0


def duration(length: timedelta | None) -> str:
    """A duration as people say it: `1 h 04 min`, `3 min 20 s`, `0.4 s`.

    >>> duration(timedelta(minutes=3, seconds=20))
    '3 min 20 s'
    """
    if length is None:
        return "never"
    seconds = length.total_seconds()
    if seconds < 0:
        return f"-{duration(-length)}"
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {left:02} s" if left else f"{minutes} min"
    return f"{left} s"
