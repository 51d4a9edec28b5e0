"""An incident too large for one record never keeps others from being restored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from escalation_timer.domain import checkpoints
from escalation_timer.domain.checkpoints import Checkpoint, checkpoint
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import Alert, AlertsAttached
from tocsin_contracts.registry import MAX_RECORD_BYTES
from tocsin_contracts.state import CheckpointReached, StateSnapshotted
from tocsin_incident import Book
from tocsin_runtime.events import outgoing
from tocsin_testkit.builders import an_event, an_opening

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SMALL = incident_id("shop", "small")
LARGE = incident_id("shop", "large")


def many(count: int) -> AlertsAttached:
    return AlertsAttached(
        alerts=tuple(
            Alert(
                fingerprint=f"{number:016x}",
                starts_at=NOW + timedelta(seconds=number),
                name="Full",
                labels={"alertname": "Full", "instance": f"10.0.{number // 256}.{number % 256}"},
            )
            for number in range(count)
        )
    )


def a_book(count: int) -> Book:
    book = Book()
    book.fold(an_event(an_opening(), incident=SMALL), 0)
    book.fold(an_event(an_opening(), incident=LARGE), 1)
    book.fold(an_event(many(count), incident=LARGE), 2)
    return book


def kept(taken: Checkpoint) -> list[str]:
    facts = [event for event in taken.events if isinstance(event.fact, StateSnapshotted)]
    return [event.subject for event in facts]


def end(taken: Checkpoint) -> int:
    [reached] = [e.fact for e in taken.events if isinstance(e.fact, CheckpointReached)]
    return reached.end


def test_an_incident_of_thirty_thousand_alerts_is_restored_from_one_record() -> None:
    book = a_book(30_000)
    taken = checkpoint(book, {SMALL, LARGE}, (), NOW)
    assert sorted(kept(taken)) == sorted([SMALL, LARGE])
    assert end(taken) == 3
    again = Book()
    for event in taken.events:
        record = outgoing(event)
        assert len(record.value or b"") < MAX_RECORD_BYTES
        if isinstance(event.fact, StateSnapshotted):
            again.restore(event.fact)
    assert dict(again.settled()) == dict(book.settled())


def test_a_checkpoint_stays_before_an_incident_no_record_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "MOST_PACKED", 1_000)
    book = a_book(3_000)
    first = checkpoint(book, {SMALL, LARGE}, (), NOW)
    assert (kept(first), end(first)) == ([SMALL], 1)
    then = checkpoint(book, {SMALL}, first.unkept, NOW)
    assert (kept(then), end(then)) == ([SMALL], 1)


def test_an_incident_that_fits_again_holds_nothing_back() -> None:
    taken = checkpoint(a_book(10), {SMALL, LARGE}, {LARGE}, NOW)
    assert taken.unkept == frozenset()
    assert end(taken) == 3
