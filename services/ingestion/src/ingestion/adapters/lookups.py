"""What the log says: read only when somebody asks, from where the last question ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from datetime import timedelta

from aiokafka.partitioner import murmur2

from ingestion.adapters.tails import Tail
from ingestion.domain.context import Known
from ingestion.domain.current import Current, CurrentAlerts
from tocsin_casebook import Casebook
from tocsin_contracts.alerts import Observed
from tocsin_contracts.codec import Undecodable, decode
from tocsin_contracts.ids import key_of, reply_code
from tocsin_incident import IncidentState
from tocsin_runtime.ports import Clock, Reader
from tocsin_runtime.records import Record

OBSERVATIONS = ("alerts.urgent", "alerts")
INCIDENTS = "incidents"


def _newest(states: Iterable[IncidentState]) -> str | None:
    newest = max(states, key=lambda state: state.opened_at, default=None)
    return None if newest is None else newest.incident


class LogLookups:
    """`Lookups` on the log, and the alerts that fire now.

    Nothing is read until somebody asks: in a storm this costs nothing, and a question costs what
    came since the last one.
    """

    def __init__(self, reader: Reader, clock: Clock, tail: Tail) -> None:
        self._reader = reader
        self._clock = clock
        self._tail = tail
        self._current = CurrentAlerts()
        self._partitions = 0
        self._asking = asyncio.Lock()

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

    async def state(self, incident: str) -> IncidentState | None:
        """See `Lookups`."""
        casebook = await self._casebook(key_of(incident))
        found = casebook.find(incident)
        return None if found is None else found[1]

    async def _live(self, system: str) -> list[IncidentState]:
        """The open incidents of a system."""
        casebook = await self._casebook(system)
        return [s for _, s in casebook.states() if s.key == system and s.status.live]

    async def _casebook(self, key: str) -> Casebook:
        """The one partition of a key, from the last checkpoint on."""
        self._partitions = self._partitions or await self._reader.partitions(INCIDENTS)
        hashed: int = murmur2(key.encode())
        casebook = Casebook(self._reader)
        await casebook.restore(frozenset({(hashed & 0x7FFFFFFF) % self._partitions}))
        return casebook

    async def _catch_up(self) -> None:
        async with self._asking, aclosing(self._tail.news()) as news:
            async for records in news:
                for record in records:
                    self._apply(record)
                await self._clock.sleep(timedelta(0))  # whoever waits at the door comes first

    def _apply(self, record: Record) -> None:
        try:
            event = decode(record.headers, record.value, record.key)
        except Undecodable:
            return  # its consumer has dead-lettered it
        if isinstance(event.fact, Observed):
            self._current.apply(event.subject, event.fact)
