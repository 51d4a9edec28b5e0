"""`tocsin replay` and `tocsin timeline`: an incident as it was, and its story."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.printing import Incident, Json, console, instant, print_json, shown
from tocsin_cli.sources import From, progress, story, with_source
from tocsin_incident import IncidentState, explain, state_document
from tocsin_replay import (
    Cited,
    Moment,
    Recorded,
    Rederived,
    Step,
    Version,
    briefly,
    chain,
    differences,
    moment_after,
    moment_at,
    picture,
    promised,
    rederive,
    render_table,
    report,
    report_markdown,
    state_of,
    states_at,
    steps,
    summarise,
    system_hash,
    timeline,
    timeline_markdown,
)

At = Annotated[
    str | None, typer.Option("--at", help="Instant, RFC 3339; or +12m since the opening.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("replay")(replay)
    app.command("timeline")(tell)


def replay(
    incident: Annotated[str, typer.Argument(help="Incident id.", metavar="[INCIDENT]")] = "",
    at: At = None,
    offset: Annotated[int | None, typer.Option(help="Right after this offset.")] = None,
    step: Annotated[bool, typer.Option("--step", help="Fact by fact, back and forth.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="The whole system.")] = False,
    again: Annotated[
        bool, typer.Option("--rederive", help="Ask today's code again for every derived fact.")
    ] = False,
    hashes: Annotated[bool, typer.Option("--hashes", help="A state hash for each fact.")] = False,
    source: From = None,
    as_json: Json = False,
) -> None:
    """The exact state then: known, happened, due, paged, on call, and the fact that made it so."""
    if again:
        _rederive(source, as_json=as_json)
        return
    if everything:
        _whole(source, None if at is None else instant(at), as_json=as_json)
        return
    if not incident:
        raise ValueError("name an incident, or ask for --all")
    recorded, versions = asyncio.run(story(source, incident))
    if hashes:
        _hashes(recorded, as_json=as_json)
    elif step:
        _walk(recorded, versions, incident, as_json=as_json)
    else:
        moment = _moment(recorded, versions, incident, at, offset)
        if as_json:
            print_json(moment.model_dump(mode="json"))
        else:
            _show(moment)


def _moment(
    recorded: Sequence[Recorded],
    versions: Sequence[Version],
    incident: str,
    at: str | None,
    offset: int | None,
) -> Moment:
    if at is not None:
        opened_at = recorded[0].event.occurred_at
        return moment_at(recorded, versions, incident, instant(at, opened_at))
    newest = recorded[-1].position.offset
    try:
        return moment_after(recorded, versions, incident, newest if offset is None else offset)
    except LookupError as error:
        raise NotFound(str(error)) from error


def _whole(source: Path | None, at: datetime | None, *, as_json: bool) -> None:
    async def read() -> dict[str, IncidentState]:
        with progress("replaying everything") as count:
            return await with_source(source, lambda reader: states_at(reader, at, count))

    states = asyncio.run(read())
    if as_json:
        print_json(
            {
                "at": None if at is None else at.isoformat(),
                "hash": system_hash(states),
                "incidents": [state_document(state) for state in states.values()],
            }
        )
        return
    table = Table(box=None)
    table.add_column("incident", no_wrap=True)
    for column in ("severity", "status", "level", "opened (UTC)", "firing", "title"):
        table.add_column(column)
    for state in sorted(states.values(), key=lambda one: (one.opened_at, one.incident)):
        table.add_row(
            state.incident,
            state.severity,
            state.status,
            str(state.level),
            shown(state.opened_at),
            f"{state.firing}/{len(state.alerts)}",
            state.title,
        )
    console.print(table if states else "no incident")
    console.print(f"{len(states)} incidents, hash {system_hash(states)}", highlight=False)


def _rederive(source: Path | None, *, as_json: bool) -> None:
    """Exit 1 if one differs: a change of code would have changed history."""

    async def read() -> Rederived:
        with progress("deriving again") as count:
            return await with_source(source, lambda reader: rederive(reader, count))

    found = asyncio.run(read())
    if as_json:
        print_json(
            {
                "checked": found.checked,
                "differences": [
                    {**asdict(one), "position": list(one.position)} for one in found.differences
                ],
            }
        )
    else:
        console.print(f"{found.checked} facts derived again, {len(found.differences)} differ")
        if found.differences:
            console.print(f"first: {found.differences[0]}", markup=False, highlight=False)
    if found.differences:
        raise typer.Exit(Exit.FAILED)


def _hashes(recorded: Sequence[Recorded], *, as_json: bool) -> None:
    links = chain(recorded)
    if as_json:
        print_json([{**asdict(link), "event": str(link.event)} for link in links])
        return
    for link in links:
        sys.stdout.write(f"{link.offset:>10}  {link.chain}  {link.type}\n")


def _walk(
    recorded: Sequence[Recorded], versions: Sequence[Version], incident: str, *, as_json: bool
) -> None:
    made = steps(recorded)
    if as_json:
        for one, link in zip(made, chain(recorded), strict=True):
            line = {
                "offset": link.offset,
                "event": str(link.event),
                "type": link.type,
                "ignored": one.ignored,
                "state": link.state,
                "chain": link.chain,
            }
            sys.stdout.write(json.dumps(line) + "\n")
        return
    told = timeline(recorded)
    place = 0
    while True:
        entry = told[place]
        console.rule(f"{place + 1} of {len(made)}, offset {entry.offset}")
        effect = f" (no effect: {entry.ignored})" if entry.ignored else ""
        console.print(f"[bold]{shown(entry.at)} {entry.what}[/bold] {entry.who} {effect}")
        _changes(made[place])
        _show(moment_after(recorded, versions, incident, entry.offset))
        asked = console.input("next (enter), p(revious), a number, q(uit): ").strip()
        moved = _moved(asked, place, len(made))
        if moved is None:
            return
        place = moved


def _moved(asked: str, place: int, count: int) -> int | None:
    """Where a person wants to go; past the end there is nothing more to see."""
    if asked.startswith("q"):
        return None
    if asked.startswith("p"):
        return max(0, place - 1)
    if asked.isdigit():
        return min(max(int(asked), 1), count) - 1
    return place + 1 if place + 1 < count else None


def _changes(step: Step) -> None:
    before = {} if step.before is None else state_document(step.before)
    after = {} if step.after is None else state_document(step.after)
    for name in sorted((before.keys() | after.keys()) - {"seen"}):
        old, new = before.get(name), after.get(name)
        if old != new and not isinstance(new, dict | list) and step.before is not None:
            console.print(f"  {name}: {old} -> {new}", markup=False, highlight=False)


def _show(moment: Moment) -> None:
    if moment.known is None:
        console.print(f"the log did not know {moment.incident} at {shown(moment.at)}")
        return
    state = IncidentState.model_validate(moment.known)
    console.print(
        f"[bold]{state.severity} {state.title}[/bold]  {state.status}, as the log had it at "
        f"{shown(moment.at)} (offset {moment.offset})",
        highlight=False,
    )
    for line in explain(state):
        console.print(f"- {line}", markup=False, highlight=False)
    for name in ("status", "severity", "acknowledged_by", "level", "roles", "updated_at"):
        if name in moment.because:
            console.print(f"  {name} by {_cited(moment.because[name])}", highlight=False)
    for name in differences(moment):
        console.print(f"  had happened otherwise than was known: {name}", style="yellow")
    for unheard in moment.unheard:
        console.print(f"  had happened, not in the log yet: {_cited(unheard)}", style="yellow")
    _table_of_deadlines(moment)
    _table_of_messages(moment)
    for duty in moment.on_call:
        console.print(f"{duty.what}: {duty.name} ({duty.why})", markup=False, highlight=False)
    console.print(f"state chain {moment.chain}", style="dim", highlight=False)


def _table_of_deadlines(moment: Moment) -> None:
    if not moment.deadlines:
        console.print("no deadline is pending")
        return
    table = Table("pending", "due (UTC)", "in", "because of", box=None)
    for due in moment.deadlines:
        what = due.kind if due.level is None else f"{due.kind} {due.level}"
        left = f"{due.left.total_seconds():.0f} s"
        table.add_row(what, shown(due.due_at), left, _cited(due.because))
    console.print(table)


def _table_of_messages(moment: Moment) -> None:
    if not moment.messages:
        return
    table = Table("message", "to", "by", "stands", "attempts", "because of", box=None)
    for held in moment.messages:
        level = "" if held.level is None else f" level {held.level}"
        table.add_row(
            f"{held.purpose}{level}",
            held.name,
            held.channel,
            f"{held.status}{' (out)' if held.out else ''}",
            str(held.attempts),
            _cited(held.because),
        )
    console.print(table)


def _cited(fact: Cited | None) -> str:
    if fact is None:
        return ""
    name = fact.type.removeprefix("tocsin.incidents.").removesuffix(".v1")
    return f"{name} at {fact.at:%H:%M:%S} by {fact.by} (offset {fact.offset})"


def tell(
    incident: Incident,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option(help="Print a Markdown table.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Draw it into this file; - prints it.")] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Without the to and fro of messages.")
    ] = False,
    source: From = None,
) -> None:
    """The story of an incident, rebuilt from the log, against what its policy promised."""
    recorded, versions = asyncio.run(story(source, incident))
    state = state_of(recorded)
    if state is None:
        raise NotFound(f"nobody opened {incident}")
    policy = promised(versions, state)
    entries = timeline(recorded, policy)
    if brief:
        entries = briefly(entries)
    found = report(recorded, policy)
    if svg is not None:
        _draw(picture(summarise(recorded, policy), policy), svg)
    elif as_json:
        print_json(
            {
                "entries": [entry.model_dump(mode="json") for entry in entries],
                "report": found.model_dump(mode="json"),
            }
        )
    elif markdown:
        sys.stdout.write(f"{timeline_markdown(entries)}\n{report_markdown(found)}")
    else:
        render_table(console, entries, found)


def _draw(drawn: str, path: Path) -> None:
    if str(path) == "-":
        sys.stdout.write(drawn)
        return
    path.write_text(drawn, encoding="utf-8")
    console.print(f"drew {path}", highlight=False)
