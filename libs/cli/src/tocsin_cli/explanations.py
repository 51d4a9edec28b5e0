"""`tocsin explain`: what became of an alert, from the bytes it came in to whom it paged."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tocsin_cli.exits import NotFound
from tocsin_cli.printing import Json, console, errors, period, print_json, shown
from tocsin_cli.sources import From, progress, with_source
from tocsin_replay.explaining import AlertStory, Explained, Line, explain_alert, query_of
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.ports import Reader

_COLOURS = {
    "muted": "yellow",
    "near miss": "dim",
    "incident": "bold",
    "paged": "red",
    "answered": "green",
    "Alertmanager": "cyan",
    "set aside": "red",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(run)


def run(
    alert: Annotated[
        list[str],
        typer.Argument(
            help="Its name, its labels (alertname=X instance=~Y.*), a fingerprint, "
            "or an observation's id.",
            metavar="ALERT...",
        ),
    ],
    since: Annotated[str, typer.Option(help="24h, 90d, or an instant.")] = "",
    source: From = None,
    as_json: Json = False,
) -> None:
    """The story of an alert: received, matched, grouped, muted by what, paged whom or why not.

    The last day of the running system, unless --since says otherwise; all of a recording. Exit
    code 3 if the log knows no such alert.
    """
    query = query_of(alert)
    begin: datetime | None = None
    if since or source is None:
        begin = period(since or "24h", SystemClock().now())

    async def read(reader: Reader) -> Explained:
        with progress("looking") as count:
            return await explain_alert(reader, query, begin, count)

    found = asyncio.run(with_source(source, read))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _show(found)
    if not found.stories:
        when = "" if begin is None else f" since {shown(begin)} UTC"
        raise NotFound(f"no alert {' '.join(alert)} was seen{when}")


def _show(found: Explained) -> None:
    for number, story in enumerate(found.stories):
        if number:
            console.print()
        _tell(story)
    if found.others:
        errors.print(f"{len(found.others)} more alerts fit:", style="yellow")
        for other in found.others:
            errors.print(f"  {other}", markup=False, highlight=False)
    if found.set_aside:
        console.print(_table(found.set_aside))


def _tell(story: AlertStory) -> None:
    console.print(Text(f"{story.name} {story.fingerprint} of {story.key}", style="bold"))
    labels = ", ".join(f'{name}="{value}"' for name, value in sorted(story.labels.items()))
    console.print(Text(labels, style="dim"))
    for sentence in story.verdict:
        console.print(Text(f"→ {sentence}"))
    console.print(_table(story.lines))


def _table(lines: tuple[Line, ...]) -> Table:
    table = Table(box=None)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=3)
    table.add_column("where", overflow="fold", ratio=1)
    for line in lines:
        style = _COLOURS.get(line.stage, "")
        what = Text(line.what, style=style)
        if line.why:
            what.append(f"\n{line.why}", style="dim")
        table.add_row(
            shown(line.at), Text(line.stage, style=style), what, Text(line.where, style="dim")
        )
    return table
