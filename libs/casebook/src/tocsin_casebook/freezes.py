"""The switch that stops remediation, as the log has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Person, event_id
from tocsin_contracts.freezes import EVERYTHING, FreezeBegun, FreezeEnded
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.records import Record

log = structlog.get_logger()

FREEZES = "freezes"


@dataclass(frozen=True, slots=True)
class Freeze:
    """Remediation stands still.

    Attributes:
        subject: The system, or `*` for all.
    """

    subject: str
    by: Person
    reason: str
    since: datetime


def switched(
    subject: str, by: Person, reason: str, now: datetime, *, on: bool
) -> Event[FreezeBegun | FreezeEnded]:
    """The fact that turns the switch, for a system or for `*`."""
    fact = FreezeBegun(by=by, reason=reason) if on else FreezeEnded(by=by, reason=reason)
    return Event(
        id=event_id(fact.TYPE, subject, rfc3339(now)),
        source=f"tocsin/{fact.WRITER}",
        subject=subject,
        key=subject,
        occurred_at=now,
        fact=fact,
    )


class Freezes:
    """What is frozen, fed in log order. Give `apply` to a `Follower` of the topic `freezes`."""

    def __init__(self) -> None:
        self._frozen: dict[str, Freeze] = {}
        self._changed: Callable[[], None] | None = None

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called with every turn of the switch."""
        self._changed = changed

    def apply(self, record: Record) -> None:
        """Take in one record; one that cannot be read changes nothing."""
        try:
            event = decode(record)
        except Poison as error:
            log.warning("freeze.refused", position=record.position, reason=error.reason)
            return
        match event.fact:
            case FreezeBegun() as fact:
                self._frozen[event.subject] = Freeze(
                    event.subject, fact.by, fact.reason, event.occurred_at
                )
            case FreezeEnded():
                self._frozen.pop(event.subject, None)
            case _:
                return
        if self._changed is not None:
            self._changed()

    def of(self, system: str) -> Freeze | None:
        """The freeze that holds for a system: of all systems, else its own."""
        return self._frozen.get(EVERYTHING) or self._frozen.get(system)

    def all(self) -> tuple[Freeze, ...]:
        """Every freeze, that of all systems first."""
        return tuple(self._frozen[subject] for subject in sorted(self._frozen))
