"""Whether this process may still write for the partitions it was given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.records import Outgoing, Position
from tocsin_runtime.telemetry import counter

log = structlog.get_logger()

LOOK_EVERY = timedelta(milliseconds=50)
"""Pause between looks while it is not certain that the group still counts on us."""

_over = counter("tocsin_tenures_over", "Writes given up: the group had given the partitions away")


class TenureOver(RuntimeError):
    """Somebody else owns what this was decided for; what is held here is out of date."""


class Tenure:
    """What a process knows of its membership in a consumer group.

    The group gives our partitions away `session` after the last heartbeat it took; we count from
    when we sent it, and so are never later to doubt than the group is to act. A process that was
    stopped in between (a machine that is moved, a debugger) finds that out before it writes.

    A heartbeat may be told of from another thread.

    Args:
        session: The group's session timeout.
    """

    def __init__(self, clock: Clock, session: timedelta) -> None:
        self._clock = clock
        self._session = session.total_seconds()
        self._asked_at = clock.monotonic()
        self._owns = False
        self._lost = False

    def asking(self) -> float:
        """When a sign of life is sent; for `heard`."""
        return self._clock.monotonic()

    def heard(self, asked_at: float) -> None:
        """The group took a sign of life that was sent then."""
        self._asked_at = max(self._asked_at, asked_at)

    def begin(self) -> None:
        """Partitions are ours from now on."""
        self._owns = True

    def revoked(self) -> None:
        """The group asks for partitions; or says, after a silence, that they are gone."""
        if self._owns and not self._current:
            self.lose()

    def lose(self) -> None:
        """Whatever was decided on what we held is decided by others now."""
        self._lost = self._owns

    def end(self, *, owns: bool) -> None:
        """What we lost is forgotten here; `owns` says whether anything is left."""
        self._owns = owns
        self._lost = False

    async def certain(self) -> None:
        """Return once it is certain that what we own is ours, which nearly always is at once.

        While the group has not answered for a session, nobody knows: it waits for an answer.

        Raises:
            TenureOver: It is not.
        """
        while True:
            if self._lost:
                _over.add(1)
                raise TenureOver("the group gave the partitions away; begin again from the log")
            if not self._owns or self._current:
                return
            await self._clock.sleep(LOOK_EVERY)

    @property
    def _current(self) -> bool:
        return self._clock.monotonic() - self._asked_at <= self._session


class TenuredPublisher:
    """A `Publisher` that writes nothing for a process whose partitions others own.

    What it refuses must not be tried again: it was decided on a state that is out of date. So the
    refusal ends the process, and its successor begins from the log.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.tenures: list[Tenure] = []

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        """As the publisher behind it.

        Raises:
            TenureOver: The partitions are others' by now.
        """
        for tenure in self.tenures:
            await tenure.certain()
        return await self._publisher.publish(records)
