"""What became of an incident against what was promised: targets, pages, levels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby

from pydantic import BaseModel, ConfigDict
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from tocsin_contracts.event import Person
from tocsin_contracts.incidents import (
    NotificationAttempted,
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    NotificationSuperseded,
    Purpose,
)
from tocsin_incident import IncidentState
from tocsin_incident.state import Level, Notification
from tocsin_policy import Policy
from tocsin_replay.reading import Recorded, state_of, steps
from tocsin_replay.targets import ResponseTarget, response_targets
from tocsin_replay.telling import Entry
from tocsin_replay.wording import duration, named, some, words


class Part(BaseModel):
    """A frozen part of a report."""

    model_config = ConfigDict(frozen=True)


class Paged(Part):
    """One page to one person over one channel."""

    generation: int
    level: int
    contact: str
    name: str
    role: str
    why: str
    channel: str
    requested_at: datetime
    due_at: datetime
    sent_at: datetime | None
    settled_at: datetime | None
    status: str
    attempts: int
    reason: str = ""
    notification: str = ""


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
    response_targets: tuple[ResponseTarget, ...]
    pages: tuple[Paged, ...]


def report(recorded: Sequence[Recorded], policy: Policy | None) -> Report:
    """The report of one incident, from its facts.

    Args:
        policy: What was promised; without it only the misses that the log holds are known.

    Raises:
        LookupError: The facts open no incident.
    """
    state = state_of(recorded)
    if state is None:
        raise LookupError("the log does not know this incident")
    acknowledged = state.first_acknowledged_at
    first = named(_first_to_acknowledge(recorded), policy)
    return Report(
        incident=state.incident,
        title=state.title,
        severity=state.severity,
        status=str(state.status),
        opened_at=state.opened_at,
        acknowledged_by=first,
        time_to_acknowledge=None if acknowledged is None else acknowledged - state.opened_at,
        resolved_by=named(state.resolved_by, policy),
        time_to_resolve=None if state.resolved_at is None else state.resolved_at - state.opened_at,
        response_targets=response_targets(recorded, policy),
        pages=pages_of(state),
    )


def _first_to_acknowledge(recorded: Sequence[Recorded]) -> Person | None:
    for step in steps(recorded):
        if step.after is not None and step.after.acknowledged_by is not None:
            return step.after.acknowledged_by
    return None


def pages_of(state: IncidentState) -> tuple[Paged, ...]:
    """Every page of an incident, in the order in which they were requested."""
    pages = []
    for page in state.notifications.values():
        if page.purpose is not Purpose.PAGE or page.target is None:
            continue
        level = _level(state, page)
        pages.append(
            Paged(
                generation=page.generation,
                level=page.level or 0,
                contact=page.target.contact,
                name=page.target.name,
                role=page.target.role,
                why=page.target.via,
                channel=page.channel,
                requested_at=page.requested_at,
                due_at=level.due_at if level is not None else page.requested_at,
                sent_at=_sent_at(page),
                settled_at=page.settled_at,
                status=str(page.status),
                attempts=page.attempts,
                reason=page.reason,
                notification=page.notification,
            )
        )
    return tuple(pages)


def _level(state: IncidentState, page: Notification) -> Level | None:
    """The time a level was told that asked for this page; a level may be told again."""
    told = [
        level
        for level in state.levels
        if (level.generation, level.level) == (page.generation, page.level)
    ]
    before = [level for level in told if level.reached_at <= page.requested_at]
    return next(reversed(before), told[0] if told else None)


def _sent_at(page: Notification) -> datetime | None:
    return page.settled_at if page.status == "delivered" else None


def render_report(found: Report) -> Group:
    """The report for a terminal."""
    head = Text.assemble(
        (f"{found.severity} {found.title}", "bold"),
        f"\nacknowledged by {found.acknowledged_by or 'nobody'}"
        f" after {duration(found.time_to_acknowledge)},"
        f" resolved by {found.resolved_by or 'nobody'} after {duration(found.time_to_resolve)}",
        *(_verdict(target) for target in found.response_targets),
        "\n",
    )
    if not found.pages:
        return Group(head, Text("Nobody was paged."))
    table = Table(title="Who was paged, when, why", title_justify="left", box=None, pad_edge=False)
    table.add_column("level", no_wrap=True)
    table.add_column("who, because of", overflow="fold", ratio=4)
    table.add_column("channel", overflow="fold", ratio=2)
    table.add_column("due", no_wrap=True)
    table.add_column("outcome", overflow="fold", ratio=3)
    for page in found.pages:
        sent = "" if page.sent_at is None else f" at {_shown_at(page.sent_at)}"
        table.add_row(
            str(page.level) + (f" ({page.generation})" if page.generation > 1 else ""),
            Text(f"{page.name}, {page.role} ({page.why})"),
            Text(page.channel),
            _shown_at(page.due_at),
            Text(f"{page.status}{sent}{_tries(page)}", _OUTCOMES.get(page.status, "yellow")),
        )
    return Group(head, table)


_OUTCOMES = {"delivered": "green", "failed": "red", "superseded": "dim"}


_VERDICTS = {
    True: ("met", "green"),
    False: ("missed", "red"),
    None: ("none set, or nobody answered yet", "yellow"),
}


def _verdict(target: ResponseTarget) -> Text:
    word, colour = _VERDICTS[target.met]
    again = "" if target.generation == 1 else f" (generation {target.generation})"
    return Text.assemble(
        f"\nresponse target of {duration(target.target)} for {target.severity}{again}: ",
        (word, colour),
        f", answered after {duration(target.took)}" if target.took is not None else "",
    )


def report_markdown(found: Report) -> str:
    """The report as Markdown, to stand above a timeline."""
    lines = [
        f"# {found.severity}: {found.title}",
        "",
        (
            f"`{found.incident}`, {found.status}. "
            f"Acknowledged by {found.acknowledged_by or 'nobody'}"
            f" after {duration(found.time_to_acknowledge)},"
            f" resolved by {found.resolved_by or 'nobody'} after {duration(found.time_to_resolve)}."
        ),
        "",
        *(f"- {_verdict(target).plain.strip()}" for target in found.response_targets),
        "",
        "| Level | Who | Why | Channel | Due | Delivered | Outcome |",
        "|---|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| {page.level} | {_cell(f'{page.name}, {page.role}')} | {_cell(page.why)} "
        f"| {page.channel} | {_shown_at(page.due_at)} | {_shown_at(page.sent_at)} "
        f"| {_cell(_outcome(page))} |"
        for page in found.pages
    )
    return "\n".join(lines) + "\n"


def _outcome(page: Paged) -> str:
    return f"{page.status}{_tries(page)}"


def _tries(page: Paged) -> str:
    attempts = f" after {page.attempts} attempts" if page.attempts > 1 else ""
    reason = f": {words(page.reason)}" if page.reason else ""
    return f"{attempts}{reason}"


def _shown_at(instant: datetime | None) -> str:
    return "-" if instant is None else instant.strftime("%H:%M:%S")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


WORTH_A_GAP = timedelta(minutes=1)
"""A time without any fact that is so long is told in a line of its own."""

_COLOURS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.(opened|reopened|level_reached|severity_raised)\."), "bold red"),
    (re.compile(r"_(failed|missed|overdue|in_doubt|expired)\.|\.review_due\."), "yellow"),
    (re.compile(r"\.notification_(requested|attempted|superseded)\."), "dim"),
    (re.compile(r"\.notification_"), ""),
    (re.compile(r"\.(acknowledged|mitigated|resolved|auto_resolved|reviewed|closed)\."), "green"),
    (re.compile(r"\.remediation_"), "cyan"),
    (re.compile(r"\.alerts_"), "magenta"),
    (re.compile(r""), ""),
)
"""Which kind of fact has which colour: the first that fits. The words say the same."""


def _colour(entry: Entry) -> str:
    if entry.ignored is not None:
        return "dim"
    return next(colour for kinds, colour in _COLOURS if kinds.search(entry.type))


def timeline_table(entries: Sequence[Entry]) -> Table:
    """The timeline for a terminal: days and long gaps in lines of their own, facts in colours.

    What had no effect is dimmed, and so is what only led to a message.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("time (UTC)", no_wrap=True)
    for column, ratio in (("what, who", 5), ("why", 4)):
        table.add_column(column, overflow="fold", ratio=ratio)
    before: datetime | None = None
    for day, told in groupby(entries, key=lambda entry: entry.at.date()):
        table.add_row(Text(day.isoformat(), "bold"))
        for entry in told:
            gap = timedelta(0) if before is None else entry.at - before
            if gap >= WORTH_A_GAP:
                table.add_row(Text("…", "dim"), Text(f"{duration(gap)} later", "dim italic"))
            before = entry.at
            # What alerts and people wrote is text, not markup.
            what = Text.assemble(entry.what, (f" · {entry.who}" if entry.who else "", "italic"))
            at = Text(f"{entry.at:%H:%M:%S.%f}"[:-3])
            table.add_row(at, what, Text(entry.why), style=_colour(entry))
    return table


_TO_AND_FRO = frozenset(
    {NotificationRequested.TYPE, NotificationAttempted.TYPE, NotificationSuperseded.TYPE}
)


def briefly(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What had an effect, without the to and fro of messages: each page's outcome is told once.

    Of messages that are no pages only those that failed are told; of a message that was tried
    again the first attempt that failed, and how many more did.
    """
    tries: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.type == NotificationFailed.TYPE and entry.ignored is None:
            tries.setdefault(entry.about, []).append(entry)
    told = []
    for entry in entries:
        if entry.ignored is not None or entry.type in _TO_AND_FRO or _is_news(entry):
            continue
        if entry.type != NotificationFailed.TYPE:
            told.append(entry)
            continue
        failed = tries[entry.about]
        if entry is not failed[0]:
            continue
        more = ""
        if len(failed) > 1:
            more = f"; and {some(len(failed) - 1, 'attempt')} more until {failed[-1].at:%H:%M:%S}"
        told.append(entry.model_copy(update={"why": entry.why + more}))
    return tuple(told)


def _is_news(entry: Entry) -> bool:
    delivered = entry.type == NotificationDelivered.TYPE
    return delivered and not entry.what.startswith("delivered page by")


def timeline_markdown(entries: Sequence[Entry]) -> str:
    """The timeline as a Markdown table."""
    rows = ["| Time (UTC) | What | Who | Why |", "|---|---|---|---|"]
    rows.extend(
        f"| {entry.at:%Y-%m-%d %H:%M:%S} | {_cell(entry.what)} | {_cell(entry.who)} "
        f"| {_cell(entry.why)} |"
        for entry in entries
    )
    return "\n".join(rows) + "\n"


def render_table(console: Console, entries: Sequence[Entry], found: Report) -> None:
    """Print the timeline and the report below it."""
    console.print(timeline_table(entries))
    console.print(render_report(found))
