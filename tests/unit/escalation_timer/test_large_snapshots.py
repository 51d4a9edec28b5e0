"""An incident too large for one record never keeps others from being restored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from escalation_timer.domain import checkpoints
from escalation_timer.domain.checkpoints import snapshots
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import Alert, AlertsAttached
from tocsin_contracts.state import CheckpointReached, StateSnapshotted
from tocsin_incident import Book
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
                labels={"alertname": "Full", "instance": "i" * 1_000},
            )
            for number in range(count)
        )
    )


def test_the_checkpoint_stays_before_an_incident_no_record_can_hold() -> None:
    book = Book()
    book.fold(an_event(an_opening(), incident=SMALL), 0)
    book.fold(an_event(an_opening(), incident=LARGE), 1)
    book.fold(an_event(many(checkpoints.MOST_SNAPSHOT // 1_000), incident=LARGE), 2)
    written = [event.fact for event in snapshots(book, {SMALL, LARGE}, NOW)]
    kept = [fact.state["incident"] for fact in written if isinstance(fact, StateSnapshotted)]
    [checkpoint] = [fact for fact in written if isinstance(fact, CheckpointReached)]
    assert kept == [SMALL]
    assert checkpoint.end == 1


def test_a_checkpoint_of_small_incidents_holds_everything() -> None:
    book = Book()
    book.fold(an_event(an_opening(), incident=SMALL), 0)
    book.fold(an_event(many(10), incident=SMALL), 1)
    written = [event.fact for event in snapshots(book, {SMALL}, NOW)]
    [checkpoint] = [fact for fact in written if isinstance(fact, CheckpointReached)]
    assert checkpoint.end == 2
