"""Finding an incident's facts in the log without a scan of everything.

Whatever has the `Reader` port can be read: the running cluster, a bundle, an archive.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import groupby
from operator import itemgetter

from aiokafka.partitioner import murmur2

from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import key_of
from tocsin_contracts.policies import PolicyPublished
from tocsin_incident import IncidentState, Reason, fold
from tocsin_policy import Policy, parse_policy
from tocsin_replay.packing import packed, unpacked
from tocsin_replay.ranging import Seeking
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record

INCIDENTS = "incidents"
POLICIES = "policies"

_MOST_HELD_KIB = 64 << 10
"""Of facts that are sorted by incident, in memory; beyond that they are in a file."""

Progress = Callable[[int], None]
"""Called with how many more records were read."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A fact as the log has it.

    Attributes:
        recorded_at: When the broker appended it: when we knew, where the event says when it was.
    """

    event: Event[Fact]
    position: Position
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Step:
    """A fact and what the fold made of it."""

    recorded: Recorded
    before: IncidentState | None
    after: IncidentState | None
    ignored: Reason | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a policy, and where the log put it in force."""

    policy: Policy
    hash: str
    position: Position
    recorded_at: datetime


def partition_of(key: str, partitions: int) -> int:
    """Where Kafka's default partitioner puts a key.

    >>> partition_of("mpc-transformer", 6)
    3
    """
    hashed: int = murmur2(key.encode())
    return (hashed & 0x7FFFFFFF) % partitions


async def read_incident(
    reader: Reader, incident: str, progress: Progress | None = None
) -> tuple[Recorded, ...]:
    """An incident's facts in log order; nothing for one the log does not know.

    Its id gives the key and so the partition; no other partition is read, and of the records of
    other incidents no more than a header.

    Raises:
        ValueError: This is no incident id.
    """
    partition = partition_of(key_of(incident), await reader.partitions(INCIDENTS))
    found = _facts(reader, partition, incident, progress)
    return tuple([r async for r in found if r.event.subject == incident])


async def read_all(reader: Reader, progress: Progress | None = None) -> tuple[Recorded, ...]:
    """The facts of every incident, partition by partition in log order."""
    return tuple([recorded async for recorded in each_fact(reader, progress)])


async def each_fact(reader: Reader, progress: Progress | None = None) -> AsyncIterator[Recorded]:
    """The facts of every incident, partition by partition in log order, one at a time."""
    for partition in range(await reader.partitions(INCIDENTS)):
        async for recorded in _facts(reader, partition, None, progress):
            yield recorded


async def by_incident(
    reader: Reader, progress: Progress | None = None, until: datetime | None = None
) -> AsyncIterator[tuple[str, Sequence[Recorded]]]:
    """The facts of each incident together, in log order; incidents by where their first stands.

    One incident is held at a time, however long the log. The rest waits in a file, once it is
    much, that nobody else can open.

    Args:
        until: Leave out what was recorded from then on.
    """
    numbers: dict[str, int] = {}
    with closing(sqlite3.connect("", isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode=OFF")
        file.execute(f"PRAGMA cache_size=-{_MOST_HELD_KIB}")
        file.execute("CREATE TABLE facts (incident INTEGER, partition INTEGER, record BLOB)")
        file.execute("BEGIN")
        for partition in range(await reader.partitions(INCIDENTS)):
            start, end = await reader.bounds(INCIDENTS, partition)
            async for record in reader.read(INCIDENTS, partition, start, end):
                if progress is not None:
                    progress(1)
                if until is not None and record.recorded_at >= until:
                    continue
                number = numbers.setdefault(_subject(record), len(numbers))
                row = (number, partition, packed(record))
                file.execute("INSERT INTO facts VALUES (?, ?, ?)", row)
        file.execute("CREATE INDEX by_incident ON facts (incident)")
        rows = file.execute("SELECT * FROM facts ORDER BY incident, rowid")
        for _, held in groupby(rows, key=itemgetter(0)):
            records = (unpacked(BytesIO(row[2]), INCIDENTS, row[1]) for row in held)
            recorded = [one for one in map(_recorded, records) if one is not None]
            if recorded:
                yield recorded[0].event.subject, recorded


def _subject(record: Record) -> str:
    """Whom a record is about, by its header where that can be: it is decoded later, once."""
    said = record.header("ce_subject")
    if said is not None:
        return said.decode(errors="replace")
    recorded = _recorded(record)
    return "" if recorded is None else recorded.event.subject


def _recorded(record: Record) -> Recorded | None:
    try:
        return Recorded(decode(record), record.position, record.recorded_at)
    except Poison:
        return None  # its consumers have dead-lettered it


async def read_policies(reader: Reader, system: str | None = None) -> tuple[Version, ...]:
    """Every version of a system's policy, or of all systems', in the order of the log."""
    found = []
    for partition in range(await reader.partitions(POLICIES)):
        start, end = await reader.bounds(POLICIES, partition)
        async for record in reader.read(POLICIES, partition, start, end):
            version = _version(record)
            if version is not None and system in {None, version.policy.system}:
                found.append(version)
    return tuple(found)


def _version(record: Record) -> Version | None:
    try:
        fact = decode(record).fact
    except Poison:
        return None
    if not isinstance(fact, PolicyPublished):
        return None
    try:
        policy = parse_policy(fact.document)
    except ValueError:
        return None  # the services refused it too, and kept what was in force
    return Version(policy, fact.hash, record.position, record.recorded_at)


def in_force(versions: Sequence[Version], system: str, at: datetime) -> Version | None:
    """The version of a system's policy that the log had put in force by an instant."""
    found = None
    for version in versions:
        if version.policy.system == system and version.recorded_at <= at:
            found = version
    return found


def promised(versions: Iterable[Version], state: IncidentState) -> Policy | None:
    """The policy that decided how the incident opened, or `None` if the log has no such version.

    An incident that names no version has the newest of its system.
    """
    found: Policy | None = None
    for version in versions:
        if version.policy.system == state.system and state.policy in {None, version.hash}:
            found = version.policy
    return found


async def read_policy(reader: Reader, state: IncidentState) -> Policy | None:
    """What `promised` says of the versions the log has."""
    return promised(await read_policies(reader, state.system), state)


async def _facts(
    reader: Reader, partition: int, incident: str | None, progress: Progress | None
) -> AsyncIterator[Recorded]:
    start, end = await reader.bounds(INCIDENTS, partition)
    wanted = None if incident is None else incident.encode()
    if incident is not None and isinstance(reader, Seeking):
        records = reader.read_about(INCIDENTS, partition, start, end, incident, progress)
        wanted = progress = None
    else:
        records = reader.read(INCIDENTS, partition, start, end)
    async for record in records:
        if progress is not None:
            progress(1)
        # To decode the facts of others is what finding one incident would cost.
        if wanted is not None and record.header("ce_subject") not in {wanted, None}:
            continue
        recorded = _recorded(record)
        if recorded is not None:
            yield recorded


def steps(recorded: Iterable[Recorded]) -> Iterator[Step]:
    """Each fact of one incident with the state before and after it, one at a time."""
    state: IncidentState | None = None
    for one in recorded:
        folded = fold(state, one.event)
        yield Step(one, state, folded.state, folded.ignored)
        state = folded.state


def state_of(recorded: Iterable[Recorded]) -> IncidentState | None:
    """The state of one incident after its facts."""
    state: IncidentState | None = None
    for one in recorded:
        state = fold(state, one.event).state
    return state


def states_of(recorded: Iterable[Recorded]) -> dict[str, IncidentState]:
    """The states of all incidents among these facts, by id, oldest first."""
    states: dict[str, IncidentState] = {}
    for one in recorded:
        state = fold(states.get(one.event.subject), one.event).state
        if state is not None:
            states[one.event.subject] = state
    return states


def known_at(recorded: Sequence[Recorded], at: datetime) -> Sequence[Recorded]:
    """What the log held at an instant: everything up to the last fact recorded by then.

    A broker's clock may step back. Whatever stands before a fact was there when that fact was
    appended, so the answer is a prefix of the partition whatever the clocks said.
    """
    partitions: dict[int, int] = {}
    for one in recorded:
        if one.recorded_at <= at:
            partitions[one.position.partition] = one.position.offset
    return [
        one for one in recorded if one.position.offset <= partitions.get(one.position.partition, -1)
    ]
