"""Use cases of ingestion: take in what comes by HTTP, normalise what stands on `alerts.raw`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ingestion.domain.answers import Answer, Verb, answer_event
from ingestion.domain.delivery import Malformed
from ingestion.domain.normalising import normalise, urgent
from ingestion.domain.sources import parse
from tocsin_casebook import Policies
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Cause
from tocsin_contracts.ids import derive, system_of
from tocsin_runtime.events import outgoing
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.records import Outgoing, Record

RAW = "alerts.raw"
RAW_URGENT = "alerts.raw.urgent"
ALERTS_URGENT = "alerts.urgent"

MOST_LABEL_SOURCE = 100


class UnknownIncident(LookupError):
    """The id names no incident of a system that has a policy."""


class Door:
    """Everything from outside becomes a record before its sender hears yes."""

    def __init__(self, *, publisher: Publisher, policies: Policies, clock: Clock) -> None:
        self._publisher = publisher
        self._policies = policies
        self._clock = clock

    async def accept(
        self, source: str, body: bytes, *, content_type: str, traceparent: str | None
    ) -> int:
        """How many alerts the body holds, once it stands in the log.

        The bytes are kept as they are. They are read once here, to refuse what is malformed and
        to find the lane: an urgent delivery must not wait behind a storm of others.

        Raises:
            Malformed: It is not what the source sends; nothing is written.
            Transient: The log is away; nothing is promised.
        """
        delivery = parse(source, body)
        topic = RAW_URGENT if urgent(delivery, list(self._policies.all())) else RAW
        headers = [
            ("source", source.encode()),
            ("received_at", rfc3339(self._clock.now()).encode()),
            ("content-type", content_type.encode()),
        ]
        if traceparent is not None:
            headers.append(("traceparent", traceparent.encode()))
        await self._publisher.publish([Outgoing(topic, source.encode(), body, tuple(headers))])
        return len(delivery.alerts)

    async def answer(
        self,
        incident: str,
        verb: Verb,
        answer: Answer,
        *,
        idempotency_key: str | None,
        traceparent: str | None,
    ) -> str:
        """Id of the answer's fact, once it stands in the log.

        Whether it still applies is settled by its place in the log; the fold ignores, with a
        reason, an answer that came too late.

        Raises:
            UnknownIncident: The id names no incident of a system that has a policy.
            Transient: The log is away; nothing is promised.
        """
        try:
            system = system_of(incident)
        except ValueError as error:
            raise UnknownIncident(str(error)) from error
        if self._policies.get(system) is None:
            raise UnknownIncident(f"no policy is in force for system {system!r}")
        event = answer_event(
            incident,
            verb.fact(answer),
            now=self._clock.now(),
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        await self._publisher.publish([outgoing(event)])
        return str(event.id)


class Normaliser:
    """Raw records become observations of systems. A `Handler` of the raw lanes.

    It keeps no state: the same record gives the same events, whoever reads it.
    """

    def __init__(self, *, publisher: Publisher, policies: Policies) -> None:
        self._publisher = publisher
        self._policies = policies

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing to restore."""

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Nothing to forget."""

    async def handle(self, batch: Sequence[Record]) -> None:
        """Write the observations of every record of the batch."""
        written: list[Outgoing] = []
        for record in batch:
            written.extend(self._normalised(record))
        if written:
            await self._publisher.publish(written)

    def _normalised(self, record: Record) -> list[Outgoing]:
        source = _text(record, "source") or (record.key or b"").decode(errors="replace")
        if record.value is None:
            raise Poison("no_data", "value: the record has no value")
        try:
            delivery = parse(source[:MOST_LABEL_SOURCE], record.value)
        except Malformed as error:
            raise Poison(error.reason, str(error)) from error
        position = record.position
        delivery_id = derive("delivery", *map(str, position), rfc3339(record.recorded_at))
        lanes = normalise(
            delivery,
            source=source,
            delivery_id=delivery_id,
            received_at=_received_at(record),
            cause=Cause(
                event=delivery_id,
                topic=position.topic,
                partition=position.partition,
                offset=position.offset,
            ),
            policies=list(self._policies.all()),
            traceparent=_text(record, "traceparent"),
        )
        return [
            outgoing(lane.event, topic=ALERTS_URGENT if lane.urgent else None) for lane in lanes
        ]


def _text(record: Record, name: str) -> str | None:
    raw = record.header(name)
    return None if raw is None else raw.decode(errors="replace")


def _received_at(record: Record) -> datetime:
    text = _text(record, "received_at")
    if text is None:
        return record.recorded_at
    try:
        received_at = datetime.fromisoformat(text)
    except ValueError:
        return record.recorded_at
    return received_at if received_at.tzinfo is not None else record.recorded_at
