"""The incidents of one partition, folded in log order, with what was written and not read back."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tocsin_contracts.event import Event, Fact
from tocsin_contracts.state import CheckpointReached, StateSnapshotted
from tocsin_incident.folding import Folded, fold
from tocsin_incident.life import Reason
from tocsin_incident.state import FOLD_VERSION, IncidentState, state_bytes, state_document
from tocsin_incident.weighing import weight


class Change(NamedTuple):
    """What one record of the log did.

    Attributes:
        incident: The incident it is about.
        before: The state before, if there was one.
        after: The state after, if there is one.
        ignored: Why the fact did not apply, or `None`.
    """

    incident: str
    before: IncidentState | None
    after: IncidentState | None
    ignored: Reason | None


Fold = Callable[[IncidentState | None, Event[Fact]], Folded]
"""What a fact makes of a state."""


class Book:
    """The states of one partition's incidents.

    Two views. The *settled* state is the fold of the log as read. The *expected* state adds the
    facts this process wrote and has not read back yet, so that it does not decide twice; when the
    log brings them (or others first), the settled state wins and the expectation is folded anew.

    Not safe for use from several tasks between awaits; a service has one book a partition and
    one loop.

    Args:
        fold: The fold, or one that remembers what the fold made of the same: several books of one
            process need not ask it twice.
    """

    def __init__(self, fold: Fold = fold) -> None:
        self._fold = fold
        self.end = 0
        self._settled: dict[str, IncidentState] = {}
        self._began: dict[str, int] = {}
        self._pending: dict[str, list[Event[Fact]]] = {}
        self._expected: dict[str, IncidentState] = {}

    def __contains__(self, incident: object) -> bool:
        return incident in self._settled or incident in self._expected

    def __len__(self) -> int:
        return len(self._settled)

    def settled(self) -> Mapping[str, IncidentState]:
        """State by incident, as the log read so far has it."""
        return self._settled

    def expected(self, incident: str) -> IncidentState | None:
        """The state once everything this process wrote is read back, or `None`."""
        if incident in self._expected:
            return self._expected[incident]
        return self._settled.get(incident)

    def all_expected(self) -> Iterator[IncidentState]:
        """Expected states of every incident, oldest opened first."""
        for incident, state in self._settled.items():
            yield self._expected.get(incident, state)
        for incident, state in self._expected.items():
            if incident not in self._settled:
                yield state

    def began(self, incident: str) -> int:
        """Offset of the fact that opened it; 0 for one that a snapshot brought."""
        return self._began.get(incident, 0)

    def pending(self, incident: str) -> int:
        """How many facts about it were written and not read back."""
        return len(self._pending.get(incident, ()))

    def restore(self, snapshot: StateSnapshotted) -> None:
        """Take over a snapshot; one of another fold version is left for the log to rebuild."""
        if snapshot.fold == FOLD_VERSION:
            state = restored(snapshot)
            self._settled[state.incident] = state

    def checkpoint(self, checkpoint: CheckpointReached) -> None:
        """Take over where the snapshots end: the log is read from there."""
        if checkpoint.fold == FOLD_VERSION:
            self.end = max(self.end, checkpoint.end)

    def forget(self, incident: str) -> None:
        """Drop an incident: its snapshot is a tombstone."""
        self._settled.pop(incident, None)
        self._began.pop(incident, None)
        self._expected.pop(incident, None)
        self._pending.pop(incident, None)

    def fold(self, event: Event[Fact], offset: int) -> Change | None:
        """Fold one record of the log; `None` if the log was folded past it before."""
        if offset < self.end:
            return None
        self.end = offset + 1
        incident = event.subject
        before = self._settled.get(incident)
        folded = self._fold(before, event)
        if folded.state is not None:
            self._settled[incident] = folded.state
            if before is None:
                self._began[incident] = offset
        self._confirm(incident, event)
        return Change(incident, before, folded.state, folded.ignored)

    def expect(self, event: Event[Fact]) -> Folded:
        """Fold a fact this process writes, until the log brings it.

        Returns what it made of the expected state; a fact that would be ignored is not kept.
        """
        incident = event.subject
        folded = self._fold(self.expected(incident), event)
        if folded.ignored is None and folded.state is not None:
            self._pending.setdefault(incident, []).append(event)
            self._expected[incident] = folded.state
        return folded

    def _confirm(self, incident: str, event: Event[Fact]) -> None:
        waiting = self._pending.get(incident)
        if waiting is None:
            return
        rest = [other for other in waiting if other is not event and other.id != event.id]
        if not rest:
            self._pending.pop(incident)
            self._expected.pop(incident, None)
            return
        self._pending[incident] = rest
        state = self._settled.get(incident)
        for other in rest:
            state = self._fold(state, other).state
        if state is not None:
            self._expected[incident] = state


PACKED_FROM = 500_000
"""Weight of alerts from which on a state is packed: what is smaller anybody may read as it is."""

MOST_UNPACKED = 512 * 1024 * 1024
"""Bytes of the largest state that is unpacked."""


def snapshot(state: IncidentState, end: int) -> StateSnapshotted:
    """The snapshot of a state that includes the log up to `end`."""
    if sum(weight(held.alert) for held in state.alerts.values()) <= PACKED_FROM:
        return StateSnapshotted(end=end, fold=FOLD_VERSION, state=state_document(state))
    # Fast rather than small: it is written anew whenever the incident has changed.
    packed = base64.b64encode(zlib.compress(state_bytes(state), level=1)).decode()
    return StateSnapshotted(end=end, fold=FOLD_VERSION, state={}, packed=packed)


def restored(snapshot: StateSnapshotted) -> IncidentState:
    """The state that a snapshot of this fold holds."""
    if not snapshot.packed:
        return IncidentState.model_validate(snapshot.state)
    unpacking = zlib.decompressobj()
    state = unpacking.decompress(base64.b64decode(snapshot.packed), MOST_UNPACKED)
    return IncidentState.model_validate_json(state)
