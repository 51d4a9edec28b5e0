"""An archive: topics as Parquet by day, with a manifest of offsets and hashes.

It outlives what Kafka keeps, is read where there is no cluster, and any tool that reads Parquet
reads it. One folder:

    manifest.json                         which file holds which offsets, and its SHA-256
    incidents/2026-03-02/000001.parquet   rows in the order of partition and offset

Only what the manifest names belongs to it. A file is complete before the manifest names it, so
whoever is interrupted goes on where the manifest ends.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tocsin_replay.gathering import EVERYTHING
from tocsin_replay.packing import EPOCH, MICROSECOND
from tocsin_replay.reading import Progress
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMAT = "tocsin-archive/1"
MANIFEST = "manifest.json"

MOST_RECORDS = 50_000
"""Of one file, and so held in memory at a time."""

MOST_BYTES = 128 * 1024 * 1024
"""Of the keys and values that are held in memory at a time."""

_FETCH = 2_000
_CHUNK = 1024 * 1024

_TABLE = (
    'CREATE TABLE rows (partition INTEGER, "offset" BIGINT, recorded_at TIMESTAMPTZ, '
    "key BLOB, value BLOB, headers STRUCT(name VARCHAR, value BLOB)[], "
    "type VARCHAR, subject VARCHAR)"
)
_INSERT = (
    "INSERT INTO rows SELECT unnest($1::INTEGER[]), unnest($2::BIGINT[]), "
    "unnest($3::TIMESTAMPTZ[]), unnest($4::BLOB[]), unnest($5::BLOB[]), "
    "unnest($6::STRUCT(name VARCHAR, value BLOB)[][]), unnest($7::VARCHAR[]), "
    "unnest($8::VARCHAR[])"
)


class BadArchive(ValueError):
    """The folder is no archive, or its manifest is not as it was written."""


class Range(BaseModel):
    """Offsets of one partition: the first, one past the last, and how many there are."""

    model_config = ConfigDict(frozen=True)

    partition: int
    first: int
    end: int
    records: int


class File(BaseModel):
    """One file of the archive."""

    model_config = ConfigDict(frozen=True)

    path: str
    topic: str
    day: str
    sha256: str
    ranges: tuple[Range, ...]


class Gap(BaseModel):
    """Offsets that the log no longer had when the archive came to them."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: int
    first: int
    end: int


class Manifest(BaseModel):
    """What an archive holds.

    Attributes:
        topics: Partitions of each topic.
        ends: Where archiving goes on, by topic and partition.
        seal: SHA-256 of the rest, so that the manifest is checked as the files are.
    """

    model_config = ConfigDict(frozen=True)

    format: str = FORMAT
    topics: dict[str, int] = {}
    files: tuple[File, ...] = ()
    ends: dict[str, dict[int, int]] = {}
    gaps: tuple[Gap, ...] = ()
    seal: str = ""

    def sealed(self) -> Manifest:
        """The same with its seal."""
        return self.model_copy(update={"seal": self.expected_seal()})

    def expected_seal(self) -> str:
        """The seal it should have."""
        rest = self.model_dump(mode="json", exclude={"seal"})
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Archived:
    """What one run did."""

    files: int
    records: int
    gaps: tuple[Gap, ...]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an archive; that of an empty one where there is none yet.

    Raises:
        BadArchive: It is not as it was written.
    """
    path = folder / MANIFEST
    if not path.exists():
        return Manifest()
    try:
        found = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadArchive(f"{path} is no manifest: {error.errors()[0]['msg']}") from error
    if found.format != FORMAT:
        raise BadArchive(f"{path} is of format {found.format[:50]!r}, not {FORMAT}")
    if found.seal != found.expected_seal():
        raise BadArchive(f"{path} is not what was written")
    return found


async def archive(
    reader: Reader,
    folder: Path,
    topics: Sequence[str] = EVERYTHING,
    progress: Progress | None = None,
) -> Archived:
    """Add to an archive what the log has more than it.

    Raises:
        BadArchive: The folder holds something else, or a log of other partitions.
    """
    manifest = read_manifest(folder)
    run = _Run(folder, manifest)
    for topic in topics:
        try:
            width = await reader.partitions(topic)
        except LookupError:
            continue
        known = manifest.topics.get(topic, width)
        if known != width:
            raise BadArchive(f"{topic} has {width} partitions, and {known} in the archive")
        run.widths[topic] = width
        for partition in range(width):
            await _archive_partition(reader, run, topic, partition, progress)
        run.flush_all()
    run.save()
    return Archived(run.written, run.records, tuple(run.gaps))


async def _archive_partition(
    reader: Reader, run: _Run, topic: str, partition: int, progress: Progress | None
) -> None:
    start, end = await reader.bounds(topic, partition)
    reached = run.ends.get(topic, {}).get(partition)
    if reached is not None and start > reached:
        run.gaps.append(Gap(topic=topic, partition=partition, first=reached, end=start))
    async for record in reader.read(topic, partition, max(start, reached or 0), end):
        if progress is not None:
            progress(1)
        run.take(record)
    run.reached(topic, partition, end)


@dataclass(slots=True)
class _Run:
    """What is held until a file is full: for each day its rows, of one topic at a time."""

    folder: Path
    manifest: Manifest
    widths: dict[str, int] = field(default_factory=dict)
    ends: dict[str, dict[int, int]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    written: int = 0
    records: int = 0
    _held: dict[tuple[str, str], list[Record]] = field(default_factory=dict)
    _count: int = 0
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.widths = dict(self.manifest.topics)
        self.ends = {topic: dict(ends) for topic, ends in self.manifest.ends.items()}

    def take(self, record: Record) -> None:
        day = record.recorded_at.astimezone(UTC).strftime("%Y-%m-%d")
        self._held.setdefault((record.position.topic, day), []).append(record)
        self._count += 1
        self._bytes += len(record.value or b"") + len(record.key or b"")
        self.reached(record.position.topic, record.position.partition, record.position.offset + 1)
        if self._count >= MOST_RECORDS or self._bytes >= MOST_BYTES:
            self.flush_all()

    def reached(self, topic: str, partition: int, end: int) -> None:
        held = self.ends.setdefault(topic, {})
        held[partition] = max(end, held.get(partition, 0))

    def flush_all(self) -> None:
        files = [
            self._flush(topic, day, records) for (topic, day), records in sorted(self._held.items())
        ]
        self._held.clear()
        self._count = self._bytes = 0
        if files:
            self.manifest = self.manifest.model_copy(
                update={"files": (*self.manifest.files, *files)}
            )
            self.save()

    def _flush(self, topic: str, day: str, records: list[Record]) -> File:
        place = self.folder / topic / day
        place.mkdir(parents=True, exist_ok=True)
        taken = {file.path for file in self.manifest.files}
        number = 1
        while f"{topic}/{day}/{number:06}.parquet" in taken:
            number += 1
        path = place / f"{number:06}.parquet"
        # What a run that was interrupted left behind under this name, nobody counts on.
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        _write(partial, records)
        _synced(partial)
        partial.replace(path)
        self.written += 1
        self.records += len(records)
        return File(
            path=f"{topic}/{day}/{path.name}",
            topic=topic,
            day=day,
            sha256=_digest(path),
            ranges=tuple(_ranges(records)),
        )

    def save(self) -> None:
        """Write the manifest whole, or leave the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = [gap for gap in self.gaps if gap not in self.manifest.gaps]
        update = {
            "topics": self.widths,
            "ends": self.ends,
            "gaps": (*self.manifest.gaps, *found),
        }
        self.manifest = self.manifest.model_copy(update=update).sealed()
        partial = self.folder / f"{MANIFEST}.partial"
        partial.write_text(self.manifest.model_dump_json(indent=1), encoding="utf-8")
        _synced(partial)
        partial.replace(self.folder / MANIFEST)


def _synced(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ranges(records: Iterable[Record]) -> Iterable[Range]:
    held: dict[int, list[int]] = {}
    for record in records:
        held.setdefault(record.position.partition, []).append(record.position.offset)
    for partition, offsets in sorted(held.items()):
        yield Range(
            partition=partition,
            first=min(offsets),
            end=max(offsets) + 1,
            records=len(offsets),
        )


def connect() -> DuckDBPyConnection:
    """A database in memory that loads nothing from anywhere.

    Raises:
        ModuleNotFoundError: DuckDB is not installed; the message says how to have it.
    """
    try:
        import duckdb  # noqa: PLC0415 - an extra that only archives need
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "archives need DuckDB: install tocsin-cli[archive]", name="duckdb"
        ) from error
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone='UTC'")
    connection.execute("SET autoinstall_known_extensions=false")
    connection.execute("SET autoload_known_extensions=false")
    return connection


def quoted(path: Path) -> str:
    """A path as a literal of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _write(path: Path, records: list[Record]) -> None:
    records.sort(key=lambda record: record.position)
    with connect() as connection:
        connection.execute(_TABLE)
        connection.execute(_INSERT, _columns(records))
        # The rows stand in order already; DuckDB keeps the order in which they were put in.
        connection.execute(f"COPY rows TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd)")


def _columns(records: Sequence[Record]) -> list[Any]:
    return [
        [record.position.partition for record in records],
        [record.position.offset for record in records],
        [record.recorded_at for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [[{"name": name, "value": value} for name, value in r.headers] for r in records],
        [_text(record, "ce_type") for record in records],
        [_text(record, "ce_subject") for record in records],
    ]


def _text(record: Record, header: str) -> str | None:
    raw = record.header(header)
    return None if raw is None else raw.decode(errors="replace")


class ArchiveReader:
    """A `Reader` of an archive.

    Raises:
        BadArchive: There is no archive here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = read_manifest(folder)
        if not self.manifest.topics:
            raise BadArchive(f"{folder} is no archive: it has no {MANIFEST}")
        self._connection = connect()
        self._whole: set[str] = set()
        self._files: dict[tuple[str, int], list[tuple[Range, File]]] = {}
        for file in self.manifest.files:
            for held in file.ranges:
                self._files.setdefault((file.topic, held.partition), []).append((held, file))
        for files in self._files.values():
            files.sort(key=lambda pair: pair[0].first)

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises `LookupError` if the archive has none."""
        try:
            return self.manifest.topics[topic]
        except KeyError:
            raise LookupError(f"the archive holds nothing of topic {topic!r}") from None

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset held and where the archive ends."""
        files = self._files.get((topic, partition), [])
        end = self.manifest.ends.get(topic, {}).get(partition, 0)
        return (files[0][0].first if files else end), end

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        """Records of `[start, end)` in order.

        Raises:
            ValueError: `end` is absent; an archive cannot be followed.
            BadArchive: A file it would be read from is missing, or not as it was written.
        """
        if end is None:
            raise ValueError("an archive has an end; it cannot be followed")
        wanted = [
            (held, file)
            for held, file in self._files.get((topic, partition), [])
            if held.first < end and held.end > start
        ]
        for _, file in wanted:
            self._check(file)
        for files in _overlapping(wanted):
            async for record in self._sorted(topic, partition, start, end, files):
                yield record

    async def _sorted(
        self, topic: str, partition: int, start: int, end: int, files: Sequence[File]
    ) -> AsyncIterator[Record]:
        names = [str(self._folder / file.path) for file in files]
        cursor = self._connection.cursor()
        query = (
            'SELECT "offset", epoch_us(recorded_at), key, value, '
            "[one.name for one in headers], [one.value for one in headers] "
            "FROM read_parquet($4) "
            'WHERE partition = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset"'
        )
        cursor.execute(query, [partition, start, end, names])
        while rows := cursor.fetchmany(_FETCH):
            for offset, at, key, value, names, values in rows:
                headers = tuple(zip(names, values, strict=True))
                recorded_at = EPOCH + at * MICROSECOND
                yield Record(Position(topic, partition, offset), key, value, headers, recorded_at)

    def _check(self, file: File) -> None:
        """Nothing is told from a file that is not as it was written; each is looked at once."""
        if file.path in self._whole:
            return
        path = self._folder / file.path
        if not path.exists():
            raise BadArchive(f"{file.path} is missing")
        if _digest(path) != file.sha256:
            raise BadArchive(f"{file.path} is not what was written")
        self._whole.add(file.path)


def _overlapping(held: Iterable[tuple[Range, File]]) -> Iterator[list[File]]:
    """Files whose offsets must be sorted together, a few at a time: to sort is to hold them all.

    Offsets of one partition lie in several days' files when a clock stepped back at midnight.
    """
    together: list[File] = []
    end = 0
    for place, file in held:
        if together and place.first >= end:
            yield together
            together = []
        together.append(file)
        end = max(end, place.end)
    if together:
        yield together


def verify_archive(folder: Path, progress: Progress | None = None) -> tuple[str, ...]:
    """What is wrong with an archive, one sentence each; nothing for one that is whole.

    Every file is there and has its hash, no offset is in two files, and nothing that Kafka still
    had is missing between them.
    """
    try:
        manifest = read_manifest(folder)
    except BadArchive as error:
        return (str(error),)
    if not manifest.topics:
        return (f"{folder} is no archive: it has no {MANIFEST}",)
    found = []
    for file in manifest.files:
        path = folder / file.path
        if not path.exists():
            found.append(f"{file.path} is missing")
        elif _digest(path) != file.sha256:
            found.append(f"{file.path} is not what was written")
        if progress is not None:
            progress(sum(held.records for held in file.ranges))
    named = {file.path for file in manifest.files}
    for stray in sorted(folder.glob("*/*/*.parquet")):
        name = stray.relative_to(folder).as_posix()
        if name not in named:
            found.append(f"{name} belongs to no run that was finished")
    return tuple(found)
