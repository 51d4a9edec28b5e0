"""`tocsin archive` and `tocsin sql`: topics as Parquet, and questions about incidents."""

from __future__ import annotations

import asyncio
import csv
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tocsin_cli.printing import Json, console, errors, print_json
from tocsin_cli.sources import From, progress, with_source
from tocsin_replay import Answered, Archived, archive, ask, read_policies
from tocsin_replay.gathering import EVERYTHING
from tocsin_replay.wording import duration, some
from tocsin_runtime.ports import Reader


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("archive")(keep)
    app.command("sql")(sql)


def keep(
    folder: Annotated[Path, typer.Argument(help="Where the archive lies, or is to lie.")],
    topics: Annotated[
        list[str] | None, typer.Option("--topic", help="Of these topics only.")
    ] = None,
    source: From = None,
) -> None:
    """Add to an archive what the log has more than it: Parquet by day, with a manifest."""

    async def read(reader: Reader) -> Archived:
        with progress("archiving") as count:
            return await archive(reader, folder, topics or EVERYTHING, count)

    done = asyncio.run(with_source(source, read))
    for gap in done.gaps:
        errors.print(
            f"the log no longer had {gap.topic}-{gap.partition} from {gap.first} to {gap.end}",
            style="yellow",
        )
    console.print(
        f"{folder}: {some(done.records, 'record')} in {some(done.files, 'file')}"
        if done.records
        else f"{folder}: nothing new",
        highlight=False,
        soft_wrap=True,
    )


def sql(
    question: Annotated[str, typer.Argument(help="SELECT … FROM incidents, pages, alerts …")],
    source: From = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask in SQL: incidents, pages, alerts, levels, updates, answers, facts.

    Instants are shown in UTC. What does not fit the terminal is shown row by row.
    """

    async def read(reader: Reader) -> Answered:
        versions = await read_policies(reader)
        with progress("reading incidents") as count:
            return await ask(reader, versions, question, count)

    found = asyncio.run(with_source(source, read))
    if as_json:
        print_json([dict(zip(found.columns, map(_plain, row), strict=True)) for row in found.rows])
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(found.columns)
        writer.writerows([_plain(value) for value in row] for row in found.rows)
    else:
        _show([str(name) for name in found.columns], [[*map(_written, row)] for row in found.rows])


def _show(columns: list[str], rows: list[list[str]]) -> None:
    """A table where it fits the terminal; else row by row, so that nothing is cut off."""
    widths = [max(map(len, held)) for held in zip(columns, *rows, strict=True)]
    if sum(widths) + 2 * len(widths) <= console.width:
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    indent = max(map(len, columns)) + 2
    for number, row in enumerate(rows, start=1):
        console.rule(str(number), align="left", style="dim")
        for name, value in zip(columns, row, strict=True):
            grid = Table.grid(padding=0)
            grid.add_column(width=indent, no_wrap=True)
            grid.add_column(overflow="fold", ratio=1)
            grid.add_row(Text(name, "bold"), Text(value))
            console.print(grid)


def _written(value: Any) -> str:  # noqa: ANN401 - whatever a column holds
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={_written(held)}" for name, held in value.items())
    return str(value)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    return str(value)
