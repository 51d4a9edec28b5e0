"""Every incident of the system as it was at an instant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from tocsin_incident import IncidentState, fold
from tocsin_replay.hashing import state_hash
from tocsin_replay.reading import INCIDENTS, Progress, Recorded
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader

LATEST_CLOCK_STEP = timedelta(hours=1)
"""How far a broker's clock is believed to have stepped back: where reading on stops."""


async def states_at(
    reader: Reader, at: datetime | None, progress: Progress | None = None
) -> dict[str, IncidentState]:
    """Every incident as the log had it at an instant, by id; as it has it now without one.

    Of each partition the prefix up to the last fact recorded by then, as `known_at` has it. What
    was recorded later is not kept, and not read beyond `LATEST_CLOCK_STEP`.
    """
    states: dict[str, IncidentState] = {}
    for partition in range(await reader.partitions(INCIDENTS)):
        start, end = await reader.bounds(INCIDENTS, partition)
        later: list[Recorded] = []
        async for record in reader.read(INCIDENTS, partition, start, end):
            if progress is not None:
                progress(1)
            if at is not None and record.recorded_at > at + LATEST_CLOCK_STEP:
                break
            try:
                event = decode(record)
            except Poison:
                continue
            later.append(Recorded(event, record.position, record.recorded_at))
            if at is None or record.recorded_at <= at:
                for one in later:
                    folded = fold(states.get(one.event.subject), one.event)
                    if folded.state is not None:
                        states[one.event.subject] = folded.state
                later.clear()
    return dict(sorted(states.items()))


def system_hash(states: Mapping[str, IncidentState]) -> str:
    """SHA-256 over the states of a whole system, the same on any machine."""
    lines = (f"{incident} {state_hash(states[incident])}\n" for incident in sorted(states))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
