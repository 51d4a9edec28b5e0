"""`tocsin policy rules`: what a policy means, read without a running system."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli.generating import rules_yaml
from tocsin_policy import load_policy


def register(policies: typer.Typer) -> None:
    """Add the commands."""
    policies.command("rules")(rules)


def rules(path: Annotated[Path, typer.Argument(help="A policy file.")]) -> None:
    """Print the Prometheus alerting rules of a policy's thresholds."""
    sys.stdout.write(rules_yaml(load_policy(path)))
