"""The picture of an incident: one SVG, drawn from its summary and nothing else.

Plain SVG with no script, no font and nothing fetched, so that it opens in a browser, a wiki and a
pull request. Everything drawn says in a tooltip what it is. Colours are told apart by people who
see few of them, and none of them is the only thing that tells two marks apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

from tocsin_policy import Policy
from tocsin_replay.reporting import Paged
from tocsin_replay.summing import Answer, Change, Episode, StepRun, Summary, Update
from tocsin_replay.wording import duration

WIDTH = 1120
LEFT = 236
RIGHT = 24
ROW = 24
BAND = 22

_LABEL = 34
"""Characters of a row's name that fit before the picture begins."""

MOST_ALERTS = 14
"""Alerts that have a row of their own; of more, the rest are counted in one."""

MOST_PEOPLE = 20
"""People who have a row of their own."""

_SEVERITIES = ("#b3261e", "#d97706", "#c9a400", "#4f7ea8")
_MILD = "#8a97a5"
_STATUSES = {
    "open": "#e5484d",
    "acknowledged": "#e9a23b",
    "mitigated": "#4f9bd9",
    "resolved": "#3f9d6b",
    "reviewed": "#3f9d6b",
    "closed": "#8a97a5",
    "merged": "#8a97a5",
}
_GOOD, _BAD, _DOUBT, _QUIET, _INK = "#2f855a", "#c53030", "#b7791f", "#718096", "#1f2933"
_TICKS = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
        *(86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400, 91 * 86400, 364 * 86400),
    )
)
_MOST_TICKS = 9


@dataclass(slots=True)
class _Canvas:
    begins_at: datetime
    ends_at: datetime
    y: float = 0
    parts: list[str] = field(default_factory=list)

    def x(self, at: datetime) -> float:
        """Where an instant is, kept inside of the picture."""
        whole = (self.ends_at - self.begins_at).total_seconds()
        part = (at - self.begins_at).total_seconds() / whole
        return round(LEFT + min(1.0, max(0.0, part)) * (WIDTH - LEFT - RIGHT), 1)

    def add(self, mark: str, tooltip: str = "") -> None:
        """Put a mark down, with what it says when pointed at."""
        if tooltip:
            mark = f"<g>{_element('title', {}, tooltip)}{mark}</g>"
        self.parts.append(mark)

    def label(self, text: str) -> None:
        """Name the row that comes next."""
        shown = _cut(text, _LABEL)
        self.add(
            _element("text", {"x": LEFT - 10, "y": self.y + 16, "text-anchor": "end"}, shown),
            text if shown != text else "",
        )

    def row(self, height: float = ROW) -> None:
        """Go on to the next row."""
        self.y += height

    def heading(self, text: str) -> None:
        """Name the rows that come next."""
        self.y += 8
        self.add(
            _element("text", {"x": 16, "y": self.y + 14, "class": "heading"}, text)
            + _element(
                "line",
                {"x1": 16, "x2": WIDTH - RIGHT, "y1": self.y + 20, "y2": self.y + 20}
                | {"stroke": "#d5dbe1"},
            )
        )
        self.y += 26


def picture(found: Summary, policy: Policy | None = None) -> str:
    """An incident as an SVG document.

    Args:
        policy: Ranks the severities; without it they are coloured in the order they came.
    """
    begins_at, ends_at = _range(found)
    canvas = _Canvas(begins_at, ends_at)
    _title(canvas, found)
    top = canvas.y + 20
    canvas.y += 26
    _bands(canvas, found, _ranks(found, policy))
    _levels(canvas, found)
    _people(canvas, found.pages)
    if found.answers or found.updates:
        canvas.heading("people")
    _answers(canvas, found.answers)
    _updates(canvas, found.updates)
    _steps(canvas, found.steps)
    _alerts(canvas, found.alerts)
    bottom = canvas.y + 8
    axis = _axis(canvas, top, bottom)
    canvas.y = bottom + 16
    _legend(canvas)
    return _document([*axis, *canvas.parts], round(canvas.y + 16), _spoken(found))


def _range(found: Summary) -> tuple[datetime, datetime]:
    """From the first alert to the end; a start long before the opening is cut, and so shown."""
    ends = [
        found.ends_at,
        found.opened_at + timedelta(minutes=1),
        *(page.settled_at or page.requested_at for page in found.pages),
        *(level.at for level in found.levels),
        *(alert.cleared_at for alert in found.alerts if alert.cleared_at is not None),
    ]
    if found.resolved_at is not None:
        # What comes long after (a review, a late clearing) must not press the rest together.
        latest = found.resolved_at + (found.resolved_at - found.opened_at) / 3
        ends = [min(end, max(latest, found.opened_at + timedelta(minutes=1))) for end in ends]
    ends_at = max(ends)
    length = ends_at - found.opened_at
    begins_at = max(found.began_at, found.opened_at - length / 3)
    room = (ends_at - begins_at) / 40
    return begins_at - room, ends_at + room


def _ranks(found: Summary, policy: Policy | None) -> dict[str, int]:
    if policy is not None:
        return dict(policy.ranks)
    return {name: rank for rank, name in enumerate(dict.fromkeys(c.to for c in found.severities))}


def _title(canvas: _Canvas, found: Summary) -> None:
    canvas.y = 30
    canvas.add(
        _element(
            "text",
            {"x": 16, "y": canvas.y, "class": "big"},
            _cut(f"{found.severity}  {found.title}", 110),
        )
    )
    canvas.y += 20
    canvas.add(_element("text", {"x": 16, "y": canvas.y, "class": "small"}, _spoken(found)))


def _spoken(found: Summary) -> str:
    parts = [
        found.incident,
        f"opened {found.opened_at:%Y-%m-%d %H:%M:%S} UTC",
        f"acknowledged after {duration(found.time_to_acknowledge)}",
    ]
    if found.time_to_resolve is not None:
        parts.append(f"resolved after {duration(found.time_to_resolve)}")
    else:
        parts.append(found.status)
    return " · ".join(parts)


def _bands(canvas: _Canvas, found: Summary, ranks: dict[str, int]) -> None:
    ends_at = canvas.ends_at
    canvas.label("severity")
    _band(
        canvas,
        found.severities,
        found.resolved_at or ends_at,
        lambda name: _SEVERITIES[ranks[name]] if ranks.get(name, 9) < len(_SEVERITIES) else _MILD,
    )
    canvas.row(BAND + 6)
    canvas.label("status")
    _band(canvas, found.statuses, ends_at, lambda name: _STATUSES.get(name, _MILD))
    canvas.row(BAND + 2)
    _named_statuses(canvas, found)


def _named_statuses(canvas: _Canvas, found: Summary) -> None:
    """What each colour of the band means: not every part is wide enough for its name."""
    x = float(LEFT)
    for name in dict.fromkeys(change.to for change in found.statuses):
        colour = _STATUSES.get(name, _MILD)
        mark = {"x": x, "y": canvas.y + 2, "width": 9, "height": 9, "rx": 2, "fill": colour}
        said = {"x": x + 13, "y": canvas.y + 10.5, "class": "small"}
        canvas.add(_element("rect", mark) + _element("text", said, name))
        x += 28 + 6.2 * len(name)
    canvas.row(18)


def _band(canvas: _Canvas, changes: Sequence[Change], ends_at: datetime, colour: object) -> None:
    for index, change in enumerate(changes):
        until = changes[index + 1].at if index + 1 < len(changes) else max(ends_at, change.at)
        left, right = canvas.x(change.at), canvas.x(until)
        width = max(1.5, right - left)
        why = f": {change.why}" if change.why else ""
        fill = colour(change.to) if callable(colour) else _MILD
        mark = _element(
            "rect",
            {"x": left, "y": canvas.y, "width": round(width, 1), "height": BAND, "rx": 2}
            | {"fill": fill},
        )
        if width > 8 * len(change.to) + 6:
            mark += _element("text", {"x": left + 5, "y": canvas.y + 15, "class": "in"}, change.to)
        canvas.add(mark, f"{change.to} at {_clock(change.at)} by {change.by}{why}")


def _levels(canvas: _Canvas, found: Summary) -> None:
    if not found.levels:
        return
    canvas.label("levels")
    for level in found.levels:
        x, y = canvas.x(level.at), canvas.y
        late = level.at - level.due_at
        names = ", ".join(level.names) or "nobody"
        mark = _element(
            "polygon",
            {"points": f"{x},{y + 3} {x - 7},{y + 17} {x + 7},{y + 17}", "fill": "#5b3fa0"},
        ) + _element(
            "text",
            {"x": x + 9, "y": y + 15, "class": "small"},
            str(level.level),
        )
        skipped = f", skipped {', '.join(map(str, level.skipped))}" if level.skipped else ""
        canvas.add(
            mark,
            f"level {level.level} at {_clock(level.at)}, {duration(late)} after it was due"
            f"{skipped}: {names}",
        )
    canvas.row()


def _people(canvas: _Canvas, pages: Sequence[Paged]) -> None:
    if not pages:
        return
    canvas.heading("pages")
    by_person: dict[str, list[Paged]] = {}
    for page in pages:
        by_person.setdefault(page.name, []).append(page)
    for name, theirs in list(by_person.items())[:MOST_PEOPLE]:
        canvas.label(name)
        for page in theirs:
            _page(canvas, page)
        canvas.row()
    left_out = len(by_person) - MOST_PEOPLE
    if left_out > 0:
        canvas.label(f"and {left_out} more people")
        canvas.row()


def _page(canvas: _Canvas, page: Paged) -> None:
    asked = canvas.x(page.requested_at)
    at = page.settled_at or page.requested_at
    x, y = canvas.x(at), canvas.y + 12
    mark = ""
    if x - asked > 1:
        mark += _element(
            "line",
            {"x1": asked, "x2": x, "y1": y, "y2": y, "stroke": _QUIET, "stroke-dasharray": "3 2"},
        )
    mark += _outcome(page.status, x, y)
    if page.status == "delivered" and page.attempts > 1:
        # It was tried before: that stands where the first attempt was, as what failed does.
        mark += _cross(asked, y, _DOUBT)
        said = {"x": x + 9, "y": y + 4, "class": "small"}
        mark += _element("text", said, f"at attempt {page.attempts}")
    attempts = f", {page.attempts} attempts" if page.attempts > 1 else ""
    reason = f" ({page.reason})" if page.reason else ""
    canvas.add(
        mark,
        f"level {page.level} to {page.name} by {page.channel}: {page.status}{reason}{attempts}, "
        f"asked for {_clock(page.requested_at)}, {duration(at - page.requested_at)} later",
    )


def _outcome(status: str, x: float, y: float) -> str:
    """A mark for how a message ended: told apart by its shape, and by colour too."""
    match status:
        case "delivered":
            return _element("circle", {"cx": x, "cy": y, "r": 5.5, "fill": _GOOD})
        case "failed":
            return _cross(x, y, _BAD)
        case "superseded":
            return _element(
                "circle",
                {"cx": x, "cy": y, "r": 5, "fill": "#fff", "stroke": _QUIET, "stroke-width": 1.5},
            )
        case _:
            points = f"{x},{y - 6} {x + 6},{y} {x},{y + 6} {x - 6},{y}"
            return _element("polygon", {"points": points, "fill": _DOUBT})


def _cross(x: float, y: float, colour: str) -> str:
    path = f"M{x - 5},{y - 5} L{x + 5},{y + 5} M{x - 5},{y + 5} L{x + 5},{y - 5}"
    return _element("path", {"d": path, "stroke": colour, "stroke-width": 2.5, "fill": "none"})


_SHOWN = {
    "acknowledged": "acknowledged",
    "mitigated": "mitigated",
    "resolved": "resolved",
    "asked to reopen": "reopen",
    "asked for another severity": "severity",
    "asked to merge": "merge",
    "approved a step": "approved",
    "rejected a playbook": "rejected",
}


def _answers(canvas: _Canvas, answers: Sequence[Answer]) -> None:
    shown = [answer for answer in answers if answer.what in _SHOWN]
    if not shown:
        return
    canvas.label("answers")
    ends: list[float] = []
    for answer in shown:
        x = canvas.x(answer.at)
        text = _cut(f"{answer.who} {_SHOWN[answer.what]}", 30)
        width = 12 + 6.4 * len(text)
        flipped = x + width > WIDTH - RIGHT
        left = x - width if flipped else x + 7
        # Two that lie close together go below each other.
        lane = next((n for n, end in enumerate(ends) if end < min(x, left) - 4), len(ends))
        ends[lane:] = [max(x, left + width), *ends[lane + 1 :]]
        y = canvas.y + lane * 18
        mark = _element(
            "rect",
            {"x": x - 4, "y": y + 8, "width": 8, "height": 8, "fill": "#2b6cb0"},
        ) + _element(
            "text",
            {"x": x - 8 if flipped else left, "y": y + 16, "class": "small"}
            | ({"text-anchor": "end"} if flipped else {}),
            text,
        )
        said = f": {answer.text}" if answer.text else ""
        canvas.add(mark, f"{answer.who} {answer.what} at {_clock(answer.at)}{said}")
    canvas.row(len(ends) * 18 + 6)


def _updates(canvas: _Canvas, updates: Sequence[Update]) -> None:
    if not updates:
        return
    canvas.label("updates")
    y = canvas.y + 12
    for update in updates:
        mark = ""
        if update.due_at is not None and update.outcome != "in time":
            x = canvas.x(update.due_at)
            mark += _element(
                "line",
                {"x1": x, "x2": x, "y1": y - 9, "y2": y + 9, "stroke": _INK, "stroke-width": 1.5}
                | {"stroke-dasharray": "2 2"},
            )
        if update.made_at is not None:
            colour = _BAD if update.outcome == "late" else _GOOD
            x = canvas.x(update.made_at)
            mark += _element("circle", {"cx": x, "cy": y, "r": 5.5, "fill": colour})
        elif update.due_at is not None:
            mark += _cross(canvas.x(update.due_at), y, _BAD)
        due = "" if update.due_at is None else f", due {_clock(update.due_at)}"
        made = "" if update.made_at is None else f" at {_clock(update.made_at)} by {update.by}"
        canvas.add(mark, f"update {update.outcome}{made}{due}. {update.text}".strip())
    canvas.row()


_STEP_COLOURS = {
    "verified": _GOOD,
    "finished": _GOOD,
    "failed": _BAD,
    "in_doubt": _DOUBT,
    "rolled_back": _DOUBT,
}


def _steps(canvas: _Canvas, ran: Sequence[StepRun]) -> None:
    started = [step for step in ran if step.started_at is not None]
    if not started:
        return
    canvas.heading("remediation")
    for step in started:
        canvas.label(step.title)
        begin = step.started_at or canvas.begins_at
        end = step.ended_at or begin
        x, right = canvas.x(begin), canvas.x(end)
        colour = _STEP_COLOURS.get(step.status, _QUIET)
        mark = _element(
            "rect",
            {"x": x, "y": canvas.y + 5, "width": max(5.0, round(right - x, 1)), "height": 13}
            | {"rx": 2, "fill": colour},
        ) + _element(
            "text",
            {"x": max(right, x + 5) + 5, "y": canvas.y + 15, "class": "small"},
            f"{step.status} after {duration(end - begin)}",
        )
        canvas.add(mark, f"{step.title} ({step.playbook}): {step.status}. {step.reason}")
        canvas.row(20)


def _alerts(canvas: _Canvas, alerts: Sequence[Episode]) -> None:
    if not alerts:
        return
    firing = sum(alert.cleared_at is None for alert in alerts)
    canvas.heading(f"alerts ({len(alerts)}, {firing} still firing)")
    shown = alerts[:MOST_ALERTS]
    for alert in shown:
        where = next(
            (
                alert.labels[name]
                for name in ("instance", "pod", "service", "cluster")
                if name in alert.labels
            ),
            "",
        )
        canvas.label(f"{alert.name} {where}".strip())
        _episode(canvas, alert)
        canvas.row(18)
    rest = alerts[MOST_ALERTS:]
    if rest:
        canvas.label(f"and {len(rest)} more")
        begin = min(alert.starts_at for alert in rest)
        ends = [alert.cleared_at for alert in rest]
        known = [end for end in ends if end is not None]
        end = max(known) if len(known) == len(ends) else None
        whole = rest[0].model_copy(update={"starts_at": begin, "cleared_at": end})
        _episode(canvas, whole, faint=True)
        canvas.row(18)


def _episode(canvas: _Canvas, alert: Episode, *, faint: bool = False) -> None:
    x = canvas.x(alert.starts_at)
    right = canvas.x(alert.cleared_at or canvas.ends_at)
    mark = _element(
        "rect",
        {"x": x, "y": canvas.y + 7, "width": max(2.0, round(right - x, 1)), "height": 9}
        | {"fill": "#e7b5b2" if faint else "#cf6a64"},
    )
    if alert.cleared_at is not None:
        mark += _element(
            "line",
            {"x1": right, "x2": right, "y1": canvas.y + 4, "y2": canvas.y + 19}
            | {"stroke": _GOOD, "stroke-width": 2.5},
        )
    labels = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    until = "still fires" if alert.cleared_at is None else f"cleared {_clock(alert.cleared_at)}"
    canvas.add(mark, f"{alert.name} since {_clock(alert.starts_at)}, {until}. {labels}")


def _axis(canvas: _Canvas, top: float, bottom: float) -> list[str]:
    length = canvas.ends_at - canvas.begins_at
    step = next((tick for tick in _TICKS if length / tick <= _MOST_TICKS), _TICKS[-1])
    seconds = step.total_seconds()
    at = datetime.fromtimestamp(
        math.ceil(canvas.begins_at.timestamp() / seconds) * seconds, canvas.begins_at.tzinfo
    )
    form = "%m-%d %H:%M" if length > timedelta(days=1) else "%H:%M" if seconds >= 60 else "%H:%M:%S"  # noqa: PLR2004 - a minute
    drawn = []
    while at <= canvas.ends_at:
        x = canvas.x(at)
        drawn.append(
            _element("line", {"x1": x, "x2": x, "y1": top, "y2": bottom, "stroke": "#e4e9ee"})
            + _element(
                "text",
                {"x": x, "y": top - 4, "text-anchor": "middle", "class": "small"},
                at.strftime(form),
            )
        )
        at += step
    return drawn


def _legend(canvas: _Canvas) -> None:
    marks = (
        (_outcome("delivered", 0, 0), "delivered, made in time"),
        (_cross(0, 0, _BAD), "failed, missed"),
        (_outcome("superseded", 0, 0), "no longer wanted"),
        (_outcome("in_doubt", 0, 0), "open or in doubt"),
        (
            _element("polygon", {"points": "0,-7 -7,6 7,6", "fill": "#5b3fa0"}),
            "level reached",
        ),
        (
            _element(
                "line",
                {"x1": 0, "x2": 0, "y1": -8, "y2": 8, "stroke": _INK, "stroke-width": 1.5}
                | {"stroke-dasharray": "2 2"},
            ),
            "update due",
        ),
        (
            _element(
                "line",
                {"x1": 0, "x2": 0, "y1": -7, "y2": 7, "stroke": _GOOD, "stroke-width": 2.5},
            ),
            "alert cleared",
        ),
    )
    x = 24.0
    for mark, text in marks:
        canvas.add(
            f'<g transform="translate({x},{canvas.y})">{mark}'
            + _element("text", {"x": 12, "y": 4, "class": "small"}, text)
            + "</g>"
        )
        x += 34 + 6.2 * len(text)
    canvas.row(14)


Bar = tuple[str, float, str]
"""A label, a length, and the figure that stands at its end."""


def bars(title: str, panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Panels of horizontal bars as an SVG document; each panel has its own scale."""
    now = datetime(2000, 1, 1)  # noqa: DTZ001 - bars have no time
    canvas = _Canvas(now, now)
    canvas.y = 30
    canvas.add(_element("text", {"x": 16, "y": canvas.y, "class": "big"}, title))
    canvas.y += 8
    for name, held in panels:
        if not held:
            continue
        canvas.heading(name)
        longest = max(length for _, length, _ in held) or 1.0
        for label, length, figure in held:
            canvas.label(label)
            width = round(length / longest * (WIDTH - LEFT - RIGHT - 140), 1)
            shape = {"x": LEFT, "y": canvas.y + 5, "width": max(1.0, width), "height": 13}
            at = {"x": LEFT + max(1.0, width) + 6, "y": canvas.y + 16, "class": "small"}
            mark = _element("rect", shape | {"rx": 2, "fill": "#4f7ea8"})
            canvas.add(mark + _element("text", at, figure), f"{label}: {figure}")
            canvas.row(19)
    return _document(canvas.parts, round(canvas.y + 16), title)


def _document(parts: Sequence[str], height: int, said: str) -> str:
    style = (
        "text{font:12px system-ui,sans-serif;fill:" + _INK + "}"
        ".heading{font-weight:600;fill:#52606d}.small{font-size:10.5px;fill:#52606d}"
        ".big{font-size:17px;font-weight:600}.in{fill:#fff;font-weight:600}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label={quoteattr(_clean(said))}>'
        f"<style>{style}</style>"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _clean(text: str) -> str:
    # XML knows no control characters, and alerts come from outside.
    return "".join(c if c.isprintable() else " " for c in text)


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _element(name: str, attributes: dict[str, object], text: str | None = None) -> str:
    shown = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items())
    if text is None:
        return f"<{name}{shown}/>"
    return f"<{name}{shown}>{escape(_clean(text))}</{name}>"
