"""Where in a partition an instant is, without reading up to it where the log can tell."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

from tocsin_runtime.ports import Reader


@runtime_checkable
class Timed(Protocol):
    """A reader that finds an instant without reading up to it."""

    async def offset_since(self, topic: str, partition: int, at: datetime) -> int:
        """Offset of the first record at or after an instant; the end if there is none."""
        ...


async def span(
    reader: Reader, topic: str, partition: int, since: datetime | None
) -> tuple[int, int]:
    """The offsets to read for all that was recorded since an instant, and maybe some before."""
    start, end = await reader.bounds(topic, partition)
    if since is not None and start < end and isinstance(reader, Timed):
        start = max(start, min(end, await reader.offset_since(topic, partition, since)))
    return start, end
