"""`tocsin report`: how it went over many incidents."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.exits import NotFound
from tocsin_cli.printing import Json, console, period, print_json, shown
from tocsin_cli.sources import From, progress, with_source
from tocsin_replay import (
    Measures,
    measures,
    measures_picture,
    measures_table,
    read_policies,
    summaries,
)
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.ports import Reader

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before anything was recorded."""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("report")(report)


def report(
    since: Annotated[str, typer.Option(help="90d, 12h, or an instant.")] = "",
    until: Annotated[str | None, typer.Option(help="An instant; now without it.")] = None,
    system: Annotated[str | None, typer.Option(help="Of this system only.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw it into this file.")] = None,
    source: From = None,
    as_json: Json = False,
) -> None:
    """Times to detect, acknowledge, mitigate, resolve; targets, updates, noise, nights, alerts.

    The last 30 days of the running system, unless --since says otherwise; all of a recording.
    """
    now = SystemClock().now()
    end = now if until is None else period(until, now)
    begin = _BEGINNING if source is not None and not since else period(since or "30d", end)
    if begin >= end:
        raise ValueError(f"--since {shown(begin)} is not before --until {shown(end)}")

    async def read(reader: Reader) -> Measures:
        versions = await read_policies(reader, system)
        with progress("reading incidents") as count:
            found = await summaries(reader, versions, begin, end, count)
        policies = {version.policy.system: version.policy for version in versions}
        if system is not None and system not in policies:
            raise NotFound(f"the log has no policy of {system!r}")
        ours = [one for one in found if system in {None, one.system}]
        if begin > _BEGINNING:
            return measures(ours, policies, begin, end)
        # Of a recording, the time it is of: incidents a month would be next to none otherwise.
        first = min((one.opened_at for one in ours), default=end)
        last = max((one.ends_at for one in ours), default=end)
        return measures(ours, policies, first, last if until is None else end)

    found = asyncio.run(with_source(source, read))
    if svg is not None:
        svg.write_text(measures_picture(found), encoding="utf-8")
        console.print(f"drew {svg}", highlight=False)
    if as_json:
        print_json(found.model_dump(mode="json"))
    elif svg is None:
        console.print(measures_table(found))
