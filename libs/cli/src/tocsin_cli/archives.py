"""`tocsin archive` and `tocsin sql`: topics as Parquet, and questions about incidents."""

from __future__ import annotations

import asyncio
import csv
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tocsin_cli.printing import Json, console, errors, print_json
from tocsin_cli.sources import From, progress, with_source
from tocsin_replay import Answered, Archived, archive, ask, read_policies
from tocsin_replay.gathering import EVERYTHING
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
    console.print(f"{folder}: {done.records} records in {done.files} files", highlight=False)


def sql(
    question: Annotated[str, typer.Argument(help="SELECT … FROM incidents, pages, alerts …")],
    source: From = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask in SQL: incidents, pages, alerts, levels, updates, answers, facts."""

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
        table = Table(*found.columns, box=None)
        for row in found.rows:
            table.add_row(*("-" if value is None else str(_plain(value)) for value in row))
        console.print(table)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    return str(value)
