"""The loop both engines run: orders of the group between batches, back-pressure, progress."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from tocsin_runtime.consuming import Batch, Budgets, Consuming, DeadLetter
from tocsin_runtime.ports import Clock, Handler
from tocsin_runtime.records import Record
from tocsin_runtime.tenure import Tenure

log = structlog.get_logger()

POLL = timedelta(milliseconds=100)
"""Longest a fetch waits, and so how late a rebalance or a stop is noticed at rest."""

COMMIT_EVERY = timedelta(milliseconds=100)
"""Pause between commits at least. A commit costs more than handling a record; what is not committed
when a process dies is handled again, which every handler bears."""

Ends = Mapping[tuple[str, int], int]
"""An offset by topic and partition."""


@dataclass(slots=True)
class _Order:
    """What the group told us, to be carried out between batches."""

    assign: bool
    partitions: frozenset[int]
    done: asyncio.Event = field(default_factory=asyncio.Event)


class ConsumeLoop(ABC):
    """An `Engine`, but for how records are fetched and offsets committed.

    Rebalances are queued and carried out by the loop itself, between batches: a handler sees one
    call at a time, and what it raises reaches `run` (libraries swallow what a listener raises).

    Args:
        tenure: Told of what the group gives and takes; whoever writes for what is owned asks it.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        dead_letter: DeadLetter,
        clock: Clock,
        budgets: Budgets | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        self.budgets = budgets or Budgets()
        self._tenure = tenure or Tenure(clock, 2 * self.budgets.drain)
        self._consuming = Consuming(handler, dead_letter, clock, self.budgets)
        self._clock = clock
        self._orders: deque[_Order] = deque()
        self._woken = asyncio.Event()
        self._given: frozenset[int] = frozenset()
        self._owned: frozenset[int] = frozenset()
        self._settled = False
        self._started = False
        self._stopping = False
        self._ended = asyncio.Event()
        self._turned_at = clock.monotonic()
        self._batch_since: float | None = None
        self._ends: dict[tuple[str, int], int] = {}
        self._committed_at = self._turned_at

    async def run(self) -> None:
        """Consume until `stop`; raise `HandlerCrashed` if the handler met a bug."""
        self._started = True
        try:
            await self._open()
            while not self._stopping:
                self._turned_at = self._clock.monotonic()
                await self._commit_handled(at_once=bool(self._orders))
                if self._orders:
                    order = self._orders.popleft()
                    await self._carry_out(order)
                    order.done.set()
                elif not self._owned:
                    await self._keep_alive()
                    await self._nap(POLL)
                elif records := await self._fetch(self._owned, self.budgets.max_batch):
                    await self._handle(Batch(records))
            await self._commit_handled(at_once=True)
            await self._forget(self._given)
        finally:
            self._stopping = True
            self._owned = frozenset()
            for order in self._orders:
                order.done.set()
            await self._close()
            self._ended.set()

    async def stop(self) -> None:
        """Finish the batch in hand, commit, leave the group; the caller bounds the wait."""
        self._stopping = True
        self._woken.set()
        if self._started:
            await self._ended.wait()

    def progress(self) -> Mapping[str, float]:
        """Seconds since the last turn of the loop, and for how long the batch in hand has been."""
        now = self._clock.monotonic()
        since = self._batch_since
        return {
            "poll": now - max(self._turned_at, self._consuming.returned_at),
            "batch": 0.0 if since is None else now - since,
            # A member that was given nothing stands by, and that is all it can do.
            "ready": float(self._settled),
        }

    async def _group_revoked(self, partitions: frozenset[int]) -> None:
        """Have the loop finish its batch and forget; bounded, for the group waits for us."""
        self._tenure.revoked()
        if not partitions or self._stopping:
            return
        order = _Order(assign=False, partitions=partitions)
        self._orders.append(order)
        self._woken.set()
        try:
            async with asyncio.timeout(self.budgets.drain.total_seconds()):
                await order.done.wait()
        except TimeoutError:
            # The next owner handles the batch in hand again; our commit of it will be refused,
            # and nothing more of it is written.
            self._tenure.lose()
            log.warning("rebalance.not_awaited", partitions=sorted(partitions))

    def _group_assigned(self, partitions: frozenset[int]) -> None:
        """Have the loop restore; nobody waits, so that a long restore stops no heartbeat."""
        self._tenure.heard(self._tenure.asking())
        self._orders.append(_Order(assign=True, partitions=partitions))
        self._woken.set()

    async def _carry_out(self, order: _Order) -> None:
        if not order.assign:
            await self._forget(self._given & order.partitions)
            return
        self._given |= order.partitions
        if order.partitions:
            self._tenure.begin()
        if order.partitions and not await self._restored(order.partitions):
            return
        self._owned = order.partitions
        self._settled = True

    async def _restored(self, partitions: frozenset[int]) -> bool:
        """Have the handler restore; `False` if a rebalance or a stop called it off.

        A restore may take longer than a rebalance or a stop may wait, and what it has read so far
        is worth nothing to anybody else. While it runs within its budget it counts as progress.
        """
        while True:
            restoring = asyncio.create_task(self._consuming.assigned(partitions))
            restoring.add_done_callback(lambda _: self._woken.set())
            try:
                while not restoring.done():
                    self._turned_at = self._clock.monotonic()
                    if self._stopping or self._orders:
                        return False
                    await self._nap(POLL)
            finally:
                if restoring.cancel():
                    await asyncio.wait({restoring})
            wait = restoring.result()
            if wait is None:
                return True
            if not await self._wait(wait):
                return False

    async def _forget(self, partitions: frozenset[int]) -> None:
        self._settled = False
        self._owned -= partitions
        self._given -= partitions
        if partitions:
            await self._consuming.revoked(partitions)
        self._tenure.end(owns=bool(self._given))

    async def _handle(self, batch: Batch) -> None:
        self._batch_since = self._clock.monotonic()
        whole = False
        try:
            while batch.left:
                wait = await self._consuming.attempt(batch)
                if wait is not None and not await self._wait(wait):
                    self._put_back(batch.starts())
                    return
            whole = True
        finally:
            self._ends.update(batch.take_ends())
            self._batch_since = None
            if not whole:
                # Also on a crash: what came before the bug is handled.
                await self._commit_handled(at_once=True)

    async def _commit_handled(self, *, at_once: bool) -> None:
        """Commit what was handled, if it is time or must be."""
        now = self._clock.monotonic()
        if not self._ends or not (
            at_once or now - self._committed_at >= COMMIT_EVERY.total_seconds()
        ):
            return
        ends, self._ends = self._ends, {}
        self._committed_at = now
        await self._commit(ends)

    async def _wait(self, wait: timedelta) -> bool:
        """Wait with back-pressure; `False` if a rebalance or a stop came between."""
        until = self._clock.monotonic() + wait.total_seconds()
        while (left := until - self._clock.monotonic()) > 0:
            self._turned_at = self._clock.monotonic()
            await self._nap(timedelta(seconds=min(left, 1.0)))
            if self._stopping or self._orders:
                return False
            await self._keep_alive()
        return True

    async def _nap(self, longest: timedelta) -> None:
        """Wait for an order, a stop, or so long."""
        self._woken.clear()
        if self._orders or self._stopping:
            return
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self._woken.wait()
        except TimeoutError:
            return

    @abstractmethod
    async def _open(self) -> None:
        """Connect and join the group."""

    @abstractmethod
    async def _close(self) -> None:
        """Leave the group and disconnect; nothing is committed."""

    @abstractmethod
    async def _fetch(self, owned: frozenset[int], room: int) -> list[Record]:
        """What has arrived, urgent lanes first, at most `room`; waits `POLL` if nothing has."""

    @abstractmethod
    async def _commit(self, ends: Ends) -> None:
        """Commit; a refusal is logged, since the partition's next owner handles it again."""

    @abstractmethod
    def _put_back(self, starts: Ends) -> None:
        """Have these handed over again, if the partition stays ours."""

    @abstractmethod
    async def _keep_alive(self) -> None:
        """Tell the group that we live although we fetch nothing."""
