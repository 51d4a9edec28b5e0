"""The classifier, stopped by SIGSTOP just before it writes the opening of its first incident.

That is where a pause does most: everything is decided, and nothing is in the log. Whoever started
this lets it go on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from classifier.settings import ClassifierSettings
from classifier.wiring import wire
from tocsin_contracts.event import Event
from tocsin_contracts.incidents import Opened
from tocsin_runtime.lifecycle import Runtime, run_service
from tocsin_runtime.ports import Publisher
from tocsin_runtime.records import Outgoing, Position


class Paused:
    """A `Publisher` that stops the process once."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._over = False

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        facts = [record.event.fact for record in records if isinstance(record.event, Event)]
        if not self._over and any(isinstance(fact, Opened) for fact in facts):
            self._over = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return await self._publisher.publish(records)


async def wire_paused(runtime: Runtime, settings: ClassifierSettings) -> None:
    runtime.publisher = Paused(runtime.publisher)
    await wire(runtime, settings)


if __name__ == "__main__":
    run_service("classifier", ClassifierSettings(), wire_paused)
