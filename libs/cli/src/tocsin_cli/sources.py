"""What a command reads: the running cluster, a bundle or an archive, all through one port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tocsin_cli import connection
from tocsin_cli.exits import NotFound
from tocsin_cli.printing import errors
from tocsin_replay import (
    ArchiveReader,
    HeldLog,
    Recorded,
    Version,
    gather,
    open_bundle,
    read_incident,
    read_policies,
)
from tocsin_replay.reading import INCIDENTS
from tocsin_runtime.ports import Reader

T = TypeVar("T")

From = Annotated[
    Path | None,
    typer.Option("--from", help="A bundle or an archive to read instead of the running system."),
]


async def with_source(path: Path | None, work: Callable[[Reader], Awaitable[T]]) -> T:
    """What `work` makes of a reader of the running cluster's log, or of a file's.

    Raises:
        BadBundle: The file is not, or no longer, what it should be.
        BadArchive: The folder is no archive.
    """
    if path is None:
        return await connection.with_reader(work)
    try:
        return await work(_held(path))
    except LookupError as error:
        raise NotFound(str(error)) from error


def _held(path: Path) -> Reader:
    return ArchiveReader(path) if path.is_dir() else open_bundle(path).log


async def story(
    path: Path | None, incident: str
) -> tuple[tuple[Recorded, ...], tuple[Version, ...]]:
    """The facts of an incident and the policies of its system.

    Raises:
        NotFound: The log does not know it.
    """

    async def read(reader: Reader) -> tuple[tuple[Recorded, ...], tuple[Version, ...]]:
        with progress(f"reading {incident}") as count:
            recorded = await read_incident(reader, incident, count)
        if not recorded:
            raise NotFound(f"the log does not know incident {incident}")
        return recorded, await read_policies(reader)

    return await with_source(path, read)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


async def alone(reader: Reader, incident: str) -> HeldLog:
    """What one incident rests on, and nothing else. Raises `NotFound` where there is no such."""
    with progress(f"gathering {incident}") as count:
        gathered = await gather(reader, [incident], count)
    if not any(record.position.topic == INCIDENTS for record in gathered.records):
        raise NotFound(f"the log does not know incident {incident}")
    return HeldLog(gathered.widths, gathered.records)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Something to call with each count of records; people who wait see how fast, how long yet."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} records"),
        _Rate(),
        TimeElapsedColumn() if total is None else TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
