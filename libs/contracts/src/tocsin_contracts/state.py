"""Snapshots: what a fold held at an offset, so that a restore need not read from the start."""

from __future__ import annotations

from typing import Any, ClassVar

from tocsin_contracts.event import Fact, Writer


class StateSnapshotted(Fact):
    """An incident's state as folded up to `end`; newest per incident counts.

    Who reacts: a service that restores; downstream tables. How often: at checkpoints, for
    incidents that changed. Never sent: for an incident that ended and that nothing
    that is kept can open again (a tombstone is).

    Attributes:
        end: One past the last `incidents` offset this state includes.
        state: The state, as `tocsin_incident` writes it; empty where it stands in `packed`.
        fold: Version of the fold; a snapshot of another version is not used.
        packed: A state of thousands of alerts: its JSON, deflated (RFC 1950), in base64.
    """

    TYPE: ClassVar[str] = "tocsin.incidents-state.snapshotted.v1"
    TOPIC: ClassVar[str] = "incidents.state"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    end: int
    fold: str
    state: dict[str, Any]
    packed: str = ""


class CheckpointReached(Fact):
    """Every snapshot of this partition includes the log up to `end`.

    Who reacts: a service that restores reads the log from here. How often: once a checkpoint and
    partition. Never sent: before its snapshots are acknowledged.
    """

    TYPE: ClassVar[str] = "tocsin.incidents-state.checkpoint_reached.v1"
    TOPIC: ClassVar[str] = "incidents.state"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    end: int
    fold: str
