"""`tocsin bundle` and `tocsin verify`: an incident in one file, and whether it is still whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.printing import console, errors
from tocsin_cli.sources import From, progress, with_source
from tocsin_replay import (
    BadBundle,
    Gathered,
    Key,
    bundle_lines,
    drift,
    gather,
    gather_all,
    open_bundle,
    read_all,
    states_of,
    verify,
    verify_archive,
)
from tocsin_replay.wording import some
from tocsin_runtime.ports import Reader

KeyFile = Annotated[
    Path | None,
    typer.Option("--key", help="An Ed25519 key in PEM, or a file with a shared secret."),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("bundle")(bundle)
    app.command("verify")(check)


def bundle(
    incidents: Annotated[
        list[str] | None, typer.Argument(help="Incident ids.", metavar="[INCIDENT]...")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole recording.")] = False,
    key: KeyFile = None,
    source: From = None,
) -> None:
    """Put incidents and all they rest on into one file that replays offline."""
    names = tuple(incidents or ())
    if bool(names) == everything:
        raise ValueError("name incidents, or ask for --all")

    async def read(reader: Reader) -> tuple[Gathered, tuple[str, ...]]:
        with progress("gathering") as count:
            if everything:
                held = await gather_all(reader, count)
                return held, tuple(sorted(states_of(await read_all(reader))))
            return await gather(reader, names, count), names

    gathered, found = asyncio.run(with_source(source, read))
    known = {record.header("ce_subject") for record in gathered.records}
    for incident in found:
        if incident.encode() not in known:
            raise NotFound(f"the log does not know incident {incident}")
    path = out or Path(f"{names[0] if names else 'recording'}.tocsin")
    signer = None if key is None else Key(key.read_bytes())
    with path.open("wb") as file:
        for line in bundle_lines(gathered, found, signer):
            file.write(line)
    signed = "" if signer is None else f", signed by {signer.kind}"
    console.print(f"{path}: {some(len(gathered.records), 'record')}{signed}", highlight=False)
    for position in gathered.missing:
        errors.print(f"the log no longer holds {position}", style="yellow", highlight=False)


def check(
    path: Annotated[Path, typer.Argument(help="A bundle or an archive.")], key: KeyFile = None
) -> None:
    """Say whether it is what was made, and by whom; and where today's fold differs from then."""
    if path.is_dir():
        _check_archive(path)
        return
    try:
        opened = open_bundle(path)
        problems = () if key is None else verify(opened, Key(key.read_bytes()))
    except BadBundle as error:
        problems = error.problems
    for problem in problems:
        errors.print(f"{path}: {problem}", style="red", markup=False, highlight=False)
    if problems:
        raise typer.Exit(Exit.FAILED)
    for line in drift(opened):
        errors.print(f"{path}: {line}", style="yellow", markup=False, highlight=False)
    by = f", signed ({opened.signed})" if opened.signed else ""
    sure = "" if key is not None or not opened.signed else "; name its key to check by whom"
    console.print(
        f"{path} is whole{by}{sure}: {', '.join(opened.incidents) or 'no incident'}",
        highlight=False,
        soft_wrap=True,
    )


def _check_archive(path: Path) -> None:
    with progress("verifying") as count:
        problems = verify_archive(path, count)
    for problem in problems:
        errors.print(f"{path}: {problem}", style="red", markup=False, highlight=False)
    if problems:
        raise typer.Exit(Exit.FAILED)
    console.print(f"{path} is whole", highlight=False, soft_wrap=True)
