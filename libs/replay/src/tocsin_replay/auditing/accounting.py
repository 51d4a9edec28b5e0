"""`audit`: follows every accepted record to what became of it, partition by partition.

It reads each topic once, in the order of the log. What is held at a time: two bytes for each raw
record in the range, the deliveries that have no disposition yet, and the incidents of one
partition.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from ingestion.domain.sources import Sources
from ingestion.handlers import what_it_says
from tocsin_contracts.alerts import Observed
from tocsin_contracts.dispositions import Disposed, Outcome
from tocsin_contracts.event import Cause, Event, Fact, Writer, event_id
from tocsin_replay.auditing.findings import (
    GRACE,
    LATENESS,
    Audited,
    FindingKind,
    Findings,
    place,
)
from tocsin_replay.auditing.pages import InForce, Pages, Settled
from tocsin_replay.gathering import DISPOSITIONS
from tocsin_replay.history import RAW, SEEN
from tocsin_replay.ranging import span
from tocsin_replay.reading import INCIDENTS, Progress, read_policies
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record

DEAD_LETTERS = "dead-letters"

SKEW = timedelta(minutes=5)
"""How far the clocks of two brokers may stand apart: what follows is read from so much before."""

LOOK_BACK = timedelta(days=7)
"""An incident that goes on may have begun so long before the range; older ones are not judged."""

MOST_SETTLED = 10_000
"""Deliveries of a partition whose repeat is known as one."""

_MOST_COUNTED = 65_535

_STANDS_IN = frozenset({Outcome.OPENED, Outcome.ATTACHED, Outcome.PAUSED})
"""Outcomes before which a fact about the incident was written."""


async def audit(
    reader: Reader,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    grace: timedelta = GRACE,
    lateness: timedelta = LATENESS,
    partial: bool = False,
    sources: Sources | None = None,
    progress: Progress | None = None,
) -> Audited:
    """What is not accounted for among what the log took in since an instant.

    A record younger than `grace` is on its way and named as such. Where the log has deleted what
    followed from old records, only later ones are judged.

    Args:
        until: The present; without it, the newest record of the log is the end of the range.
        partial: The log holds only what some incidents rest on, as a bundle does.
        sources: What can read raw records, where an installation has sources of its own.
    """
    places = _Places(reader, since)
    for topic in (*RAW, *SEEN, DISPOSITIONS, INCIDENTS, DEAD_LETTERS):
        # What follows from a record is looked up after it: nothing that is there looks lost.
        await places.add(topic)
    end = until if until is not None else await places.newest()
    findings = Findings()
    if end is None:
        return _audited(findings, since, None, partial=partial)
    begin = since if partial else await places.judged_from()
    auditing = _Auditing(
        findings=findings,
        since=begin,
        until=end,
        grace=grace,
        lateness=lateness,
        partial=partial,
        versions=InForce(await read_policies(reader)),
        progress=progress,
    )
    await auditing.dead_letters(places)
    for partition in range(max(places.width(topic) for topic in (INCIDENTS, *SEEN))):
        await auditing.partition(places, partition)
    await auditing.raw(places, sources or Sources())
    return _audited(findings, begin, end, partial=partial)


def _audited(
    findings: Findings, since: datetime | None, until: datetime | None, *, partial: bool
) -> Audited:
    return Audited(
        since=since,
        until=until,
        partial=partial,
        counts=dict(findings.counts),
        outcomes=dict(findings.outcomes),
        found=dict(findings.found),
        findings=findings.named(),
        in_flight=findings.in_flight(),
        on_their_way=findings.on_their_way,
    )


class _Places:
    """Which offsets are read."""

    def __init__(self, reader: Reader, since: datetime | None) -> None:
        self._reader = reader
        self._since = since
        self._held: dict[tuple[str, int], tuple[int, int]] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._widths: dict[str, int] = {}

    async def add(self, topic: str) -> None:
        try:
            self._widths[topic] = await self._reader.partitions(topic)
        except LookupError:
            self._widths[topic] = 0  # an archive need not hold every topic
        for number in range(self._widths[topic]):
            self._held[topic, number] = await self._reader.bounds(topic, number)
            start, _ = await span(self._reader, topic, number, self._from(topic))
            self._starts[topic, number] = start

    def _from(self, topic: str) -> datetime | None:
        if self._since is None or topic in RAW:
            return self._since
        return self._since - (LOOK_BACK if topic == INCIDENTS else SKEW)

    def width(self, topic: str) -> int:
        return self._widths.get(topic, 0)

    def range(self, topic: str, partition: int) -> tuple[int, int]:
        """Where reading begins and ends."""
        start = self._starts.get((topic, partition), 0)
        return start, self._held.get((topic, partition), (0, 0))[1]

    def read(self, topic: str, partition: int) -> AsyncIterator[Record]:
        start, end = self.range(topic, partition)
        return self._reader.read(topic, partition, start, end)

    async def newest(self) -> datetime | None:
        """When the last record of any of these topics was recorded."""
        found = None
        for (topic, partition), (start, end) in self._held.items():
            if start < end:
                async for record in self._reader.read(topic, partition, end - 1, end):
                    found = record.recorded_at if found is None else max(found, record.recorded_at)
        return found

    async def judged_from(self) -> datetime | None:
        """From when on everything that followed from a record is still there."""
        found = self._since
        for (topic, partition), (start, end) in self._held.items():
            if topic not in (*SEEN, DISPOSITIONS) or not 0 < start < end:
                continue
            async for record in self._reader.read(topic, partition, start, end):
                found = record.recorded_at if found is None else max(found, record.recorded_at)
                break
        return found


@dataclass(slots=True)
class _Seen:
    """A delivery of one system that has no disposition yet."""

    record: Position
    at: datetime
    observations: tuple[UUID, ...]


@dataclass(slots=True)
class _Partition:
    """What one partition of the lanes and of `dispositions` has shown so far."""

    subjects: set[str]
    waiting: dict[UUID, _Seen] = field(default_factory=dict)
    early: dict[UUID, Event[Fact]] = field(default_factory=dict)
    settled: Settled = field(default_factory=lambda: Settled(MOST_SETTLED))
    counted: Settled = field(default_factory=lambda: Settled(MOST_SETTLED))
    reached: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Auditing:
    findings: Findings
    since: datetime | None
    until: datetime
    grace: timedelta
    lateness: timedelta
    partial: bool
    versions: InForce
    progress: Progress | None
    _dead: set[str] = field(default_factory=set)
    _answered: set[Position] = field(default_factory=set)
    _made: dict[tuple[str, int], tuple[int, array[int]]] = field(default_factory=dict)

    def _judged(self, at: datetime) -> bool:
        return self.since is None or at >= self.since

    def _moved(self) -> None:
        if self.progress is not None:
            self.progress(1)

    async def dead_letters(self, places: _Places) -> None:
        """Remember what was set aside; a record is named by where it stood."""
        for topic in RAW:
            for number in range(places.width(topic)):
                start, end = places.range(topic, number)
                self._made[topic, number] = (start, array("H", bytes(2 * (end - start))))
        for number in range(places.width(DEAD_LETTERS)):
            async for record in places.read(DEAD_LETTERS, number):
                self._moved()
                self._dead.add((record.header("ce_subject") or b"").decode(errors="replace"))

    async def partition(self, places: _Places, number: int) -> None:
        """Fold its incidents, then follow its deliveries to their dispositions."""
        pages = Pages(self.versions, self.findings, self.since, self.until, self.lateness)
        async for record in places.read(INCIDENTS, number):
            self._moved()
            event = self._event(record)
            if event is not None:
                self._answer(event)
                pages.take(record, event)
        pages.finish()
        held = _Partition(pages.subjects)
        streams = [places.read(topic, number) for topic in (*SEEN, DISPOSITIONS)]
        async for record in _merged(streams):
            self._moved()
            event = self._event(record)
            topic = record.position.topic
            if event is not None and isinstance(event.fact, Observed) and topic in SEEN:
                self._observed(held, record, event, event.fact)
            elif event is not None and isinstance(event.fact, Disposed):
                self._disposed(held, places, record, event, event.fact)
            if topic in SEEN:
                held.reached[topic] = record.position.offset + 1
        for seen in held.waiting.values():
            self._undisposed(seen)

    def _event(self, record: Record) -> Event[Fact] | None:
        try:
            return decode(record)
        except Poison as error:
            if self._judged(record.recorded_at) and place(record.position) not in self._dead:
                subject = place(record.position)
                if self._young(record.recorded_at):
                    self.findings.on_its_way("record", subject, record.recorded_at)
                else:
                    self.findings.wrong(
                        FindingKind.UNREADABLE,
                        subject,
                        str(error),
                        record.recorded_at,
                        record.position,
                    )
            return None

    def _young(self, at: datetime) -> bool:
        return at + self.grace > self.until

    def _answer(self, event: Event[Fact]) -> None:
        if event.fact.WRITER is not Writer.INGESTION:
            return
        self.findings.counts["answers"] += 1
        cause = _position(event.fact.cause)
        if cause is not None:
            self._answered.add(cause)

    def _observed(
        self, held: _Partition, record: Record, event: Event[Fact], fact: Observed
    ) -> None:
        cause = _position(fact.cause)
        if cause is not None and event.id not in held.counted:
            held.counted.add(event.id, event.id)
            self._count(cause, len(fact.observations))
        if not self._judged(record.recorded_at):
            return
        self.findings.counts["observations"] += len(fact.observations)
        if event.id in held.settled:
            return  # written a second time: what was said of it holds
        seen = _Seen(record.position, record.recorded_at, tuple(o.id for o in fact.observations))
        said = held.early.pop(event.id, None)
        if said is None:
            held.waiting[event.id] = seen
        else:
            self._settle(held, event.id, seen, said)

    def _count(self, raw: Position, observations: int) -> None:
        start, made = self._made.get(raw[:2], (0, None))
        if made is not None and 0 <= raw.offset - start < len(made):
            number = raw.offset - start
            made[number] = min(_MOST_COUNTED, made[number] + observations)

    def _disposed(
        self, held: _Partition, places: _Places, record: Record, event: Event[Fact], fact: Disposed
    ) -> None:
        cause = _position(fact.cause)
        if cause is None or fact.cause is None:
            self._disposed_wrongly(record, event, "it names no record")
            return
        seen_id = fact.cause.event
        self._known(held, record, fact)
        seen = held.waiting.pop(seen_id, None)
        if seen is not None:
            self._settle(held, seen_id, seen, event)
        elif cause.offset >= held.reached.get(cause.topic, 0):
            start, end = places.range(cause.topic, cause.partition)
            if start <= cause.offset < end:
                held.early[seen_id] = event  # its broker's clock stands before the other's
        elif self._judged(record.recorded_at):
            before = held.settled.get(seen_id)
            first = before or event_id(Disposed.TYPE, event.subject, str(seen_id))
            if first != event.id:
                self.findings.wrong(
                    FindingKind.DISPOSED_TWICE,
                    str(fact.dispositions[0].observation) if fact.dispositions else str(seen_id),
                    f"by {first} and by {event.id}",
                    record.recorded_at,
                    record.position,
                )

    def _known(self, held: _Partition, record: Record, fact: Disposed) -> None:
        if self.partial or not self._judged(record.recorded_at):
            return
        for one in fact.dispositions:
            if (
                one.incident is not None
                and one.outcome in _STANDS_IN
                and one.incident not in held.subjects
            ):
                self.findings.wrong(
                    FindingKind.UNKNOWN_INCIDENT,
                    str(one.observation),
                    f"{one.outcome} {one.incident}",
                    record.recorded_at,
                    record.position,
                )

    def _settle(self, held: _Partition, seen_id: UUID, seen: _Seen, event: Event[Fact]) -> None:
        fact = event.fact
        if not isinstance(fact, Disposed):
            return
        held.settled.add(seen_id, event.id)
        for one in fact.dispositions:
            self.findings.outcomes[one.outcome] += 1
        said = tuple(one.observation for one in fact.dispositions)
        if sorted(said) == sorted(seen.observations):
            return
        missing = set(seen.observations) - set(said)
        strange = set(said) - set(seen.observations)
        subject = min(missing or strange or set(said))
        self.findings.wrong(
            FindingKind.DISPOSED_OTHERWISE,
            str(subject),
            f"{len(seen.observations)} observations, {len(said)} dispositions:"
            f" {len(missing)} without, {len(strange)} of nothing that was seen",
            seen.at,
            seen.record,
        )

    def _disposed_wrongly(self, record: Record, event: Event[Fact], what: str) -> None:
        if self._judged(record.recorded_at):
            self.findings.wrong(
                FindingKind.DISPOSED_OTHERWISE,
                str(event.id),
                what,
                record.recorded_at,
                record.position,
            )

    def _undisposed(self, seen: _Seen) -> None:
        for observation in seen.observations:
            if self._young(seen.at):
                self.findings.on_its_way("observation", str(observation), seen.at)
            elif place(seen.record) not in self._dead:
                self.findings.wrong(
                    FindingKind.NO_DISPOSITION,
                    str(observation),
                    f"one of {len(seen.observations)} of its record",
                    seen.at,
                    seen.record,
                )

    async def raw(self, places: _Places, sources: Sources) -> None:
        """Hold every raw record against what was made of it."""
        for topic in RAW:
            for number in range(places.width(topic)):
                start, made = self._made[topic, number]
                async for record in places.read(topic, number):
                    self._moved()
                    if self._judged(record.recorded_at):
                        self.findings.counts["records received"] += 1
                        self._accounted(record, made[record.position.offset - start], sources)

    def _accounted(self, record: Record, made: int, sources: Sources) -> None:
        where = place(record.position)
        if where in self._dead:
            self.findings.counts["dead letters"] += 1
            return
        try:
            said = what_it_says(record, sources)
        except Poison as error:
            # One of an installation's own sources, or of an older version.
            if not made and record.position not in self._answered:
                self._lost(record, FindingKind.ACCEPTED_AND_LOST, str(error))
            return
        alerts, answer = len(said.delivery.alerts), said.delivery.answer
        if answer is not None and record.position not in self._answered:
            self._lost(
                record, FindingKind.ANSWER_LOST, f"{answer.verb} by {answer.by} via {said.source}"
            )
        if alerts and not made:
            self._lost(record, FindingKind.ACCEPTED_AND_LOST, f"{alerts} alerts from {said.source}")
        elif made < alerts and not self.partial:
            self._lost(
                record,
                FindingKind.ALERTS_MISSING,
                f"{alerts} alerts from {said.source}, {made} observations",
            )

    def _lost(self, record: Record, kind: FindingKind, detail: str) -> None:
        where = place(record.position)
        if self._young(record.recorded_at):
            self.findings.on_its_way("record", where, record.recorded_at)
        else:
            self.findings.wrong(kind, where, detail, record.recorded_at, record.position)


def _position(cause: Cause | None) -> Position | None:
    if cause is None or cause.topic is None or cause.offset is None:
        return None
    return Position(cause.topic, cause.partition or 0, cause.offset)


async def _merged(streams: Sequence[AsyncIterator[Record]]) -> AsyncIterator[Record]:
    """Records of one partition of several topics as they came; each topic keeps its order."""
    heads: list[tuple[datetime, int, Record]] = []
    latest: dict[int, datetime] = {}

    async def advance(number: int) -> None:
        record = await anext(streams[number], None)
        if record is not None:
            at = max(record.recorded_at, latest.get(number, record.recorded_at))
            latest[number] = at
            heapq.heappush(heads, (at, number, record))

    for number in range(len(streams)):
        await advance(number)
    while heads:
        _, number, record = heapq.heappop(heads)
        yield record
        await advance(number)
