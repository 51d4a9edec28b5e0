"""What is looked up seldom and would be much to hold: in memory while it is little, else on disk.

What a history comes to grows with its length. So that what is held does not, it is put on a shelf.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import mkdtemp, mkstemp
from typing import Any

MOST_HELD_BYTES = 8 << 20
"""Bytes of a shelf that are kept in memory; with more of them all go to a file."""

_MOST_ASKED = 500
"""Names of one question: SQLite takes a thousand."""


class Scratch:
    """A folder in the system's temporary one, made when it is needed; it goes with this object.

    Handed to another process once it is made, it is the same folder, and stays when that process
    goes.
    """

    def __init__(self) -> None:
        self._path: Path | None = None

    def make(self) -> Path:
        """The folder, made if it is not there yet."""
        if self._path is None:
            self._path = Path(mkdtemp(prefix="tocsin-what-if-"))
            weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        return self._path

    def file(self) -> Path:
        """A new file in it."""
        handle, name = mkstemp(dir=self.make())
        os.close(handle)
        return Path(name)

    def __getstate__(self) -> dict[str, Path | None]:
        return {"_path": self._path}


class Shelf:
    """Bytes by name. One thread of one process writes; whoever it is handed to only reads.

    >>> shelf = Shelf(most_held=3)
    >>> shelf.put("a", b"one"), shelf.put("b", b"two"), shelf.put("a", b"three")
    (None, None, None)
    >>> shelf.get("a"), shelf.get("c"), list(shelf.find(["b", "a", "c"]))
    (b'three', None, [b'two', b'three'])
    """

    def __init__(self, scratch: Scratch | None = None, most_held: int | None = None) -> None:
        self._scratch = scratch or Scratch()
        self._most_held = MOST_HELD_BYTES if most_held is None else most_held
        self._held: dict[str, bytes] = {}
        self._bytes = 0
        self._path: Path | None = None
        self._file: sqlite3.Connection | None = None

    def put(self, name: str, value: bytes) -> None:
        """Keep a value, in the place of an older one of this name."""
        if self._path is not None:
            self._opened().execute("INSERT OR REPLACE INTO shelf VALUES (?, ?)", (name, value))
            return
        self._bytes += len(value) - len(self._held.get(name, b""))
        self._held[name] = value
        if self._bytes > self._most_held:
            self._path = self._scratch.file()
            file = self._opened()
            file.execute("CREATE TABLE shelf (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
            file.execute("BEGIN")
            file.executemany("INSERT INTO shelf VALUES (?, ?)", self._held.items())
            self._held.clear()

    def get(self, name: str) -> bytes | None:
        """What is kept under a name."""
        return next(self.find((name,)), None)

    def find(self, names: Iterable[str]) -> Iterator[bytes]:
        """What is kept under these names, each that there is, in the order of the names."""
        if self._path is None:
            for name in names if self._held else ():
                value = self._held.get(name)
                if value is not None:
                    yield value
            return
        asked = list(names)
        for first in range(0, len(asked), _MOST_ASKED):
            part = asked[first : first + _MOST_ASKED]
            places = ", ".join("?" * len(part))
            question = f"SELECT name, value FROM shelf WHERE name IN ({places})"  # noqa: S608 - marks
            found = dict(self._opened().execute(question, part).fetchall())
            yield from (found[name] for name in part if name in found)

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            # Nobody but us writes it, and nobody needs it after us: neither journal nor sync.
            self._file = sqlite3.connect(str(self._path), isolation_level=None)
            self._file.execute("PRAGMA journal_mode=OFF")
            self._file.execute("PRAGMA synchronous=OFF")
        return self._file

    def settle(self) -> None:
        """Nothing more is put here: from now on it may be handed to another process."""
        if self._file is not None and self._file.in_transaction:
            self._file.execute("COMMIT")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}
