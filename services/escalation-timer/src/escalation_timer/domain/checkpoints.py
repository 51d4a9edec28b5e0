"""Snapshots of what changed, so that a restore need not read the log from its start."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from escalation_timer.domain.duty import SOURCE
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, event_id
from tocsin_contracts.state import CheckpointReached
from tocsin_incident import FOLD_VERSION, Book, IncidentState, Status, snapshot

CHECKPOINT_KEY = "checkpoint"

MOST_PACKED = 7_500_000
"""Characters of the largest packed state that is written, a little below what a record may have."""

REMEMBERED_FOR = timedelta(days=30)
"""How long an incident is remembered from its opening, however soon it ended: as long as `alerts`
keeps what opened it. Whoever forgot it sooner would open it again when that is read again, and page
for it, while everybody who remembers ignores the repeat."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is to be written of one partition.

    Attributes:
        events: Snapshots, then the checkpoint that says they are complete.
        unkept: Incidents that no record can hold: the next checkpoint must know of them.
    """

    events: tuple[Event[Fact], ...]
    unkept: frozenset[str]


def checkpoint(
    book: Book, changed: Collection[str], unkept: Collection[str], now: datetime
) -> Checkpoint:
    """A snapshot of each changed incident, then the checkpoint that says they are complete.

    The order matters: a checkpoint that was written before its snapshots would make a restore
    start past facts that no snapshot holds.
    """
    settled = book.settled()
    left = {incident for incident in unkept if incident in settled and incident not in changed}
    written: list[Event[Fact]] = []
    for incident in sorted(changed):
        state = settled.get(incident)
        if state is None or forgettable(state, now):
            continue
        taken = snapshot(state, book.end)
        if len(taken.packed) > MOST_PACKED:
            left.add(incident)
        else:
            written.append(_event(incident, taken, now))
    # What no record can hold a restore has to read from the log, from its opening.
    end = min([book.end, *map(book.began, left)])
    written.append(_event(CHECKPOINT_KEY, CheckpointReached(end=end, fold=FOLD_VERSION), now))
    return Checkpoint(tuple(written), frozenset(left))


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
