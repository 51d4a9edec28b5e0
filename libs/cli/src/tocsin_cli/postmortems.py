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
from tocsin_cli.printing import Incident, Json, console, print_json
from tocsin_cli.sources import From, story
from tocsin_replay import (
    picture,
    postmortem,
    postmortem_html,
    promised,
    state_of,
    summarise,
)


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
    by: Annotated[str, typer.Option("--by", help="Who publishes: a contact id.")] = "",
    source: From = None,
    as_json: Json = False,
) -> None:
    """The postmortem of an incident, filled from the log in the policy's own template."""
    recorded, versions = asyncio.run(story(source, incident))
    state = state_of(recorded)
    if state is None:
        raise NotFound(f"nobody opened {incident}")
    policy = promised(versions, state)
    if as_json:
        print_json(summarise(recorded, policy).model_dump(mode="json"))
    elif out is not None and out.suffix == ".html":
        out.write_text(postmortem_html(recorded, policy), encoding="utf-8")
        console.print(f"wrote {out}", highlight=False)
    elif out is not None:
        drawn = out.with_suffix(".svg")
        drawn.write_text(picture(summarise(recorded, policy), policy), encoding="utf-8")
        out.write_text(postmortem(recorded, policy, picture_at=drawn.name), encoding="utf-8")
        console.print(f"wrote {out} and {drawn}", highlight=False)
    elif publish is None:
        sys.stdout.write(
            postmortem_html(recorded, policy) if html else postmortem(recorded, policy)
        )
    if publish is not None:
        _published(incident, publish, by)


def _published(incident: str, url: str, by: str) -> None:
    """Stop the clock of the review."""
    if not by:
        raise ValueError("name who publishes it: --by")
    content = json.dumps({"by": by, "url": url, "via": "cli"}).encode()
    token = connection.connect().api_token
    connection.post(f"/v1/incidents/{incident}/review", content=content, token=token)
    console.print("review: in the log")
