"""The incidents of the partitions a service instance owns, restored before it acts."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import key_of
from tocsin_contracts.state import CheckpointReached, StateSnapshotted
from tocsin_incident import Book, Change, Fold, IncidentState, fold
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Record

INCIDENTS = "incidents"
SNAPSHOTS = "incidents.state"


class Casebook:
    """A book a partition; see `tocsin_incident.Book` for what a book promises.

    Fold first, act second: `restore` reads the snapshots and then the log up to the end it found
    at its start, and only then returns. Group consumption goes on at its committed offset; what
    lies before a book's end is skipped, so committed offsets never matter to the state.

    Args:
        fold: As a book takes it.
    """

    def __init__(self, reader: Reader, fold: Fold = fold) -> None:
        self._reader = reader
        self._fold = fold
        self._books: dict[int, Book] = {}
        self._unsaved: dict[int, set[str]] = {}
        self._partition_of: dict[str, int] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions held."""
        return frozenset(self._books)

    async def restore(self, partitions: frozenset[int]) -> None:
        """Fold these partitions to the end they have now."""
        for partition in sorted(partitions):
            book = Book(self._fold)
            unsaved = await self._snapshots(book, partition)
            _, end = await self._reader.bounds(INCIDENTS, partition)
            async for record in self._reader.read(INCIDENTS, partition, book.end, end):
                folded = self._fold_into(book, record)
                if folded is not None:
                    unsaved.add(folded[1].incident)
            book.end = max(book.end, end)
            self._books[partition] = book
            self._unsaved[partition] = unsaved
            for incident in book.settled():
                self._partition_of[key_of(incident)] = partition

    async def _snapshots(self, book: Book, partition: int) -> set[str]:
        """Take over the snapshots; returns the incidents whose last snapshot is not the newest.

        A writer that was paused past its session may write, late, what it held then. So of one
        incident the snapshot that includes most of the log counts, wherever it stands, and what
        has ended stays ended.
        """
        start, end = await self._reader.bounds(SNAPSHOTS, partition)
        ends: dict[str, int] = {}
        over: set[str] = set()
        stale: set[str] = set()
        async for record in self._reader.read(SNAPSHOTS, partition, start, end):
            if record.value is None:
                incident = (record.key or b"").decode(errors="replace")
                book.forget(incident)
                over.add(incident)
                continue
            event = decode(record)
            if isinstance(event.fact, StateSnapshotted):
                if event.subject in over or event.fact.end < ends.get(event.subject, 0):
                    stale.add(event.subject)
                    continue
                ends[event.subject] = event.fact.end
                stale.discard(event.subject)
                book.restore(event.fact)
            elif isinstance(event.fact, CheckpointReached):
                book.checkpoint(event.fact)
        return stale

    def unsaved(self, partition: int) -> frozenset[str]:
        """Incidents that the restore brought further than the snapshots it found.

        Who writes the next checkpoint owes them a snapshot: it will say that everything up to its
        end is in one.
        """
        return frozenset(self._unsaved.get(partition, ()))

    def drop(self, partitions: frozenset[int]) -> None:
        """Forget partitions that are owned no longer."""
        for partition in partitions:
            self._books.pop(partition, None)
            self._unsaved.pop(partition, None)
        self._partition_of = {
            key: partition
            for key, partition in self._partition_of.items()
            if partition not in partitions
        }

    def fold(self, record: Record) -> tuple[Event[Fact], Change] | None:
        """Fold one record of `incidents`; `None` if it was folded before.

        Raises:
            Poison: The record holds no event of ours.
        """
        book = self._books[record.position.partition]
        if record.position.offset < book.end:
            return None
        return self._fold_into(book, record, strict=True)

    def _fold_into(
        self, book: Book, record: Record, *, strict: bool = False
    ) -> tuple[Event[Fact], Change] | None:
        try:
            event = decode(record)
        except Poison:
            # A restore passes over what a consumer has dead-lettered before it.
            book.end = max(book.end, record.position.offset + 1)
            if strict:
                raise
            return None
        change = book.fold(event, record.position.offset)
        if change is None:
            return None
        self._partition_of[event.key] = record.position.partition
        return event, change

    def book(self, partition: int) -> Book:
        """The book of a partition we hold. Raises `KeyError` for another."""
        return self._books[partition]

    def book_of(self, key: str) -> Book | None:
        """The book that holds what has this key, or `None` if we hold nothing of it."""
        partition = self._partition_of.get(key)
        return None if partition is None else self._books.get(partition)

    def partition_of(self, incident: str) -> int | None:
        """The partition that holds this incident's facts, or `None` if we hold nothing of it."""
        try:
            return self._partition_of.get(key_of(incident))
        except ValueError:
            return None

    def find(self, incident: str) -> tuple[Book, IncidentState] | None:
        """The book and settled state of an incident we hold, or `None`."""
        partition = self.partition_of(incident)
        if partition is None:
            return None
        book = self._books[partition]
        state = book.settled().get(incident)
        return None if state is None else (book, state)

    def states(self) -> Iterator[tuple[int, IncidentState]]:
        """Every settled state we hold, with its partition."""
        for partition, book in self._books.items():
            for state in tuple(book.settled().values()):
                yield partition, state
