"""What an audit says: what is wrong, what is still on its way, and how much was looked at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tocsin_runtime.records import Position

GRACE = timedelta(minutes=2)
"""How long a record may be on its way before it counts as lost."""

LATENESS = timedelta(minutes=5)
"""How late a level may be: levels wait while Kafka or a service is away, and are caught up once."""

MOST_NAMED = 1_000
"""Findings of one kind that are named at most; beyond that they are only counted."""


class FindingKind(StrEnum):
    """What is wrong. Each has a test that removes a fact and sees it named."""

    ACCEPTED_AND_LOST = "accepted_and_lost"
    ALERTS_MISSING = "alerts_missing"
    ANSWER_LOST = "answer_lost"
    UNREADABLE = "unreadable"
    NO_DISPOSITION = "no_disposition"
    DISPOSED_OTHERWISE = "disposed_otherwise"
    DISPOSED_TWICE = "disposed_twice"
    UNKNOWN_INCIDENT = "unknown_incident"
    NOT_ESCALATED = "not_escalated"
    NOBODY_PAGED = "nobody_paged"
    NO_OUTCOME = "no_outcome"


MEANINGS: dict[FindingKind, str] = {
    FindingKind.ACCEPTED_AND_LOST: "accepted, and became no observation and no dead letter",
    FindingKind.ALERTS_MISSING: "held more alerts than observations were made of it",
    FindingKind.ANSWER_LOST: "a person's answer that no incident has",
    FindingKind.UNREADABLE: "stands in the log, is no fact of ours, and no dead letter says so",
    FindingKind.NO_DISPOSITION: "was seen, and nothing says what became of it",
    FindingKind.DISPOSED_OTHERWISE: "its dispositions are not of its observations, each once",
    FindingKind.DISPOSED_TWICE: "was disposed of by two facts",
    FindingKind.UNKNOWN_INCIDENT: "is said to be in an incident that the log does not have",
    FindingKind.NOT_ESCALATED: "a level was due, nobody had answered, and it was not reached",
    FindingKind.NOBODY_PAGED: "a level was reached, and this person was not told",
    FindingKind.NO_OUTCOME: "a page that neither arrived nor failed nor was called off",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Finding(_Part):
    """One thing that is wrong.

    Attributes:
        subject: The observation, incident or record it is about.
        at: When what is missing should have been, or when what is wrong was recorded.
        position: The record it was found by, as `topic-partition-offset`.
    """

    kind: FindingKind
    subject: str
    detail: str
    at: datetime
    position: str = ""


class InFlight(_Part):
    """Something younger than the grace, which may yet arrive: named, not counted as lost."""

    what: str
    subject: str
    since: datetime


class Audited(_Part):
    """What an audit found.

    Attributes:
        since: From when on records were judged; later than what was asked for where the log no
            longer holds what followed from older ones.
        until: The end of the range: now, or the last record of a recording; absent where there
            is none.
        partial: The recording holds only what one incident rests on.
        counts: How much was looked at.
        outcomes: Dispositions by outcome.
        found: Findings by kind, including those beyond `MOST_NAMED`.
    """

    since: datetime | None
    until: datetime | None
    partial: bool
    counts: dict[str, int]
    outcomes: dict[str, int]
    found: dict[str, int]
    findings: tuple[Finding, ...]
    in_flight: tuple[InFlight, ...]
    on_their_way: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.found


class Findings:
    """Gathers findings, of each kind at most `MOST_NAMED` by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.on_their_way = 0
        self._named: list[Finding] = []
        self._in_flight: list[InFlight] = []

    def wrong(
        self,
        kind: FindingKind,
        subject: str,
        detail: str,
        at: datetime,
        position: Position | None = None,
    ) -> None:
        """Take in one thing that is wrong."""
        self.found[kind] += 1
        if self.found[kind] <= MOST_NAMED:
            where = "" if position is None else place(position)
            self._named.append(
                Finding(kind=kind, subject=subject, detail=detail, at=at, position=where)
            )

    def on_its_way(self, what: str, subject: str, since: datetime) -> None:
        """Take in something that may yet arrive."""
        self.on_their_way += 1
        if self.on_their_way <= MOST_NAMED:
            self._in_flight.append(InFlight(what=what, subject=subject, since=since))

    def named(self) -> tuple[Finding, ...]:
        """What is wrong, by kind and time."""
        order = {kind: number for number, kind in enumerate(FindingKind)}
        return tuple(sorted(self._named, key=lambda one: (order[one.kind], one.at, one.subject)))

    def in_flight(self) -> tuple[InFlight, ...]:
        """What is on its way, oldest first."""
        return tuple(sorted(self._in_flight, key=lambda one: (one.since, one.subject)))


def place(position: Position) -> str:
    """A position as people and dead letters write it.

    >>> place(Position("alerts.raw", 3, 1042))
    'alerts.raw-3-1042'
    """
    return "-".join(map(str, position))


def audit_table(audited: Audited, most: int = 20) -> Group:
    """An audit for people: what was looked at, and a table of findings by kind with their ids.

    Args:
        most: Findings of one kind that are shown.
    """
    return Group(*_parts(audited, most))


def _counted(count: int, what: str) -> str:
    """How many of what: one of `answers without effect` is an answer without effect."""
    return f"{count:,} {_PLURAL.sub('', what, count=1) if count == 1 else what}"


_PLURAL = re.compile(r"(?<=\w)s\b")


def _parts(audited: Audited, most: int) -> Iterator[Table | Text]:
    looked = ", ".join(_counted(count, what) for what, count in audited.counts.items())
    since = "the beginning" if audited.since is None else f"{audited.since:%Y-%m-%d %H:%M:%S}"
    until = "nothing" if audited.until is None else f"{audited.until:%Y-%m-%d %H:%M:%S} UTC"
    yield Text(f"from {since} to {until}: {looked or 'an empty log'}")
    if audited.partial:
        yield Text("a part of a log: how many alerts a delivery held is not judged", style="dim")
    if audited.outcomes:
        said = ", ".join(f"{count:,} {name}" for name, count in sorted(audited.outcomes.items()))
        yield Text(f"dispositions: {said}")
    if audited.on_their_way:
        table = Table("on its way", "id", "since (UTC)", box=None)
        for late in audited.in_flight[:most]:
            table.add_row(late.what, late.subject, f"{late.since:%Y-%m-%d %H:%M:%S}")
        yield table
        yield from _rest(audited.on_their_way, most)
    if audited.holds:
        yield Text("everything is accounted for", style="green")
        return
    table = Table("finding", "id", "when (UTC)", "where", "what", box=None)
    for kind in FindingKind:
        named = [one for one in audited.findings if one.kind is kind]
        for one in named[:most]:
            when = f"{one.at:%Y-%m-%d %H:%M:%S}"
            table.add_row(Text(kind, style="red"), one.subject, when, one.position, one.detail)
    yield table
    for kind in FindingKind:
        count = audited.found.get(kind, 0)
        if count:
            yield Text(f"{count:,} {kind}: {MEANINGS[kind]}", style="red")


def _rest(count: int, most: int) -> Iterator[Text]:
    if count > most:
        yield Text(f"and {count - most:,} more", style="dim")
