"""`tocsin policy import`: a draft from a Markdown runbook, or an Alertmanager configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.printing import errors
from tocsin_policy.importing import Draft, draft_policy, import_alertmanager


def register(policies: typer.Typer) -> None:
    """Add the commands."""
    policies.command("import")(import_runbook)
    policies.command("import-alertmanager")(import_configuration)


def import_runbook(
    path: Annotated[Path, typer.Argument(help="A runbook in Markdown.")],
    system: Annotated[str, typer.Option(help="Name of the system; the file's.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to.")] = None,
) -> None:
    """Draft a policy from a runbook. The draft validates; what it could not find is named."""
    draft = draft_policy(_text(path), system or _name(path))
    _give(draft, output)


def import_configuration(
    path: Annotated[Path, typer.Argument(help="An alertmanager.yml.")],
    system: Annotated[str, typer.Option(help="Name of the system; the file's.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to.")] = None,
) -> None:
    """Draft the policy that does what an Alertmanager does. What it cannot say so is named."""
    draft = import_alertmanager(_text(path), system or _name(path))
    _give(draft, output)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _name(path: Path) -> str:
    return path.stem.lower().replace("_", "-").replace(" ", "-")


def _give(draft: Draft, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(draft.text)
    else:
        output.write_text(draft.text, encoding="utf-8")
    found = ", ".join(f"{count} {what}" for what, count in draft.found.items())
    errors.print(f"found {found}", highlight=False)
    for gap in draft.gaps:
        errors.print(f"to be filled: {gap}", style="yellow", markup=False, highlight=False)
