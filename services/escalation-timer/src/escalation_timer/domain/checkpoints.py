"""Snapshots of what changed, so that a restore need not read the log from its start."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from escalation_timer.domain.duty import SOURCE
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, event_id
from tocsin_contracts.state import CheckpointReached
from tocsin_incident import FOLD_VERSION, Book, IncidentState, Status, snapshot, weight

CHECKPOINT_KEY = "checkpoint"

MOST_SNAPSHOT = 2_000_000
"""Size, as `size` tells it, of the largest state that is put into one record, so that one of
characters that take three bytes each still fits."""

REMEMBERED_FOR = timedelta(days=30)
"""How long an incident is remembered from its opening, however soon it ended: as long as `alerts`
keeps what opened it. Whoever forgot it sooner would open it again when that is read again, and page
for it, while everybody who remembers ignores the repeat."""


def snapshots(book: Book, changed: Collection[str], now: datetime) -> tuple[Event[Fact], ...]:
    """A snapshot of each changed incident, then the checkpoint that says they are complete.

    The order matters: a checkpoint that was written before its snapshots would make a restore
    start past facts that no snapshot holds.
    """
    settled = book.settled()
    end = book.end
    for incident, state in settled.items():
        if size(state) > MOST_SNAPSHOT:
            # No record can hold it, so a restore has to read it from the log, from its opening.
            end = min(end, book.began(incident))
    written = [
        _event(incident, snapshot(settled[incident], book.end), now)
        for incident in sorted(changed)
        if incident in settled
        and not forgettable(settled[incident], now)
        and size(settled[incident]) <= MOST_SNAPSHOT
    ]
    written.append(_event(CHECKPOINT_KEY, CheckpointReached(end=end, fold=FOLD_VERSION), now))
    return tuple(written)


def size(state: IncidentState) -> int:
    """About how many characters a state's alerts take in a snapshot; they are what grows."""
    return sum(weight(held.alert) for held in state.alerts.values())


def forgettable(state: IncidentState, now: datetime) -> bool:
    """Whether nothing can happen to it any more, so that its snapshot becomes a tombstone."""
    over = state.status in {Status.CLOSED, Status.MERGED} and not state.unattached
    if state.status is Status.MUTED:
        over = not any(held.firing for held in state.alerts.values())
    return over and now - state.opened_at >= REMEMBERED_FOR


def _event(key: str, fact: Fact, now: datetime) -> Event[Fact]:
    return Event(
        id=event_id(fact.TYPE, key, rfc3339(now)),
        source=SOURCE,
        subject=key,
        key=key,
        occurred_at=now,
        fact=fact,
    )
