"""Two hundred bad days, and the bugs that such days find.

make soak SEEDS=1000-5000        thousands of days
SEEDS=42-42 pytest -m soak tests/scenarios/test_seeds.py      one day again
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tocsin_casebook import INCIDENTS, Casebook, Policies
from tocsin_contracts.ids import derive
from tocsin_incident import Book
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Handler, Publisher
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.faults import Rates
from tocsin_simulation.system import SERVICES, Instance, Runs, Service, System
from tocsin_testkit.seeded_days import BadDay, a_day

SEEDS = range(1, 201)

FAILED_ONCE = (3594,)
"""Days of a soak that showed a bug: they stay. What happens on a day changes with `seeded_days`, so
a bug that was fixed also gets a test of its own that says what it was."""

_FIRST, _LAST = map(
    int,
    os.environ.get("SEEDS", "1000-1999").split("-"),  # noqa: TID251 - the door to a soak run
)
SOAK = range(_FIRST, _LAST + 1)

CHUNK = 50
"""Days of a soak that one test lives through, so that several workers share them."""


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, 10))
def test_every_invariant_holds_after_a_bad_day(first: int) -> None:
    for seed in range(first, min(first + 10, SEEDS.stop)):
        a_day(seed)


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_a_day_that_failed_once_holds(seed: int) -> None:
    a_day(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(SOAK.start, SOAK.stop, CHUNK))
def test_every_invariant_holds_after_thousands_of_bad_days(first: int) -> None:
    broken = []
    for seed in range(first, min(first + CHUNK, SOAK.stop)):
        try:
            a_day(seed)
        except BadDay as day:
            broken.append(str(day))
    assert not broken, "\n\n".join(broken)


def test_a_day_is_the_same_every_time() -> None:
    assert a_day(7) == a_day(7)


def test_the_hash_seed_of_the_interpreter_changes_no_day() -> None:
    program = "from tocsin_testkit.seeded_days import a_day; print(a_day(7).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},  # noqa: TID251 - handed on to a child
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[-1]
        for seed in ("0", "77")
    }
    assert digests == {a_day(7).digest}


def test_the_days_are_bad_indeed() -> None:
    """Over a few days every kind of fault strikes, and people are paged all the same."""
    days = [a_day(seed) for seed in range(1, 9) if seed not in FAILED_ONCE]
    struck = {fault for day in days for fault in day.faults}
    assert struck >= {
        "append answer lost",
        "append refused",
        "crash",
        "offset gap",
        "pause",
        "provider answer lost",
        "provider refused",
        "rewound",
        "slow message",
    }
    assert all(day.pages and day.incidents for day in days)


class _Hasty:
    """Wraps a handler: hands the batch over and returns before it is done, as Faust would."""

    def __init__(self, inner: Handler) -> None:
        self._inner = inner
        self._tasks: list[asyncio.Task[None]] = []

    async def assigned(self, partitions: frozenset[int]) -> None:
        await self._inner.assigned(partitions)

    async def revoked(self, partitions: frozenset[int]) -> None:
        await self._inner.revoked(partitions)

    async def handle(self, batch: Sequence[Record]) -> None:
        self._tasks.append(asyncio.create_task(self._later(batch)))

    async def _later(self, batch: Sequence[Record]) -> None:
        try:
            await self._inner.handle(batch)
        except Transient:
            return


def _commits_before_the_acknowledgement(service: Service) -> Service:
    def build(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
        handler, runs = service.build(system, instance, policies)
        return _Hasty(handler), runs

    return Service(service.name, service.topics, build)


class _DrawsIds:
    """Wraps a publisher: every event gets an id of its own each time it is written."""

    def __init__(self, inner: Publisher, name: str) -> None:
        self._inner = inner
        self._name = name
        self._count = 0

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        return await self._inner.publish([self._restamped(record) for record in records])

    def _restamped(self, record: Outgoing) -> Outgoing:
        self._count += 1
        drawn = str(derive(self._name, str(self._count))).encode()
        headers = tuple((k, drawn if k == "ce_id" else v) for k, v in record.headers)
        return replace(record, headers=headers)


def _draws_ids(service: Service) -> Service:
    def build(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
        class Drawing(System):
            def __init__(self) -> None:
                self.__dict__.update(system.__dict__)
                self.publisher = _DrawsIds(system.publisher, instance.name)

        return service.build(Drawing(), instance, policies)

    return Service(service.name, service.topics, build)


CRASHING = Rates(crash=0.03)


def _found(name: str, plant: Callable[[Service], Service]) -> str:
    """What the first of sixty days says of a system with this bug in one of its services."""
    services = [plant(service) if service.name == name else service for service in SERVICES]
    for seed in range(1, 61):
        try:
            a_day(seed, services=services, rates=CRASHING)
        except BadDay as day:
            return str(day)
    return ""


def _never_looks_at_the_clock(service: Service) -> Service:
    def build(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
        handler, _ = service.build(system, instance, policies)
        return handler, ()

    return Service(service.name, service.topics, build)


def _keeps_its_name(service: Service) -> Service:
    """After a crash it takes the attempts of its life before for its own."""

    def build(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
        namesake = Instance(instance.service, instance.name.partition("#")[0])
        handler, runs = service.build(system, namesake, policies)
        instance.casebook, instance.followers = namesake.casebook, namesake.followers
        return handler, runs

    return Service(service.name, service.topics, build)


class _KeepsNothing(Casebook):
    """What a restore folded is in no snapshot, though the next checkpoint says that it is."""

    def unsaved(self, partition: int) -> frozenset[str]:
        del partition
        return frozenset()


class _ActsWithoutFolding(Casebook):
    """Begins at the end of the log and does not look back."""

    async def restore(self, partitions: frozenset[int]) -> None:
        for partition in partitions:
            book = Book()
            _, book.end = await self._reader.bounds(INCIDENTS, partition)
            self._books[partition] = book


def _with_casebook(casebook: type[Casebook]) -> Callable[[Service], Service]:
    def plant(service: Service) -> Service:
        def build(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
            instance.casebook = casebook(system.log)
            return service.build(system, instance, policies)

        return Service(service.name, service.topics, build)

    return plant


@pytest.mark.parametrize(
    ("name", "plant", "says"),
    [
        ("ingestion", _commits_before_the_acknowledgement, "accepted and never normalised"),
        ("classifier", _commits_before_the_acknowledgement, "has 0 outcomes"),
        ("classifier", _draws_ids, "classifier"),
        ("classifier", _never_looks_at_the_clock, "is clear since|which is over"),
        ("escalation-timer", _never_looks_at_the_clock, "was never reached"),
        ("notifier", _never_looks_at_the_clock, "stays attempted for ever"),
        ("remediation", _keeps_its_name, "/restart happened"),
        (
            "escalation-timer",
            _with_casebook(_KeepsNothing),
            "holds another state of|does not know|attempted in the log",
        ),
        ("classifier", _with_casebook(_ActsWithoutFolding), "does not know"),
        ("notifier", _with_casebook(_ActsWithoutFolding), "does not know"),
    ],
)
def test_a_planted_bug_is_found(name: str, plant: Callable[[Service], Service], says: str) -> None:
    assert re.search(says, _found(name, plant))


def test_a_failing_day_says_how_to_run_it_again() -> None:
    found = _found("ingestion", _commits_before_the_acknowledgement)
    seed = re.match(r"seed (\d+): ", found)
    assert seed is not None
    assert f"SEEDS={seed[1]}-{seed[1]} make soak" in found
