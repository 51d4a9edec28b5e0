"""Use cases of the escalation-timer: pay what is due, and leave checkpoints behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from escalation_timer.domain.checkpoints import checkpoint, forgettable
from escalation_timer.domain.duty import owed
from tocsin_casebook import SNAPSHOTS, Casebook, Policies, Reconciler
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.incidents import LevelReached
from tocsin_incident import Change, Early
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.publishing import insist
from tocsin_runtime.records import Outgoing, Record
from tocsin_runtime.telemetry import counter

LEVELS_REACHED = "tocsin_levels_reached"
_reached = counter(LEVELS_REACHED, "Levels told of, by reason")

CHECKPOINT_RECORDS = 5_000
"""Records of a partition after which a checkpoint is written.

A restore reads that many more at most, a tenth of a second. A page is five records: with a
checkpoint every thousand, a burst wrote the state of each of its incidents three times over.
"""

IN_TIME = "in_time"
"""Reason of a level whose time had come."""


def count_from_zero() -> None:
    """Show every reason from the start: what appears with its first 1 never increased."""
    for reason in (IN_TIME, *Early):
        _reached.add(0, {"reason": str(reason)})


def _count(event: Event[Fact], change: Change) -> None:
    if isinstance(event.fact, LevelReached) and change.ignored is None:
        _reached.add(1, {"reason": event.fact.reason or IN_TIME})


class EscalationTimer:
    """Folds `incidents`, writes what is due, and checkpoints. A `Handler`.

    Args:
        checkpoint_every: Time after which a partition that changed is checkpointed.
    """

    def __init__(
        self,
        *,
        casebook: Casebook,
        policies: Policies,
        publisher: Publisher,
        clock: Clock,
        checkpoint_every: timedelta = timedelta(minutes=1),
    ) -> None:
        self.reconciler = Reconciler(
            casebook=casebook,
            policies=policies,
            publisher=publisher,
            clock=clock,
            duty=owed,
            folded=_count,
        )
        self._casebook = casebook
        self._publisher = publisher
        self._clock = clock
        self._checkpoint_every = checkpoint_every
        self._changed: dict[int, set[str]] = {}
        self._records: dict[int, int] = {}
        self._unkept: dict[int, frozenset[str]] = {}

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Restore, then write once what came due meanwhile."""
        await self.reconciler.assigned(partitions)
        for partition in partitions:
            self._changed[partition] = set(self._casebook.unsaved(partition))

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Forget; the next owner restores."""
        for partition in partitions:
            self._changed.pop(partition, None)
            self._records.pop(partition, None)
            self._unkept.pop(partition, None)
        await self.reconciler.revoked(partitions)

    async def handle(self, batch: Sequence[Record]) -> None:
        """Fold, write what is due, checkpoint partitions that have moved far."""
        touched = self.reconciler.fold(batch)
        for record in batch:
            partition = record.position.partition
            self._records[partition] = self._records.get(partition, 0) + 1
        for incident in touched:
            # Not the batch's partitions: a batch that met poison left some of others behind.
            held = self._casebook.partition_of(incident)
            if held is not None and incident in self._casebook.book(held):
                self._changed.setdefault(held, set()).add(incident)
        await self.reconciler.reconcile(touched)
        for partition, count in tuple(self._records.items()):
            if count >= CHECKPOINT_RECORDS:
                await self.checkpoint(partition)

    async def run(self) -> None:
        """Write what comes due, for ever."""
        await self.reconciler.run()

    async def checkpoints(self) -> None:
        """Checkpoint every partition that changed, every `checkpoint_every`, for ever."""
        while True:
            await self._clock.sleep(self._checkpoint_every)
            for partition in tuple(self._changed):
                await self.checkpoint(partition)

    async def checkpoint(self, partition: int) -> None:
        """Write the snapshots of what changed in a partition since the last checkpoint."""
        changed = self._changed.pop(partition, set())
        self._records.pop(partition, None)
        if not changed or partition not in self._casebook.partitions:
            return
        book = self._casebook.book(partition)
        now = self._clock.now()
        taken = checkpoint(book, changed, self._unkept.get(partition, frozenset()), now)
        records = [outgoing(event, partition=partition) for event in taken.events]
        settled = book.settled()
        over = sorted(incident for incident in settled if forgettable(settled[incident], now))
        # What is not in the book was forgotten before: a late snapshot of it, which a restore
        # passed over, must not be the last word.
        over += sorted(incident for incident in changed if incident not in settled)
        tombstones = [
            Outgoing(SNAPSHOTS, incident.encode(), None, partition=partition) for incident in over
        ]
        written = False
        try:
            # Tombstones go first: the checkpoint must stay the last word on the partition.
            await insist(self._publisher, self._clock, [*tombstones, *records])
            written = True
            self._unkept[partition] = taken.unkept
        finally:
            if not written:
                # Or the next checkpoint would claim to hold what no snapshot does.
                self._changed.setdefault(partition, set()).update(changed)
        for incident in over:
            if incident in settled and forgettable(settled[incident], now):
                book.forget(incident)
