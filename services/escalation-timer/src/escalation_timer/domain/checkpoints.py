"""Snapshots of what changed, so that a restore need not read the log from its start."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from escalation_timer.domain.duty import SOURCE
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, event_id
from tocsin_contracts.state import CheckpointReached
from tocsin_incident import FOLD_VERSION, Book, IncidentState, Status, snapshot

CHECKPOINT_KEY = "checkpoint"


def snapshots(book: Book, changed: Collection[str], now: datetime) -> tuple[Event[Fact], ...]:
    """A snapshot of each changed incident, then the checkpoint that says they are complete.

    The order matters: a checkpoint that was written before its snapshots would make a restore
    start past facts that no snapshot holds.
    """
    states = (book.settled().get(incident) for incident in sorted(changed))
    written = [
        _event(state.incident, snapshot(state, book.end), now)
        for state in states
        if state is not None and not ended(state)
    ]
    written.append(_event(CHECKPOINT_KEY, CheckpointReached(end=book.end, fold=FOLD_VERSION), now))
    return tuple(written)


def ended(state: IncidentState) -> bool:
    """Whether nothing more can happen to it, so that its snapshot is a tombstone."""
    return state.status in {Status.CLOSED, Status.MERGED} and not state.unattached


def _event(key: str, fact: Fact, now: datetime) -> Event[Fact]:
    return Event(
        id=event_id(fact.TYPE, key, rfc3339(now)),
        source=SOURCE,
        subject=key,
        key=key,
        occurred_at=now,
        fact=fact,
    )
