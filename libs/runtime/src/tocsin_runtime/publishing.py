"""Publishing that does not give up at the first trouble."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog

from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock, Publisher
from tocsin_runtime.records import Outgoing, Position

log = structlog.get_logger()

ATTEMPTS = 8
_FIRST_WAIT = timedelta(milliseconds=100)
_LONGEST_WAIT = timedelta(seconds=10)


async def insist(
    publisher: Publisher, clock: Clock, records: Sequence[Outgoing]
) -> tuple[Position, ...]:
    """Where the records stand, after as many as `ATTEMPTS` tries (about 25 s of waiting).

    For facts that a service already counts on: to give up on them is to restart from the log,
    so the last failure is raised as a bug would be and ends the process.

    Raises:
        RuntimeError: Every attempt failed.
    """
    wait = _FIRST_WAIT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await publisher.publish(records)
        except Transient as error:
            if attempt == ATTEMPTS:
                raise RuntimeError(f"gave up publishing after {ATTEMPTS} attempts") from error
            log.warning("publish.retried", attempt=attempt, reason=error.reason)
        await clock.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT)
    raise AssertionError("unreachable")
