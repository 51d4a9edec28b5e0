"""Finding an incident's facts in the log without a scan of everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiokafka.partitioner import murmur2

from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import key_of
from tocsin_contracts.policies import PolicyPublished
from tocsin_incident import IncidentState, Reason, fold
from tocsin_policy import Policy, parse_policy
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position

INCIDENTS = "incidents"
POLICIES = "policies"


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


def partition_of(key: str, partitions: int) -> int:
    """Where Kafka's default partitioner puts a key.

    >>> partition_of("mpc-transformer", 6)
    3
    """
    hashed: int = murmur2(key.encode())
    return (hashed & 0x7FFFFFFF) % partitions


async def read_incident(reader: Reader, incident: str) -> tuple[Recorded, ...]:
    """An incident's facts in log order; nothing for one the log does not know.

    Its id gives the key and so the partition; no other partition is read.

    Raises:
        ValueError: This is no incident id.
    """
    partition = partition_of(key_of(incident), await reader.partitions(INCIDENTS))
    return tuple([r async for r in _facts(reader, partition) if r.event.subject == incident])


async def read_all(reader: Reader) -> tuple[Recorded, ...]:
    """The facts of every incident, partition by partition in log order."""
    found: list[Recorded] = []
    for partition in range(await reader.partitions(INCIDENTS)):
        found.extend([recorded async for recorded in _facts(reader, partition)])
    return tuple(found)


async def read_policy(reader: Reader, state: IncidentState) -> Policy | None:
    """The policy that decided how the incident opened, or `None` if the log has no such version.

    An incident that names no version has the newest of its system.
    """
    partition = partition_of(state.system, await reader.partitions(POLICIES))
    start, end = await reader.bounds(POLICIES, partition)
    found: Policy | None = None
    async for record in reader.read(POLICIES, partition, start, end):
        try:
            fact = decode(record).fact
        except Poison:
            continue
        if not isinstance(fact, PolicyPublished) or fact.system != state.system:
            continue
        if state.policy in {None, fact.hash}:
            found = parse_policy(fact.document)
    return found


async def _facts(reader: Reader, partition: int) -> AsyncIterator[Recorded]:
    start, end = await reader.bounds(INCIDENTS, partition)
    async for record in reader.read(INCIDENTS, partition, start, end):
        try:
            event = decode(record)
        except Poison:
            continue  # its consumers have dead-lettered it
        yield Recorded(event, record.position, record.recorded_at)


def steps(recorded: Iterable[Recorded]) -> tuple[Step, ...]:
    """Each fact of one incident with the state before and after it."""
    state: IncidentState | None = None
    made = []
    for one in recorded:
        folded = fold(state, one.event)
        made.append(Step(one, state, folded.state, folded.ignored))
        state = folded.state
    return tuple(made)


def state_of(recorded: Sequence[Recorded]) -> IncidentState | None:
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
