"""What happens to a batch: the one consume loop of both engines.

An engine fetches, this decides. The table of outcomes:

| the handler             | the loop                                                          |
|-------------------------|-------------------------------------------------------------------|
| returns                 | the engine commits                                                |
| raises `Poison`         | dead-letter, await the acknowledgement, go on with the next       |
| raises `Transient`      | nothing is committed; the same records come again after a back-off |
| overruns its budget     | as `Transient`                                                    |
| raises anything else    | logged once; `HandlerCrashed` ends the process without a commit   |
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Clock, Handler
from tocsin_runtime.records import Record
from tocsin_runtime.telemetry import counter, seconds, working_on

log = structlog.get_logger()

EXIT_CODE = 70
"""A process that met a bug ends with this (EX_SOFTWARE); its supervisor starts it again."""

DeadLetter = Callable[[Record, Poison], Awaitable[None]]

_handled = counter("tocsin_consumed_records", "Records handled, by topic")
_poisoned = counter("tocsin_poison_records", "Records dead-lettered, by reason")
_retried = counter("tocsin_handler_retries", "Batches put back, by reason")
_crashed = counter("tocsin_handler_crashes", "Handlers that met a bug")
_full = counter("tocsin_full_batches", "Batches that reached max_batch: more was waiting")
_took = seconds("tocsin_batch_duration", "From handing over a batch to its last acknowledgement")


class HandlerCrashed(RuntimeError):
    """A handler met a bug; nothing of its batch is committed. The bug is the `__cause__`."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """How long and how much.

    Attributes:
        max_batch: Most records handed over at once.
        max_bytes: Bytes of values after which a batch is full: a record may hold hundreds of
            alerts, and what is urgent waits for the batch in hand.
        handler: Longest one call of the handler may take.
        assigned: Longest a restore may take.
        drain: Longest a rebalance waits for the batch in hand; less than the session timeout.
        first_back_off: Wait after the first `Transient`; it doubles.
        longest_back_off: Where it stops doubling.
    """

    max_batch: int = 256
    max_bytes: int = 128 * 1024
    handler: timedelta = timedelta(seconds=30)
    assigned: timedelta = timedelta(minutes=10)
    drain: timedelta = timedelta(seconds=15)
    first_back_off: timedelta = timedelta(milliseconds=100)
    longest_back_off: timedelta = timedelta(seconds=10)


class Batch:
    """Records in hand: what is still to be handled, in order, and what may be committed."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._parts: deque[Sequence[Record]] = deque([records] if records else [])
        self._ends: dict[tuple[str, int], int] = {}
        self._retries = 0

    @property
    def left(self) -> bool:
        """Whether anything is still to be handled."""
        return bool(self._parts)

    def take_ends(self) -> Mapping[tuple[str, int], int]:
        """Offset to commit (last handled + 1) by topic and partition, since this was last asked."""
        ends, self._ends = self._ends, {}
        return ends

    def starts(self) -> Mapping[tuple[str, int], int]:
        """First offset not handled, by topic and partition."""
        starts: dict[tuple[str, int], int] = {}
        for part in self._parts:
            for record in part:
                topic, partition, offset = record.position
                starts.setdefault((topic, partition), offset)
        return starts

    def part(self) -> Sequence[Record]:
        """What to hand over next."""
        return self._parts[0]

    def done(self) -> None:
        """What was handed over is handled or set aside."""
        for record in self._parts.popleft():
            topic, partition, offset = record.position
            self._ends[topic, partition] = offset + 1
        self._retries = 0

    def isolate(self) -> None:
        """Hand over what was handed over again, one record at a time."""
        self._parts.extendleft([record] for record in reversed(self._parts.popleft()))

    def back_off(self, error: Transient, budgets: Budgets) -> timedelta:
        """How long to wait before the next attempt."""
        wait: timedelta = min(
            budgets.first_back_off * (1 << min(self._retries, 20)), budgets.longest_back_off
        )
        self._retries += 1
        return max(wait, min(error.retry_after or wait, budgets.longest_back_off))


class Consuming:
    """Hands batches to a handler and deals with what comes of it."""

    def __init__(
        self, handler: Handler, dead_letter: DeadLetter, clock: Clock, budgets: Budgets
    ) -> None:
        self.budgets = budgets
        self._handler = handler
        self._dead_letter = dead_letter
        self._clock = clock
        self.returned_at = clock.monotonic()
        """When a call of the handler last came back, whatever came of it."""

    async def attempt(self, batch: Batch) -> timedelta | None:
        """`None` when the whole batch is handled, else how long to wait before the next attempt.

        What `batch.take_ends` says may be committed either way.

        Raises:
            HandlerCrashed: A bug; `batch.take_ends` may still be committed, nothing beyond.
        """
        while batch.left:
            try:
                await self._hand_over(batch)
            except Transient as error:
                wait = batch.back_off(error, self.budgets)
                _retried.add(1, {"reason": error.reason})
                log.warning(
                    "batch.put_back",
                    reason=error.reason,
                    records=len(batch.part()),
                    first=batch.part()[0].position,
                    wait=wait.total_seconds(),
                )
                return wait
        return None

    async def _hand_over(self, batch: Batch) -> None:
        part = batch.part()
        started = self._clock.monotonic()
        if len(part) >= self.budgets.max_batch:
            _full.add(1)
        try:
            with working_on("batch.handle", part):
                await self._within(self.budgets.handler, self._handler.handle(part))
        except Poison as error:
            if len(part) > 1:
                # Handlers are idempotent, so handling the innocent again costs only time.
                batch.isolate()
                return
            await self._within(self.budgets.handler, self._dead_letter(part[0], error))
            _poisoned.add(1, {"topic": part[0].position.topic, "reason": error.reason})
            log.warning(
                "record.dead_lettered",
                reason=error.reason,
                detail=error.detail,
                position=part[0].position,
            )
        _took.record(self._clock.monotonic() - started)
        for topic, count in _by_topic(part).items():
            _handled.add(count, {"topic": topic})
        batch.done()

    async def assigned(self, partitions: frozenset[int]) -> timedelta | None:
        """Restore partitions; `None` when done, else how long to wait before trying again."""
        try:
            await self._within(self.budgets.assigned, self._handler.assigned(partitions))
        except Transient as error:
            _retried.add(1, {"reason": error.reason})
            log.warning("restore.put_back", reason=error.reason, partitions=sorted(partitions))
            return error.retry_after or self.budgets.first_back_off * 10
        log.info("partitions.assigned", partitions=sorted(partitions))
        return None

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Have the handler forget partitions."""
        await self._within(self.budgets.drain, self._handler.revoked(partitions))
        log.info("partitions.revoked", partitions=sorted(partitions))

    async def _within(self, budget: timedelta, work: Awaitable[None]) -> None:
        """The only broad `except` of the tree: a bug ends the process, whatever it is."""
        try:
            async with asyncio.timeout(budget.total_seconds()) as limit:
                await work
        except (Poison, Transient):
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                raise Transient("handler_overran") from error
            _crashed.add(1)
            log.exception("handler.crashed")
            raise HandlerCrashed(f"{type(error).__name__}: {error}") from error
        finally:
            self.returned_at = self._clock.monotonic()


def _by_topic(records: Iterable[Record]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in records:
        topic = record.position.topic
        counts[topic] = counts.get(topic, 0) + 1
    return counts
