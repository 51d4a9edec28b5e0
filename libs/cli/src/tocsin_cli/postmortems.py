"""`tocsin postmortem`: the document, as far as the log can write it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli import connection
from tocsin_cli.exits import NotFound
from tocsin_cli.issues import ReviewSettings, open_issue
from tocsin_cli.printing import Incident, Json, console, print_json
from tocsin_cli.sources import From, alone, story, with_source
from tocsin_replay import (
    picture,
    postmortem,
    postmortem_html,
    promised,
    read_history,
    state_of,
    summarise,
    suppose,
    supposition_markdown,
    what_if,
)
from tocsin_runtime.ports import Reader


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("postmortem")(write)


def write(
    incident: Incident,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A file; .html for a page, else Markdown and an .svg."),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Print a self-contained page.")] = False,
    publish: Annotated[
        str | None, typer.Option(help="Say that it is published here: the review is done.")
    ] = None,
    issue: Annotated[
        bool, typer.Option("--open-issue", help="Open it as an issue, and say it is published.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="Who publishes: a contact id.")] = "",
    supposed: Annotated[
        list[str] | None,
        typer.Option("--if", help='Add what would have been: "ack at +3m", "provider slack down".'),
    ] = None,
    source: From = None,
    as_json: Json = False,
) -> None:
    """The postmortem of an incident, filled from the log in the policy's own template."""
    if (publish is not None or issue) and not by:
        raise ValueError("name who publishes it: --by")
    recorded, versions = asyncio.run(story(source, incident))
    state = state_of(recorded)
    if state is None:
        raise NotFound(f"nobody opened {incident}")
    policy = promised(versions, state)
    what = ""
    if supposed:
        what = asyncio.run(_supposed(incident, supposed, source))
    if as_json:
        print_json(summarise(recorded, policy).model_dump(mode="json"))
    elif out is not None and out.suffix == ".html":
        out.write_text(postmortem_html(recorded, policy, what_if=what), encoding="utf-8")
        console.print(f"wrote {out}", highlight=False)
    elif out is not None:
        drawn = out.with_suffix(".svg")
        drawn.write_text(picture(summarise(recorded, policy), policy), encoding="utf-8")
        written = postmortem(recorded, policy, picture_at=drawn.name, what_if=what)
        out.write_text(written, encoding="utf-8")
        console.print(f"wrote {out} and {drawn}", highlight=False)
    elif publish is None and not issue:
        sys.stdout.write(
            postmortem_html(recorded, policy, what_if=what)
            if html
            else postmortem(recorded, policy, what_if=what)
        )
    if issue:
        text = postmortem(recorded, policy, what_if=what)
        title = f"Postmortem: {summarise(recorded, policy).title} ({incident})"
        publish = open_issue(ReviewSettings(), incident, title, text)
        console.print(f"issue: {publish}", highlight=False)
    if publish is not None:
        _published(incident, publish, by)


async def _supposed(incident: str, texts: list[str], source: Path | None) -> str:
    """What would have been otherwise, for the document, and how good the model of it is."""

    async def read(reader: Reader) -> str:
        held = await alone(reader, incident)
        history = await read_history(held, about=incident)
        found = await what_if(history, supposed=suppose(incident, texts))
        return supposition_markdown(found, incident)

    return await with_source(source, read)


def _published(incident: str, url: str, by: str) -> None:
    """Stop the clock of the review."""
    content = json.dumps({"by": by, "url": url, "via": "cli"}).encode()
    token = connection.connect().api_token
    connection.post(f"/v1/incidents/{incident}/review", content=content, token=token)
    console.print("review: in the log")
