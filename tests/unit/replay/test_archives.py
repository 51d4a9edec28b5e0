"""An archive holds what the log held, goes on where it was interrupted, and names what is wrong."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from tocsin_replay import (
    ArchiveReader,
    BadArchive,
    HeldLog,
    Refused,
    archive,
    ask,
    chain,
    gather_all,
    read_all,
    read_incident,
    read_manifest,
    read_policies,
    states_of,
    verify_archive,
)
from tocsin_replay.gathering import EVERYTHING
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.memory_log import MemoryLog

DAY = timedelta(days=1)


@pytest.fixture
def folder(story: MemoryLog, tmp_path: Path) -> Path:
    asyncio.run(archive(story, tmp_path))
    return tmp_path


def _everything(reader: Reader) -> tuple[Record, ...]:
    return asyncio.run(gather_all(reader)).records


def test_an_archive_gives_back_every_record_as_it_was(story: MemoryLog, folder: Path) -> None:
    assert _everything(ArchiveReader(folder)) == _everything(story)
    assert verify_archive(folder) == ()


def test_replay_reads_an_archive_as_it_reads_kafka(story: MemoryLog, folder: Path) -> None:
    reader = ArchiveReader(folder)
    for incident in states_of(asyncio.run(read_all(story))):
        there = asyncio.run(read_incident(story, incident))
        assert chain(asyncio.run(read_incident(reader, incident))) == chain(there)


def _parts(story: MemoryLog, share: float) -> HeldLog:
    """The log as it was when only so much of it had been written."""
    kept = []
    for topic in EVERYTHING:
        for partition in range(story.width(topic)):
            records = story.records(topic, partition)
            kept += records[: int(len(records) * share)]
    return HeldLog({topic: story.width(topic) for topic in EVERYTHING}, kept)


def test_a_second_run_adds_only_what_is_new(story: MemoryLog, tmp_path: Path) -> None:
    first = asyncio.run(archive(_parts(story, 0.4), tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    second = asyncio.run(archive(story, tmp_path))
    third = asyncio.run(archive(story, tmp_path))
    assert first.records + second.records == len(_everything(story))
    assert (third.records, third.files) == (0, 0)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert _everything(ArchiveReader(tmp_path)) == _everything(story)
    assert verify_archive(tmp_path) == ()


class _Breaks:
    """A reader that fails after so many records, as a connection may."""

    def __init__(self, inner: Reader, after: int) -> None:
        self._inner = inner
        self._left = after

    async def partitions(self, topic: str) -> int:
        return await self._inner.partitions(topic)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self._inner.bounds(topic, partition)

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        async for record in self._inner.read(topic, partition, start, end):
            self._left -= 1
            if self._left < 0:
                raise ConnectionError("gone")
            yield record


@pytest.mark.parametrize("after", [0, 1, 30, 100, 150])
def test_a_run_that_is_interrupted_is_gone_on_with(
    story: MemoryLog, tmp_path: Path, after: int
) -> None:
    with pytest.raises(ConnectionError):
        asyncio.run(archive(_Breaks(story, after), tmp_path))
    asyncio.run(archive(story, tmp_path))
    assert _everything(ArchiveReader(tmp_path)) == _everything(story)
    assert verify_archive(tmp_path) == ()


def test_a_days_records_lie_in_a_folder_of_that_day(tmp_path: Path) -> None:
    records = [
        Record(Position("incidents", 0, n), b"shop", b"{}", (), EPOCH + n * DAY) for n in range(3)
    ]
    asyncio.run(archive(HeldLog({"incidents": 1}, records), tmp_path))
    days = sorted(path.parent.name for path in tmp_path.rglob("*.parquet"))
    assert days == ["2026-03-02", "2026-03-03", "2026-03-04"]


def test_a_clock_that_steps_back_over_midnight_changes_no_order(tmp_path: Path) -> None:
    midnight = EPOCH.replace(hour=0)
    times = [midnight - DAY / 2, midnight, midnight - timedelta(seconds=1), midnight]
    records = [
        Record(Position("incidents", 0, n), b"shop", None, (("a", b"\xff"), ("a", b"")), at)
        for n, at in enumerate(times)
    ]
    asyncio.run(archive(HeldLog({"incidents": 1}, records), tmp_path))
    assert list(_everything(ArchiveReader(tmp_path))) == records


def test_what_the_log_lost_before_it_was_archived_is_said(tmp_path: Path) -> None:
    records = [Record(Position("incidents", 0, n), b"k", b"v", (), EPOCH) for n in range(10)]
    asyncio.run(archive(HeldLog({"incidents": 1}, records[:3]), tmp_path))
    done = asyncio.run(archive(HeldLog({"incidents": 1}, records[6:]), tmp_path))
    assert [(gap.first, gap.end) for gap in done.gaps] == [(3, 6)]
    assert read_manifest(tmp_path).gaps == done.gaps
    offsets = [r.position.offset for r in _everything(ArchiveReader(tmp_path))]
    assert offsets == [0, 1, 2, 6, 7, 8, 9]


def test_a_log_of_other_partitions_is_refused(folder: Path) -> None:
    with pytest.raises(BadArchive, match="1 partitions, and 2 in the archive"):
        asyncio.run(archive(HeldLog({"incidents": 1}), folder))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _first(folder: Path) -> Path:
    return min(folder.glob("incidents/*/*.parquet"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: _flip(_first(folder)), "incidents/2026-03-02/000001.parquet is not what"),
        (lambda folder: _first(folder).unlink(), "000001.parquet is missing"),
        (
            lambda folder: shutil.copy(_first(folder), _first(folder).with_name("000009.parquet")),
            "000009.parquet belongs to no run",
        ),
        (lambda folder: _flip(folder / "manifest.json"), "manifest"),
        (lambda folder: (folder / "manifest.json").unlink(), "no archive"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(folder)
    problems = verify_archive(folder)
    assert len(problems) == 1
    assert says in problems[0]


def test_what_is_no_archive_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadArchive):
        ArchiveReader(tmp_path)


def test_any_tool_that_reads_parquet_reads_it(folder: Path) -> None:
    found = (
        duckdb.connect()
        .execute(
            f"SELECT type, count(*) FROM '{folder}/incidents/*/*.parquet' "  # noqa: S608 - a test
            "WHERE subject LIKE 'slow-%' AND type LIKE '%level_reached%' GROUP BY 1"
        )
        .fetchall()
    )
    assert found == [("tocsin.incidents.level_reached.v1", 4)]


def _ask(reader: Reader, question: str) -> list[tuple[object, ...]]:
    versions = asyncio.run(read_policies(reader))
    return list(asyncio.run(ask(reader, versions, question)).rows)


@pytest.mark.parametrize("archived", [False, True])
def test_questions_are_answered_from_the_log_and_from_an_archive(
    story: MemoryLog, folder: Path, *, archived: bool
) -> None:
    reader = ArchiveReader(folder) if archived else story
    assert _ask(reader, "SELECT count(*) FROM incidents") == [(3,)]
    assert _ask(
        reader,
        "SELECT worst, acknowledged_at - opened_at FROM incidents WHERE incident LIKE 'slow-%'",
    ) == [("critical", timedelta(minutes=12))]
    assert _ask(reader, "SELECT max(level) FROM levels WHERE incident LIKE 'slow-%'") == [(3,)]
    assert _ask(
        reader, "SELECT count(*) FROM pages WHERE incident LIKE 'slow-%' AND status='delivered'"
    ) == [(5,)]
    assert _ask(reader, "SELECT labels['severity'] FROM alerts WHERE name = 'Late'") == [
        ("critical",)
    ]
    assert _ask(
        reader, "SELECT outcome FROM updates WHERE incident LIKE 'slow-%' ORDER BY due_at"
    ) == [
        ("missed",),
        ("in time",),
        ("missed",),
    ]
    assert _ask(reader, "SELECT DISTINCT fact->>'severity' FROM facts WHERE type LIKE '%opened%'")


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY incidents TO 'stolen.csv'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SELECT nonsense",
        "",
    ],
)
def test_a_question_reaches_nothing_but_its_tables(
    story: MemoryLog, question: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if question:
        with pytest.raises(Refused):
            _ask(story, question)
    else:
        assert _ask(story, question) == []
    assert list(tmp_path.iterdir()) == []


def test_an_archive_keeps_every_byte(tmp_path: Path) -> None:
    whole = bytes(range(256))
    record = Record(Position("alerts.raw", 1, 7), whole, whole, (("h", whole),), EPOCH)
    records = [record, replace(record, position=Position("alerts.raw", 1, 8), key=None, headers=())]
    asyncio.run(archive(HeldLog({"alerts.raw": 3}, records), tmp_path))
    assert list(_everything(ArchiveReader(tmp_path))) == records
