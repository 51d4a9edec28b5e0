"""`tocsin what-if`: what another policy would have changed, and whether that may be."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.printing import Json, console, errors, period, print_json
from tocsin_cli.sources import From, alone, progress, with_source
from tocsin_policy import Policy, load_policy
from tocsin_replay import (
    Comparison,
    broken,
    comparison_markdown,
    comparison_table,
    read_all,
    read_history,
    suppose,
    what_if,
)
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.ports import Reader


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("what-if")(compare)


def compare(
    policy: Annotated[Path | None, typer.Option(help="The policy to try, a YAML file.")] = None,
    supposed: Annotated[
        list[str] | None,
        typer.Option("--if", help='Suppose it: "ack at +3m", "provider slack down", "no silence".'),
    ] = None,
    since: Annotated[str | None, typer.Option(help="90d, 12h, or an instant.")] = None,
    until: Annotated[str | None, typer.Option(help="An instant.")] = None,
    incident: Annotated[
        str | None, typer.Option(help="On this incident only; a bundle of one needs it not.")
    ] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", help="missed-p0>0, pages>+20% …")
    ] = None,
    markdown: Annotated[bool, typer.Option(help="Print Markdown, for a pull request.")] = False,
    source: From = None,
    as_json: Json = False,
) -> None:
    """Live through what was recorded under another policy, and say what would be otherwise."""
    if policy is None and not supposed:
        raise ValueError("say what would be otherwise: --policy FILE, --if TEXT, or both")
    instead = None if policy is None else load_policy(policy)
    bundle = source is not None and source.is_file()
    asked = _compared(instead, since, until, incident, source, supposed or [], bundle=bundle)
    found = asyncio.run(asked)
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
    instead: Policy | None,
    since: str | None,
    until: str | None,
    incident: str | None,
    source: Path | None,
    texts: list[str],
    *,
    bundle: bool,
) -> Comparison:
    now = SystemClock().now()
    end = None if until is None else period(until, now)
    begin = None if since is None else period(since, end or now)

    async def read(reader: Reader) -> Comparison:
        about = incident or (await _only_one(reader, bundle=bundle) if texts else None)
        supposed = suppose(about, texts) if about is not None and texts else None
        if about is not None:
            reader = await alone(reader, about)
        with progress("reading") as count:
            history = await read_history(reader, begin, end, count, about)
        if not history.inputs:
            raise NotFound("there is nothing to live through in this range")
        with progress("living through it, twice", 2 * len(history.inputs)) as count:
            return await what_if(history, instead, count, supposed)

    return await with_source(source, read)


async def _only_one(reader: Reader, *, bundle: bool) -> str:
    """The incident of a bundle that holds one: whom else could an assumption be about."""
    if bundle:
        incidents = {one.event.subject for one in await read_all(reader)}
        if len(incidents) == 1:
            return incidents.pop()
    raise ValueError("an assumption is about one incident; name it: --incident ID")
