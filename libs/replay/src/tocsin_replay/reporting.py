"""What became of an incident against what was promised: targets, pages, levels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification
from tocsin_policy import Policy
from tocsin_replay.reading import Recorded, state_of
from tocsin_replay.telling import Entry


class Part(BaseModel):
    """A frozen part of a report."""

    model_config = ConfigDict(frozen=True)


class ResponseTarget(Part):
    """The severity's response time, and how long the first acknowledgement took."""

    severity: str
    target: timedelta | None
    took: timedelta | None
    met: bool | None


class Paged(Part):
    """One page to one person over one channel."""

    level: int
    name: str
    role: str
    why: str
    channel: str
    due_at: datetime
    sent_at: datetime | None
    status: str
    attempts: int
    reason: str = ""


class Report(Part):
    """An incident against what its policy promised."""

    incident: str
    title: str
    severity: str
    status: str
    opened_at: datetime
    acknowledged_by: str | None
    time_to_acknowledge: timedelta | None
    resolved_by: str | None
    time_to_resolve: timedelta | None
    response_target: ResponseTarget
    pages: tuple[Paged, ...]


def report(recorded: Sequence[Recorded], policy: Policy) -> Report:
    """The report of one incident, from its facts.

    Raises:
        LookupError: The facts open no incident.
    """
    state = state_of(recorded)
    if state is None:
        raise LookupError("the log does not know this incident")
    acknowledged = state.first_acknowledged_at
    return Report(
        incident=state.incident,
        title=state.title,
        severity=state.severity,
        status=str(state.status),
        opened_at=state.opened_at,
        acknowledged_by=state.acknowledged_by.name if state.acknowledged_by else None,
        time_to_acknowledge=None if acknowledged is None else acknowledged - state.opened_at,
        resolved_by=state.resolved_by.name if state.resolved_by else None,
        time_to_resolve=None if state.resolved_at is None else state.resolved_at - state.opened_at,
        response_target=_target(state, policy),
        pages=tuple(_paged(state)),
    )


def _target(state: IncidentState, policy: Policy) -> ResponseTarget:
    severity = policy.severity(state.severity)
    target = severity.response_target if severity is not None else None
    acknowledged = state.first_acknowledged_at
    took = None if acknowledged is None else acknowledged - state.opened_at
    met: bool | None = None
    if target is not None:
        if state.missed:
            met = False
        elif took is not None:
            met = took <= target
    return ResponseTarget(severity=state.severity, target=target, took=took, met=met)


def _paged(state: IncidentState) -> list[Paged]:
    levels = {(level.generation, level.level): level for level in state.levels}
    pages = []
    for page in state.notifications.values():
        if page.purpose is not Purpose.PAGE or page.target is None:
            continue
        level = levels.get((page.generation, page.level or 0))
        pages.append(
            Paged(
                level=page.level or 0,
                name=page.target.name,
                role=page.target.role,
                why=page.target.via,
                channel=page.channel,
                due_at=level.due_at if level is not None else page.requested_at,
                sent_at=_sent_at(page),
                status=str(page.status),
                attempts=page.attempts,
                reason=page.reason,
            )
        )
    return pages


def _sent_at(page: Notification) -> datetime | None:
    return page.settled_at if page.status == "delivered" else None


def _shown(duration: timedelta | None) -> str:
    return "-" if duration is None else f"{duration.total_seconds():.1f} s"


def render_report(found: Report) -> Group:
    """The report for a terminal."""
    target = found.response_target
    verdict = {True: "met", False: "missed", None: "none set, or not answered yet"}[target.met]
    colour = {True: "green", False: "red", None: "yellow"}[target.met]
    head = Text.assemble(
        (f"{found.severity} {found.title}", "bold"),
        f"\nacknowledged by {found.acknowledged_by or 'nobody'}"
        f" after {_shown(found.time_to_acknowledge)},"
        f" resolved by {found.resolved_by or 'nobody'} after {_shown(found.time_to_resolve)}\n",
        f"response target of {_shown(target.target)}: ",
        (verdict, colour),
    )
    table = Table(title="Who was paged, when, why", title_justify="left")
    for column in ("level", "who", "why", "channel", "due", "delivered", "outcome"):
        table.add_column(column)
    for page in found.pages:
        good = page.status == "delivered"
        table.add_row(
            str(page.level),
            f"{page.name}, {page.role}",
            page.why,
            page.channel,
            page.due_at.strftime("%H:%M:%S"),
            page.sent_at.strftime("%H:%M:%S") if page.sent_at else "-",
            Text(page.status, "green" if good else "red"),
        )
    return Group(head, table)


def timeline_table(entries: Sequence[Entry]) -> Table:
    """The timeline for a terminal; what had no effect is dimmed."""
    table = Table(box=None, pad_edge=False)
    for column in ("time (UTC)", "what", "who", "why"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        style = "dim" if entry.ignored is not None else ""
        when = entry.at.strftime("%H:%M:%S.%f")[:-3]
        table.add_row(when, entry.what, entry.who, entry.why, style=style)
    return table


def timeline_markdown(entries: Sequence[Entry]) -> str:
    """The timeline as a Markdown table."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    rows = ["| Time (UTC) | What | Who | Why |", "|---|---|---|---|"]
    rows.extend(
        f"| {entry.at:%Y-%m-%d %H:%M:%S} | {cell(entry.what)} | {cell(entry.who)} "
        f"| {cell(entry.why)} |"
        for entry in entries
    )
    return "\n".join(rows) + "\n"
