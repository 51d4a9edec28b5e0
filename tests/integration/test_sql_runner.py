"""SQL steps on a real PostgreSQL: bound, read-only unless they say, undone where they fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import asyncpg
import pytest

from remediation.adapters.sql_runner import SqlRunner
from remediation.domain.plan import Lost, Planned, Ran
from tocsin_policy import SqlCall
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.real_postgres import running_postgres

LONG = timedelta(seconds=20)
SHORT = timedelta(seconds=1)
IDLE = "FROM pg_stat_activity WHERE state = 'idle in transaction'"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    await connection.execute("DROP TABLE IF EXISTS regions; CREATE TABLE regions (name text)")
    await connection.execute("INSERT INTO regions VALUES ('eu'), ('us')")
    yield connection
    await connection.close()


async def ran(url: str, statement: str, timeout: timedelta = LONG, **fields: object) -> Ran | Lost:
    return await SqlRunner({"db": url}, SystemClock()).run(a_call(statement, **fields), timeout)


def a_call(statement: str, **fields: object) -> SqlCall:
    return SqlCall.model_validate({"endpoint": "db", "statement": statement, **fields})


def verdict(outcome: Ran | Lost | Planned) -> tuple[bool, str]:
    assert isinstance(outcome, Ran), outcome
    return outcome.succeeded, outcome.reason


async def names(database: asyncpg.Connection) -> list[str]:
    return [row["name"] for row in await database.fetch("SELECT name FROM regions ORDER BY name")]


async def test_sessions_idle_in_a_transaction_are_counted_and_ended(
    url: str, database: asyncpg.Connection
) -> None:
    idle = await asyncpg.connect(url)
    await idle.execute("BEGIN")
    ends = a_call(
        "SELECT pg_terminate_backend(pid) " + IDLE,
        writes=True,
        count="SELECT count(*) " + IDLE,
    )
    runner = SqlRunner({"db": url}, SystemClock())
    planned = await runner.plan(ends, LONG)
    assert isinstance(planned, Planned)
    assert planned.pods == 1
    assert not idle.is_closed()
    assert verdict(await runner.run(ends, LONG)) == (True, "as_expected")
    gone = a_call("SELECT pid " + IDLE, expect_rows=0)
    assert verdict(await runner.verify(gone, LONG)) == (True, "as_expected")
    idle.terminate()
    assert await names(database) == ["eu", "us"]


@pytest.mark.parametrize("value", ["eu'; DROP TABLE regions; --", "' OR '1'='1", "eu"])
async def test_a_bound_value_is_never_sql(
    url: str, database: asyncpg.Connection, value: str
) -> None:
    statement = "DELETE FROM regions WHERE name = $1::text"
    outcome = await ran(url, statement, bound=(value,), writes=True)
    assert verdict(outcome) == (True, "as_expected")
    assert await names(database) == (["us"] if value == "eu" else ["eu", "us"])


@pytest.mark.parametrize(
    "statement", ["DELETE FROM regions", "DROP TABLE regions", "SELECT 1; DELETE FROM regions"]
)
async def test_a_statement_that_does_not_say_that_it_writes_does_not(
    url: str, database: asyncpg.Connection, statement: str
) -> None:
    succeeded, reason = verdict(await ran(url, statement))
    assert not succeeded
    assert reason in {"writes_not_declared", "refused"}
    assert await names(database) == ["eu", "us"]


async def test_a_statement_that_overruns_is_known_to_have_done_nothing(
    url: str, database: asyncpg.Connection
) -> None:
    slow = "WITH gone AS (DELETE FROM regions RETURNING name) SELECT pg_sleep(60) FROM gone"
    assert verdict(await ran(url, slow, SHORT, writes=True)) == (False, "timed_out")
    assert await names(database) == ["eu", "us"]


async def test_a_lock_somebody_holds_is_waited_for_no_longer_than_the_step(
    url: str, database: asyncpg.Connection
) -> None:
    async with database.transaction():
        await database.execute("LOCK TABLE regions")
        outcome = await ran(url, "DELETE FROM regions", SHORT, writes=True)
    assert verdict(outcome) == (False, "timed_out")
    assert await names(database) == ["eu", "us"]


async def test_what_cannot_be_parsed_is_refused_before_it_runs(url: str) -> None:
    planned = await SqlRunner({"db": url}, SystemClock()).plan(a_call("SELEC 1"), LONG)
    assert verdict(planned) == (False, "refused")
    assert verdict(await ran(url, "SELEC 1")) == (False, "refused")
