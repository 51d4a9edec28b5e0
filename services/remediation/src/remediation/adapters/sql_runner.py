"""SQL steps: one statement for a PostgreSQL the operator named; read-only unless it says not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from asyncpg.exceptions import InterfaceError, PostgresError

from remediation.adapters.outcomes import LOOK_EVERY, Timer, failed, fingerprint, no_undo, until
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import SqlCall
from tocsin_runtime.ports import Clock

MOST_ROWS = 50
"""Rows that are shown; all are counted."""
MOST_TOLD = 1000
"""Rows that an undo may take values of."""
BATCH = 500
"""Rows fetched at once."""

_OUTSIDE = re.compile(r"\bpg_(terminate|cancel)_backend\b", re.IGNORECASE)
"""What a rollback does not take back."""


class SqlRunner:
    """Runs statements with asyncpg. A `Runner`.

    A statement is one statement, in one transaction, its values bound by the server; the
    transaction is read-only unless the call writes. One that fails or overruns is rolled back, and
    so is known to have done nothing, but for the sessions it may have ended by then.

    Args:
        urls: Endpoint a policy names -> `postgresql://` URL.
    """

    def __init__(
        self, urls: Mapping[str, str], clock: Clock, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self._urls = urls
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: SqlCall, timeout: timedelta) -> Planned | Ran:
        """What the server makes of the statement, and how many rows it would touch.

        EXPLAIN only plans it. The count is the call's own `count`, asked now, or else the
        planner's estimate, and says which.
        """
        timer = Timer(self._clock)
        try:
            async with (
                self._open(call, timeout) as connection,
                connection.transaction(readonly=True),
            ):
                await connection.prepare(call.statement)
                count = None if call.count is None else await connection.fetchval(call.count)
                top = await _explained(connection, call)
        except _Unknown:
            return _not_configured(call)
        except (PostgresError, InterfaceError, OSError, TimeoutError) as error:
            return failed(_word(error), _text(error), timer.took())
        if top.get("Node Type") == "ModifyTable" and not call.writes:
            return failed("writes_not_declared", "the statement writes and does not say so")
        return _planned(call, top, count)

    async def run(self, call: SqlCall, timeout: timedelta) -> Ran | Lost:
        """Run it once, in a transaction of its own."""
        return await self._run(call, timeout, writes=call.writes)

    async def verify(self, call: SqlCall, timeout: timedelta) -> Ran | Lost:
        """Ask until it gives the rows that are expected, read-only whatever the call says."""
        if call.writes:
            return failed("not_a_look", "the statement writes")
        return await until(
            lambda left: self._run(call, left, writes=False),
            timeout,
            self._clock,
            self._look_every,
        )

    async def undo(
        self, call: SqlCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: what is committed only another statement, which the playbook names, undoes."""
        del call, changed, timeout
        return no_undo("only another statement takes a statement back")

    async def _run(self, call: SqlCall, timeout: timedelta, *, writes: bool) -> Ran | Lost:
        timer = Timer(self._clock)
        rows = _Rows()
        committing = begun = False
        try:
            async with self._open(call, timeout) as connection:
                transaction = connection.transaction(readonly=not writes)
                await transaction.start()
                begun = True
                statement = await connection.prepare(call.statement)
                if statement.get_attributes():
                    async for row in statement.cursor(*call.bound, prefetch=BATCH):
                        rows.add(row)
                else:
                    rows.said(await connection.execute(call.statement, *call.bound))
                committing = True
                await transaction.commit()
        except _Unknown:
            return _not_configured(call)
        except (PostgresError, InterfaceError, OSError, TimeoutError) as error:
            said_no = isinstance(error, PostgresError)
            outside = begun and _OUTSIDE.search(call.statement) is not None
            if writes and ((committing and not said_no) or (outside and not _refused(error))):
                return Lost(_word(error))
            return failed(_word(error), f"{_text(error)}\nrolled back", timer.took())
        return rows.judged(call, timer.took())

    @asynccontextmanager
    async def _open(self, call: SqlCall, timeout: timedelta) -> AsyncIterator[asyncpg.Connection]:
        url = self._urls.get(call.endpoint)
        if url is None:
            raise _Unknown
        limit = str(max(1, int(timeout.total_seconds() * 1000 * 0.9)))
        async with asyncio.timeout(timeout.total_seconds()):
            connection = await asyncpg.connect(
                url,
                timeout=timeout.total_seconds(),
                server_settings={
                    "application_name": "tocsin-remediation",
                    # The server gives up before we do, so that the end is known.
                    "statement_timeout": limit,
                    "lock_timeout": limit,
                    "default_transaction_read_only": "off" if call.writes else "on",
                },
            )
            try:
                yield connection
            finally:
                # Whatever is open is rolled back by the server when its client goes.
                connection.terminate()


async def _explained(connection: asyncpg.Connection, call: SqlCall) -> dict[str, object]:
    """The planner's word on a statement; empty for one it does not plan, as SHOW or CREATE."""
    try:
        # In a savepoint: a refusal would end the transaction.
        async with connection.transaction():
            found = await connection.fetchval(
                f"EXPLAIN (FORMAT JSON) {call.statement}", *call.bound
            )
    except asyncpg.PostgresSyntaxError:
        return {}
    top: dict[str, object] = json.loads(found)[0]["Plan"]
    return top


class _Unknown(Exception):
    """No settings for the endpoint."""


class _Rows:
    """What came back: all counted, the first shown."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[str] = []
        self.rows: list[dict[str, object]] = []

    def add(self, row: asyncpg.Record) -> None:
        self.count += 1
        if len(self.rows) < MOST_TOLD:
            self.rows.append(dict(row))
        if len(self.lines) < MOST_ROWS:
            self.lines.append(" ".join(f"{name}={value}" for name, value in row.items()))

    def said(self, status: str) -> None:
        """Take what the server says of a statement that gives no rows, as in `UPDATE 10`."""
        count = status.rpartition(" ")[2]
        self.count = int(count) if count.isdigit() else 0
        self.lines.append(status)

    def judged(self, call: SqlCall, took: timedelta) -> Ran:
        shown = evidence("\n".join((f"{self.count} rows", *self.lines)), took)
        if call.expect_rows is not None and self.count != call.expect_rows:
            return Ran(succeeded=False, reason="unexpected_rows", evidence=shown)
        return Ran(succeeded=True, reason="as_expected", evidence=shown, answer=self._told())

    def _told(self) -> str:
        """All rows as JSON, or nothing: a part of them would be put back as if it were all."""
        whole = self.count == len(self.rows)
        return json.dumps(self.rows, default=str) if whole else ""


def _planned(call: SqlCall, top: Mapping[str, object], count: int | None) -> Planned:
    if not call.writes:
        return Planned(state=call.statement, fingerprint=fingerprint(call.statement))
    estimate = top.get("Plan Rows", 0)
    if top.get("Node Type") == "ModifyTable":
        below = top.get("Plans")
        estimate = below[0].get("Plan Rows", 0) if isinstance(below, list) and below else 0
    rows = count if count is not None else int(str(estimate)) if top else None
    word = "counted now" if count is not None else "as the planner guesses"
    told = (
        f"it would touch {rows} rows, {word}"
        if rows is not None
        else "the planner does not plan it"
    )
    values = "".join(f"\n  ${n} = {value!r}" for n, value in enumerate(call.bound, start=1))
    return Planned(
        targets=(f"sql:{call.endpoint}/{top.get('Relation Name', 'database')}",),
        state=told,
        diff=f"{call.statement}{values}",
        pods=rows,
        fingerprint=fingerprint(call.statement, *call.bound),
    )


def _not_configured(call: SqlCall) -> Ran:
    return failed("endpoint_not_configured", f"no settings for database {call.endpoint!r}")


def _refused(error: Exception) -> bool:
    """Whether the server refused it before it did anything."""
    return isinstance(error, (asyncpg.SyntaxOrAccessError, asyncpg.ReadOnlySQLTransactionError))


def _word(error: Exception) -> str:
    match error:
        case asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError() | TimeoutError():
            return "timed_out"
        case asyncpg.ReadOnlySQLTransactionError():
            return "writes_not_declared"
        case PostgresError():
            return "refused"
    return "unreachable"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
