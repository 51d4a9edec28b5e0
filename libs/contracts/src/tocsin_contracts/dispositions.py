"""Facts that account for every observation: exactly one outcome each, with its reason."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from tocsin_contracts.event import Fact, Value, Writer


class Outcome(StrEnum):
    """What became of an observation. The list is closed: the audit counts on it."""

    OPENED = "opened"
    ATTACHED = "attached"
    REPEATED = "repeated"
    CLEARED = "cleared"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    PAUSED = "paused"
    DEAD_LETTERED = "dead_lettered"


class Disposition(Value):
    """What became of one observation, and why.

    Attributes:
        observation: Its id.
        outcome: Exactly one of the closed list.
        reason: One `snake_case` word for counting.
        incident: The incident it opened, joined, repeated or cleared in.
        by: The silence, inhibiting alert or classification rule that decided.
    """

    observation: UUID
    fingerprint: str
    outcome: Outcome
    reason: str
    incident: str | None = None
    by: str | None = None


class Disposed(Fact):
    """The observations of one record were disposed of.

    Who reacts: the audit and `explain`. How often: once for each `Observed` record; a repeat of
    that record repeats the id. Never sent: before the incident facts it speaks of are
    acknowledged by the broker.
    """

    TYPE: ClassVar[str] = "tocsin.dispositions.disposed.v1"
    TOPIC: ClassVar[str] = "dispositions"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    dispositions: tuple[Disposition, ...]
