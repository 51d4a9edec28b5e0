"""The book of a partition: what it expects, what the log overrules, what a snapshot saves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tocsin_contracts.event import Event, Fact, Person
from tocsin_contracts.ids import derive, incident_id
from tocsin_contracts.incidents import Acknowledged, IncidentFact, NoteAdded, Opened, Resolved
from tocsin_incident import Book, Reason, Status, snapshot, state_bytes
from tocsin_testkit.examples import example

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
INCIDENT = incident_id("mpc-transformer", "book")
BOB = Person(name="bob")


def event(fact: IncidentFact, number: int) -> Event[Fact]:
    return Event(
        id=derive("test", fact.TYPE, str(number)),
        source="tocsin/test",
        subject=INCIDENT,
        key="mpc-transformer",
        occurred_at=NOW + timedelta(minutes=number),
        fact=fact,
    )


OPENED = event(example(Opened), 0)
ACKNOWLEDGED = event(Acknowledged(by=BOB), 1)
NOTE = event(NoteAdded(by=BOB, text="looking"), 2)
RESOLVED = event(example(Resolved), 3)
LOG = (OPENED, ACKNOWLEDGED, NOTE, RESOLVED)


def book_of(*events: Event[Fact]) -> Book:
    book = Book()
    for offset, one in enumerate(events):
        book.fold(one, offset)
    return book


def test_what_is_written_is_expected_before_it_is_read_back_and_settled_after() -> None:
    book = book_of(OPENED)
    book.expect(ACKNOWLEDGED)
    expected = book.expected(INCIDENT)
    assert expected is not None
    assert expected.status is Status.ACKNOWLEDGED
    assert book.settled()[INCIDENT].status is Status.OPEN
    book.fold(ACKNOWLEDGED, 1)
    assert book.settled()[INCIDENT].status is Status.ACKNOWLEDGED
    assert book.pending(INCIDENT) == 0


def test_a_write_that_the_log_overtook_is_ignored_and_no_longer_expected() -> None:
    book = book_of(OPENED)
    book.expect(ACKNOWLEDGED)
    book.fold(RESOLVED, 1)
    change = book.fold(ACKNOWLEDGED, 2)
    assert change is not None
    assert change.ignored is not None
    assert book.pending(INCIDENT) == 0
    expected = book.expected(INCIDENT)
    assert expected is not None
    assert expected.status is Status.RESOLVED


def test_a_fact_that_would_be_ignored_is_not_expected() -> None:
    book = book_of(OPENED)
    assert book.expect(OPENED).ignored is Reason.REPEAT
    assert book.pending(INCIDENT) == 0


@pytest.mark.parametrize("end", range(1, len(LOG) + 1))
def test_a_snapshot_and_the_rest_of_the_log_are_the_whole_log(end: int) -> None:
    restored = Book()
    restored.restore(snapshot(book_of(*LOG[:end]).settled()[INCIDENT], end))
    for offset, one in enumerate(LOG):  # the log may be read from before the snapshot
        restored.fold(one, offset)
    assert state_bytes(restored.settled()[INCIDENT]) == (
        state_bytes(book_of(*LOG).settled()[INCIDENT])
    )
