"""What a service needs from outside, as Protocols.

Services and tests depend on these; `adapters/` (Kafka, the clock) and `tocsin_testkit`
(`MemoryLog`, `ManualClock`) stand behind them and pass one conformance suite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from tocsin_runtime.records import Outgoing, Position, Record


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Return after `duration` (at once if it is not positive)."""
        ...


class Publisher(Protocol):
    """Writes to the log."""

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        """Where each record now stands, once the broker has acknowledged all of them (acks=all).

        Records of one partition keep their order.

        Raises:
            Transient: The outcome of at least one record is unknown; publish all again
                (ids are derived, so a repeat is harmless).
        """
        ...


class Reader(Protocol):
    """Reads the log outside any consumer group: for restore, replay and people."""

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises `LookupError` if there is no such topic."""
        ...

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First available offset and the end offset (one past the last record)."""
        ...

    def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        """Records of `[start, end)` in order; with `end=None`, follow for ever."""
        ...


class Handler(Protocol):
    """A service's use cases, called by an engine; one call at a time.

    `assigned` is awaited before any record of those partitions is handed over, `revoked` after
    the last one. The engine commits the batch's offsets only after `handle` returns, so `handle`
    returns only when every outgoing record is acknowledged.
    """

    async def assigned(self, partitions: frozenset[int]) -> None:
        """These partition numbers (of every subscribed topic alike) are ours: restore them."""
        ...

    async def revoked(self, partitions: frozenset[int]) -> None:
        """They are ours no longer: forget them and stop acting for them."""
        ...

    async def handle(self, batch: Sequence[Record]) -> None:
        """Handle records, in order per partition; lanes come in the order of subscription.

        Raises:
            Poison: via `dead` below is the only way to refuse a record; raising it refuses the
                whole batch of one.
            Transient: The world is briefly unwell; the batch comes again after a back-off.
            Exception: A bug: the process exits without committing.
        """
        ...


class Engine(Protocol):
    """Consumes topics in a consumer group and feeds a `Handler`.

    Topics are lanes: records of an earlier topic are handed over before those of a later one.
    All topics have the same partition count, and one instance owns partition N of every topic.
    """

    async def run(self) -> None:
        """Consume until `stop`; raise `HandlerCrashed` if the handler met a bug."""
        ...

    async def stop(self) -> None:
        """Finish the batch in hand, commit, leave the group; bounded by the stop budget."""
        ...

    def progress(self) -> Mapping[str, float]:
        """Seconds since the last poll and the last finished batch, for `/healthz`."""
        ...
