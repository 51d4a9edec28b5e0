"""Every runner means the same by plan, run, verify and undo.

One suite, run on every adapter against the real thing where it can be had (PostgreSQL, Valkey,
Prometheus, programs) and against a double that checks what it is sent where it cannot (GitHub, the
AWS command line). Kubernetes has a suite of its own beside this one.
"""

from __future__ import annotations

import json
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from remediation.adapters.aws_runner import AwsRunner
from remediation.adapters.command_runner import Program, Programs, SubprocessRunner
from remediation.adapters.github_runner import GitHubRunner
from remediation.adapters.guarded import Guarded
from remediation.adapters.http_exchange import Endpoint, Exchange
from remediation.adapters.http_runner import HttpxRunner
from remediation.adapters.prometheus_runner import PrometheusRunner
from remediation.adapters.redis_runner import RedisRunner
from remediation.adapters.sql_runner import SqlRunner
from remediation.domain.plan import MOST_OUTPUT, Lost, Planned, Ran
from remediation.domain.undoing import NotKnown, undo_of, values_of
from remediation.ports import Runner
from tocsin_cli.stack import valkey as valkey_process
from tocsin_policy import (
    AnyCall,
    AwsCall,
    CommandCall,
    GitHubCall,
    HttpCall,
    PlaybookStep,
    PrometheusCall,
    RedisCall,
    SqlCall,
)
from tocsin_policy.redacting import MASK, Redactor
from tocsin_runtime.clock import SystemClock
from tocsin_testkit import aws_double
from tocsin_testkit.alertmanager import running_prometheus
from tocsin_testkit.providers.actions import GitHubActions
from tocsin_testkit.providers.serving import Fate, Provider, Reply, Request
from tocsin_testkit.real_postgres import running_postgres

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
LONG = timedelta(seconds=20)
SHORT = timedelta(seconds=2)
OFTEN = timedelta(milliseconds=20)
CANARY = "canary-7f3k2q9x"
"""A secret of settings; nothing a runner says may hold it."""


class Kind(ABC):
    """One runner, and the world it acts on.

    Attributes:
        look: A call that only reads, and finds what it expects.
        ill: The same, and does not; `None` where an answer is all it looks for.
        change: A call that changes the world; `None` for a runner that never does.
        pods: What a plan of the change counts.
        secret: A call whose output holds the canary.
        loud: A call with far too much output.
        runs_looks: Whether `run` of the look only looks.
        before: What the change's undo has to know, as a playbook says it.
        undo: What a playbook names to take the change back.
    """

    look: AnyCall
    ill: AnyCall | None = None
    change: AnyCall | None = None
    pods: int | None = 1
    secret: AnyCall | None = None
    loud: AnyCall | None = None
    runs_looks = True
    before: dict[str, Any] | None = None
    undo: dict[str, Any] | None = None

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        """The world stands until the block ends."""
        del folder
        yield

    @abstractmethod
    def runner(self) -> Runner[Any]:
        """A runner that finds the world."""

    @abstractmethod
    def blind(self) -> Runner[Any]:
        """A runner with settings that lead to where nothing is."""

    async def state(self) -> object:
        """The world, as far as calls change it."""
        return None

    async def lose(self) -> AnyCall:
        """A call whose effect may happen and whose answer never comes within `SHORT`."""
        raise NotImplementedError


def a_closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def exchange(url: str, token: str | None = None) -> Exchange:
    return Exchange({"there": Endpoint(url, token)})


class Gateway(Provider):
    """An API with a rate limit."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = '{"rps": 500}'

    def take(self, request: Request) -> Reply:
        if request.method == "POST":
            self.limit = request.body.decode()
        texts = {
            "/secret": f"password is {CANARY}",
            "/loud": "x" * 3_000_000,
            "/limit": self.limit,
        }
        return Reply(200, texts.get(request.path, '{"status": "healthy"}'))


# What takes each change back, as a playbook says it.

HTTP_BEFORE: dict[str, Any] = {
    "http": {"endpoint": "there", "path": "/limit"},
    "values": {"rps": "/rps"},
}
HTTP_UNDO: dict[str, Any] = {
    "http": {
        "endpoint": "there",
        "method": "POST",
        "path": "/limit",
        "body": '{"rps": "${rps}"}',
    }
}
GITHUB_UNDO: dict[str, Any] = {
    "github": {
        "endpoint": "there",
        "repository": "acme/shop",
        "workflow": "rollback.yml",
        "inputs": {"environment": "staging"},
    }
}
SQL_BEFORE: dict[str, Any] = {
    "sql": {"endpoint": "there", "statement": "SELECT region, up FROM flags"},
    "values": {"rows": ""},
}
SQL_UNDO: dict[str, Any] = {
    "sql": {
        "endpoint": "there",
        "statement": "UPDATE flags SET up = old.up "
        "FROM jsonb_to_recordset(${rows}::jsonb) AS old(region text, up boolean) "
        "WHERE flags.region = old.region",
        "writes": True,
    }
}
AWS_BEFORE: dict[str, Any] = {
    "aws": {
        "profile": "prod",
        "args": ["rds", "describe-db-instances", "--db-instance-identifier", "shop"],
    },
    "values": {"size": "/DBInstances/0/DBInstanceClass"},
}
AWS_UNDO: dict[str, Any] = {
    "aws": {
        "profile": "prod",
        "args": [
            *("rds", "modify-db-instance", "--db-instance-identifier", "shop"),
            *("--db-instance-class", "${size}", "--apply-immediately"),
        ],
    }
}


class Http(Kind):
    look = HttpCall(endpoint="there", path="/health", expect_body_contains='"healthy"')
    ill = HttpCall(endpoint="there", path="/health", expect_body_contains='"ill"')
    change = HttpCall(endpoint="there", method="POST", path="/limit", body='{"rps": 10}')
    secret = HttpCall(endpoint="there", path="/secret")
    loud = HttpCall(endpoint="there", path="/loud")
    before = HTTP_BEFORE
    undo = HTTP_UNDO

    def __init__(self) -> None:
        self.gateway = Gateway()

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        del folder
        async with self.gateway.serving():
            yield

    def runner(self) -> Runner[Any]:
        return HttpxRunner(exchange(self.gateway.url, CANARY), CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return HttpxRunner(exchange(f"http://127.0.0.1:{a_closed_port()}"), CLOCK)

    async def state(self) -> object:
        return self.gateway.limit

    async def lose(self) -> AnyCall:
        self.gateway.fates.append(Fate.TAKEN_AND_HANGS)
        return self.change


class Command(Kind):
    look = CommandCall(program="sh", args=("-c", "echo healthy"))
    ill = CommandCall(program="sh", args=("-c", "exit 3"))
    pods = None
    secret = CommandCall(program="sh", args=("-c", "echo $TOKEN"))
    loud = CommandCall(program="sh", args=("-c", "yes | head -c 3000000"))

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        self.file = folder / "state"
        self.file.write_text("off")
        self.change = CommandCall(program="sh", args=("-c", f"echo on > {self.file}"))
        self.before = {
            "command": {"program": "cat", "args": [str(self.file)]},
            "values": {"was": ""},
        }
        self.undo = {"command": {"program": "put", "args": [str(self.file), "${was}"]}}
        self.put = folder / "put"
        self.put.write_text('#!/bin/sh\nprintf %s "$2" > "$1"\n')
        self.put.chmod(0o700)
        yield

    def runner(self) -> Runner[Any]:
        shell = Program("/bin/sh", {"TOKEN": CANARY})
        programs = {"sh": shell, "cat": Program("/bin/cat"), "put": Program(str(self.put))}
        return SubprocessRunner(Programs(programs), CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return SubprocessRunner(Programs({"sh": Program("/no/such/sh")}), CLOCK)

    async def state(self) -> object:
        return self.file.read_text()

    async def lose(self) -> AnyCall:
        return CommandCall(program="sh", args=("-c", f"echo on > {self.file}; sleep 60"))


class GitHub(Kind):
    look = GitHubCall(endpoint="there", repository="acme/shop", workflow="rollback.yml")
    change = GitHubCall(
        endpoint="there",
        repository="acme/shop",
        workflow="rollback.yml",
        inputs={"environment": "production"},
    )
    runs_looks = False
    undo = GITHUB_UNDO

    def __init__(self) -> None:
        self.actions = GitHubActions("acme/shop", CANARY)

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        del folder
        async with self.actions.serving():
            self.actions._add({"environment": "staging"})
            self.actions.runs[0].update(status="completed", conclusion="success")
            yield
            assert self.actions.complaints == []

    def runner(self) -> Runner[Any]:
        return GitHubRunner(exchange(self.actions.url, CANARY), CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return GitHubRunner(exchange(f"http://127.0.0.1:{a_closed_port()}"), CLOCK)

    async def state(self) -> object:
        return self.actions.runs[-1]["inputs"]

    async def lose(self) -> AnyCall:
        self.actions.fates.append(Fate.TAKEN_AND_HANGS)
        return self.change


class Sql(Kind):
    look = SqlCall(endpoint="there", statement="SELECT 1;", expect_rows=1)
    ill = SqlCall(endpoint="there", statement="SELECT 1;", expect_rows=0)
    change = SqlCall(
        endpoint="there",
        statement="UPDATE flags SET up = false WHERE region = $1::text",
        bound=("eu",),
        writes=True,
        count="SELECT count(*) FROM flags WHERE up",
    )
    pods = 2
    secret = SqlCall(endpoint="there", statement=f"SELECT 'said {CANARY}' AS said")
    loud = SqlCall(endpoint="there", statement="SELECT repeat('x', 3000000) AS said")
    before = SQL_BEFORE
    undo = SQL_UNDO

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        del folder
        self.seen = await asyncpg.connect(self.url)
        await self.seen.execute("DROP TABLE IF EXISTS flags")
        await self.seen.execute("CREATE TABLE flags (region text, up boolean)")
        await self.seen.execute("INSERT INTO flags VALUES ('eu', true), ('us', true)")
        yield
        await self.seen.close()

    def runner(self) -> Runner[Any]:
        return SqlRunner({"there": self.url}, CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return SqlRunner({"there": f"postgresql://x:y@127.0.0.1:{a_closed_port()}/z"}, CLOCK)

    async def state(self) -> object:
        rows = await self.seen.fetch("SELECT region, up FROM flags ORDER BY region")
        return [tuple(row) for row in rows]

    async def lose(self) -> AnyCall:
        # The session that runs it ends before it can say what it did to others.
        ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        return SqlCall(endpoint="there", statement=ends, writes=True)


class Valkey(Kind):
    look = RedisCall(endpoint="there", action="ping")
    change = RedisCall(endpoint="there", action="delete_matching", pattern="stale:*")
    pods = 3

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        del folder
        async with Redis.from_url(self.url) as self.seen:
            await self.seen.flushall()
            await self.seen.mset({"stale:1": "a", "stale:2": "b", "stale:3": "c", "kept": "d"})
            yield
            await self.seen.client_unpause()

    def runner(self) -> Runner[Any]:
        return RedisRunner({"there": self.url}, CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return RedisRunner({"there": f"redis://127.0.0.1:{a_closed_port()}/0"}, CLOCK)

    async def state(self) -> object:
        return sorted(await self.seen.keys("*"))

    async def lose(self) -> AnyCall:
        await self.seen.client_pause(60_000, all=False)
        return self.change


class Aws(Kind):
    look = AwsCall(profile="prod", args=("sts", "get-caller-identity"))
    ill = AwsCall(
        profile="prod", args=("rds", "describe-db-instances", "--db-instance-identifier", "gone")
    )
    change = AwsCall(
        profile="prod",
        args=(
            *("rds", "modify-db-instance", "--db-instance-identifier", "shop"),
            *("--db-instance-class", "db.r6g.2xlarge", "--apply-immediately"),
        ),
    )
    before = AWS_BEFORE
    undo = AWS_UNDO

    @asynccontextmanager
    async def there(self, folder: Path) -> AsyncIterator[None]:
        self.account = folder / "account.json"
        self.account.write_text(
            json.dumps(
                {
                    "profile": "production-admin",
                    "requests": [],
                    "changes": 0,
                    "parameters": {"shop": {"max_connections": "{Memory/9531392}", "tz": "UTC"}},
                    "zones": {"Z1": [{"Name": "api.example.", "Type": "A", "TTL": 60}]},
                    "databases": {"shop": {"DBInstanceClass": "db.r6g.large", "Note": CANARY}},
                }
            )
        )
        self.aws = folder / "aws"
        self.aws.write_text(f'#!/bin/sh\nexec {sys.executable} -I {aws_double.__file__} "$@"\n')
        self.aws.chmod(0o700)
        self.secret = AwsCall(
            profile="prod",
            args=("rds", "describe-db-instances", "--db-instance-identifier", "shop"),
        )
        yield

    def runner(self) -> Runner[Any]:
        aws = Program(str(self.aws), {"AWS_DOUBLE_ACCOUNT": str(self.account)})
        profiles = {"prod": "production-admin"}
        return AwsRunner(Programs({"aws": aws}), profiles, CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return AwsRunner(Programs({"aws": Program("/no/such/aws")}), {"prod": "p"}, CLOCK)

    async def state(self) -> object:
        account = json.loads(self.account.read_text())
        return account["databases"], account["parameters"], account["zones"]

    async def lose(self) -> AnyCall:
        account = json.loads(self.account.read_text())
        self.account.write_text(json.dumps(account | {"fate": "lost"}))
        return self.change


class Prometheus(Kind):
    look = PrometheusCall(endpoint="there", query="vector(0.004)", expect="< 0.01")
    ill = PrometheusCall(endpoint="there", query="vector(0.04)", expect="< 0.01")
    secret = PrometheusCall(
        endpoint="there", query=f'label_replace(vector(1), "said", "{CANARY}", "", "")'
    )
    loud = PrometheusCall(
        endpoint="there", query=f'label_replace(vector(1), "said", "{"x" * 1900}", "", "")'
    )

    def __init__(self, url: str) -> None:
        self.url = url

    def runner(self) -> Runner[Any]:
        return PrometheusRunner(exchange(self.url), CLOCK, look_every=OFTEN)

    def blind(self) -> Runner[Any]:
        return PrometheusRunner(exchange(f"http://127.0.0.1:{a_closed_port()}"), CLOCK)


KINDS = ("http", "command", "github", "sql", "redis", "aws", "prometheus")
CHANGING = tuple(kind for kind in KINDS if kind != "prometheus")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(
        ROOT, folder, rules="groups: []", alertmanager="127.0.0.1:9", token="none"
    ) as url:
        yield url


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of this file alone: it is emptied, and paused."""
    server = valkey_process.start(log=tmp_path_factory.mktemp("valkey") / "log")
    yield server.url
    server.stop()


@pytest.fixture
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    made: Kind
    match request.param:
        case "http":
            made = Http()
        case "command":
            made = Command()
        case "github":
            made = GitHub()
        case "sql":
            made = Sql(request.getfixturevalue("postgres"))
        case "redis":
            made = Valkey(request.getfixturevalue("own_valkey"))
        case "aws":
            made = Aws()
        case _:
            made = Prometheus(request.getfixturevalue("prometheus"))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(made.there(tmp_path))
        if isinstance(made, Prometheus):
            await _answers(made)
        yield made


async def _answers(made: Prometheus) -> None:
    seen = await made.runner().verify(made.look, LONG)
    assert isinstance(seen, Ran)
    assert seen.succeeded, seen


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, indirect=True)


def called(call: AnyCall | None) -> AnyCall:
    assert call is not None
    return call


def said(outcome: Ran | Lost | Planned) -> str:
    assert isinstance(outcome, Ran), outcome
    return outcome.evidence.output


def verdict(outcome: Ran | Lost | Planned) -> tuple[bool, str]:
    assert isinstance(outcome, Ran), outcome
    return outcome.succeeded, outcome.reason


@only(*CHANGING)
async def test_a_plan_says_what_would_change_and_changes_nothing(kind: Kind) -> None:
    before = await kind.state()
    planned = await kind.runner().plan(called(kind.change), LONG)
    assert isinstance(planned, Planned), planned
    assert planned.targets
    assert planned.diff
    assert planned.pods == kind.pods
    assert await kind.state() == before


@only(*CHANGING)
async def test_a_plan_is_the_same_as_long_as_the_world_is(kind: Kind) -> None:
    runner = kind.runner()
    first = await runner.plan(called(kind.change), LONG)
    again = await runner.plan(called(kind.change), LONG)
    assert isinstance(first, Planned)
    assert isinstance(again, Planned)
    assert first.fingerprint == again.fingerprint != ""


@only("http", "sql", "redis", "aws", "prometheus")
async def test_a_plan_of_a_look_has_no_target(kind: Kind) -> None:
    planned = await kind.runner().plan(kind.look, LONG)
    assert isinstance(planned, Planned), planned
    assert (planned.targets, planned.diff) == ((), "")


@only(*CHANGING)
async def test_a_run_changes_the_world_once(kind: Kind) -> None:
    before = await kind.state()
    assert verdict(await kind.runner().run(called(kind.change), LONG)) == (True, "as_expected")
    after = await kind.state()
    assert after != before
    assert after == await kind.state()


@only(*KINDS)
async def test_a_look_finds_what_it_expects_and_changes_nothing(kind: Kind) -> None:
    before = await kind.state()
    assert verdict(await kind.runner().verify(kind.look, LONG)) == (True, "as_expected")
    if kind.runs_looks:
        assert verdict(await kind.runner().run(kind.look, LONG)) == (True, "as_expected")
    assert await kind.state() == before


@only("http", "command", "sql", "aws", "prometheus")
async def test_a_look_that_never_finds_it_ends_with_its_time(kind: Kind) -> None:
    seen = await kind.runner().verify(called(kind.ill), SHORT)
    assert isinstance(seen, Ran)
    assert not seen.succeeded
    assert seen.reason != "timed_out"


@only("http", "sql", "redis", "aws")
async def test_a_look_that_would_change_something_is_refused(kind: Kind) -> None:
    before = await kind.state()
    outcome = await kind.runner().verify(called(kind.change), LONG)
    assert verdict(outcome) == (False, "not_a_look")
    assert await kind.state() == before


@only(*CHANGING)
async def test_an_undo_puts_back_exactly_what_changed_or_says_that_it_cannot(kind: Kind) -> None:
    before = await kind.state()
    runner = kind.runner()
    ran = await runner.run(called(kind.change), LONG)
    assert isinstance(ran, Ran)
    after = await kind.state()
    undone = await runner.undo(called(kind.change), ran.changed, LONG)
    if isinstance(undone, Ran) and undone.succeeded:
        assert await kind.state() == before
    else:
        assert verdict(undone) == (False, "no_undo")
        assert not ran.changed
        assert await kind.state() == after


def a_step(kind: Kind, **changes: Any) -> PlaybookStep:
    """The change as a playbook's step, with what takes it back."""
    call = called(changes.get("call", kind.change))
    (name,) = (one for one in KINDS if type(call).__name__.lower() == f"{one}call")
    document = {
        "id": "change",
        "title": "Change it",
        "runner": name,
        name: call.model_dump(mode="json", exclude_none=True),
        "risk": "disruptive",
        "approval": "one",
        "timeout": "20s",
        "before": kind.before,
        "undo": kind.undo,
        **changes,
    }
    document.pop("call", None)
    return PlaybookStep.model_validate(document)


async def was(step: PlaybookStep, runner: Runner[Any]) -> dict[str, str]:
    """What the log knows of the world before the step, as its plan says it."""
    if step.before is None:
        return {}
    ((_, look),) = step.before.calls()
    looked = await runner.run(look, LONG)
    assert isinstance(looked, Ran)
    assert looked.succeeded, looked
    values = values_of(step.before, looked.answer)
    assert not isinstance(values, NotKnown), values
    return values


async def take_back(step: PlaybookStep, values: dict[str, str], runner: Runner[Any]) -> None:
    undo = step.undo if step.before is None else undo_of(step, {}, values)
    assert undo is not None
    assert not isinstance(undo, NotKnown), undo
    ((_, call),) = undo.calls()
    assert verdict(await runner.run(call, LONG)) == (True, "as_expected")


UNDONE = ("http", "command", "github", "sql", "aws")
"""Runners whose steps name what takes them back."""


@only(*UNDONE)
async def test_a_step_that_is_done_and_undone_leaves_the_world_as_it_was(kind: Kind) -> None:
    runner, step, before = kind.runner(), a_step(kind), await kind.state()
    values = await was(step, runner)
    assert verdict(await runner.run(called(kind.change), LONG)) == (True, "as_expected")
    assert await kind.state() != before
    await take_back(step, values, runner)
    assert await kind.state() == before


@only("http", "command", "github")
async def test_a_step_of_which_nobody_heard_is_undone_as_exactly(kind: Kind) -> None:
    runner, step, before = kind.runner(), a_step(kind), await kind.state()
    values = await was(step, runner)
    assert isinstance(await runner.run(await kind.lose(), SHORT), Lost)
    assert await kind.state() != before
    await take_back(step, values, runner)
    assert await kind.state() == before


@only(*UNDONE)
async def test_an_undo_twice_is_an_undo_once(kind: Kind) -> None:
    runner, step, before = kind.runner(), a_step(kind), await kind.state()
    values = await was(step, runner)
    await runner.run(called(kind.change), LONG)
    await take_back(step, values, runner)
    await take_back(step, values, runner)
    assert await kind.state() == before


RDS = ("rds", "describe-db-parameters", "--db-parameter-group-name", "shop")
ZONE = ("--hosted-zone-id", "Z1")
FASTER = json.dumps(
    {
        "Changes": [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {"Name": "api.example.", "Type": "A", "TTL": 5},
            }
        ]
    }
)


@only("aws")
@pytest.mark.parametrize(
    ("change", "look", "values", "undo"),
    [
        (
            (
                *("rds", "modify-db-parameter-group", "--db-parameter-group-name", "shop"),
                *("--parameters", '[{"ParameterName": "max_connections", "ParameterValue": "9"}]'),
            ),
            (*RDS, "--query", "Parameters[?ParameterName=='max_connections']"),
            {"parameters": ""},
            (
                *("rds", "modify-db-parameter-group", "--db-parameter-group-name", "shop"),
                *("--parameters", '"${parameters}"'),
            ),
        ),
        (
            (
                *("route53", "change-resource-record-sets", *ZONE, "--change-batch"),
                FASTER,
            ),
            ("route53", "list-resource-record-sets", *ZONE),
            {"record": "/ResourceRecordSets/0"},
            (
                *("route53", "change-resource-record-sets", *ZONE, "--change-batch"),
                '{"Changes": [{"Action": "UPSERT", "ResourceRecordSet": "${record}"}]}',
            ),
        ),
    ],
    ids=["parameter group", "record set"],
)
async def test_what_aws_showed_before_is_written_back_whole(
    kind: Kind,
    change: tuple[str, ...],
    look: tuple[str, ...],
    values: dict[str, str],
    undo: tuple[str, ...],
) -> None:
    call = AwsCall(profile="prod", args=change)
    before = {"aws": {"profile": "prod", "args": look}, "values": values}
    back = {"aws": {"profile": "prod", "args": undo}}
    step = a_step(kind, call=call, before=before, undo=back)
    runner, there = kind.runner(), await kind.state()
    known = await was(step, runner)
    assert verdict(await runner.run(call, LONG)) == (True, "as_expected")
    assert await kind.state() != there
    await take_back(step, known, runner)
    assert await kind.state() == there


@only("http", "sql", "aws")
async def test_a_secret_that_stood_there_is_not_kept_for_an_undo(kind: Kind) -> None:
    guarded = Guarded(kind.runner(), Redactor(secrets=[CANARY]))
    looked = await guarded.run(called(kind.secret), LONG)
    assert isinstance(looked, Ran)
    assert CANARY not in looked.answer
    step = a_step(kind)
    assert step.before is not None
    whole = step.before.model_copy(update={"values": {"all": ""}})
    found = values_of(whole, looked.answer)
    assert isinstance(found, NotKnown)
    assert found.reason == "before_is_secret"


@only(*KINDS)
async def test_where_nothing_is_everything_fails_and_nothing_is_raised_or_lost(kind: Kind) -> None:
    blind = kind.blind()
    call = kind.change or kind.look
    for outcome in (await blind.run(call, SHORT), await blind.verify(kind.look, SHORT)):
        assert isinstance(outcome, Ran)
        assert not outcome.succeeded
        assert outcome.reason in {"unreachable", "timed_out", "not_started"}


@only(*KINDS)
async def test_what_settings_do_not_name_is_refused(kind: Kind) -> None:
    name = "program" if isinstance(kind.look, CommandCall) else "endpoint"
    name = "profile" if isinstance(kind.look, AwsCall) else name
    call = (kind.change or kind.look).model_copy(update={name: "elsewhere"})
    before = await kind.state()
    for outcome in (await kind.runner().run(call, LONG), await kind.runner().plan(call, LONG)):
        assert isinstance(outcome, (Ran, Planned))
        reason = outcome.reason if isinstance(outcome, Ran) else "planned"
        assert reason in {
            "endpoint_not_configured",
            "program_not_allowed",
            "profile_not_configured",
        }
    assert await kind.state() == before


@only(*CHANGING)
async def test_an_answer_that_never_comes_leaves_doubt(kind: Kind) -> None:
    call = await kind.lose()
    assert isinstance(await kind.runner().run(call, SHORT), Lost)


@only("http", "command", "sql", "aws", "prometheus")
async def test_no_secret_is_told(kind: Kind) -> None:
    bare = kind.runner()
    assert CANARY in said(await bare.run(called(kind.secret), LONG))
    guarded = Guarded(bare, Redactor(secrets=[CANARY]))
    told = said(await guarded.run(called(kind.secret), LONG))
    assert CANARY not in told
    assert MASK in told
    planned = await guarded.plan(called(kind.secret), LONG)
    assert CANARY not in f"{planned}"


@only("http", "command", "sql", "prometheus")
async def test_of_much_output_the_start_is_kept(kind: Kind) -> None:
    told = said(await kind.runner().run(called(kind.loud), LONG))
    assert 1000 < len(told) < MOST_OUTPUT + 100
