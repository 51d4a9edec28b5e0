"""A worker process for the engine suite: handles records by writing them to an output topic.

Environment: BOOTSTRAP, GROUP, TOPICS (by comma), OUT, ENGINE, and DIE_AT: the number of the port
call before which the process kills itself with SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from datetime import timedelta

from tocsin_runtime.adapters.aiokafka_engine import AiokafkaEngine
from tocsin_runtime.adapters.faust_engine import FaustEngine
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.consuming import Budgets
from tocsin_runtime.dead_lettering import DeadLetters
from tocsin_runtime.records import Outgoing, Position, Record


class Mortal:
    """A publisher that ends the process before its Nth call, or between two of its awaits."""

    def __init__(self, inner: KafkaPublisher, die_at: int) -> None:
        self._inner = inner
        self._left = die_at

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        self.step()
        positions = await self._inner.publish(records)
        self.step()
        return positions


class Copying:
    """Copies every record, with who did it, in its partition. A `Handler`."""

    def __init__(self, publisher: Mortal, out: str) -> None:
        self._publisher = publisher
        self._out = out

    async def assigned(self, partitions: frozenset[int]) -> None:
        self._publisher.step()
        print("assigned", *sorted(partitions), flush=True)  # noqa: T201 - how the parent hears

    async def revoked(self, partitions: frozenset[int]) -> None:
        print("revoked", *sorted(partitions), flush=True)  # noqa: T201 - how the parent hears

    async def handle(self, batch: Sequence[Record]) -> None:
        for record in batch:
            await self._publisher.publish(
                [
                    Outgoing(
                        self._out,
                        record.key,
                        record.value,
                        (("by", str(os.getpid()).encode()),),
                        record.position.partition,
                    )
                ]
            )


async def main() -> None:
    environment = os.environ  # noqa: TID251 - a child process of a test, told by its parent
    clock = SystemClock()
    connection = KafkaConnection(environment["BOOTSTRAP"], "worker")
    publisher = KafkaPublisher(connection, clock)
    engine = {"aiokafka": AiokafkaEngine, "faust": FaustEngine}[environment["ENGINE"]](
        connection,
        environment["GROUP"],
        environment["TOPICS"].split(","),
        Copying(Mortal(publisher, int(environment.get("DIE_AT", "0"))), environment["OUT"]),
        dead_letter=DeadLetters(publisher, clock, "worker"),
        clock=clock,
        budgets=Budgets(max_batch=10, drain=timedelta(seconds=1)),
        session_timeout=timedelta(seconds=2),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    running = asyncio.create_task(engine.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await engine.stop()
    await running
    await publisher.stop()
    print("stopped", flush=True)  # noqa: T201 - how the parent hears


if __name__ == "__main__":
    asyncio.run(main())
