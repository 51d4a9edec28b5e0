"""Questions in SQL about what a log, a bundle or an archive holds.

The incidents are folded and summed up as everywhere else, and put into tables in memory. What is
asked can reach nothing else: no file, no network, no setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tocsin_replay.archiving import connect
from tocsin_replay.reading import Progress, Recorded, Version, by_incident
from tocsin_replay.summing import Summary, summed_up
from tocsin_runtime.ports import Reader

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "2GB"
"""What one question may take."""

_ROWS = 20_000
"""Facts that are held before they are put in."""

TABLES: dict[str, dict[str, str]] = {
    "incidents": {
        "incident": "VARCHAR",
        "system": "VARCHAR",
        "service": "VARCHAR",
        "title": "VARCHAR",
        "status": "VARCHAR",
        "severity": "VARCHAR",
        "worst": "VARCHAR",
        "rule": "VARCHAR",
        "drill": "BOOLEAN",
        "customer_facing": "BOOLEAN",
        "generations": "INTEGER",
        "began_at": "TIMESTAMPTZ",
        "opened_at": "TIMESTAMPTZ",
        "acknowledged_at": "TIMESTAMPTZ",
        "acknowledged_by": "VARCHAR",
        "mitigated_at": "TIMESTAMPTZ",
        "resolved_at": "TIMESTAMPTZ",
        "resolved_by": "VARCHAR",
        "targets_set": "INTEGER",
        "targets_met": "INTEGER",
        "alerts": "INTEGER",
        "pages": "INTEGER",
        "policy": "VARCHAR",
    },
    "pages": {
        "incident": "VARCHAR",
        "generation": "INTEGER",
        "level": "INTEGER",
        "contact": "VARCHAR",
        "name": "VARCHAR",
        "role": "VARCHAR",
        "why": "VARCHAR",
        "channel": "VARCHAR",
        "due_at": "TIMESTAMPTZ",
        "requested_at": "TIMESTAMPTZ",
        "sent_at": "TIMESTAMPTZ",
        "status": "VARCHAR",
        "attempts": "INTEGER",
        "reason": "VARCHAR",
    },
    "alerts": {
        "incident": "VARCHAR",
        "name": "VARCHAR",
        "labels": "MAP(VARCHAR, VARCHAR)",
        "summary": "VARCHAR",
        "fingerprint": "VARCHAR",
        "starts_at": "TIMESTAMPTZ",
        "cleared_at": "TIMESTAMPTZ",
        "source": "VARCHAR",
    },
    "levels": {
        "incident": "VARCHAR",
        "level": "INTEGER",
        "generation": "INTEGER",
        "severity": "VARCHAR",
        "due_at": "TIMESTAMPTZ",
        "reached_at": "TIMESTAMPTZ",
        "names": "VARCHAR[]",
    },
    "updates": {
        "incident": "VARCHAR",
        "due_at": "TIMESTAMPTZ",
        "made_at": "TIMESTAMPTZ",
        "outcome": "VARCHAR",
        "by": "VARCHAR",
        "audience": "VARCHAR",
        "text": "VARCHAR",
    },
    "answers": {
        "incident": "VARCHAR",
        "at": "TIMESTAMPTZ",
        "who": "VARCHAR",
        "via": "VARCHAR",
        "what": "VARCHAR",
        "text": "VARCHAR",
    },
    "facts": {
        "incident": "VARCHAR",
        "partition": "INTEGER",
        "offset": "BIGINT",
        "type": "VARCHAR",
        "source": "VARCHAR",
        "at": "TIMESTAMPTZ",
        "recorded_at": "TIMESTAMPTZ",
        "fact": "JSON",
    },
}
"""The tables and their columns."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a question brought."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class Refused(ValueError):
    """The question is none, or asks for what it may not have."""


async def ask(
    reader: Reader,
    versions: Sequence[Version],
    question: str,
    progress: Progress | None = None,
) -> Answered:
    """The answer to a question.

    Raises:
        Refused: The database does not understand or allow it; the message is the database's.
        ModuleNotFoundError: DuckDB is not installed.
    """
    with connect() as connection:
        from duckdb import Error  # noqa: PLC0415 - the same extra

        tables = _Tables(connection)
        async for _, recorded in by_incident(reader, progress):
            tables.take(recorded, versions)
        tables.flush()
        connection.execute(f"SET memory_limit='{MEMORY}'")
        connection.execute("SET enable_external_access=false")
        connection.execute("SET lock_configuration=true")
        try:
            found = connection.execute(question)
            # A question of nothing but space has no answer, not even an empty one.
            described = found.description if found is not None else None
            names = tuple(column[0] for column in described or ())
            return Answered(names, tuple(found.fetchall()) if names else ())
        except Error as error:
            raise Refused(str(error)) from error


class _Tables:
    """The tables, filled some rows at a time."""

    def __init__(self, connection: DuckDBPyConnection) -> None:
        self._connection = connection
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self._count = 0
        for name, columns in TABLES.items():
            shown = ", ".join(f'"{c}" {kind}' for c, kind in columns.items())
            connection.execute(f"CREATE TABLE {name} ({shown})")

    def take(self, recorded: Sequence[Recorded], versions: Sequence[Version]) -> None:
        """Add an incident."""
        self._rows["facts"].extend(map(_fact, recorded))
        self._count += len(recorded)
        came_to = summed_up(recorded, versions)
        if came_to is not None:
            _put(self._rows, came_to)
        if self._count >= _ROWS:
            self.flush()

    def flush(self) -> None:
        """Put in what is held."""
        for name, columns in TABLES.items():
            kinds, rows = list(columns.values()), self._rows[name]
            if rows:
                values = ", ".join(f"unnest(${n + 1}::{kind}[])" for n, kind in enumerate(kinds))
                self._connection.execute(
                    f"INSERT INTO {name} SELECT {values}",
                    [list(column) for column in zip(*rows, strict=True)],
                )
                rows.clear()
        self._count = 0


def _fact(one: Recorded) -> tuple[Any, ...]:
    return (
        one.event.subject,
        one.position.partition,
        one.position.offset,
        one.event.type,
        one.event.source,
        one.event.occurred_at,
        one.recorded_at,
        one.event.fact.model_dump_json(exclude_none=True),
    )


def _put(rows: dict[str, list[tuple[Any, ...]]], one: Summary) -> None:
    name = one.incident
    verdicts = [target.met for target in one.response_targets if target.met is not None]
    own = {
        "acknowledged_at": one.answered_at,
        "acknowledged_by": one.answered_by,
        "targets_set": len(verdicts),
        "targets_met": verdicts.count(True),
        "alerts": len(one.alerts),
        "pages": len(one.pages),
    }
    rows["incidents"].append(
        tuple(own[c] if c in own else getattr(one, c) for c in TABLES["incidents"])
    )
    for table, held, renamed in (
        ("pages", one.pages, {}),
        ("alerts", one.alerts, {}),
        ("levels", one.levels, {"reached_at": "at"}),
        ("updates", one.updates, {}),
        ("answers", one.answers, {}),
    ):
        columns = [renamed.get(c, c) for c in TABLES[table] if c != "incident"]
        rows[table].extend((name, *(_value(part, c) for c in columns)) for part in held)


def _value(part: object, name: str) -> Any:  # noqa: ANN401 - a column's value
    value = getattr(part, name)
    if isinstance(value, tuple):
        return list(value)
    return value
