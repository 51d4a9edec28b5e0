"""`tocsin silence`: not to hear of alerts for a while; amtool and Grafana do the same."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.table import Column, Table

from tocsin_casebook import Silences
from tocsin_cli import connection
from tocsin_cli.printing import Json, console, print_json, shown
from tocsin_contracts.codec import rfc3339
from tocsin_policy import Operator, SilenceState, format_duration, parse_duration, parse_matchers
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.following import restore
from tocsin_runtime.ports import Reader

TOPIC = "silences"

silence_app = typer.Typer(
    help="Not to hear of alerts for a while; what still fires at the end pages then.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(silence_app, name="silence")


@silence_app.command("add")
def silence_add(
    matchers: Annotated[
        list[str],
        typer.Argument(
            help="""As amtool's: 'service="api"' 'severity!="critical"'.""", metavar="MATCHER..."
        ),
    ],
    by: Annotated[str, typer.Option("--by", help="Who does not want to hear of it.")],
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why; people will ask.")],
    lasting: Annotated[str, typer.Option("--for", help="For how long: 2h, 45m.")] = "1h",
    after: Annotated[str, typer.Option("--in", help="Beginning so much later.")] = "0s",
) -> None:
    """Silence what passes every matcher; what still fires when it ends pages then."""
    found = [matcher for text in matchers for matcher in parse_matchers(text)]
    begins = SystemClock().now() + parse_duration(after)
    duration = parse_duration(lasting)
    body = {
        "matchers": [
            {
                "name": matcher.name,
                "value": matcher.value,
                "isRegex": matcher.operator in {Operator.MATCHES, Operator.NOT_MATCHES},
                "isEqual": matcher.operator in {Operator.EQUAL, Operator.MATCHES},
            }
            for matcher in found
        ],
        "startsAt": rfc3339(begins),
        "endsAt": rfc3339(begins + duration),
        "createdBy": by,
        "comment": comment,
    }
    token = connection.connect().api_token
    answer = connection.post("/api/v2/silences", content=json.dumps(body).encode(), token=token)
    console.print(f"{answer['silenceID']} for {format_duration(duration)}", highlight=False)


@silence_app.command("expire")
def silence_expire(
    silence: Annotated[str, typer.Argument(help="Its id, as `list` shows it.", metavar="SILENCE")],
) -> None:
    """End a silence now; what still fires pages."""
    token = connection.connect().api_token
    connection.send("DELETE", f"/api/v2/silence/{silence}", token=token)
    console.print(f"{silence} has ended", highlight=False)


@silence_app.command("list")
def silence_list(
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
    as_json: Json = False,
) -> None:
    """Silences in force and to come."""
    now = SystemClock().now()
    book = asyncio.run(connection.with_reader(_read)).book
    found = [
        one for one in book.shown(now) if everything or one.state(now) is not SilenceState.EXPIRED
    ]
    if as_json:
        print_json(
            [
                {
                    "id": one.id,
                    "state": one.state(now).value,
                    "matchers": [str(matcher) for matcher in one.matchers],
                    "starts_at": rfc3339(one.starts_at),
                    "ends_at": rfc3339(one.ends_at),
                    "created_by": one.created_by,
                    "comment": one.comment,
                }
                for one in found
            ]
        )
        return
    # An id that is cut cannot be expired.
    whole = (Column(name, no_wrap=True, overflow="ignore") for name in ("silence", "state"))
    rest = (Column(name, overflow="fold") for name in ("matchers", "until (UTC)", "by", "comment"))
    table = Table(*whole, *rest, box=None)
    for one in found:
        matchers = ", ".join(map(str, one.matchers))
        state = one.state(now).value
        table.add_row(one.id, state, matchers, shown(one.ends_at), one.created_by, one.comment)
    console.print(table if found else "nothing is silenced")


async def _read(reader: Reader) -> Silences:
    silences = Silences()
    start, _ = await reader.bounds(TOPIC, 0)
    await restore(reader, TOPIC, 0, start, silences.apply)
    return silences
