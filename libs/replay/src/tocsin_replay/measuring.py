"""How it went over many incidents: times, promises, noise, nights; and a picture of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import dropwhile
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict
from rich.console import Group as Rendered
from rich.table import Table
from rich.text import Text

from tocsin_contracts.incidents import Opened
from tocsin_policy import Policy
from tocsin_replay.picturing import bars
from tocsin_replay.reading import Progress, Version, by_incident
from tocsin_replay.summing import Summary, summed_up
from tocsin_replay.wording import duration, some
from tocsin_runtime.ports import Reader

NIGHT_BEGINS = time(22)
NIGHT_ENDS = time(7)
"""When somebody who is paged is woken, by the clock on the wall of their schedule."""

FLAPS = 3
"""Episodes of one alert, in the whole range, from which it counts as flapping."""

MOST_ROWS = 10
"""Alerts and people that a table names."""


class Measured(BaseModel):
    """A frozen part of the measures."""

    model_config = ConfigDict(frozen=True)


class Spread(Measured):
    """How long something took, over those incidents in which it happened."""

    count: int
    mean: timedelta
    median: timedelta
    p90: timedelta
    longest: timedelta


class Group(Measured):
    """Incidents that have something in common.

    Attributes:
        by: `all`, `system`, `severity`, `service` or `hour` (UTC, of the opening).
        targets_met: Of `targets_set`, the response targets that were met.
    """

    by: str
    name: str
    incidents: int
    detect: Spread | None
    acknowledge: Spread | None
    mitigate: Spread | None
    resolve: Spread | None
    targets_set: int
    targets_met: int
    updates_promised: int
    updates_kept: int
    pages: int


class Noise(Measured):
    """What disturbed people, and what of it led to nothing.

    Attributes:
        to_nothing: Incidents that paged somebody, in which nobody did anything and that ended
            when their alerts cleared.
        flapping: Alerts, by name and labels, with `FLAPS` episodes or more.
    """

    pages: int
    pages_per_incident: float
    superseded: int
    failed: int
    to_nothing: int
    reopened: int
    alerts: int
    alerts_per_incident: float
    flapping: dict[str, int]


class Person(Measured):
    """What it asked of one person. Several channels of one page are one page."""

    name: str
    pages: int
    night_pages: int
    nights: int


class Worst(Measured):
    """An alert by what it cost."""

    name: str
    incidents: int
    pages: int
    pages_to_nothing: int


class Judged(Measured):
    """What a runbook calls success, and how it was.

    Attributes:
        met: Absent where nothing happened by which to judge.
    """

    system: str
    what: str
    target: str
    measured: str
    met: bool | None


class Measures(Measured):
    """How it went."""

    since: datetime
    until: datetime
    groups: tuple[Group, ...]
    noise: Noise
    people: tuple[Person, ...]
    worst: tuple[Worst, ...]
    success: tuple[Judged, ...] = ()


async def summaries(
    reader: Reader,
    versions: Sequence[Version],
    since: datetime,
    until: datetime,
    progress: Progress | None = None,
) -> tuple[Summary, ...]:
    """What each incident that opened in `[since, until)` came to, drills excepted."""
    found = []
    async for _, recorded in by_incident(reader, progress):
        # What stands before its opening was about something else.
        facts = list(dropwhile(lambda one: not isinstance(one.event.fact, Opened), recorded))
        if facts and since <= facts[0].event.occurred_at < until:
            one = summed_up(facts, versions)
            if one is not None and not one.drill:
                found.append(one)
    return tuple(sorted(found, key=lambda one: (one.opened_at, one.incident)))


def measures(
    incidents: Sequence[Summary],
    policies: Mapping[str, Policy],
    since: datetime,
    until: datetime,
) -> Measures:
    """The measures of these incidents.

    Args:
        policies: By system; they say in which time zone somebody's night is.
    """
    groups = [_group("all", "all", incidents)]
    ranks = {
        (system, name): rank
        for system, policy in policies.items()
        for name, rank in policy.ranks.items()
    }
    for by, key, order in (
        ("system", lambda one: one.system, str),
        ("severity", lambda one: one.worst, lambda name: _rank(ranks, name)),
        ("service", lambda one: one.service or "-", str),
        ("hour", lambda one: f"{one.opened_at:%H}", str),
    ):
        groups.extend(_grouped(by, incidents, key, order))
    return Measures(
        since=since,
        until=until,
        groups=tuple(groups),
        noise=_noise(incidents),
        people=_people(incidents, policies),
        worst=_worst(incidents),
        success=tuple(
            judged
            for system in sorted(policies)
            for judged in _judged(
                policies[system],
                [one for one in incidents if one.system == system],
                until - since,
            )
        ),
    )


def _judged(policy: Policy, incidents: Sequence[Summary], length: timedelta) -> Iterable[Judged]:
    """The success metrics of a policy, each against what was."""
    success = policy.success
    if success is None:
        return

    def mean(what: str, target: timedelta, held: Spread | None) -> Judged:
        return Judged(
            system=policy.system,
            what=what,
            target=f"below {duration(target)}",
            measured="nothing to judge by" if held is None else duration(held.mean),
            met=None if held is None else held.mean < target,
        )

    for severity, target in success.time_to_resolve.items():
        took = (one.time_to_resolve for one in incidents if one.worst == severity)
        yield mean(f"mean time to resolve {severity}", target, spread(took))
    if success.time_to_detect is not None:
        took = (one.time_to_detect for one in incidents)
        yield mean("mean time to detect", success.time_to_detect, spread(took))
    if success.fewer_a_month is not None:
        a_month = len(incidents) * (timedelta(days=30) / length)
        yield Judged(
            system=policy.system,
            what="incidents a month",
            target=f"fewer than {success.fewer_a_month}",
            measured=f"{a_month:.1f}",
            met=a_month < success.fewer_a_month,
        )
    if success.reviewed_within is not None:
        owed = [one for one in incidents if one.review_due_at is not None and one.resolved_at]
        done = [
            one
            for one in owed
            if one.reviewed_at is not None
            and one.resolved_at is not None
            and one.reviewed_at - one.resolved_at <= success.reviewed_within
        ]
        yield Judged(
            system=policy.system,
            what="reviews published",
            target=f"all within {duration(success.reviewed_within)}",
            measured=f"{len(done)} of {len(owed)}" if owed else "nothing to judge by",
            met=len(done) == len(owed) if owed else None,
        )


def _rank(ranks: Mapping[tuple[str, str], int], name: str) -> str:
    places = [rank for (_, severity), rank in ranks.items() if severity == name]
    return f"{min(places, default=99):02}{name}"


def _grouped(
    by: str,
    incidents: Sequence[Summary],
    key: Callable[[Summary], str],
    order: Callable[[str], str],
) -> Iterable[Group]:
    held: dict[str, list[Summary]] = defaultdict(list)
    for one in incidents:
        held[key(one)].append(one)
    for name in sorted(held, key=order):
        yield _group(by, name, held[name])


def _group(by: str, name: str, incidents: Sequence[Summary]) -> Group:
    verdicts = [t.met for one in incidents for t in one.response_targets if t.met is not None]
    outcomes = [u.outcome for one in incidents for u in one.updates if u.due_at is not None]
    return Group(
        by=by,
        name=name,
        incidents=len(incidents),
        detect=spread(one.time_to_detect for one in incidents),
        acknowledge=spread(one.time_to_acknowledge for one in incidents),
        mitigate=spread(one.time_to_mitigate for one in incidents),
        resolve=spread(one.time_to_resolve for one in incidents),
        targets_set=len(verdicts),
        targets_met=verdicts.count(True),
        updates_promised=len(outcomes),
        updates_kept=outcomes.count("in time"),
        pages=sum(len(_pages(one)) for one in incidents),
    )


def spread(lengths: Iterable[timedelta | None]) -> Spread | None:
    """How these durations lie; `None` where there is none. Percentiles are values that occurred.

    >>> spread([timedelta(seconds=1), None, timedelta(seconds=3)]).mean
    datetime.timedelta(seconds=2)
    """
    known = sorted(length for length in lengths if length is not None)
    if not known:
        return None
    return Spread(
        count=len(known),
        mean=sum(known, timedelta(0)) / len(known),
        median=known[math.ceil(0.5 * len(known)) - 1],
        p90=known[math.ceil(0.9 * len(known)) - 1],
        longest=known[-1],
    )


def _pages(one: Summary) -> dict[tuple[str, int, int], datetime]:
    """When whom a level paged; a page that goes out over two channels is one."""
    found: dict[tuple[str, int, int], datetime] = {}
    for page in one.pages:
        if page.sent_at is not None:
            key = (page.name, page.generation, page.level)
            found[key] = min(page.sent_at, found.get(key, page.sent_at))
    return found


def _to_nothing(one: Summary) -> bool:
    return bool(_pages(one)) and not one.answers and one.resolved_at is not None


@dataclass(slots=True)
class Waking:
    """Who was woken by incidents, and for what, counted one incident at a time.

    Args:
        policies: As for `measures`.
    """

    policies: InitVar[Mapping[str, Policy]]
    pages: int = 0
    to_nothing: int = 0
    _zones: dict[str, dict[str, tzinfo]] = field(init=False)
    _pages: Counter[str] = field(default_factory=Counter)
    _at_night: Counter[str] = field(default_factory=Counter)
    _nights: dict[str, set[datetime]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self, policies: Mapping[str, Policy]) -> None:
        self._zones = {system: _zones(policy) for system, policy in policies.items()}

    def take(self, one: Summary) -> None:
        """Count what an incident did."""
        pages = _pages(one)
        self.pages += len(pages)
        self.to_nothing += _to_nothing(one)
        for (name, _, _), at in pages.items():
            self._pages[name] += 1
            local = at.astimezone(self._zones.get(one.system, {}).get(name, UTC))
            if local.time() >= NIGHT_BEGINS or local.time() < NIGHT_ENDS:
                self._at_night[name] += 1
                # The night of a page at 03:00 is the one that began the day before.
                began = local - timedelta(hours=12)
                night = began.replace(hour=0, minute=0, second=0, microsecond=0)
                self._nights[name].add(night)

    def people(self) -> tuple[Person, ...]:
        """Whom it woke, those of most nights first."""
        found = [
            Person(
                name=name,
                pages=count,
                night_pages=self._at_night[name],
                nights=len(self._nights[name]),
            )
            for name, count in self._pages.items()
        ]
        return tuple(sorted(found, key=lambda p: (-p.night_pages, -p.pages, p.name)))


def _noise(incidents: Sequence[Summary]) -> Noise:
    pages = sum(len(_pages(one)) for one in incidents)
    alerts = sum(len(one.alerts) for one in incidents)
    statuses = Counter(page.status for one in incidents for page in one.pages)
    episodes = Counter(
        f"{alert.name}{{{', '.join(f'{k}={v}' for k, v in sorted(alert.labels.items()))}}}"
        for one in incidents
        for alert in one.alerts
    )
    moves = [
        (before.to, after.to)
        for one in incidents
        for before, after in zip(one.statuses, one.statuses[1:], strict=False)
    ]
    return Noise(
        pages=pages,
        pages_per_incident=round(pages / max(1, len(incidents)), 2),
        superseded=statuses["superseded"],
        failed=statuses["failed"],
        to_nothing=sum(map(_to_nothing, incidents)),
        reopened=sum(
            before in {"resolved", "reviewed"} and after == "open" for before, after in moves
        ),
        alerts=alerts,
        alerts_per_incident=round(alerts / max(1, len(incidents)), 2),
        flapping={name: n for name, n in sorted(episodes.items()) if n >= FLAPS},
    )


def _people(incidents: Iterable[Summary], policies: Mapping[str, Policy]) -> tuple[Person, ...]:
    waking = Waking(policies)
    for one in incidents:
        waking.take(one)
    return waking.people()


def _zones(policy: Policy) -> dict[str, tzinfo]:
    """The time zone of everybody, by name: that of a schedule they are in, else of the first."""
    zones: dict[str, tzinfo] = {}
    for schedule in policy.schedules.values():
        zone = ZoneInfo(schedule.time_zone)
        for layer in schedule.layers:
            for contact in layer.participants:
                held = policy.contacts.get(contact)
                if held is not None:
                    zones.setdefault(held.name, zone)
    if zones:
        first = next(iter(zones.values()))
        for held in policy.contacts.values():
            zones.setdefault(held.name, first)
    return zones


def _worst(incidents: Sequence[Summary]) -> tuple[Worst, ...]:
    in_incidents: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    to_nothing: Counter[str] = Counter()
    for one in incidents:
        if not one.alerts:
            continue
        # The one that opened it paged; those that joined did not.
        name = one.alerts[0].name
        in_incidents[name] += 1
        count = len(_pages(one))
        pages[name] += count
        if _to_nothing(one):
            to_nothing[name] += count
    found = [
        Worst(name=name, incidents=n, pages=pages[name], pages_to_nothing=to_nothing[name])
        for name, n in in_incidents.items()
    ]
    return tuple(sorted(found, key=lambda w: (-w.pages_to_nothing, -w.pages, w.name)))


def measures_table(found: Measures) -> Rendered:
    """The measures for a terminal of 80 columns."""
    when = f"{found.since:%Y-%m-%d} to {found.until:%Y-%m-%d %H:%M} UTC"
    if not found.groups or not found.groups[0].incidents:
        return Rendered(f"no incident opened from {when}; --since reaches further back")
    title = f"{when}: mean times, and below them what nine of ten stay within"
    times = Table(title=title, title_justify="left", box=None, pad_edge=False)
    kept = Table(box=None, pad_edge=False)
    times.add_column("by", overflow="fold")
    kept.add_column("by", overflow="fold")
    for column in ("detect", "acknowledge", "mitigate", "resolve"):
        times.add_column(column, justify="right", no_wrap=True)
    for column in ("incidents", "targets met", "updates kept", "pages"):
        kept.add_column(column, justify="right", no_wrap=True)
    for group in found.groups:
        name = group.by if group.by == "all" else f"{group.by} {group.name}"
        spreads = (group.detect, group.acknowledge, group.mitigate, group.resolve)
        times.add_row(Text(name), *map(_shown, spreads))
        kept.add_row(
            Text(name),
            str(group.incidents),
            f"{group.targets_met}/{group.targets_set}",
            f"{group.updates_kept}/{group.updates_promised}",
            str(group.pages),
        )
    people = Table("woken", "pages", "at night", "nights", box=None, pad_edge=False)
    for person in found.people[:MOST_ROWS]:
        people.add_row(person.name, str(person.pages), str(person.night_pages), str(person.nights))
    worst = Table("alert", "incidents", "pages", "that led to nothing", box=None, pad_edge=False)
    for alert in found.worst[:MOST_ROWS]:
        worst.add_row(
            alert.name, str(alert.incidents), str(alert.pages), str(alert.pages_to_nothing)
        )
    success = Table("success", "by", "target", "measured", "", box=None, pad_edge=False)
    for one in found.success:
        verdict = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "-"}[one.met]
        success.add_row(one.system, one.what, one.target, one.measured, verdict)
    noise = found.noise
    return Rendered(
        times,
        "",
        kept,
        "",
        *((success, "") if found.success else ()),
        people,
        "",
        worst,
        "",
        f"{some(noise.pages, 'page')}, {noise.pages_per_incident} an incident; "
        f"{some(noise.superseded, 'message')} no longer wanted, {noise.failed} failed; "
        f"{some(noise.to_nothing, 'incident')} paged for nothing; {noise.reopened} reopened; "
        f"{some(len(noise.flapping), 'alert')} flapped; "
        f"{noise.alerts_per_incident} alerts an incident",
    )


def _shown(held: Spread | None) -> Text:
    if held is None:
        return Text("-")
    return Text.assemble(duration(held.mean), "\n", (duration(held.p90), "dim"))


def measures_picture(found: Measures) -> str:
    """The measures as an SVG document: bars, each with its figure."""
    by_severity = [group for group in found.groups if group.by == "severity"]
    hours = {group.name: group.incidents for group in found.groups if group.by == "hour"}
    panels = [
        (
            "time to acknowledge, mean, by severity",
            [_bar(group.name, group.acknowledge) for group in by_severity],
        ),
        (
            "time to resolve, mean, by severity",
            [_bar(group.name, group.resolve) for group in by_severity],
        ),
        (
            "response targets met, by severity",
            [
                (
                    group.name,
                    group.targets_met / group.targets_set,
                    f"{group.targets_met} of {group.targets_set}",
                )
                for group in by_severity
                if group.targets_set
            ],
        ),
        (
            "incidents by hour of the day (UTC)",
            [
                (f"{hour:02}", float(hours.get(f"{hour:02}", 0)), str(hours.get(f"{hour:02}", 0)))
                for hour in range(24)
            ],
        ),
        (
            "pages at night, by person",
            [(p.name, float(p.night_pages), str(p.night_pages)) for p in found.people[:MOST_ROWS]],
        ),
        (
            "pages that led to nothing, by alert",
            [
                (alert.name, float(alert.pages_to_nothing), str(alert.pages_to_nothing))
                for alert in found.worst[:MOST_ROWS]
            ],
        ),
    ]
    title = f"{found.groups[0].incidents} incidents, {found.since:%Y-%m-%d} to "
    return bars(f"{title}{found.until:%Y-%m-%d}", panels)


def _bar(name: str, held: Spread | None) -> tuple[str, float, str]:
    if held is None:
        return name, 0.0, "never"
    return name, held.mean.total_seconds(), f"{duration(held.mean)} ({held.count})"
