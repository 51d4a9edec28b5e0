"""Today's code, asked again for every fact it once derived; the first that differs is reported.

A derived fact says what its writer had folded when it decided (`basis`), under which policy and
when. So the same question can be put to the same functions again, whatever else was going on then:
the inputs of a decision are recorded, not guessed. What people said and what the world answered
are inputs, and are taken as they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from classifier.handlers import Classifier
from escalation_timer.domain.duty import owed as timer_owed
from notifier.domain.duty import owed as notifier_owed
from remediation.domain.duty import owed as remediation_owed
from tocsin_casebook import Casebook, InForce, Owed, Policies, Silences
from tocsin_contracts import incidents as facts
from tocsin_contracts.dispositions import Disposed
from tocsin_contracts.event import Cause, Event, Fact, Writer
from tocsin_incident import Book, IncidentState, fold
from tocsin_replay.gathering import DISPOSITIONS
from tocsin_replay.held import HeldLog
from tocsin_replay.history import SILENCES
from tocsin_replay.reading import INCIDENTS, Progress, read_policies
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Outgoing, Position, Record

WORLD: tuple[type[Fact], ...] = (
    facts.NotificationDelivered,
    facts.NotificationFailed,
    facts.RemediationStepPlanned,
    facts.RemediationStepHeld,
    facts.RemediationStepReleased,
    facts.RemediationStepFinished,
    facts.RemediationVerified,
    facts.RemediationRolledBack,
    facts.RemediationLooked,
)
"""What the world answered: an input, not a decision."""

EITHER: tuple[type[Fact], ...] = (
    facts.NotificationInDoubt,
    facts.NotificationSuperseded,
    facts.RemediationInDoubt,
    facts.RemediationNotVerified,
    facts.RemediationUndoFailed,
    facts.RemediationFailed,
)
"""Owed by the state in some cases, told by the world in others: a call that brought no answer."""

KnownFields = Mapping[str, frozenset[str]]
"""Part of a fact -> the fields it had in the release that made a recording."""

Duty = Callable[[IncidentState, InForce, datetime, int], Owed]


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that today's code would not write as it was recorded.

    Attributes:
        position: Where the recorded fact stands, or after what the new one would.
        what: `changed`, `not derived` (recorded, and no longer written) or `not recorded` (written
            now, and not then).
    """

    position: Position
    what: str
    type: str
    subject: str
    detail: str

    def __str__(self) -> str:
        place = f"{self.position.topic}-{self.position.partition}-{self.position.offset}"
        return f"{place} {self.type} of {self.subject}: {self.what}. {self.detail}".strip()


@dataclass(frozen=True, slots=True)
class Rederived:
    """What came of it.

    Attributes:
        checked: Facts that were derived again.
        differences: In the order of the log.
    """

    checked: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A record of the log, decoded."""

    record: Record
    event: Event[Fact]

    @property
    def offset(self) -> int:
        return self.record.position.offset


@dataclass(slots=True)
class _Partition:
    """One partition, whole, with what is asked of it."""

    number: int
    taken: list[_Taken]
    known: set[UUID]
    applied: set[int]
    versions: Mapping[str, InForce]
    known_fields: KnownFields | None = None
    checked: int = 0
    differences: list[Difference] = field(default_factory=list)

    def differs(self, taken: _Taken, what: str, event: Event[Fact], detail: str) -> None:
        self.differences.append(
            Difference(taken.record.position, what, event.type, event.subject, detail)
        )


async def rederive(
    reader: Reader, progress: Progress | None = None, fields: KnownFields | None = None
) -> Rederived:
    """Derive again what the log says was derived.

    Args:
        fields: What the parts of facts could say in the release that made the recording. What it
            could not say is no difference; without this every field counts.

    Raises:
        LookupError: The log lacks a topic that decisions were made from.
    """
    versions = {v.hash: InForce(v.policy, v.hash) for v in await read_policies(reader)}
    checked = 0
    found: list[Difference] = []
    for number in range(await reader.partitions(INCIDENTS)):
        taken = await _read(reader, INCIDENTS, number)
        partition = _Partition(
            number, taken, {one.event.id for one in taken}, _applied(taken), versions, fields
        )
        _timer(partition)
        _notifier(partition)
        _remediation(partition)
        await _classifier(reader, partition)
        checked += partition.checked
        found.extend(partition.differences)
        if progress is not None:
            progress(len(taken))
    return Rederived(checked, tuple(sorted(found, key=lambda one: one.position)))


async def _read(reader: Reader, topic: str, number: int) -> list[_Taken]:
    start, end = await reader.bounds(topic, number)
    found = []
    async for record in reader.read(topic, number, start, end):
        try:
            found.append(_Taken(record, decode(record)))
        except Poison:
            continue
    return found


def _applied(taken: Iterable[_Taken]) -> set[int]:
    """Offsets of the facts that changed something; a repeat, or one too late, decided nothing."""
    states: dict[str, IncidentState] = {}
    applied = set()
    for one in taken:
        folded = fold(states.get(one.event.subject), one.event)
        if folded.state is not None:
            states[one.event.subject] = folded.state
        if folded.ignored is None:
            applied.add(one.offset)
    return applied


def _timer(partition: _Partition) -> None:
    _derive(partition, Writer.ESCALATION_TIMER, lambda _: timer_owed)


def _notifier(partition: _Partition) -> None:
    def duty(at: int) -> Duty:
        return partial(
            notifier_owed, instance=_instance(partition, facts.NotificationAttempted, at)
        )

    _derive(partition, Writer.NOTIFIER, duty)


_STARTS = (facts.RemediationStarted, facts.RemediationUndoStarted)


def _remediation(partition: _Partition) -> None:
    def duty(at: int) -> Duty:
        return partial(remediation_owed, instance=_instance(partition, _STARTS, at))

    _derive(partition, Writer.REMEDIATION, duty)


def _instance(partition: _Partition, kind: type[Any] | tuple[type[Any], ...], at: int) -> str:
    """Which process decided: the next that names itself, or the last that did."""
    after = (o for o in partition.taken[at:] if isinstance(o.event.fact, kind))
    before = (o for o in reversed(partition.taken[:at]) if isinstance(o.event.fact, kind))
    named = next(after, None) or next(before, None)
    return "" if named is None else str(getattr(named.event.fact, "instance", ""))


def _derive(partition: _Partition, writer: Writer, duty_at: Callable[[int], Duty]) -> None:
    """Ask a service's duty again at each fact it wrote, from what it had folded then."""
    book = Book()
    cursor = 0
    for index, one in enumerate(partition.taken):
        basis = one.event.fact.basis
        if one.event.fact.WRITER is not writer or isinstance(one.event.fact, WORLD):
            continue
        if basis is None or basis.incidents is None or one.offset not in partition.applied:
            continue
        in_force = partition.versions.get(basis.policy or "")
        while cursor < len(partition.taken) and partition.taken[cursor].offset < basis.incidents:
            book.fold(partition.taken[cursor].event, partition.taken[cursor].offset)
            cursor += 1
        state = book.expected(one.event.subject)
        if state is None or in_force is None:
            continue
        owed = duty_at(index)(state, in_force, one.event.occurred_at, basis.incidents)
        derived = {event.id: event for event in owed.events}
        if one.event.id not in derived and basis.incidents < book.end:
            # Written late, by a process that stood still meanwhile: it knew less than is read here.
            then = _book(partition, basis.incidents).expected(one.event.subject)
            if then is not None:
                late = duty_at(index)(then, in_force, one.event.occurred_at, basis.incidents)
                derived |= {e.id: e for e in late.events if e.id == one.event.id}
        _compare(partition, one, derived)
        if not _by_the_world(one, derived):
            # What a call brought is only on its way; what is owed its writer counts on at once.
            book.expect(one.event)


def _book(partition: _Partition, end: int) -> Book:
    book = Book()
    for one in partition.taken:
        if one.offset >= end:
            break
        book.fold(one.event, one.offset)
    return book


def _by_the_world(one: _Taken, derived: Mapping[UUID, Event[Fact]]) -> bool:
    again = derived.get(one.event.id)
    owed = again is not None and again.fact == one.event.fact
    return isinstance(one.event.fact, EITHER) and not owed


def _compare(partition: _Partition, one: _Taken, derived: Mapping[UUID, Event[Fact]]) -> None:
    again = derived.get(one.event.id)
    if _by_the_world(one, derived):
        return
    partition.checked += 1
    if again is None:
        partition.differs(one, "not derived", one.event, "")
    elif again.fact != one.event.fact:
        detail = _first_field(one.event.fact, again.fact, partition.known_fields)
        if detail is not None:
            partition.differs(one, "changed", one.event, detail)
    for event in derived.values():
        if event.id not in partition.known and not isinstance(event.fact, (*WORLD, *EITHER)):
            partition.differs(one, "not recorded", event, f"it would follow {one.event.type}")


def _first_field(recorded: Fact, derived: Fact, fields: KnownFields | None) -> str | None:
    """What differs; nothing if that is only what the code that recorded it could not say yet."""
    for name in type(recorded).model_fields:
        was, now = getattr(recorded, name), getattr(derived, name, None)
        new = fields is not None and _unsaid(recorded, name, fields)
        if was != now and not new and not _same_as_known(was, now, fields):
            return f"{name}: recorded {_short(was)}, now {_short(now)}"
    return None


def _unsaid(part: BaseModel, name: str, fields: KnownFields) -> bool:
    """Whether the code that recorded this part had no such field."""
    known = fields.get(type(part).__name__)
    return name not in part.model_fields_set and (known is None or name not in known)


def _same_as_known(was: object, now: object, fields: KnownFields | None) -> bool:
    if fields is None or type(was) is not type(now):
        return was == now
    if isinstance(was, BaseModel) and isinstance(now, BaseModel):
        return all(
            _unsaid(was, name, fields)
            or _same_as_known(getattr(was, name), getattr(now, name), fields)
            for name in type(was).model_fields
        )
    if isinstance(was, tuple) and isinstance(now, tuple):
        pairs = zip(was, now, strict=False)
        return len(was) == len(now) and all(_same_as_known(a, b, fields) for a, b in pairs)
    if isinstance(was, dict) and isinstance(now, dict):
        keys = was.keys()
        return keys == now.keys() and all(_same_as_known(was[k], now[k], fields) for k in keys)
    return was == now


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"  # noqa: PLR2004 - a line for people


# The classifier decides on observations too, so it is asked as a whole.


class _Clock:
    """The time of the decision that is asked again."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, duration: timedelta) -> None:
        del duration
        await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop; no time passes here


class _Said:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.events: dict[UUID, Event[Fact]] = {}

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        for record in records:
            position = Position(record.topic, 0, 0)
            held = Record(position, record.key, record.value, record.headers, _NEVER)
            event = decode(held)
            self.events.setdefault(event.id, event)
        return tuple(Position(record.topic, 0, 0) for record in records)


_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Observations that were decided together, or a fact that the state alone owed."""

    end: int
    at: datetime
    policy: str
    causes: tuple[Position, ...] = ()
    fact: _Taken | None = None
    silences: int = 0
    disposed: tuple[_Taken, ...] = ()


async def _classifier(reader: Reader, partition: _Partition) -> None:
    try:
        disposed = await _read(reader, DISPOSITIONS, partition.number)
    except LookupError:
        return
    batches = _batches(partition, disposed)
    if not batches:
        return
    said = _Said()
    silences = await _read_silences(reader)
    for chain in _chains(batches):
        await _decide_again(reader, partition, chain, silences, said)
    _compare_classifier(partition, disposed, batches, said)


_STOOD_STILL = timedelta(milliseconds=100)
"""Decisions of one process that overlap are closer together than this."""


def _chains(batches: Sequence[_Batch]) -> list[list[_Batch]]:
    """Batches by who can have decided them, each in the order of what was known.

    A process that stood still decides on, later than the one that took its place and knowing less.
    What it decided the other never expected.
    """
    chains: list[list[_Batch]] = []
    for batch in sorted(batches, key=lambda one: (one.at, one.end)):
        for chain in chains:
            if chain[-1].end <= batch.end or batch.at - chain[-1].at < _STOOD_STILL:
                chain.append(batch)
                break
        else:
            chains.append([batch])
    return [sorted(chain, key=lambda one: (one.end, one.at)) for chain in chains]


async def _decide_again(
    reader: Reader,
    partition: _Partition,
    batches: Sequence[_Batch],
    silences: Sequence[Record],
    said: _Said,
) -> None:
    width = partition.number + 1
    casebook = Casebook(HeldLog({INCIDENTS: width, "incidents.state": width}))
    policies, known = Policies(), Silences()
    clock = _Clock(batches[0].at)
    handler = Classifier(
        casebook=casebook, policies=policies, silences=known, publisher=said, clock=clock
    )
    await handler.assigned(frozenset({partition.number}))
    unread = list(silences)
    cursor = 0
    for batch in batches:
        version = partition.versions.get(batch.policy)
        if version is None:
            continue
        policies.publish(version)
        clock.at = batch.at
        while unread and unread[-1].position.offset < batch.silences:
            known.apply(unread.pop())
        first = cursor
        while cursor < len(partition.taken) and partition.taken[cursor].offset < batch.end:
            cursor += 1
        handler.reconciler.fold(one.record for one in partition.taken[first:cursor])
        if batch.fact is not None:
            event = batch.fact.event
            if event.id in said.events:
                # Another look now would owe what was owed once more had been read.
                continue
            basis = event.fact.basis
            asked = basis.owed_by if basis is not None else None
            await handler.reconciler.reconcile([asked or event.subject])
        else:
            records = [await _one(reader, position) for position in batch.causes]
            await handler.handle([record for record in records if record is not None])


async def _read_silences(reader: Reader) -> list[Record]:
    """Every silence, the newest first."""
    try:
        start, end = await reader.bounds(SILENCES, 0)
    except LookupError:
        return []
    return [record async for record in reader.read(SILENCES, 0, start, end)][::-1]


def _silences_of(taken: _Taken) -> int:
    basis = taken.event.fact.basis
    return (basis.silences if basis is not None else None) or 0


async def _one(reader: Reader, position: Position) -> Record | None:
    topic, number, offset = position
    async for record in reader.read(topic, number, offset, offset + 1):
        return record
    return None


def _batches(partition: _Partition, disposed: Sequence[_Taken]) -> list[_Batch]:
    grouped: dict[tuple[str, int, str, datetime], list[_Taken]] = {}
    seen: set[UUID] = set()
    for one in disposed:
        basis = one.event.fact.basis
        if one.event.id in seen or basis is None or basis.incidents is None:
            continue
        seen.add(one.event.id)
        key = (one.event.key, basis.incidents, basis.policy or "", one.event.occurred_at)
        grouped.setdefault(key, []).append(one)
    batches = [
        _Batch(
            end,
            at,
            policy,
            causes=tuple(
                Position(cause.topic, cause.partition or 0, cause.offset)
                for one in group
                for cause in [one.event.fact.cause]
                if cause is not None and cause.topic is not None and cause.offset is not None
            ),
            disposed=tuple(group),
            silences=max(_silences_of(one) for one in group),
        )
        for (_, end, policy, at), group in grouped.items()
    ]
    for one in partition.taken:
        basis = one.event.fact.basis
        owed = one.event.fact.WRITER is Writer.CLASSIFIER and one.event.fact.cause is None
        # What a process wrote that did not know it was replaced must not count as expected.
        owed = owed and one.offset in partition.applied
        if owed and basis is not None and basis.incidents is not None:
            at = one.event.occurred_at
            silences = basis.silences or 0
            batches.append(
                _Batch(basis.incidents, at, basis.policy or "", fact=one, silences=silences)
            )
    return batches


def _compare_classifier(
    partition: _Partition, disposed: Sequence[_Taken], batches: Sequence[_Batch], said: _Said
) -> None:
    whole = {
        (one.event.fact.basis.incidents, one.event.occurred_at)
        for batch in batches
        for one in batch.disposed
        if one.event.fact.basis is not None
    }
    recorded = {one.event.id for one in disposed} | partition.known
    # The same id is the same fact: of a record that was read twice, what was said first counts.
    first = {one.event.id: one for one in reversed(disposed)}
    for one in (*partition.taken, *reversed(first.values())):
        fact = one.event.fact
        if fact.WRITER is not Writer.CLASSIFIER or fact.basis is None:
            continue
        if not isinstance(fact, Disposed):
            place = (fact.basis.incidents, one.event.occurred_at)
            # A process that died before it disposed of a batch left facts whose batch nobody knows.
            known = fact.cause is None or place in whole
            if not known or one.offset not in partition.applied:
                continue
        again = said.events.get(one.event.id)
        partition.checked += 1
        if again is None:
            partition.differs(one, "not derived", one.event, "")
        elif _decided(again.fact) != _decided(fact):
            detail = _first_field(_decided(fact), _decided(again.fact), partition.known_fields)
            if detail is not None:
                partition.differs(one, "changed", one.event, detail)
    if partition.taken:
        last = partition.taken[-1]
        for event in said.events.values():
            if event.id not in recorded:
                partition.differs(last, "not recorded", event, "")


def _decided(fact: Fact) -> Fact:
    """What was decided, and not from which place: a record may stand in the log twice."""
    causes = {} if fact.cause is None else {"cause": Cause(event=fact.cause.event)}
    return fact.model_copy(update={"basis": None, **causes})
