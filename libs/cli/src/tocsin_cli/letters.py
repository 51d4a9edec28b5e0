"""`tocsin dead-letters`: look at what could not be handled, change it, have it handled again."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.markup import escape
from rich.table import Column, Table

from tocsin_cli import connection
from tocsin_cli.exits import NotFound
from tocsin_cli.printing import Json, console, print_json, shown
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.dead_letters import DeadLettered, DeadLetterRedriven
from tocsin_contracts.event import Event, Person, event_id
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Clock, Publisher, Reader
from tocsin_runtime.records import Outgoing, Position

TOPIC = "dead-letters"

REDRIVEN_FROM = "redriven_from"
"""Header of a record that is handled again: the id of its dead letter."""

Where = Annotated[str, typer.Argument(help="As `list` shows it.", metavar="WHERE")]
By = Annotated[str, typer.Option("--by", help="Who says so: a contact id, or a name.")]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and what was done about it.

    Attributes:
        redriven: Each time it was handled again, oldest first.
    """

    event: Event[DeadLettered]
    at: datetime
    redriven: tuple[Event[DeadLetterRedriven], ...]

    @property
    def fact(self) -> DeadLettered:
        """What was wrong, and the record."""
        return self.event.fact

    @property
    def where(self) -> str:
        """Where its record stood."""
        return f"{self.fact.topic}-{self.fact.partition}-{self.fact.offset}"

    def document(self) -> dict[str, Any]:
        """As JSON, without the record."""
        return {
            "at": shown(self.at),
            "service": self.fact.service,
            "reason": self.fact.reason,
            "where": self.where,
            "detail": self.fact.detail,
            "redriven": [
                {
                    "at": shown(again.occurred_at),
                    "by": again.fact.by.name,
                    "to": f"{again.fact.topic}-{again.fact.partition}-{again.fact.offset}",
                    "changed": again.fact.changed,
                }
                for again in self.redriven
            ],
        }


async def read_letters(reader: Reader) -> list[Letter]:
    """Every dead letter, oldest first."""
    letters: list[tuple[Event[DeadLettered], datetime]] = []
    redriven: dict[object, list[Event[DeadLetterRedriven]]] = {}
    for partition in range(await reader.partitions(TOPIC)):
        start, end = await reader.bounds(TOPIC, partition)
        async for record in reader.read(TOPIC, partition, start, end):
            try:
                event: Any = decode(record)
            except Poison:
                continue
            if isinstance(event.fact, DeadLettered):
                letters.append((event, record.recorded_at))
            elif isinstance(event.fact, DeadLetterRedriven):
                redriven.setdefault(event.fact.letter, []).append(event)
    letters.sort(key=lambda pair: pair[1])
    return [Letter(event, at, tuple(redriven.get(event.id, ()))) for event, at in letters]


def chosen(letters: Iterable[Letter], where: str) -> Letter:
    """The newest letter of a record. Raises `NotFound`."""
    found = [letter for letter in letters if letter.where == where]
    if not found:
        raise NotFound(f"no dead letter at {where}; `tocsin dead-letters list` shows them")
    return found[-1]


async def value_of(reader: Reader, letter: Letter) -> bytes:
    """The record's bytes: from the letter, or, of one too large to carry, from where it stands.

    Raises:
        NotFound: It stands there no more.
    """
    if letter.fact.value is not None:
        return letter.fact.value
    fact = letter.fact
    start, _ = await reader.bounds(fact.topic, fact.partition)
    if start <= fact.offset:
        async for record in reader.read(fact.topic, fact.partition, fact.offset, fact.offset + 1):
            if record.value is not None:
                return record.value
    raise NotFound(f"{letter.where} is not kept any more, or has no value")


async def redrive(
    publisher: Publisher,
    clock: Clock,
    letter: Letter,
    value: bytes,
    *,
    by: str,
) -> Position:
    """Where the record stands now, once it does and the log says who had it handled again.

    The record keeps its key, its headers and so its place among its system's. Services know by
    the ids in it what they have handled already.
    """
    fact = letter.fact
    headers = tuple(pair for pair in fact.headers if pair[0] != REDRIVEN_FROM)
    marked = (*headers, (REDRIVEN_FROM, str(letter.event.id).encode()))
    [position] = await publisher.publish([Outgoing(fact.topic, fact.key, value, marked)])
    again = DeadLetterRedriven(
        letter=letter.event.id,
        topic=position.topic,
        partition=position.partition,
        offset=position.offset,
        by=Person(name=by, via="cli"),
        changed=value != fact.value,
    )
    now = clock.now()
    event = Event(
        id=event_id(again.TYPE, str(letter.event.id), rfc3339(now), again.model_dump_json()),
        source="tocsin/cli",
        subject=letter.event.subject,
        key=letter.event.key,
        occurred_at=now,
        fact=again,
    )
    await publisher.publish([outgoing(event)])
    return position


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("list")(list_)
    app.command("show")(show)
    app.command("edit")(edit)
    app.command("redrive")(redrive_)


def list_(*, as_json: Json = False, waiting: bool = False) -> None:
    """Records that could not be handled, oldest first; with --waiting, those nobody redrove."""
    letters = asyncio.run(connection.with_reader(read_letters))
    if waiting:
        letters = [letter for letter in letters if not letter.redriven]
    if as_json:
        print_json([letter.document() for letter in letters])
        return
    # What is cut cannot be shown, edited or redriven.
    where = Column("where", no_wrap=True, overflow="ignore")
    table = Table("when (UTC)", "service", "reason", where, "redriven", "what is wrong", box=None)
    for letter in letters:
        said = letter.document()
        times = f"{len(letter.redriven)} times" if letter.redriven else ""
        cells = (said["at"], said["service"], said["reason"], said["where"], times, said["detail"])
        table.add_row(*map(escape, cells))
    console.print(table if letters else "no dead letters")


def show(where: Where, *, as_json: Json = False) -> None:
    """One of them, with its record."""

    async def work(reader: Any) -> tuple[Letter, bytes]:  # noqa: ANN401 - a Reader
        letter = chosen(await read_letters(reader), where)
        return letter, await value_of(reader, letter)

    letter, value = asyncio.run(connection.with_reader(work))
    document = letter.document() | {
        "key": (letter.fact.key or b"").decode(errors="replace"),
        "headers": [[n, v.decode(errors="replace")] for n, v in letter.fact.headers],
        "value": _readable(value),
    }
    if as_json:
        print_json(document)
        return
    for name, said in document.items():
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, indent=2)
        console.print(f"[bold]{name}[/bold]: {escape(text)}", highlight=False)


def edit(where: Where, by: By) -> None:
    """Change a record in your editor ($EDITOR); when it is saved, it is handled again."""

    async def read(reader: Any) -> tuple[Letter, bytes]:  # noqa: ANN401 - a Reader
        letter = chosen(await read_letters(reader), where)
        return letter, await value_of(reader, letter)

    letter, value = asyncio.run(connection.with_reader(read))
    try:
        before = value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} holds no text; use redrive --value FILE") from error
    after = _edited(before)
    if after.encode() == value:
        console.print("nothing was changed, so nothing is done")
        return
    _again([(letter, after.encode())], by)


class _Preferences(BaseSettings):
    """What the person's shell says."""

    model_config = SettingsConfigDict(env_prefix="", extra="ignore")

    visual: str | None = None
    editor: str = "vi"


def _edited(text: str) -> str:
    """The text as the person left it."""
    preferences = _Preferences()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "record.json"
        file.write_text(text)
        command = [*shlex.split(preferences.visual or preferences.editor), str(file)]
        subprocess.run(command, check=True)  # noqa: S603 - the person's own editor
        return file.read_text()


def redrive_(
    by: By,
    where: Annotated[
        list[str] | None, typer.Argument(help="As `list` shows them.", metavar="WHERE...")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="All with this reason that nobody redrove.")
    ] = None,
    value: Annotated[
        Path | None, typer.Option(help="Bytes to put in place of the record's.")
    ] = None,
) -> None:
    """Have one or many handled again; the log says who did."""
    if not where and reason is None:
        raise ValueError("say which: WHERE, or --reason")
    if value is not None and (reason is not None or len(where or ()) != 1):
        raise ValueError("--value is for one record")

    async def read(reader: Any) -> list[tuple[Letter, bytes]]:  # noqa: ANN401 - a Reader
        letters = await read_letters(reader)
        wanted = [chosen(letters, each) for each in where or ()]
        if reason is not None:
            wanted += [one for one in letters if one.fact.reason == reason and not one.redriven]
        return [(letter, await value_of(reader, letter)) for letter in wanted]

    found = asyncio.run(connection.with_reader(read))
    if value is not None:
        found = [(found[0][0], value.read_bytes())]
    if not found:
        raise NotFound(f"no dead letter with reason {reason!r} waits")
    _again(found, by)


def _again(letters: Sequence[tuple[Letter, bytes]], by: str) -> None:
    async def work(publisher: Any, clock: Any) -> list[Position]:  # noqa: ANN401 - ports
        return [await redrive(publisher, clock, letter, value, by=by) for letter, value in letters]

    positions = asyncio.run(connection.with_publisher(work))
    for (letter, _), position in zip(letters, positions, strict=True):
        to = f"{position.topic}-{position.partition}-{position.offset}"
        console.print(f"{letter.where} stands at {to} now", highlight=False)


def _readable(value: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """JSON as JSON, text as text, anything else as base64."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "base64:" + b64encode(value).decode()
    try:
        return json.loads(text)
    except ValueError:
        return text
