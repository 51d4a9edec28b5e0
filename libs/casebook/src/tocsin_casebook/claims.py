"""Who acts on what in the world, as one partition of the log has it, whoever's system it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from tocsin_contracts.claims import TargetsClaimed, TargetsReleased
from tocsin_contracts.event import Event, event_id
from tocsin_contracts.ids import key_of
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Record

log = structlog.get_logger()

CLAIMS = "claims"


@dataclass(frozen=True, slots=True)
class Claimant:
    """A start of a step, or an undo of it.

    Attributes:
        attempt: The start.
        undo: Which undo; 0 where it is the step itself.
    """

    incident: str
    remediation: str
    step: str
    attempt: int
    undo: int = 0

    @property
    def place(self) -> tuple[str, str, str]:
        """The step, whichever start of it."""
        return self.incident, self.remediation, self.step


def claimed(by: Claimant, targets: tuple[str, ...], now: datetime) -> Event[TargetsClaimed]:
    """The fact that a step is about to act."""
    fact = TargetsClaimed(
        remediation=by.remediation, step=by.step, attempt=by.attempt, undo=by.undo, targets=targets
    )
    return _event(by, fact, now)


def released(by: Claimant, now: datetime) -> Event[TargetsReleased]:
    """The fact that it acts no longer."""
    fact = TargetsReleased(
        remediation=by.remediation, step=by.step, attempt=by.attempt, undo=by.undo
    )
    return _event(by, fact, now)


def _event(by: Claimant, fact: TargetsClaimed | TargetsReleased, now: datetime) -> Event[Any]:
    numbers = (str(by.attempt), str(by.undo))
    return Event(
        id=event_id(fact.TYPE, *by.place, *numbers),
        source=f"tocsin/{fact.WRITER}",
        subject=by.incident,
        key=key_of(by.incident),
        occurred_at=now,
        fact=fact,
    )


class Claims:
    """Claims that are not released, fed in log order. Give `apply` to a `Follower` of `claims`.

    The topic has one partition, so all claims of all systems have one order, and a step that acts
    on several things has its place among all who want one of them at once.
    """

    def __init__(self) -> None:
        self._held: dict[Claimant, tuple[str, ...]] = {}
        self._end = 0
        self._moved: asyncio.Event = asyncio.Event()
        self._changed: Callable[[Claimant], None] | None = None

    def on_change(self, changed: Callable[[Claimant], None]) -> None:
        """Have `changed` called with whoever claimed or released."""
        self._changed = changed

    def apply(self, record: Record) -> None:
        """Take in one record; one that cannot be read changes nothing."""
        self._end = record.position.offset + 1
        self._moved.set()
        self._moved = asyncio.Event()
        try:
            event = decode(record)
        except Poison as error:
            log.warning("claim.refused", position=record.position, reason=error.reason)
            return
        fact = event.fact
        if not isinstance(fact, TargetsClaimed | TargetsReleased):
            return
        by = Claimant(event.subject, fact.remediation, fact.step, fact.attempt, fact.undo)
        if isinstance(fact, TargetsReleased):
            self._held.pop(by, None)
        else:
            # Written twice it has the place of the first.
            self._held.setdefault(by, fact.targets)
        if self._changed is not None:
            self._changed(by)

    async def read_up_to(self, end: int) -> None:
        """Return once everything before this offset has been applied."""
        while self._end < end:
            await self._moved.wait()

    def held_by(self, incident: str) -> Iterator[Claimant]:
        """What steps of an incident hold."""
        return (by for by in tuple(self._held) if by.incident == incident)

    def claimants(self) -> tuple[Claimant, ...]:
        """All who hold anything, in the order of their claims."""
        return tuple(self._held)

    def before(self, own: Claimant, targets: tuple[str, ...]) -> tuple[Claimant, str] | None:
        """Another step that holds one of the targets and claimed it before, and which one.

        For somebody who has not claimed yet everybody claimed before.
        """
        for by, theirs in self._held.items():
            if by == own:
                return None
            shared = sorted(set(targets).intersection(theirs))
            if by.place != own.place and shared:
                return by, shared[0]
        return None

    def __contains__(self, by: object) -> bool:
        """Whether this one holds what it claimed."""
        return by in self._held
