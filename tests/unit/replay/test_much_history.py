"""A long history is read one incident at a time, and what comes of it is put down on disk."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tocsin_contracts import incidents as facts
from tocsin_replay import HeldLog, Recorded, read_all
from tocsin_replay.history import Calls, Outcome
from tocsin_replay.keeping import Kept
from tocsin_replay.reading import by_incident
from tocsin_replay.shelving import Scratch, Shelf
from tocsin_replay.summing import summarise
from tocsin_runtime.events import outgoing
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Headers, Position, Record
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.memory_log import MemoryLog
from tocsin_testkit.builders import a_person, an_event

SECOND = timedelta(seconds=1)


async def _grouped(
    reader: Reader, seconds: int | None = None
) -> list[tuple[str, Sequence[Recorded]]]:
    until = None if seconds is None else EPOCH + seconds * SECOND
    return [one async for one in by_incident(reader, until=until)]


def test_each_incident_comes_whole_and_in_the_order_of_the_log(story: MemoryLog) -> None:
    wanted: dict[str, list[Recorded]] = {}
    for one in asyncio.run(read_all(story)):
        wanted.setdefault(one.event.subject, []).append(one)
    assert len(wanted) > 2
    assert asyncio.run(_grouped(story)) == list(wanted.items())


def _note(incident: str, number: int, headers: Headers | None = None) -> Record:
    fact = facts.NoteAdded(by=a_person(), text=f"note {number}")
    wire = outgoing(an_event(fact, incident=incident))
    at = EPOCH + number * SECOND
    position = Position("incidents", 0, number)
    return Record(position, wire.key, wire.value, headers or wire.headers, at)


def _numbers(found: list[tuple[str, Sequence[Recorded]]]) -> dict[str, list[int]]:
    return {name: [one.position.offset for one in held] for name, held in found}


def test_what_is_no_fact_is_passed_over_and_no_header_is_needed_as_we_write_it() -> None:
    one, other = "shop-0000000001", "shop-0000000002"
    capitals = tuple((name.title(), value) for name, value in _note(one, 2).headers)
    broken = Record(Position("incidents", 0, 3), b"shop", b"{", _note(one, 3).headers, EPOCH)
    records = [_note(one, 0), _note(other, 1), _note(one, 2, capitals), broken, _note(other, 4)]
    log = HeldLog({"incidents": 1}, records)
    assert _numbers(asyncio.run(_grouped(log))) == {one: [0, 2], other: [1, 4]}
    assert _numbers(asyncio.run(_grouped(log, 2))) == {one: [0], other: [1]}


@pytest.mark.parametrize("most_held", [1_000_000, 10])
def test_a_shelf_gives_back_what_was_put_there_in_memory_or_not(most_held: int) -> None:
    shelf = Shelf(most_held=most_held)
    names = [f"name {number}" for number in range(1_200)]
    for name in names:
        shelf.put(name, b"old")
    for name in names:
        shelf.put(name, name.encode())
    asked = [*reversed(names), "another"]
    assert list(shelf.find(asked)) == [name.encode() for name in reversed(names)]
    shelf.settle()
    # As another process gets it.
    elsewhere: Shelf = pickle.loads(pickle.dumps(shelf))  # noqa: S301 - made in this line
    assert elsewhere.get("name 7") == b"name 7"
    assert elsewhere.get("another") is None


def test_what_was_put_down_goes_with_whoever_made_the_folder_and_nobody_else() -> None:
    scratch = Scratch()
    folder = scratch.make()
    elsewhere: Scratch = pickle.loads(pickle.dumps(scratch))  # noqa: S301 - made in this line
    written = elsewhere.file()
    assert written.parent == folder
    del elsewhere
    gc.collect()
    assert written.exists()
    del scratch
    gc.collect()
    assert not Path(folder).exists()


def test_summaries_are_the_same_after_they_were_put_down(story: MemoryLog) -> None:
    kept = Kept()
    wanted = {name: summarise(told, None) for name, told in asyncio.run(_grouped(story))}
    for one in wanted.values():
        kept.put(one)
    assert dict(kept) == wanted
    assert kept.opened_at(next(iter(wanted))) == next(iter(wanted.values())).opened_at
    with pytest.raises(KeyError):
        kept["shop-0000000009"]


def _call(seconds: int, fact: facts.IncidentFact) -> Outcome:
    return Outcome(EPOCH + seconds * SECOND, ((SECOND, fact),))


def test_a_call_fails_as_the_one_nearest_to_it_did_if_that_is_near() -> None:
    delivered = facts.NotificationDelivered(notification="n", attempt=1)
    failed = facts.NotificationFailed(notification="n", attempt=1, reason="unreachable")
    calls = Calls()
    # Not in the order of time: they are read one incident at a time.
    calls.add("second", 1, _call(100, failed))
    calls.add("third", 1, _call(200, delivered))
    calls.add("first", 1, _call(0, delivered))
    calls.sort()
    minute = timedelta(minutes=1)
    asked = {
        seconds: calls.failing(EPOCH + seconds * SECOND, minute)
        for seconds in (0, 49, 51, 100, 149, 151, 300)
    }
    assert asked == dict.fromkeys((51, 100, 149), ("second", 1)) | dict.fromkeys((0, 49, 151, 300))
    assert calls.failing(EPOCH + 140 * SECOND, timedelta(seconds=30)) is None
