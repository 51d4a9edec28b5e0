"""What every command prints with: a console, JSON, instants."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from tocsin_policy import parse_duration

console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Incident = Annotated[str, typer.Argument(help="Incident id.", metavar="INCIDENT")]


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Write JSON for a machine, keys in the order given."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def shown(instant: datetime) -> str:
    """An instant for people, in UTC."""
    return instant.strftime("%Y-%m-%d %H:%M:%S")


_TIME_OF_DAY = re.compile(r"[0-2]\d:[0-5]\d(?::[0-5]\d)?")


def instant(text: str, since: datetime | None = None) -> datetime:
    """The instant a person means.

    Args:
        text: RFC 3339; without an offset it is UTC; `+12m` counts from `since`, and `03:12` is the
            first such time of day, UTC, from `since` on.
        since: What a relative time counts from.

    Raises:
        ValueError: It is neither.
    """
    if re.fullmatch(r"\+\S+", text) and since is not None:
        return since + parse_duration(text[1:])
    if since is not None and _TIME_OF_DAY.fullmatch(text):
        at = datetime.combine(since.date(), time.fromisoformat(text), UTC)
        return at if at >= since.replace(microsecond=0) else at + timedelta(days=1)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        more = ", 03:12 or +12m" if since is not None else ""
        raise ValueError(f"{text!r} is no instant; write 2026-11-21T09:00:00Z{more}") from error
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def period(text: str, now: datetime) -> datetime:
    """The beginning a person means by `90d`, `24h` or an instant."""
    days = re.fullmatch(r"(\d+)d", text)
    if days is not None:
        return now - timedelta(days=int(days[1]))
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return instant(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time; write 90d, 24h or 2026-11-21T09:00:00Z") from error
