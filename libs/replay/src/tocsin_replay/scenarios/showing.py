"""A scenario's whole timeline in text: what was given, what came, and wanted beside got."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tocsin_contracts.incidents import NotificationAttempted, NotificationRequested
from tocsin_policy import format_duration
from tocsin_replay.scenarios.document import Given
from tocsin_replay.scenarios.judging import Judged
from tocsin_replay.telling import entry_of

_BEFORE_IT_HAPPENS = (NotificationRequested, NotificationAttempted)
"""Left out: what became of a message is there, and tells as much."""


def show(judged: Judged) -> str:
    """The timeline of a scenario; what is not as wanted is marked, at its time and on top."""
    played = judged.played
    lines = [f"{played.scenario.name}: {'as wanted' if judged.passed else 'not as wanted'}"]
    for miss in judged.misses:
        at = f" at {format_duration(miss.at)}" if miss.at is not None else ""
        lines += [
            f"  {miss.about}{at}",
            f"    wanted  {miss.wanted}",
            f"    got     {miss.got}",
        ]
    rows = sorted(_rows(judged), key=lambda row: row[:2])
    width = max((len(format_duration(row[0])) for row in rows), default=0)
    lines.append(f"timeline, from {played.scenario.starts:%a %Y-%m-%d %H:%M} UTC")
    lines += [f"  {format_duration(at):>{width}} {text}" for at, _, text in rows]
    for state in played.states.values():
        lines.append(f"incident {state.incident}: {state.status}, {state.severity}, {state.rule}")
    if not played.states:
        lines.append("no incident")
    return "\n".join(lines)


def _rows(judged: Judged) -> Iterator[tuple[timedelta, int, str]]:
    played = judged.played
    for given in played.scenario.given:
        yield given.at, 0, f"· {_given(given)}"
    for step in played.steps:
        if isinstance(step.recorded.event.fact, _BEFORE_IT_HAPPENS):
            continue
        entry = entry_of(step)
        parts = [part for part in (entry.what, entry.who, entry.why) if part]
        since = played.since_start(entry.at)
        yield since - since % timedelta(seconds=1), 1, f"  {' | '.join(parts)}"
    for miss in judged.misses:
        if miss.at is not None:
            yield miss.at, 2, f"✗ {miss.about}: wanted {miss.wanted}; got {miss.got}"


def _given(given: Given) -> str:
    by = f"{given.by}: " if given.by is not None else ""
    match given.what:
        case "alert" if given.alert is not None:
            return f"alert {_labels(given.alert.labels)}"
        case "resolve" if given.resolve is not None:
            return f"resolved {_labels(given.resolve)}"
        case "payload":
            return f"payload {given.payload} from {given.source}"
        case "fail" if given.fail is not None:
            status = 403 if given.fail.refused else 503
            lasts = format_duration(given.fail.lasts)
            return f"{given.fail.channel} answers {status} for {lasts}"
        case "assign" if given.assign is not None:
            return f"{by}{given.assign.contact} becomes {given.assign.role}"
        case ("approve" | "reject") as said:
            step = given.approve or given.reject
            return f"{by}{said} {step.step if step is not None else ''}"
        case "update":
            return f"{by}update, {given.audience}: {given.update}"
        case "drill" | "severity" | "note" as said:
            return f"{by}{said} {getattr(given, said)}"
        case said:
            return f"{getattr(given, said)}: {said} {given.text}".rstrip()


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
