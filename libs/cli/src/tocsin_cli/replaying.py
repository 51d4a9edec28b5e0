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
from rich.text import Text

from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.printing import Incident, Json, console, instant, print_json, shown
from tocsin_cli.sources import From, alone, progress, story, with_source
from tocsin_incident import IncidentState, explain, state_document
from tocsin_replay import (
    Cited,
    Entry,
    Moment,
    Recorded,
    Rederived,
    Step,
    Version,
    briefly,
    chain,
    differences,
    first_difference,
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
from tocsin_replay.wording import duration, some, words
from tocsin_runtime.ports import Reader

At = Annotated[
    str | None,
    typer.Option("--at", help="RFC 3339; 03:12, UTC; or +12m since the opening."),
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
    against: Annotated[
        Path | None,
        typer.Option(help="A bundle or an archive: the first fact at which its states part."),
    ] = None,
    source: From = None,
    as_json: Json = False,
) -> None:
    """The exact state then: known, happened, due, paged, on call, and the fact that made it so."""
    _one_of(
        {
            "--at": at is not None,
            "--offset": offset is not None,
            "--step": step,
            "--hashes": hashes,
            "--against": against is not None,
        }
    )
    if again:
        if at is not None or offset is not None or step or hashes or everything:
            raise ValueError("--rederive asks for every fact; only --from and --json go with it")
        _rederive(source, incident, as_json=as_json)
        return
    if everything:
        if incident or offset is not None or step or hashes:
            raise ValueError("--all is every incident; only --at, --from and --json go with it")
        _whole(source, None if at is None else instant(at), as_json=as_json)
        return
    if not incident:
        raise ValueError("name an incident, or ask for --all")
    recorded, versions = asyncio.run(story(source, incident))
    if against is not None:
        _compare(recorded, asyncio.run(story(against, incident))[0], as_json=as_json)
    elif hashes:
        _hashes(recorded, as_json=as_json)
    elif step:
        _walk(recorded, versions, incident, as_json=as_json)
    else:
        moment = _moment(recorded, versions, incident, at, offset)
        if as_json:
            print_json(moment.model_dump(mode="json"))
        else:
            _show(moment)


def _one_of(asked: dict[str, bool]) -> None:
    """Refuse what cannot be answered together, rather than answer half of it."""
    given = [name for name, there in asked.items() if there]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} ask for different things; name one of them")


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
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("incident, title", overflow="fold", ratio=1, min_width=32)
    for column in ("severity", "status", "level", "opened (UTC)", "firing"):
        table.add_column(column, no_wrap=True)
    for state in sorted(states.values(), key=lambda one: (one.opened_at, one.incident)):
        table.add_row(
            Text.assemble(state.incident, "\n", (state.title, "dim")),
            state.severity,
            state.status,
            str(state.level),
            f"{state.opened_at:%m-%d %H:%M:%S}",
            f"{state.firing}/{len(state.alerts)}",
        )
    console.print(table if states else "no incident")
    console.print(some(len(states), "incident"), highlight=False)
    console.print(f"hash {system_hash(states)}", style="dim", highlight=False)


def _rederive(source: Path | None, incident: str, *, as_json: bool) -> None:
    """Exit 1 if one differs: a change of code would have changed history."""

    async def again(reader: Reader) -> Rederived:
        held = await alone(reader, incident) if incident else reader
        with progress("deriving again") as count:
            return await rederive(held, count)

    async def read() -> Rederived:
        return await with_source(source, again)

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
            console.print("all of them: --json", style="dim")
    if found.differences:
        raise typer.Exit(Exit.FAILED)


def _hashes(recorded: Sequence[Recorded], *, as_json: bool) -> None:
    links = chain(recorded)
    if as_json:
        print_json([{**asdict(link), "event": str(link.event)} for link in links])
        return
    for link in links:
        sys.stdout.write(f"{link.offset:>10}  {link.chain}  {link.type}\n")


def _compare(one: Sequence[Recorded], other: Sequence[Recorded], *, as_json: bool) -> None:
    """Exit 1 if the states part; that one knows more facts than the other is no parting."""
    here, there = chain(one), chain(other)
    parted = first_difference(here, there)
    alike = min(len(here), len(there)) if parted is None else here.index(parted)
    if as_json:
        at = None if parted is None else {**asdict(parted), "event": str(parted.event)}
        print_json({"alike": alike, "facts": [len(here), len(there)], "parted": at})
    else:
        console.print(f"{some(alike, 'fact')} with the same states", highlight=False)
        if parted is not None:
            console.print(f"they part at offset {parted.offset}: {parted.type}", highlight=False)
        elif len(here) != len(there):
            more, count = ("here", len(here)) if len(here) > alike else ("there", len(there))
            console.print(f"{some(count - alike, 'fact')} more {more}", highlight=False)
    if parted is not None:
        raise typer.Exit(Exit.FAILED)


def _walk(
    recorded: Sequence[Recorded], versions: Sequence[Version], incident: str, *, as_json: bool
) -> None:
    made = tuple(steps(recorded))
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
    state = state_of(recorded)
    told = timeline(recorded, None if state is None else promised(versions, state))
    place = 0
    while True:
        entry = told[place]
        console.rule(f"{place + 1} of {len(made)}, offset {entry.offset}")
        console.print(
            Text.assemble(
                (f"{shown(entry.at)} {entry.what}", "bold"),
                f" · {entry.who}" if entry.who else "",
                f" · {entry.why}" if entry.why else "",
            )
        )
        _changes(made[place])
        _show(moment_after(recorded, versions, incident, entry.offset))
        try:
            asked = console.input(_KEYS, markup=False).strip()
        except EOFError:
            console.print()  # the input ended: as if it had said q
            return
        moved = _moved(asked, place, told)
        if moved is None:
            return
        place = moved


_KEYS = "enter: next, p: back, n: next that counts, number, +10, -10, g: end, q: "


def _moved(asked: str, place: int, told: Sequence[Entry]) -> int | None:
    """Where a person wants to go; past the end there is nothing more to see."""
    last = len(told) - 1
    if asked.startswith("q"):
        return None
    if asked.startswith("p"):
        return max(0, place - 1)
    if asked.startswith("g"):
        return last
    if asked.startswith("n"):
        shown = {entry.offset for entry in briefly(told)}
        ahead = (n for n in range(place + 1, len(told)) if told[n].offset in shown)
        return next(ahead, last)
    if asked[:1] in {"+", "-"} and asked[1:].isdigit():
        return min(max(place + int(asked), 0), last)
    if asked.isdigit():
        return min(max(int(asked), 1), len(told)) - 1
    if asked:
        console.print(f"no such key: {asked}", style="yellow", markup=False)
        return place
    return place + 1 if place < last else None


def _changes(step: Step) -> None:
    before = {} if step.before is None else state_document(step.before)
    after = {} if step.after is None else state_document(step.after)
    for name in sorted((before.keys() | after.keys()) - {"seen"}):
        old, new = before.get(name), after.get(name)
        if old != new and not isinstance(new, dict | list) and step.before is not None:
            console.print(f"  {name}: {old} -> {new}", markup=False, highlight=False)


def _show(moment: Moment) -> None:
    if moment.known is None:
        console.print(
            f"the log did not know {moment.incident} at {shown(moment.at)} UTC", highlight=False
        )
        return
    state = IncidentState.model_validate(moment.known)
    console.print(
        Text.assemble(
            (f"{state.severity} {state.title}", "bold"),
            f"  {state.status}, as the log had it at {shown(moment.at)} UTC ",
            f"(offset {moment.offset})",
        )
    )
    for line in explain(state):
        console.print(f"- {line}", markup=False, highlight=False)
    for name in ("status", "severity", "acknowledged_by", "level", "roles", "updated_at"):
        if name in moment.because:
            console.print(f"  {words(name)}: {_cited(moment.because[name])}", highlight=False)
    _not_told_yet(moment)
    _table_of_deadlines(moment)
    _table_of_messages(moment)
    for duty in moment.on_call:
        console.print(f"{duty.what}: {duty.name} ({duty.why})", markup=False, highlight=False)
    console.print(f"state chain {moment.chain}", style="dim", highlight=False)


_MOST_UNHEARD = 3
"""Facts named that had happened and the log did not hold; of more, the rest are counted."""


def _not_told_yet(moment: Moment) -> None:
    parts = differences(moment)
    if not parts:
        return
    console.print(f"  had happened otherwise than was known: {', '.join(parts)}", style="yellow")
    for unheard in moment.unheard[:_MOST_UNHEARD]:
        console.print(
            f"  had happened, not in the log yet: {_cited(unheard)}",
            style="yellow",
            highlight=False,
        )
    more = len(moment.unheard) - _MOST_UNHEARD
    if more > 0:
        console.print(f"  and {some(more, 'fact')} more, see --json", style="yellow")
    for ahead in moment.ahead[:_MOST_UNHEARD]:
        console.print(
            f"  in the log by a clock that was ahead: {_cited(ahead)}",
            style="yellow",
            highlight=False,
        )


def _table_of_deadlines(moment: Moment) -> None:
    if not moment.deadlines:
        console.print("no deadline is pending")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("pending", no_wrap=True)
    table.add_column("due (UTC)", no_wrap=True)
    table.add_column("in", no_wrap=True)
    table.add_column("since", overflow="fold", ratio=1)
    for due in moment.deadlines:
        what = words(due.kind) if due.level is None else f"{words(due.kind)} {due.level}"
        same_day = due.due_at.date() == moment.at.date()
        when = f"{due.due_at:%H:%M:%S}" if same_day else shown(due.due_at)
        table.add_row(what, when, duration(due.left), _cited(due.because))
    console.print(table)


def _table_of_messages(moment: Moment) -> None:
    if not moment.messages:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("message", overflow="fold", ratio=3)
    table.add_column("stands", overflow="fold", ratio=2)
    table.add_column("since", overflow="fold", ratio=3)
    for held in moment.messages:
        level = "" if held.level is None else f", level {held.level}"
        out = ", out" if held.out else ""
        tries = f", attempt {held.attempts}" if held.attempts > 1 else ""
        table.add_row(
            Text(f"{held.purpose}{level}: {held.name} by {held.channel}"),
            f"{words(held.status)}{out}{tries}",
            _cited(held.because),
        )
    console.print(table)


def _cited(fact: Cited | None) -> str:
    if fact is None:
        return ""
    name = words(fact.type.removeprefix("tocsin.incidents.").removesuffix(".v1"))
    return f"{name} {fact.at:%H:%M:%S} by {fact.by} (offset {fact.offset})"


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
