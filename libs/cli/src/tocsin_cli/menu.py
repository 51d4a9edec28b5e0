"""In which order, and under which heading, `tocsin --help` lists its commands."""

from __future__ import annotations

import typer
from typer.core import TyperGroup
from typer.models import CommandInfo

PANELS: dict[str, tuple[str, ...]] = {
    "Incidents and alerts": ("incident", "send", "silence", "explain", "on-call", "drill"),
    "What was, and what would have been": (
        "timeline",
        "postmortem",
        "report",
        "replay",
        "what-if",
        "bundle",
        "verify",
        "archive",
        "sql",
    ),
    "Whether it holds": ("audit", "dead-letters", "notify"),
    "Policies and playbooks": ("policy", "playbook", "freeze"),
    "The system": ("up", "down", "status", "demo", "topics", "generate"),
}


class Menu(TyperGroup):
    """Commands in the order of `PANELS`, not in that of the code."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # narrower
        """The names of all commands."""
        order = [name for names in PANELS.values() for name in names]
        known = super().list_commands(ctx)
        return sorted(known, key=lambda name: order.index(name) if name in order else len(order))


def arrange(app: typer.Typer) -> None:
    """Give every command its heading."""
    of = {name: panel for panel, names in PANELS.items() for name in names}
    for command in app.registered_commands:
        command.rich_help_panel = of.get(command.name or _named_by(command), "Others")
    for group in app.registered_groups:
        group.rich_help_panel = of.get(group.name or "", "Others")


def _named_by(command: CommandInfo) -> str:
    return command.callback.__name__ if command.callback is not None else ""
