"""`tocsin audit` as an invariant: what it says of a run's log, and of a running cluster's."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from tocsin_contracts import registry
from tocsin_replay.auditing import Audited, audit
from tocsin_replay.held import HeldLog
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import System

T = TypeVar("T")

LATENESS = timedelta(minutes=10)
"""On a bad day Kafka is away, processes are paused, and levels are told late, once."""


LATE_AT_ONCE = timedelta(seconds=30)
PATIENCE = timedelta(seconds=60)
BETWEEN = timedelta(seconds=1)


class _Whole(HeldLog):
    """A log of which nothing was ever deleted, though its first offset need not be 0."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        _, end = await super().bounds(topic, partition)
        return 0, end


def unaudited(system: System) -> list[str]:
    """What the audit finds in the log of a settled system, as sentences."""
    topics = [topic.name for topic in registry.TOPICS]
    log = _Whole(
        {topic: system.log.width(topic) for topic in topics},
        (record for topic in topics for record in system.log.records(topic)),
    )
    return said(_at_once(audit(log, until=system.clock.now(), lateness=LATENESS)))


async def audited_cluster(bootstrap: str, since: datetime) -> Audited:
    """The audit of a running cluster's log, once nothing in it is on its way any more.

    Nothing is spared for being young: it is asked again until all is accounted for, or until what
    is not has had `PATIENCE` to be.
    """
    clock = SystemClock()
    reader = KafkaReader(KafkaConnection(bootstrap, "tocsin-test-audit"))
    deadline = clock.monotonic() + PATIENCE.total_seconds()
    try:
        while True:
            audited = await audit(
                reader, since=since, until=clock.now(), grace=timedelta(), lateness=LATE_AT_ONCE
            )
            if audited.holds or clock.monotonic() > deadline:
                return audited
            await clock.sleep(BETWEEN)
    finally:
        await reader.stop()


def said(audited: Audited) -> list[str]:
    """Each finding as a sentence."""
    return [
        f"audit: {one.kind} {one.subject} {one.detail} ({one.at}, {one.position})"
        for one in audited.findings
    ]


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """What comes of work that never waits, whether or not an event loop is running."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("a log in memory made somebody wait")
