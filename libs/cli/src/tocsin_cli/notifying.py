"""`tocsin notify`: whether channels reach people, before they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tocsin_cli import connection
from tocsin_cli.exits import Exit, NotFound
from tocsin_cli.printing import Json, console, print_json
from tocsin_policy import Policy, load_policy
from tocsin_runtime.clock import SystemClock

notify = typer.Typer(help="Channels: whether they reach people.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(notify, name="notify")


@notify.callback()
def _group() -> None:
    """Channels: whether they reach people."""


@notify.command("test")
def try_contact(
    contact: Annotated[str, typer.Argument(help="Contact id of the policy.", metavar="CONTACT")],
    policy: Annotated[
        Path | None, typer.Option("--policy", help="The policy's file, if not the one in force.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", help="Whose contact, where several policies in force have one."),
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option("--channel", help="Only this channel of the contact's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Page a contact for nothing, by each of their channels, and say what became of it.

    It calls the providers itself, with the notifier's settings (TOCSIN_CHANNELS) as this command's
    environment has them. Exit code 1 if a channel did not take it.
    """
    from tocsin_cli.trying import try_channels  # noqa: PLC0415 - every library of every channel

    if policy is not None and system is not None:
        raise ValueError("name --policy FILE, or --system for the policy in force, not both")
    found = load_policy(policy) if policy is not None else asyncio.run(_in_force(contact, system))
    tried = asyncio.run(try_channels(found, contact, channel or ()))
    if as_json:
        print_json(tried)
    else:
        table = Table("channel", "kind", "endpoint", "outcome", "seconds", "detail", box=None)
        for one in tried:
            colour = "green" if one["outcome"] == "delivered" else "red"
            shown = f"[{colour}]{one['outcome']}[/{colour}]"
            table.add_row(
                one["channel"], one["kind"], one["endpoint"], shown, one["seconds"], one["detail"]
            )
        console.print(table)
    if any(one["outcome"] != "delivered" for one in tried):
        raise typer.Exit(Exit.FAILED)


@notify.command("heartbeats")
def heartbeats(as_json: Json = False) -> None:
    """When each channel last took a synthetic page, as the log has it.

    Exit code 1 if one is missing or overdue.
    """
    from tocsin_cli.heartbeats import read_pulses, rows  # noqa: PLC0415 - the notifier's libraries

    policies, pulses = asyncio.run(connection.with_reader(read_pulses))
    found = rows(policies, pulses, SystemClock().now())
    if as_json:
        print_json(found)
    elif not found:
        console.print("no channel of a policy in force has a heartbeat")
    else:
        names = ("system", "channel", "kind", "every", "arrived", "due", "state", "reason")
        table = Table(*names, box=None)
        for one in found:
            colour = {"beating": "green", "no beat yet": "yellow"}.get(one["state"], "red")
            shown = {**one, "state": f"[{colour}]{one['state']}[/{colour}]"}
            table.add_row(*(shown[name] for name in names))
        console.print(table)
    if any(one["state"] in {"missing", "overdue"} for one in found):
        raise typer.Exit(Exit.FAILED)


async def _in_force(contact: str, system: str | None) -> Policy:
    from tocsin_replay import read_policies  # noqa: PLC0415 - a file needs no log

    versions = await connection.with_reader(read_policies)
    return policy_with([version.policy for version in versions], contact, system)


def policy_with(published: Sequence[Policy], contact: str, system: str | None) -> Policy:
    """The policy in force that has a contact.

    Args:
        published: Every version, oldest first; the last of a system is in force.
        system: Whose it is to be; any one's, if not given.

    Raises:
        NotFound: No policy is in force, or none has the contact.
        ValueError: Several have.
    """
    in_force = {policy.system: policy for policy in published}
    if system is not None:
        if system not in in_force:
            raise NotFound(f"no policy of {system} is in force")
        return in_force[system]
    having = [policy for policy in in_force.values() if contact in policy.contacts]
    if not having:
        raise NotFound(f"no policy in force has a contact {contact!r}")
    if len(having) > 1:
        systems = ", ".join(sorted(policy.system for policy in having))
        raise ValueError(f"{contact} is a contact of {systems}: name one with --system")
    return having[0]
