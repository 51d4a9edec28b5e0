"""Restoring from snapshots: whoever wrote them, whenever they arrived."""

from __future__ import annotations

from tocsin_casebook import INCIDENTS, SNAPSHOTS, Casebook
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.incidents import NoteAdded
from tocsin_contracts.state import CheckpointReached, StateSnapshotted
from tocsin_incident import FOLD_VERSION, Book, IncidentState, state_bytes, state_document
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing
from tocsin_simulation.clock import ManualClock
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_testkit.builders import AN_INCIDENT_ID, a_person, an_event, an_opening


class Partition:
    """One partition of `incidents` with its snapshots, and what a casebook restores from it."""

    def __init__(self) -> None:
        self.log = MemoryLog(ManualClock(), registered_topics(1))
        self.book = Book()

    def happens(self, fact: Fact) -> IncidentState:
        """A fact is written; the state after it."""
        event: Event[Fact] = an_event(fact)
        position = self.log.append(outgoing(event))
        self.book.fold(event, position.offset)
        return self.book.settled()[AN_INCIDENT_ID]

    def snapshot(self, state: IncidentState, *, end: int) -> None:
        """A snapshot of this state is written, with its checkpoint."""
        fact = StateSnapshotted(end=end, fold=FOLD_VERSION, state=state_document(state))
        self.log.append(outgoing(an_event(fact), partition=0))
        self.checkpoint(end)

    def checkpoint(self, end: int) -> None:
        """A checkpoint is written."""
        fact = CheckpointReached(end=end, fold=FOLD_VERSION)
        self.log.append(outgoing(an_event(fact), partition=0))

    async def restored(self) -> Casebook:
        """A casebook that has just restored."""
        casebook = Casebook(self.log)
        await casebook.restore(frozenset({0}))
        return casebook


def _held(casebook: Casebook) -> bytes | None:
    state = casebook.book(0).settled().get(AN_INCIDENT_ID)
    return None if state is None else state_bytes(state)


def _note(text: str) -> NoteAdded:
    return NoteAdded(by=a_person(), text=text)


async def test_a_late_snapshot_of_a_paused_writer_does_not_replace_a_newer_one() -> None:
    partition = Partition()
    old = partition.happens(an_opening())
    new = partition.happens(_note("news"))
    partition.snapshot(new, end=2)
    partition.snapshot(old, end=1)
    casebook = await partition.restored()
    assert _held(casebook) == state_bytes(new)
    assert casebook.unsaved(0) == {AN_INCIDENT_ID}


async def test_a_late_snapshot_does_not_bring_back_what_has_ended() -> None:
    partition = Partition()
    state = partition.happens(an_opening())
    partition.log.append(Outgoing(SNAPSHOTS, AN_INCIDENT_ID.encode(), None, partition=0))
    partition.checkpoint(1)
    partition.snapshot(state, end=1)
    casebook = await partition.restored()
    assert _held(casebook) is None
    assert casebook.unsaved(0) == {AN_INCIDENT_ID}


async def test_what_a_restore_folds_past_the_checkpoint_is_owed_a_snapshot() -> None:
    partition = Partition()
    partition.snapshot(partition.happens(an_opening()), end=1)
    assert (await partition.restored()).unsaved(0) == frozenset()
    state = partition.happens(_note("news"))
    casebook = await partition.restored()
    assert _held(casebook) == state_bytes(state)
    assert casebook.unsaved(0) == {AN_INCIDENT_ID}


async def test_a_snapshot_of_another_fold_version_is_left_for_the_log_to_rebuild() -> None:
    partition = Partition()
    state = partition.happens(an_opening())
    fact = StateSnapshotted(end=1, fold="another", state={"incident": AN_INCIDENT_ID})
    partition.log.append(outgoing(an_event(fact), partition=0))
    fact_of_checkpoint = CheckpointReached(end=1, fold="another")
    partition.log.append(outgoing(an_event(fact_of_checkpoint), partition=0))
    assert _held(await partition.restored()) == state_bytes(state)


async def test_a_partition_that_is_dropped_is_forgotten() -> None:
    partition = Partition()
    partition.happens(an_opening())
    casebook = await partition.restored()
    casebook.drop(frozenset({0}))
    assert casebook.partitions == frozenset()
    assert casebook.unsaved(0) == frozenset()
    assert casebook.find(AN_INCIDENT_ID) is None
    assert len(partition.log.records(INCIDENTS)) == 1
