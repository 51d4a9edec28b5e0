"""Every record that one incident's story rests on, from the webhook to the last delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tocsin_contracts.dispositions import Disposed
from tocsin_contracts.event import Cause
from tocsin_contracts.ids import key_of, system_of
from tocsin_replay.reading import INCIDENTS, POLICIES, Progress, partition_of
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record

DISPOSITIONS = "dispositions"
SILENCES = "silences"
EVERYTHING = (
    "alerts.raw",
    "alerts.raw.urgent",
    "alerts",
    "alerts.urgent",
    INCIDENTS,
    POLICIES,
    SILENCES,
    DISPOSITIONS,
    "dead-letters",
)
"""What a whole recording holds; snapshots are derived and left out."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Records, and how wide the topics were that they came from.

    Attributes:
        missing: Records that facts name and that the log keeps no longer.
    """

    widths: dict[str, int]
    records: tuple[Record, ...]
    missing: tuple[Position, ...] = ()


async def gather(
    reader: Reader, incidents: Sequence[str], progress: Progress | None = None
) -> Gathered:
    """The facts of incidents and all that led to them.

    Their partition of `incidents` and of `dispositions` is read; the dispositions lead to the
    observations, those to the bytes as received. Policies of their systems and all silences are
    taken whole: they are small.

    Raises:
        ValueError: An id is no incident id.
    """
    widths = {topic: await _width(reader, topic) for topic in EVERYTHING}
    found: dict[Position, Record] = {}
    wanted: set[Position] = set()
    for incident in incidents:
        name = incident.encode()
        partition = partition_of(key_of(incident), widths[INCIDENTS])
        facts = await _matching(reader, INCIDENTS, partition, _about(name), progress)
        said = await _matching(reader, DISPOSITIONS, partition, _naming(name), progress)
        found.update((record.position, record) for record in (*facts, *said))
        wanted.update(_causes((*facts, *said)))
        system = system_of(incident).encode()
        for number in range(widths[POLICIES]):
            held = await _matching(reader, POLICIES, number, _keyed(system), progress)
            found.update((record.position, record) for record in held)
    for number in range(widths[SILENCES]):
        held = await _matching(reader, SILENCES, number, lambda _: True, progress)
        found.update((record.position, record) for record in held)
    missing: set[Position] = set()
    while wanted:  # observations, then what they were made of
        taken = await records_at(reader, wanted)
        found.update(taken)
        missing |= wanted - taken.keys()
        wanted = set(_causes(taken.values())) - found.keys() - missing
    return Gathered(
        widths,
        tuple(found[position] for position in sorted(found)),
        tuple(sorted(missing)),
    )


async def gather_all(reader: Reader, progress: Progress | None = None) -> Gathered:
    """Everything the log holds, snapshots excepted."""
    widths = {topic: await _width(reader, topic) for topic in EVERYTHING}
    records: list[Record] = []
    for topic in EVERYTHING:
        for number in range(widths[topic]):
            records += await _matching(reader, topic, number, lambda _: True, progress)
    return Gathered(widths, tuple(sorted(records, key=lambda record: record.position)))


async def _width(reader: Reader, topic: str) -> int:
    try:
        return await reader.partitions(topic)
    except LookupError:
        return 0  # an archive need not hold every topic


async def _matching(
    reader: Reader,
    topic: str,
    partition: int,
    matches: Callable[[Record], bool],
    progress: Progress | None,
) -> list[Record]:
    try:
        start, end = await reader.bounds(topic, partition)
    except LookupError:
        return []
    found = []
    async for record in reader.read(topic, partition, start, end):
        if progress is not None:
            progress(1)
        if matches(record):
            found.append(record)
    return found


def _about(subject: bytes) -> Callable[[Record], bool]:
    return lambda record: record.header("ce_subject") == subject


def _naming(incident: bytes) -> Callable[[Record], bool]:
    # Looked for in the bytes first: to decode a storm's dispositions costs far more.
    quoted = b'"' + incident + b'"'
    return lambda record: record.value is not None and quoted in record.value


def _keyed(key: bytes) -> Callable[[Record], bool]:
    return lambda record: record.key == key


def _causes(records: Iterable[Record]) -> Iterable[Position]:
    for record in records:
        try:
            fact = decode(record).fact
        except Poison:
            continue
        cause = fact.cause
        if isinstance(fact, Disposed) or cause is not None:
            position = _position(cause)
            if position is not None:
                yield position


def _position(cause: Cause | None) -> Position | None:
    if cause is None or cause.topic is None or cause.offset is None:
        return None
    return Position(cause.topic, cause.partition or 0, cause.offset)


async def records_at(reader: Reader, wanted: Iterable[Position]) -> dict[Position, Record]:
    """The records at these places, one range for each partition: they lie close together."""
    places: dict[tuple[str, int], list[int]] = {}
    for position in wanted:
        places.setdefault(position[:2], []).append(position.offset)
    found = {}
    for (topic, partition), offsets in sorted(places.items()):
        held = set(offsets)
        try:
            start, end = await reader.bounds(topic, partition)
        except LookupError:
            continue
        start, end = max(start, min(held)), min(end, max(held) + 1)
        async for record in reader.read(topic, partition, start, end):
            if record.position.offset in held:
                found[record.position] = record
    return found
