"""Where in a partition an instant is, without reading up to it where the log can tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol, runtime_checkable

from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Record


@runtime_checkable
class Timed(Protocol):
    """A reader that finds an instant without reading up to it."""

    async def offset_since(self, topic: str, partition: int, at: datetime) -> int:
        """Offset of the first record at or after an instant; the end if there is none."""
        ...


@runtime_checkable
class Seeking(Protocol):
    """A reader that passes over what is about others faster than it reads."""

    def read_about(
        self,
        topic: str,
        partition: int,
        start: int,
        end: int,
        subject: str,
        progress: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Record]:
        """Records of `[start, end)` that are about a subject, or do not say about which."""
        ...


async def span(
    reader: Reader, topic: str, partition: int, since: datetime | None
) -> tuple[int, int]:
    """The offsets to read for all that was recorded since an instant, and maybe some before."""
    start, end = await reader.bounds(topic, partition)
    if since is not None and start < end and isinstance(reader, Timed):
        start = max(start, min(end, await reader.offset_since(topic, partition, since)))
    return start, end
