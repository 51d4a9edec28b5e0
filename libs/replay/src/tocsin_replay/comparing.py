"""What another policy would have changed: two runs of one recording, side by side."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tocsin_contracts.ids import episode, system_of
from tocsin_policy import Policy
from tocsin_replay.history import History
from tocsin_replay.keeping import Kept
from tocsin_replay.living import live_twice
from tocsin_replay.measuring import Waking
from tocsin_replay.postmortem import table, text
from tocsin_replay.reading import Progress
from tocsin_replay.simulating import Lived
from tocsin_replay.summing import Summary
from tocsin_replay.supposing import Supposed
from tocsin_replay.wording import duration, some

MODEL = (
    "People answer an incident that holds the alert they answered then.",
    "Whoever answered then answers so long after their page as then.",
    "Whoever was paged then and did not answer, does not answer.",
    "Whoever was not paged then answers after their own median, else after everybody's.",
    "Nobody answers a page that went to none of these.",
    "What people did afterwards follows their answer after the same time as then.",
    "Providers and steps answer as they did, or as the recorded call nearest in time did.",
)
"""What every number below rests on."""


class Told(BaseModel):
    """A frozen part of a comparison."""

    model_config = ConfigDict(frozen=True)


class PageChange(Told):
    """How the first page to somebody about an incident changed."""

    incident: str
    name: str
    change: str
    before: datetime | None
    after: datetime | None


class IncidentChange(Told):
    """How one incident changed; one that stays as it was is not told.

    Attributes:
        change: `missed`, `new`, `merged`, `split`, `changed`.
    """

    incident: str
    title: str
    change: str
    severity_before: str | None
    severity_after: str | None
    first_page_before: timedelta | None
    first_page_after: timedelta | None
    acknowledged_before: timedelta | None
    acknowledged_after: timedelta | None
    resolved_before: timedelta | None
    resolved_after: timedelta | None
    pages: tuple[PageChange, ...]
    others: tuple[str, ...] = ()


class Comparison(Told):
    """What would have been otherwise.

    Attributes:
        totals: Name of a figure -> before and after; `--fail-if` knows them by these names.
        supposed: What somebody supposed of the second run, in words.
        assumptions: What was taken for granted in the second run, with how often.
        fidelity: How the first run, under the recorded policies, holds against what was recorded:
            the model's own error, and so how far the second can be trusted.
    """

    begins_at: datetime | None
    ends_at: datetime | None
    alerts: int
    incidents: tuple[IncidentChange, ...]
    totals: dict[str, tuple[float, float]]
    woken_before: dict[str, int]
    woken_after: dict[str, int]
    assumptions: dict[str, int]
    fidelity: dict[str, float]
    supposed: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing would have been otherwise."""
        return not self.incidents and all(a == b for a, b in self.totals.values())


async def what_if(
    history: History,
    instead: Policy | None = None,
    progress: Progress | None = None,
    supposed: Supposed | None = None,
) -> Comparison:
    """What a policy would have changed, or what is supposed of an incident, or both.

    The recording is lived through twice, as it was and with the change, so that what the model
    cannot know is the same on both sides.

    Args:
        instead: In force from the beginning; without it the recorded policies are.
        supposed: What was otherwise about one incident.

    Raises:
        ValueError: It is supposed of something that there is not.
    """
    before, after = await live_twice(history, instead, supposed, progress)
    return compare(history, instead, before, after, supposed)


def compare(
    history: History,
    instead: Policy | None,
    before: Lived,
    after: Lived,
    supposed: Supposed | None = None,
) -> Comparison:
    """Two runs, side by side."""
    policies = {version.policy.system: version.policy for version in history.versions}
    if instead is None:
        instead = policies.get(_only_system(history, supposed))
    if instead is None:
        raise LookupError("the log has no policy")
    then = _Side(Waking(policies))
    now = _Side(Waking(policies | {instead.system: instead}))
    changes = _changes(before.incidents, after.incidents, then, now)
    return Comparison(
        begins_at=history.begins_at,
        ends_at=history.ends_at,
        alerts=before.alerts,
        supposed=() if supposed is None else tuple(supposed.assumptions()),
        incidents=changes,
        totals=_totals(then, now, changes, instead),
        woken_before={person.name: person.pages for person in then.waking.people()},
        woken_after={person.name: person.pages for person in now.waking.people()},
        assumptions=after.assumptions,
        fidelity=_fidelity(before.incidents, history.recorded),
    )


@dataclass(slots=True)
class _Mean:
    """A mean time in seconds, over those that there are."""

    total: timedelta = timedelta(0)
    count: int = 0

    def take(self, length: timedelta | None) -> None:
        if length is not None:
            self.total += length
            self.count += 1

    def seconds(self) -> float:
        return round(self.total.total_seconds() / self.count, 3) if self.count else 0.0


@dataclass(slots=True)
class _Side:
    """What one run comes to, counted one incident at a time: no two need be held at once."""

    waking: Waking
    incidents: int = 0
    updates: int = 0
    proposals: int = 0
    first_page: _Mean = field(default_factory=_Mean)
    acknowledged: _Mean = field(default_factory=_Mean)

    def take(self, one: Summary) -> None:
        self.waking.take(one)
        self.incidents += 1
        self.updates += len(one.updates)
        self.proposals += bool(one.steps)
        self.first_page.take(_first_page(one))
        self.acknowledged.take(_acknowledged(one))


def _only_system(history: History, supposed: Supposed | None) -> str:
    """Whose severities the figures are named for where no policy was given."""
    if supposed is not None:
        return system_of(supposed.incident)
    return history.versions[-1].policy.system if history.versions else ""


def _episodes(one: Summary) -> frozenset[tuple[str, str]]:
    return frozenset(
        (one.system, episode(alert.fingerprint, alert.starts_at)) for alert in one.alerts
    )


def _changes(before: Kept, after: Kept, then: _Side, now: _Side) -> tuple[IncidentChange, ...]:
    """Every incident that is otherwise. Two are the same by their id, else by an alert they share.

    A merge moves alerts, so an incident of both runs is nobody's other half.
    """
    holders = _holders(before, after)
    found: list[IncidentChange] = []
    became: dict[str, list[str]] = {}
    for name in sorted(before, key=lambda one: (before.opened_at(one), one)):
        one = before[name]
        then.take(one)
        sharing = {n for alert in _episodes(one) for n in holders.get(alert, ())} if holders else ()
        fresh = {other for other in sharing if other not in before}
        if name in after:
            # Most stay as they were, and what is the same is unpacked once.
            other_half = one if before.same(name, after) else after[name]
            now.take(other_half)
            how = "split" if fresh else "changed"
            made = _changed(one, other_half, how, tuple(sorted(fresh)))
            if fresh or _is_otherwise(made):
                found.append(made)
            for other in fresh:
                became.setdefault(other, [])
        elif not sharing:
            found.append(_changed(one, None, "missed"))
        else:
            into = min(fresh or sharing, key=lambda n: (after.opened_at(n), n))
            became.setdefault(into, []).append(name)
    for into, names in sorted(became.items()):
        if not names:
            continue
        merged = len(names) > 1 or into in before
        others = tuple(names[1:]) + ((into,) if into in before else ())
        found.append(
            _changed(before[names[0]], after[into], "merged" if merged else "changed", others)
        )
    for name in sorted(after.keys() - before.keys()):
        one = after[name]
        now.take(one)
        if name not in became:
            found.append(_changed(None, one, "new"))
    return tuple(found)


def _holders(before: Kept, after: Kept) -> dict[tuple[str, str], set[str]]:
    """Which incidents of the second run hold an alert, for alerts whose incident is another now."""
    gone, fresh = before.keys() - after.keys(), after.keys() - before.keys()
    if not gone and not fresh:
        return {}
    wanted = {alert for name in gone for alert in _episodes(before[name])}
    holders: dict[tuple[str, str], set[str]] = {}
    for name, one in after.items():
        for alert in _episodes(one):
            if name in fresh or alert in wanted:
                holders.setdefault(alert, set()).add(name)
    return holders


def _is_otherwise(change: IncidentChange) -> bool:
    return bool(
        change.pages
        or change.severity_before != change.severity_after
        or change.acknowledged_before != change.acknowledged_after
        or change.resolved_before != change.resolved_after
    )


def first_pages(one: Summary | None) -> dict[str, datetime]:
    """When each person was first paged about an incident."""
    found: dict[str, datetime] = {}
    for page in one.pages if one is not None else ():
        if page.sent_at is not None:
            found[page.name] = min(page.sent_at, found.get(page.name, page.sent_at))
    return found


def _first_page(one: Summary | None) -> timedelta | None:
    """From the first alert, not from the opening: another policy may open it at another time."""
    pages = first_pages(one)
    return min(pages.values()) - one.began_at if one is not None and pages else None


def _acknowledged(one: Summary | None) -> timedelta | None:
    if one is None or one.answered_at is None:
        return None
    return one.answered_at - one.began_at


def _resolved(one: Summary | None) -> timedelta | None:
    if one is None or one.resolved_at is None:
        return None
    return one.resolved_at - one.began_at


def _changed(
    before: Summary | None, after: Summary | None, change: str, others: tuple[str, ...] = ()
) -> IncidentChange:
    shown = after if before is None else before
    if shown is None:
        raise ValueError("an incident is on one side at least")
    return IncidentChange(
        incident=shown.incident,
        title=shown.title,
        change=change,
        severity_before=before.worst if before is not None else None,
        severity_after=after.worst if after is not None else None,
        first_page_before=_first_page(before),
        first_page_after=_first_page(after),
        acknowledged_before=_acknowledged(before),
        acknowledged_after=_acknowledged(after),
        resolved_before=_resolved(before),
        resolved_after=_resolved(after),
        pages=_page_changes(shown.incident, first_pages(before), first_pages(after)),
        others=others,
    )


def _page_changes(
    incident: str, before: Mapping[str, datetime], after: Mapping[str, datetime]
) -> tuple[PageChange, ...]:
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if was is None:
            change = "added"
        elif now is None:
            change = "removed"
        else:
            change = "earlier" if now < was else "later"
        found.append(PageChange(incident=incident, name=name, change=change, before=was, after=now))
    return tuple(found)


def _totals(
    then: _Side,
    now: _Side,
    changes: Sequence[IncidentChange],
    instead: Policy,
) -> dict[str, tuple[float, float]]:
    worst = instead.severities[0].name.lower()
    missed = [c for c in changes if c.change == "missed"]
    # Whatever was most severe and now is not there, or not as severe, or wakes nobody.
    missed_worst = [
        c
        for c in changes
        if (c.severity_before or "").lower() == worst
        and c.change != "new"
        and (
            (c.severity_after or "").lower() != worst
            or (c.first_page_before is not None and c.first_page_after is None)
        )
    ]
    woken = [side.waking.people() for side in (then, now)]
    nights = [max(1, sum(person.nights for person in people)) for people in woken]
    at_night = [sum(person.night_pages for person in people) for people in woken]

    def both(figure: Callable[[_Side], float]) -> tuple[float, float]:
        return float(figure(then)), float(figure(now))

    return {
        "incidents": both(lambda side: side.incidents),
        "missed": (0.0, float(len(missed))),
        f"missed-{worst}": (0.0, float(len(missed_worst))),
        "pages": both(lambda side: side.waking.pages),
        "pages-at-night": (float(at_night[0]), float(at_night[1])),
        "pages-per-night": (at_night[0] / nights[0], at_night[1] / nights[1]),
        "people-woken": (float(len(woken[0])), float(len(woken[1]))),
        "pages-to-nothing": both(lambda side: side.waking.to_nothing),
        "time-to-first-page": both(lambda side: side.first_page.seconds()),
        "time-to-acknowledge": both(lambda side: side.acknowledged.seconds()),
        "updates-promised": both(lambda side: side.updates),
        "proposals": both(lambda side: side.proposals),
    }


def _fidelity(before: Kept, recorded: Kept) -> dict[str, float]:
    """How near the model comes to what was, under the policies that were in force."""
    if not recorded:
        return {}
    counts = Counter[str]()
    off = 0.0
    for name, then in recorded.items():
        if name not in before:
            continue
        now = before[name]
        pages = first_pages(now)
        counts["found"] += 1
        counts["severity"] += now.worst == then.worst
        counts["people"] += len(first_pages(then))
        counts["paged"] += len(first_pages(then).keys() & pages.keys())
        if now.answered_at is not None and then.answered_at is not None:
            off = max(off, abs((now.answered_at - then.answered_at).total_seconds()))
    return {
        "incidents recorded": float(len(recorded)),
        "of these found again": float(counts["found"]),
        "of these with the same severity": float(counts["severity"]),
        "people paged": float(counts["people"]),
        "of these paged again": float(counts["paged"]),
        "answers off by seconds, at most": off,
    }


# Checks.

_CHECK = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+?)\s*(?P<sign>[<>]=?)\s*(?P<plus>[+-])?(?P<value>\d+(?:\.\d+)?)"
    r"(?P<percent>%)?"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def broken(found: Comparison, check: str) -> str:
    """Why a check fails, or nothing if it holds.

    `missed-p0>0` compares the figure under the new policy; with a sign, `pages>+20%` or
    `pages>+5`, its change is compared. A time that something took before and nothing takes any more
    fails every check of it: that nobody answers is no short time to an answer.

    Raises:
        ValueError: This is no check, or it names no figure.
    """
    parsed = _CHECK.fullmatch(check.strip())
    if parsed is None:
        raise ValueError(f"{check!r} is no check; write missed-p0>0 or pages>+20%")
    name = parsed["name"].lower()
    if name not in found.totals:
        known = ", ".join(sorted(found.totals))
        raise ValueError(f"there is no figure {name!r}; there are {known}")
    before, after = found.totals[name]
    value = float(parsed["value"]) * (-1 if parsed["plus"] == "-" else 1)
    if name.startswith(_OF_TIME) and before and not after:
        return f"{check}: {_said(name, before)} before, {_moved_by(name, before, after)}"
    measured = after
    if parsed["percent"]:
        measured = 100.0 * (after - before) / before if before else (100.0 if after else 0.0)
    elif parsed["plus"]:
        measured = after - before
    if _SIGNS[parsed["sign"]](measured, value):
        return f"{check}: {_said(name, before)} before, {_said(name, after)} after"
    return ""


def _figure(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _said(name: str, value: float) -> str:
    """A figure for people: those of time are seconds."""
    if name.startswith(_OF_TIME):
        return duration(timedelta(seconds=value)) if value else "-"
    return _figure(value)


def _moved_by(name: str, before: float, after: float) -> str:
    """The change of a figure, with its sign; nothing where there is none."""
    if before == after:
        return ""
    if not name.startswith(_OF_TIME):
        return f"{after - before:+.2f}".rstrip("0").rstrip(".")
    if not before or not after:
        # A mean over nothing is no time: it is neither longer nor shorter.
        return "none before" if after else "none any more"
    sign = "+" if after > before else "-"
    return sign + duration(timedelta(seconds=abs(after - before)))


_OF_TIME = "time-to-"

MOST_SHOWN = 50
"""Incidents shown one by one on a terminal; of more, the rest are counted."""


# Showing.


def _sides(found: Comparison) -> tuple[str, str]:
    return ("As it was", "Supposed") if found.supposed else ("Recorded policy", "This policy")


def comparison_table(found: Comparison) -> Group:
    """The comparison for a terminal of 80 columns."""
    figures = Table("figure", *_sides(found), "change", box=None, pad_edge=False)
    for name, (before, after) in found.totals.items():
        style = "" if before == after else "bold"
        moved = _moved_by(name, before, after)
        figures.add_row(name, _said(name, before), _said(name, after), moved, style=style)
    parts: list[RenderableType] = [figures, ""]
    for one in found.incidents[:MOST_SHOWN]:
        parts += [_shown(one), ""]
    more = len(found.incidents) - MOST_SHOWN
    if more > 0:
        parts += [f"and {some(more, 'incident')} more, see --json or --markdown", ""]
    if not found.incidents:
        parts += ["no incident would have been otherwise", ""]
    if _woken(found):
        woken = Table("woken by pages", *_sides(found), box=None, pad_edge=False)
        for row in _woken(found):
            woken.add_row(*row)
        parts += [woken, ""]
    for heading, lines in _small_print(found):
        parts.append(Text(heading, style="dim bold"))
        parts += [Padding(Text(f"- {line}", style="dim"), (0, 0, 0, 1)) for line in lines]
    return Group(*parts)


def _woken(found: Comparison) -> list[tuple[str, str, str]]:
    """Who would have been paged more often or less, and how often."""
    before, after = found.woken_before, found.woken_after
    return [
        (name, str(before.get(name, 0)), str(after.get(name, 0)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name, 0) != after.get(name, 0)
    ]


def _shown(one: IncidentChange) -> Text:
    """One incident that would have been otherwise, and who would have been paged otherwise."""
    others = f" with {', '.join(one.others)}" if one.others else ""
    shown = Text.assemble((one.incident, "bold"), f" {one.change}{others}: {one.title}")
    for name, before, after in (
        ("severity", one.severity_before or "-", one.severity_after or "-"),
        ("first page", *map(_took, _both(one, "first_page"))),
        ("answered", *map(_took, _both(one, "acknowledged"))),
        ("resolved", *map(_took, _both(one, "resolved"))),
    ):
        style = "" if before == after else "bold"
        shown.append("\n").append(f"  {name:11}{_arrow(before, after)}", style)
    for page in one.pages:
        shown.append("\n").append(f"  {page.name}: {_moved(page)}", _PAGES[page.change])
    return shown


_PAGES = {"added": "red", "removed": "green", "earlier": "cyan", "later": "yellow"}


def _took(length: timedelta | None) -> str:
    return "never" if length is None else f"after {duration(length)}"


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _small_print(found: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Under which headings what was taken for granted, and how far it can be trusted."""
    if found.supposed:
        yield "Supposed", list(found.supposed)
    yield "Assumed of people, providers and steps", list(MODEL)
    counted = [f"{what}: {some(n, 'time')}" for what, n in found.assumptions.items()]
    if counted:
        yield "Where it had to be guessed", counted
    yield (
        "How to read it",
        ["Times are means, from the first alert of an incident.", *_fidelity_said(found.fidelity)],
    )


def _fidelity_said(held: Mapping[str, float]) -> Iterator[str]:
    if not held:
        return
    again, recorded = held["of these found again"], held["incidents recorded"]
    paged, people = held["of these paged again"], held["people paged"]
    off = duration(timedelta(seconds=held["answers off by seconds, at most"]))
    yield (
        f"The model against the record, under the recorded policy: {again:.0f} of {recorded:.0f} "
        f"incidents found again, {held['of these with the same severity']:.0f} with the same "
        f"severity; {paged:.0f} of {people:.0f} people paged again; answers off by {off} at most."
    )


def supposition_markdown(found: Comparison, incident: str) -> str:
    """What would have been otherwise about one incident, for its postmortem."""
    lines = [f"- Supposed: {text(line)}." for line in found.supposed] + [""]
    change = next((c for c in found.incidents if incident in {c.incident, *c.others}), None)
    if change is None:
        lines += ["Nothing about this incident would have been otherwise.", ""]
    else:
        rows = [
            ("Severity", change.severity_before or "-", change.severity_after or "none: missed"),
            ("First page after", *map(duration, _both(change, "first_page"))),
            ("Answered after", *map(duration, _both(change, "acknowledged"))),
            ("Resolved after", *map(duration, _both(change, "resolved"))),
            ("Pages", *map(_figure, found.totals["pages"])),
        ]
        rows = [(name, before, text(after)) for name, before, after in rows]
        lines += [table(("From the first alert", *_sides(found)), rows), ""]
        if change.others and incident == change.incident:
            others = ", ".join(f"`{other}`" for other in change.others)
            lines += [f"What its alerts did later would have been another incident: {others}.", ""]
        lines += [f"- {text(page.name)}: {_moved(page)}." for page in change.pages] + [""]
    lines += _small_markdown(found, besides="Supposed")
    return "\n".join(lines)


def _small_markdown(found: Comparison, besides: str = "") -> list[str]:
    lines = []
    for heading, said in _small_print(found):
        if heading != besides:
            lines += [f"**{heading}**", "", *(f"- {text(line)}" for line in said), ""]
    return lines[:-1]


def _both(change: IncidentChange, what: str) -> tuple[timedelta | None, timedelta | None]:
    return getattr(change, f"{what}_before"), getattr(change, f"{what}_after")


def _moved(page: PageChange) -> str:
    if page.before is None:
        return f"paged too, at {page.after:%H:%M:%S}"
    if page.after is None:
        return f"no longer paged, as at {page.before:%H:%M:%S}"
    by = duration(abs(page.after - page.before))
    return f"paged {by} {page.change}, at {page.after:%H:%M:%S}"


def _with_others(one: IncidentChange) -> str:
    others = ", ".join(f"`{other}`" for other in one.others)
    return f"{one.change} with {others}" if others else one.change


def comparison_markdown(found: Comparison, failed: Sequence[str] = ()) -> str:
    """The comparison as Markdown, for a pull request."""
    rows = [
        (
            name,
            _said(name, before),
            _said(name, after),
            f"**{_moved_by(name, before, after)}**" if before != after else "",
        )
        for name, (before, after) in found.totals.items()
    ]
    what = "this policy" if not found.supposed else "; ".join(found.supposed)
    parts = [f"# What would have been otherwise: {text(what)}", ""]
    parts += [f"- **failed** `{line}`" for line in failed]
    parts += [*([""] if failed else []), table(("Figure", *_sides(found), "Change"), rows), ""]
    if found.incidents:
        changed = [
            (
                f"`{one.incident}`",
                _with_others(one),
                _arrow(one.severity_before or "-", one.severity_after or "-"),
                _arrow(duration(one.first_page_before), duration(one.first_page_after)),
                _arrow(duration(one.acknowledged_before), duration(one.acknowledged_after)),
                text("; ".join(f"{page.name}: {_moved(page)}" for page in one.pages)),
            )
            for one in found.incidents
        ]
        head = ("Incident", "What", "Severity", "First page", "Answered", "Pages")
        parts += [table(head, changed), ""]
    else:
        parts += ["No incident would have been otherwise.", ""]
    if _woken(found):
        people = [(text(name), was, now) for name, was, now in _woken(found)]
        parts += [table(("Woken by pages", *_sides(found)), people), ""]
    parts += _small_markdown(found)
    return "\n".join(parts) + "\n"
