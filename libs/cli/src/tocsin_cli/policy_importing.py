"""`tocsin policy import`: a draft from a runbook in Markdown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.printing import errors
from tocsin_policy.importing import draft_policy


def register(policies: typer.Typer) -> None:
    """Add the command."""
    policies.command("import")(import_runbook)


def import_runbook(
    path: Annotated[Path, typer.Argument(help="A runbook in Markdown.")],
    system: Annotated[str, typer.Option(help="Name of the system; the file's.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to.")] = None,
) -> None:
    """Draft a policy from a runbook. The draft validates; what it could not find is named."""
    name = system or path.stem.lower().replace("_", "-").replace(" ", "-")
    draft = draft_policy(path.read_text(encoding="utf-8", errors="replace"), name)
    if output is None:
        sys.stdout.write(draft.text)
    else:
        output.write_text(draft.text, encoding="utf-8")
    found = ", ".join(f"{count} {what}" for what, count in draft.found.items())
    errors.print(f"found {found}", highlight=False)
    for gap in draft.gaps:
        errors.print(f"to be filled: {gap}", style="yellow", markup=False, highlight=False)
