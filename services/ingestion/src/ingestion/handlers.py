"""Use cases of ingestion: take in what comes by HTTP, normalise what stands on `alerts.raw`."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from pydantic import ValidationError

from ingestion.domain.answers import VERBS, Answer, Handover, Verb, answer_event
from ingestion.domain.context import Context, Known, Memory, completed
from ingestion.domain.delivery import Delivery, Given, Malformed, Received
from ingestion.domain.drilling import drill_webhooks
from ingestion.domain.normalising import UNCLAIMED, Places, normalise
from ingestion.domain.parsed import Parsed
from ingestion.domain.people import contact_of, is_ours, person_meant, unknown
from ingestion.domain.sources import Sources, alertmanager_events
from ingestion.domain.sources.source import Source, Taken
from ingestion.ports import Lookups
from tocsin_casebook import Policies
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Cause, Event
from tocsin_contracts.ids import derive, system_of
from tocsin_contracts.incidents import IncidentFact
from tocsin_policy import Policy
from tocsin_runtime.events import outgoing
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.records import Outgoing, Record

log = structlog.get_logger()

CATCH_UP = timedelta(minutes=30)
"""How late a drill may still begin, after everything was down."""

LOOK_EVERY = timedelta(seconds=10)

RAW = "alerts.raw"
RAW_URGENT = "alerts.raw.urgent"
ALERTS_URGENT = "alerts.urgent"
CONTENT_TYPE = "content-type"

MOST_LABEL_SOURCE = 100

MOST_NAMED = 10_000
"""Names of incidents at sources that are remembered; the one named longest ago goes first."""

VERB_OF: Mapping[str, Verb] = {verb.name: verb for verb in VERBS}
"""Verbs by name."""


class UnknownIncident(LookupError):
    """The id names no incident of a system that has a policy."""


class UnknownContact(LookupError):
    """Nobody of the policy is meant, or nobody who can be reached."""


class _Unheard(Exception):
    """An answer reaches nobody; says why."""


def reachable(policy: Policy, contact: str) -> None:
    """Return if somebody of the policy is meant who can be reached.

    Raises:
        UnknownContact: There is no such contact, or none with a channel.
    """
    held = policy.contacts.get(contact)
    if held is None:
        raise UnknownContact(f"the policy of {policy.system} knows no contact {contact!r}")
    if not held.channels:
        raise UnknownContact(f"{held.name} has no channel to be paged by")


class Door:
    """Everything from outside becomes a record before its sender hears yes.

    Args:
        sources: Every kind of sender.
        lookups: What the log knows of alerts named by key; without it, only what this door
            remembers.
        people: Contacts by what sources call them (`slack:U123`), beside what policies say.
        parsed: Where what is read is left for the stage behind.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        policies: Policies,
        clock: Clock,
        sources: Sources | None = None,
        lookups: Lookups | None = None,
        people: Mapping[str, str] | None = None,
        parsed: Parsed | None = None,
    ) -> None:
        self.sources = sources or Sources()
        self._parsed = parsed
        self._publisher = publisher
        self._policies = policies
        self._clock = clock
        self._lookups = lookups
        self._people = people or {}
        self._memory = Memory()
        self._places = Places()
        self._named: OrderedDict[str, str] = OrderedDict()

    async def accept(
        self, source: str, body: bytes, *, content_type: str, traceparent: str | None
    ) -> int:
        """How many alerts the body holds, once it stands in the log; for callers without HTTP.

        Raises:
            Malformed: It is not what the source sends; nothing is written.
            Transient: The log is away; nothing is promised.
        """
        found = self.sources.get(source)
        if found is None:
            raise Malformed("unknown_source", "source", f"known: {self.sources.names()}")
        received = Received(body, self._clock.now(), {"content-type": content_type})
        taken = await self.take(found, received, traceparent=traceparent)
        return len(taken.delivery.alerts)

    async def take(
        self,
        source: Source,
        received: Received,
        *,
        labels: Mapping[str, str] | None = None,
        delivery_id: str | None = None,
        traceparent: str | None = None,
    ) -> Taken:
        """What became of a delivery, once it stands in the log.

        The bytes are kept as they are. They are read once here, to refuse what is malformed and
        to find the lane: an urgent delivery must not wait behind a storm of others.

        Args:
            labels: What the sender's key adds to alerts.
            delivery_id: The sender's own, so that its repeat makes no second answer.

        Raises:
            Malformed: It is not what the source sends, and nothing in it is; nothing is written.
            Transient: The log is away; nothing is promised.
        """
        problem: Malformed | None = None
        # It sees what will be kept and no more, so that the stage behind reads the same.
        seen = _as_kept(received, source)
        try:
            parsed = source.parse(seen)
        except Malformed as error:
            if error.valid is None:
                raise
            parsed, problem = error.valid, error
        context, unheard = await self._context(parsed, dict(labels or {}), delivery_id)
        delivery = completed(parsed, context, received.received_at)
        if parsed.named is not None:
            self._note_name(parsed.named)
        if unheard and not delivery.alerts:
            return Taken(delivery, unheard=unheard)
        urgent = self._places.by(self._policies.all()).urgent(delivery)
        topic = RAW_URGENT if urgent else RAW
        if problem is None and self._parsed is not None:
            # Before it is written: the stage behind may be faster than the broker's yes.
            self._parsed.put(source.name, seen, parsed)
        await self._write(topic, source, received, context, traceparent)
        self._memory.note(parsed, delivery, received.received_at)
        return Taken(delivery, unheard=unheard, problem=problem)

    async def keep(
        self,
        source: Source,
        received: Received,
        problem: Malformed,
        *,
        labels: Mapping[str, str] | None = None,
        traceparent: str | None = None,
    ) -> Taken:
        """A body nobody can read, once it stands in the log; the stage behind dead-letters it.

        Raises:
            Transient: The log is away; nothing is promised.
        """
        await self._write(RAW, source, received, Context(labels=dict(labels or {})), traceparent)
        return Taken(Delivery(), problem=problem)

    async def _write(
        self,
        topic: str,
        source: Source,
        received: Received,
        context: Context,
        traceparent: str | None,
    ) -> None:
        headers = [
            ("source", source.name.encode()),
            ("received_at", rfc3339(received.received_at).encode()),
            (CONTENT_TYPE, received.header(CONTENT_TYPE)[:200].encode()),
        ]
        if received.path:
            headers.append(("path", received.path.encode()))
        headers.extend(
            (name, received.headers[name].encode())
            for name in received.headers
            if name in source.headers
        )
        if context != Context():
            headers.append(("context", context.model_dump_json(exclude_defaults=True).encode()))
        if traceparent is not None:
            headers.append(("traceparent", traceparent.encode()))
        record = Outgoing(topic, source.name.encode(), received.body, tuple(headers))
        await self._publisher.publish([record])

    async def _context(
        self, delivery: Delivery, labels: dict[str, str], delivery_id: str | None
    ) -> tuple[Context, str]:
        """What the bytes do not say, and why an answer among them reaches nobody."""
        known: dict[str, Known] = {}
        for seen in delivery.alerts:
            if seen.keyed or seen.starts_at is None:
                found = await self._known(seen.fingerprint, ask=not seen.labels)
                if found is not None:
                    known[seen.fingerprint] = found
        context = Context(labels=labels, known=known, delivery=delivery_id)
        answer = delivery.answer
        if answer is None:
            return context, ""
        try:
            return await self._answered(answer, context), ""
        except _Unheard as error:
            return context, str(error)

    async def _answered(self, answer: Given, context: Context) -> Context:
        """What an answer does not say of itself: which incident, who, and to whom.

        Raises:
            _Unheard: It reaches nobody.
        """
        if is_ours(answer, self._people):
            raise _Unheard("it is our own")
        policies = list(self._policies.all())
        if answer.incident is not None:
            policies = [self._policy(answer.incident)]
        people = {
            policy.system: contact
            for policy in policies
            if (contact := contact_of(policy, answer, self._people)) is not None
        }
        if not people and answer.only_contacts:
            raise _Unheard(unknown(answer))
        incident = answer.incident or await self._meant(answer, people, context.labels)
        if incident is None:
            raise _Unheard("no open incident is meant by it")
        policy = self._policy(incident)
        by = people.get(policy.system)
        if by is None and answer.only_contacts:
            raise _Unheard(unknown(answer))
        update: dict[str, str | None] = {"incident": incident, "by": by}
        if answer.verb == "handover":
            meant = (person_meant(policy, said, answer.via, self._people) for said in answer.to)
            to = next((contact for contact in meant if contact is not None), None)
            try:
                reachable(policy, to or " ".join(answer.to))
            except UnknownContact as error:
                raise _Unheard(str(error)) from error
            update["to"] = to
        if answer.verb == "severity" and policy.severity(answer.fields["severity"]) is None:
            raise _Unheard(f"the policy has no severity {answer.fields['severity']!r}")
        return context.model_copy(update=update)

    def _policy(self, incident: str) -> Policy:
        try:
            return self._check(incident)
        except UnknownIncident as error:
            raise _Unheard(str(error)) from error

    async def _meant(
        self, answer: Given, people: Mapping[str, str], labels: Mapping[str, str]
    ) -> str | None:
        if answer.fingerprint is not None:
            return await self._holder(answer.fingerprint, labels)
        if answer.reference is not None:
            return self._named.get(answer.reference)
        if answer.code is None or self._lookups is None:
            return None
        found = await asyncio.gather(
            *(
                self._lookups.coded(system, answer.code, contact)
                for system, contact in people.items()
            )
        )
        return next((incident for incident in found if incident is not None), None)

    def _note_name(self, named: tuple[str, str]) -> None:
        reference, incident = named
        self._named[reference] = incident
        self._named.move_to_end(reference)
        while len(self._named) > MOST_NAMED:
            self._named.popitem(last=False)

    async def _known(self, identity: str, *, ask: bool) -> Known | None:
        """What is known of an alert; the log is asked only where nothing can be done without."""
        found = self._memory.get(identity, self._clock.now())
        if found is None and ask and self._lookups is not None:
            found = await self._lookups.alert(identity)
        return found

    async def _holder(self, identity: str, labels: Mapping[str, str]) -> str | None:
        known = await self._known(identity, ask=True)
        if known is None or self._lookups is None:
            return None
        alone = Delivery(alerts=(known.seen(identity),))
        whole = completed(alone, Context(labels=dict(labels)), self._clock.now())
        system, _ = self._places.by(self._policies.all()).of(whole.alerts[0])
        return None if system == UNCLAIMED else await self._lookups.incident(system, identity)

    def contacts(self, incident: str) -> dict[str, str]:
        """Who can be reached for an incident: name by contact id; nobody without a policy."""
        try:
            policy = self._check(incident)
        except UnknownIncident:
            return {}
        return {key: held.name for key, held in policy.contacts.items() if held.channels}

    def _check(self, incident: str) -> Policy:
        try:
            system = system_of(incident)
        except ValueError as error:
            raise UnknownIncident(str(error)) from error
        in_force = self._policies.get(system)
        if in_force is None:
            raise UnknownIncident(f"no policy is in force for system {system!r}")
        return in_force.policy

    async def answer(
        self,
        incident: str,
        verb: Verb,
        answer: Answer,
        *,
        idempotency_key: str | None,
        traceparent: str | None,
        identity: UUID | None = None,
    ) -> str:
        """Id of the answer's fact, once it stands in the log.

        Whether it still applies is settled by its place in the log; the fold ignores, with a
        reason, an answer that came too late.

        Args:
            identity: The fact's id, for an answer that counts once.

        Raises:
            UnknownIncident: The id names no incident of a system that has a policy.
            UnknownContact: It was to be handed over to nobody who can be reached.
            Transient: The log is away; nothing is promised.
        """
        policy = self._check(incident)
        if isinstance(answer, Handover):
            reachable(policy, answer.contact)
        event = answer_event(
            incident,
            verb.fact(answer),
            now=self._clock.now(),
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            identity=identity,
        )
        await self._publisher.publish([outgoing(event)])
        return str(event.id)


class Normaliser:
    """Raw records become observations of systems and answers. A `Handler` of the raw lanes.

    It keeps no state: the same record gives the same events, whoever reads it.
    """

    def __init__(
        self,
        *,
        publisher: Publisher,
        policies: Policies,
        sources: Sources | None = None,
        parsed: Parsed | None = None,
    ) -> None:
        self._publisher = publisher
        self._policies = policies
        self._parsed = parsed
        self._sources = sources or Sources()
        self._places = Places()

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing to restore."""

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Nothing to forget."""

    async def handle(self, batch: Sequence[Record]) -> None:
        """Write the observations and answers of every record of the batch."""
        written: list[Outgoing] = []
        for record in batch:
            written.extend(self._normalised(record))
        if written:
            await self._publisher.publish(written)

    def _normalised(self, record: Record) -> list[Outgoing]:
        said = what_it_says(record, self._sources, self._parsed)
        delivery, source = said.delivery, said.source
        position = record.position
        delivery_id = delivery_of(record)
        cause = Cause(
            event=delivery_id,
            topic=position.topic,
            partition=position.partition,
            offset=position.offset,
        )
        lanes = normalise(
            delivery,
            source=source,
            delivery_id=delivery_id,
            received_at=said.received_at,
            cause=cause,
            places=self._places.by(self._policies.all()),
            traceparent=_text(record, "traceparent"),
        )
        written = [
            outgoing(lane.event, topic=ALERTS_URGENT if lane.urgent else None) for lane in lanes
        ]
        if delivery.answer is not None:
            once = said.once or str(delivery_id)
            event = _answered(delivery.answer, said.received_at, f"{source} {once}", cause)
            written.append(outgoing(event))
        if said.problem is not None and not written:
            raise Poison(said.problem.reason, str(said.problem))
        return written


@dataclass(frozen=True, slots=True)
class Said:
    """What a raw record says.

    Attributes:
        once: The sender's own id of the delivery, if it gave one.
        problem: What is wrong with a part of it.
    """

    source: str
    delivery: Delivery
    received_at: datetime
    once: str | None
    problem: Malformed | None


def delivery_of(record: Record) -> UUID:
    """Id of the delivery a raw record holds: the cause of everything that is made of it."""
    return derive("delivery", *map(str, record.position), rfc3339(record.recorded_at))


def _as_kept(received: Received, source: Source) -> Received:
    """What was received as the log keeps it."""
    kept = (*source.headers, CONTENT_TYPE)
    headers = {name: value for name, value in received.headers.items() if name in kept}
    return Received(received.body, received.received_at, headers, received.path)


def what_it_says(record: Record, sources: Sources, read: Parsed | None = None) -> Said:
    """What a raw record says; the normaliser and whoever reads the log back ask here.

    Args:
        read: What the door has read already.

    Raises:
        Poison: It is nothing that a source sends.
    """
    source = _source(record)
    if record.value is None:
        raise Poison("no_data", "value: the record has no value")
    received = Received(
        record.value,
        _received_at(record),
        {name.lower(): value.decode(errors="replace") for name, value in record.headers},
        _text(record, "path") or "",
    )
    context = _context(record)
    problem: Malformed | None = None
    already: Delivery | None = None
    adapter = sources.get(source)
    if read is not None and adapter is not None:
        already = read.take(source, _as_kept(received, adapter))
    try:
        parsed = already or sources.parse(source[:MOST_LABEL_SOURCE], received)
    except Malformed as error:
        if error.valid is None:
            raise Poison(error.reason, str(error)) from error
        parsed, problem = error.valid, error
    delivery = completed(parsed, context, received.received_at)
    nameless = next((seen for seen in delivery.alerts if not seen.labels), None)
    if nameless is not None:
        raise Poison("unknown_alert", f"alert {nameless.fingerprint} is not known by any labels")
    return Said(source, delivery, received.received_at, context.delivery, problem)


def _answered(
    given: Given, at: datetime, idempotency_key: str, cause: Cause
) -> Event[IncidentFact]:
    verb = VERB_OF[given.verb]
    if given.incident is None:
        raise Poison("no_incident", f"the answer {given.verb!r} is about no incident we know")
    try:
        answer = verb.body.model_validate({"by": given.by, "via": given.via, **given.fields})
        return answer_event(
            given.incident,
            verb.fact(answer).model_copy(update={"cause": cause}),
            now=at,
            idempotency_key=idempotency_key,
            traceparent=None,
        )
    except ValidationError as error:
        raise Poison("invalid_answer", f"{given.verb}: {error.error_count()} problems") from error
    except ValueError as error:
        raise Poison("no_incident", str(error)) from error


def _source(record: Record) -> str:
    """The parser a record names, or that its own headers speak of."""
    named = _text(record, "source")
    if named is not None:
        return named
    content_type = _text(record, "content-type") or ""
    if record.header("ce_specversion") is not None or content_type.lower().startswith(
        "application/cloudevents"
    ):
        return "cloudevents"
    if alertmanager_events.looks_like_one(record.value):
        return alertmanager_events.NAME
    return (record.key or b"").decode(errors="replace")


def _context(record: Record) -> Context:
    held = record.header("context")
    if held is None:
        return Context()
    try:
        return Context.model_validate_json(held)
    except ValidationError as error:
        raise Poison("bad_context", "header context: it is none of ours") from error


def _text(record: Record, name: str) -> str | None:
    raw = record.header(name)
    return None if raw is None else raw.decode(errors="replace")


def _received_at(record: Record) -> datetime:
    text = _text(record, "received_at")
    if text is None:
        return record.recorded_at
    try:
        received_at = datetime.fromisoformat(text)
        return received_at.astimezone(UTC) if received_at.tzinfo else record.recorded_at
    except (ValueError, OverflowError):
        return record.recorded_at


class Rehearser:
    """Posts the policies' drills at the door when they are due, as any source posts alerts.

    Every instance does: the same drill at the same time is the same episode of the same alert, so
    the second is a repeat.
    """

    def __init__(self, door: Door, policies: Policies, clock: Clock) -> None:
        self._door = door
        self._policies = policies
        self._clock = clock
        self._since = clock.now() - CATCH_UP

    async def run(self) -> None:
        """Post drills, for ever."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Post what came due since the last look; all of it again if the log was away."""
        now = self._clock.now()
        try:
            for policy in self._policies.all():
                for body in drill_webhooks(policy, self._since, now):
                    await self._door.accept(
                        "alertmanager", body, content_type="application/json", traceparent=None
                    )
        except Transient as error:
            log.warning("drill.put_off", reason=error.reason)
            return
        self._since = now
