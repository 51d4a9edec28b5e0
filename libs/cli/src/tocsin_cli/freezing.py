"""`tocsin freeze`: the switch that stops every remediation.

It writes to Kafka itself: the switch works while no service of ours does.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from tocsin_casebook import FREEZES, Freezes, switched
from tocsin_cli import connection
from tocsin_cli.printing import Json, console, print_json, shown
from tocsin_contracts.event import Person
from tocsin_contracts.freezes import EVERYTHING
from tocsin_contracts.ids import is_system
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Publisher, Reader

freeze_app = typer.Typer(help="Stop remediation, and let it go on.", no_args_is_help=True)

By = Annotated[str, typer.Option("--by", help="Who turns it.")]
System = Annotated[
    str | None, typer.Option("--system", help="Only this system; everything without it.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(freeze_app, name="freeze")


@freeze_app.command("on")
def freeze_on(
    by: By,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; people will ask.")],
    system: System = None,
) -> None:
    """Stop remediation: nothing is run or undone until it is turned off."""
    _turn(system, by, reason, on=True)


@freeze_app.command("off")
def freeze_off(
    by: By,
    system: System = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")] = "",
) -> None:
    """Let remediation go on; what was held is released at once."""
    _turn(system, by, reason, on=False)


def _turn(system: str | None, by: str, reason: str, *, on: bool) -> None:
    if system is not None and not is_system(system):
        raise ValueError(f"{system!r} cannot name a system")
    subject = system or EVERYTHING

    async def publish(publisher: Publisher, clock: SystemClock) -> None:
        event = switched(subject, Person(name=by, via="cli"), reason, clock.now(), on=on)
        await publisher.publish([outgoing(event)])

    asyncio.run(connection.with_publisher(publish))
    what = "everything" if system is None else system
    console.print(f"{what} {'is frozen' if on else 'goes on'}", highlight=False)


@freeze_app.command("show")
def freeze_show(as_json: Json = False) -> None:
    """What is frozen, since when, by whom and why."""
    found = asyncio.run(connection.with_reader(_read)).all()
    if as_json:
        print_json(
            [
                {
                    "system": None if one.subject == EVERYTHING else one.subject,
                    "by": one.by.name,
                    "reason": one.reason,
                    "since": one.since.isoformat(),
                }
                for one in found
            ]
        )
        return
    table = Table("system", "since (UTC)", "by", "reason", box=None)
    for one in found:
        subject = "everything" if one.subject == EVERYTHING else one.subject
        table.add_row(subject, shown(one.since), one.by.name, one.reason)
    console.print(table if found else "nothing is frozen")


async def _read(reader: Reader) -> Freezes:
    freezes = Freezes()
    for partition in range(await reader.partitions(FREEZES)):
        start, end = await reader.bounds(FREEZES, partition)
        async for record in reader.read(FREEZES, partition, start, end):
            freezes.apply(record)
    return freezes
