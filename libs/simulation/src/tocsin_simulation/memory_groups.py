"""Kafka's group coordinator in memory: members, generations, sessions, committed offsets.

Eager rebalancing as aiokafka does it: when a member comes or goes, everyone gives back what they
have and joins again, and a generation begins once all have joined or lost their session. A commit
of an old generation is refused; nothing stops its member from writing to the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from tocsin_simulation.loop import SimulatedLoop


class Standing(StrEnum):
    """What the coordinator tells a member that shows a sign of life."""

    STABLE = "stable"
    REBALANCING = "rebalancing"
    EXPELLED = "expelled"


class Assignment(NamedTuple):
    """What a member owns in one generation: these partitions of every subscribed topic."""

    generation: int
    partitions: frozenset[int]


@dataclass(slots=True)
class _Member:
    joining: asyncio.Future[Assignment] | None = None
    session: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class MemoryGroup:
    """One consumer group.

    Args:
        partitions: Partition count of the subscribed topics.
        session: How long a member may be silent.
        rebalance: How long a rebalance waits for members that are alive but busy.

    Attributes:
        generation: Grows with every rebalance.
        committed: Next offset to read, by topic and partition.
    """

    partitions: int
    session: timedelta = timedelta(seconds=10)
    rebalance: timedelta = timedelta(seconds=60)
    generation: int = 0
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    _members: dict[str, _Member] = field(default_factory=dict)
    _rebalancing: bool = False
    _deadline: asyncio.TimerHandle | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Who is in the group, in order of name."""
        return tuple(sorted(self._members))

    def join(self, name: str, answer: asyncio.Future[Assignment]) -> None:
        """Enter, or join again in a rebalance; `answer` is what the next generation assigns."""
        member = self._members.setdefault(name, _Member())
        member.joining = answer
        if member.session is not None:
            # Who waits for the others cannot be late; its session goes on with the generation.
            member.session.cancel()
        if not self._rebalancing:
            self._rebalancing = True
            self._deadline = _later(self.rebalance, self._drop_the_late)
        self._begin_if_complete()

    def leave(self, name: str) -> None:
        """Go; the others rebalance."""
        member = self._members.pop(name, None)
        if member is None:
            return
        if member.session is not None:
            member.session.cancel()
        if self._members and not self._rebalancing:
            self._rebalancing = True
            self._deadline = _later(self.rebalance, self._drop_the_late)
        self._begin_if_complete()

    def heartbeat(self, name: str, generation: int) -> Standing:
        """Show a sign of life and hear how things stand."""
        member = self._members.get(name)
        if member is None or generation != self.generation:
            return Standing.EXPELLED
        if member.joining is None:
            self._sign_of_life(name, member)
        return Standing.REBALANCING if self._rebalancing else Standing.STABLE

    def commit(self, name: str, generation: int, offsets: Mapping[tuple[str, int], int]) -> bool:
        """Store offsets; `False`, and nothing stored, if the member or its generation is gone."""
        if name not in self._members or generation != self.generation:
            return False
        self.committed.update(offsets)
        return True

    def _sign_of_life(self, name: str, member: _Member) -> None:
        if member.session is not None:
            member.session.cancel()
        member.session = _later(self.session, lambda: self.leave(name))

    def _drop_the_late(self) -> None:
        for name in [name for name, member in self._members.items() if member.joining is None]:
            self.leave(name)

    def _begin_if_complete(self) -> None:
        if not self._rebalancing or any(m.joining is None for m in self._members.values()):
            return
        self._rebalancing = False
        if self._deadline is not None:
            self._deadline.cancel()
        self.generation += 1
        names = self.members
        for index, name in enumerate(names):
            member = self._members[name]
            answer, member.joining = member.joining, None
            self._sign_of_life(name, member)
            owned = frozenset(range(index, self.partitions, len(names)))
            if answer is not None and not answer.done():
                answer.set_result(Assignment(self.generation, owned))


def _later(delay: timedelta, callback: Callable[[], None]) -> asyncio.TimerHandle:
    """Call back on the broker's behalf."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, SimulatedLoop):
        return loop.call_as(loop.world, delay.total_seconds(), callback)
    return loop.call_later(delay.total_seconds(), callback)
