"""`tocsin what-if`: what another policy would have changed, and whether that may be."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.printing import Json, console, errors, period, print_json
from tocsin_cli.sources import From, progress, with_source
from tocsin_policy import Policy, load_policy
from tocsin_replay import (
    Comparison,
    HeldLog,
    broken,
    comparison_markdown,
    comparison_table,
    gather,
    read_history,
    read_policies,
    summaries,
    what_if,
)
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.ports import Reader


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("what-if")(compare)


def compare(
    policy: Annotated[Path, typer.Option(help="The policy to try, a YAML file.")],
    since: Annotated[str | None, typer.Option(help="90d, 12h, or an instant.")] = None,
    until: Annotated[str | None, typer.Option(help="An instant.")] = None,
    incident: Annotated[str | None, typer.Option(help="On this incident only.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", help="missed-p0>0, pages>+20% …")
    ] = None,
    markdown: Annotated[bool, typer.Option(help="Print Markdown, for a pull request.")] = False,
    source: From = None,
    as_json: Json = False,
) -> None:
    """Live through what was recorded under another policy, and say what would be otherwise."""
    found = asyncio.run(_compared(load_policy(policy), since, until, incident, source))
    failed = [why for why in (broken(found, check) for check in fail_if or ()) if why]
    if as_json:
        print_json({**found.model_dump(mode="json"), "failed": failed})
    elif markdown:
        sys.stdout.write(comparison_markdown(found, failed))
    else:
        console.print(comparison_table(found))
    for why in failed:
        errors.print(why, style="red", markup=False, highlight=False)
    if failed:
        raise typer.Exit(Exit.FAILED)


async def _compared(
    instead: Policy,
    since: str | None,
    until: str | None,
    incident: str | None,
    source: Path | None,
) -> Comparison:
    now = SystemClock().now()
    end = None if until is None else period(until, now)
    begin = None if since is None else period(since, end or now)

    async def read(reader: Reader) -> Comparison:
        if incident is not None:
            with progress(f"gathering {incident}") as count:
                gathered = await gather(reader, [incident], count)
            reader = HeldLog(gathered.widths, gathered.records)
        with progress("reading") as count:
            history = await read_history(reader, begin, end, count)
        if not history.inputs:
            raise NotFound("there is nothing to live through in this range")
        versions = await read_policies(reader)
        first, last = history.begins_at or now, history.ends_at or now
        recorded = {one.incident: one for one in await summaries(reader, versions, first, last)}
        with progress("living through it, twice", 2 * len(history.inputs)) as count:
            return await what_if(history, instead, recorded, count)

    return await with_source(source, read)
