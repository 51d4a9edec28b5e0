"""`tocsin audit`: nothing accepted is unaccounted for, once or again and again."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.auditing import Auditor
from tocsin_cli.exits import Exit, Unreachable
from tocsin_cli.printing import Json, console, period, print_json
from tocsin_cli.sources import From, progress, with_source
from tocsin_policy import parse_duration
from tocsin_replay.auditing import Audited, audit, audit_table
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.ports import Reader


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(run)


def run(
    since: Annotated[str, typer.Option(help="24h, 90d, or an instant.")] = "",
    until: Annotated[str | None, typer.Option(help="An instant; now without it.")] = None,
    grace: Annotated[str, typer.Option(help="How long a record may be on its way.")] = "2m",
    lateness: Annotated[str, typer.Option(help="How late a level may be.")] = "5m",
    every: Annotated[
        str, typer.Option(help="Again and again after so long, with metrics, until stopped.")
    ] = "",
    port: Annotated[int, typer.Option(help="For /metrics, with --every.")] = 9100,
    source: From = None,
    as_json: Json = False,
) -> None:
    """Prove that nothing accepted is unaccounted for. Exit code 1 if something is.

    Every accepted record became observations, an answer or a dead letter; every observation has
    one disposition; every incident that had to page has a page, an answer in time, or a recorded
    failure. The last day, unless --since says otherwise; all of a bundle or an archive.
    """
    graces = (parse_duration(grace), parse_duration(lateness))
    if every:
        if source is not None:
            raise ValueError("--every audits the running system; a recording does not change")
        asyncio.run(_again(since or "24h", parse_duration(every), graces, port))
        return
    now = SystemClock().now()
    end = None if until is None else period(until, now)
    if end is None and source is None:
        end = now
    begin = None
    if since or source is None:
        begin = period(since or "24h", end or now)
    audited = asyncio.run(audited_of(source, begin, end, *graces))
    if as_json:
        print_json({"holds": audited.holds, **audited.model_dump(mode="json")})
    else:
        console.print(audit_table(audited))
    if not audited.holds:
        raise typer.Exit(Exit.FAILED)


async def audited_of(
    source: Path | None,
    since: datetime | None,
    until: datetime | None,
    grace: timedelta,
    lateness: timedelta,
) -> Audited:
    """The audit of the running system's log, or of a recording."""
    partial = _is_bundle(source)

    async def read(reader: Reader) -> Audited:
        with progress("auditing") as count:
            return await audit(
                reader,
                since=since,
                until=until,
                grace=grace,
                lateness=lateness,
                partial=partial,
                progress=count,
            )

    return await with_source(source, read)


def _is_bundle(source: Path | None) -> bool:
    """Whether it holds what some incidents rest on, rather than a whole log."""
    return source is not None and source.is_file()


async def _again(
    since: str, every: timedelta, graces: tuple[timedelta, timedelta], port: int
) -> None:
    clock = SystemClock()
    auditor = Auditor()

    async def rounds() -> None:
        while True:
            now = clock.now()
            try:
                audited = await audited_of(None, period(since, now), now, *graces)
            except Unreachable as error:
                auditor.failed()
                _say({"event": "audit.put_off", "detail": str(error)})
            else:
                auditor.passed(audited, clock.now())
                for finding in audited.findings:
                    _say({"event": "audit.found", **finding.model_dump(mode="json")})
                found = sum(audited.found.values())
                _say({"event": "audit.finished", "found": found, **audited.counts})
            await clock.sleep(every)

    async with auditor.serving(port) as asked:
        work = asyncio.create_task(rounds())
        stop = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            work.cancel()
            stop.cancel()


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()
