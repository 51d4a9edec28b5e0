"""What the log says: read only when somebody asks, from where the last question ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime, timedelta

from aiokafka.partitioner import murmur2

from ingestion.domain.context import Known
from ingestion.domain.current import Current, CurrentAlerts
from tocsin_casebook import Casebook
from tocsin_contracts.alerts import Observed
from tocsin_contracts.codec import Undecodable, decode
from tocsin_contracts.ids import reply_code
from tocsin_incident import IncidentState
from tocsin_runtime.ports import Clock, Reader
from tocsin_runtime.records import Record

OBSERVATIONS = ("alerts.urgent", "alerts")
INCIDENTS = "incidents"

LOOKBACK = timedelta(hours=6)
"""How far back the first question reads."""

_AT_ONCE = 4


def _newest(states: Iterable[IncidentState]) -> str | None:
    newest = max(states, key=lambda state: state.opened_at, default=None)
    return None if newest is None else newest.incident


class LogLookups:
    """`Lookups` on the log, and the alerts that fire now.

    Nothing is read until somebody asks: in a storm this costs nothing, and a question costs what
    came since the last one.
    """

    def __init__(self, reader: Reader, clock: Clock, *, lookback: timedelta = LOOKBACK) -> None:
        self._reader = reader
        self._clock = clock
        self._lookback = lookback
        self._current = CurrentAlerts()
        self._ends: dict[tuple[str, int], int] = {}
        self._widths: dict[str, int] = {}
        self._asking = asyncio.Lock()
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def alert(self, fingerprint: str) -> Known | None:
        """See `Lookups`."""
        await self._catch_up()
        found = self._current.find(fingerprint, self._clock.now())
        if found is None:
            return None
        return Known(labels=dict(found.labels), starts_at=found.starts_at)

    async def firing(self) -> tuple[Current, ...]:
        """Every alert that fires now, of all systems."""
        await self._catch_up()
        return tuple(self._current.firing(self._clock.now()))

    async def incident(self, system: str, fingerprint: str) -> str | None:
        """See `Lookups`."""
        return _newest(
            state
            for state in await self._live(system)
            if any(h.firing and h.alert.fingerprint == fingerprint for h in state.alerts.values())
        )

    async def coded(self, system: str, code: str, contact: str) -> str | None:
        """See `Lookups`."""
        return _newest(
            state
            for state in await self._live(system)
            if reply_code(state.incident) == code
            and any(
                sent.target is not None and sent.target.contact == contact
                for sent in state.notifications.values()
            )
        )

    async def _live(self, system: str) -> list[IncidentState]:
        """The open incidents of a system: of its one partition, from the last checkpoint on."""
        width = await self._width(INCIDENTS)
        hashed: int = murmur2(system.encode())
        casebook = Casebook(self._reader)
        await casebook.restore(frozenset({(hashed & 0x7FFFFFFF) % width}))
        return [s for _, s in casebook.states() if s.key == system and s.status.live]

    async def _catch_up(self) -> None:
        async with self._asking:
            since = self._clock.now() - self._lookback
            places = [
                (topic, partition)
                for topic in OBSERVATIONS
                for partition in range(await self._width(topic))
            ]
            found = await asyncio.gather(*(self._read(*place, since) for place in places))
            for record in sorted(
                (record for records in found for record in records), key=lambda r: r.recorded_at
            ):
                self._apply(record)

    async def _width(self, topic: str) -> int:
        if topic not in self._widths:
            self._widths[topic] = await self._reader.partitions(topic)
        return self._widths[topic]

    async def _read(self, topic: str, partition: int, since: datetime) -> list[Record]:
        async with self._reading:
            start, end = await self._reader.bounds(topic, partition)
            begin = self._ends.get((topic, partition))
            if begin is None:
                begin = await self._first_at(topic, partition, start, end, since)
            found = [r async for r in self._reader.read(topic, partition, max(begin, start), end)]
            self._ends[topic, partition] = end
            return found

    async def _first_at(
        self, topic: str, partition: int, start: int, end: int, since: datetime
    ) -> int:
        """Offset of the first record that is not older; append times only grow."""
        low, high = start, end
        while low < high:
            middle = (low + high) // 2
            async with aclosing(self._one(topic, partition, middle, end)) as records:
                found = await anext(records, None)
            if found is None or found.recorded_at >= since:
                high = middle
            else:
                low = found.position.offset + 1
        return low

    async def _one(self, topic: str, partition: int, start: int, end: int):  # type: ignore[no-untyped-def] # noqa: ANN202
        async for record in self._reader.read(topic, partition, start, end):
            yield record
            return

    def _apply(self, record: Record) -> None:
        try:
            event = decode(record.headers, record.value, record.key)
        except Undecodable:
            return  # its consumer has dead-lettered it
        if isinstance(event.fact, Observed):
            self._current.apply(event.subject, event.fact)
