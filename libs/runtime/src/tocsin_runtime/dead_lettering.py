"""Setting a record aside, whole, with what is wrong with it."""

from __future__ import annotations

from tocsin_contracts.dead_letters import DeadLettered
from tocsin_contracts.event import Event, event_id
from tocsin_runtime.events import outgoing
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.records import Record


class DeadLetters:
    """Writes what could not be handled to `dead-letters`.

    Args:
        topic: Where to write instead of `dead-letters`, for tests.
    """

    def __init__(
        self, publisher: Publisher, clock: Clock, service: str, *, topic: str | None = None
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._service = service
        self._topic = topic

    async def __call__(self, record: Record, error: Poison) -> None:
        """Return once the record is set aside.

        A record too large to be carried whole is set aside without its value: where it stands
        is told, and it is kept there as long as its topic keeps anything.
        """
        try:
            await self._publish(record, error, record.value)
        except Poison:
            await self._publish(record, error, None)

    async def _publish(self, record: Record, error: Poison, value: bytes | None) -> None:
        topic, partition, offset = record.position
        place = f"{topic}-{partition}-{offset}"
        fact = DeadLettered(
            service=self._service,
            reason=error.reason,
            detail=error.detail,
            topic=topic,
            partition=partition,
            offset=offset,
            key=record.key,
            value=value,
            headers=record.headers,
        )
        event = Event(
            id=event_id(DeadLettered.TYPE, place, self._service),
            source=f"tocsin/{self._service}",
            subject=place,
            key=(record.key or b"").decode(errors="replace"),
            occurred_at=self._clock.now(),
            fact=fact,
        )
        await self._publisher.publish([outgoing(event, topic=self._topic)])
