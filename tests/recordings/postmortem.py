"""Make the recording of the author's postmortem anew: a bad P0 of two hours.

    .venv/bin/python tests/recordings/postmortem.py

Three escalations, a provider that fails, an incident that comes back and two remediations, lived
through by the real handlers on a log in memory.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import structlog

from tocsin_replay import bundle_lines, gather, read_all, states_of
from tocsin_simulation.faults import Fate, NoFaults, Outcome
from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import shipped

FILE = Path(__file__).resolve().parent / "postmortem" / "two-hours.tocsin"
MINUTE = timedelta(minutes=1)


class _AProviderIsDown(NoFaults):
    """No call reaches anybody while `down`; the rest works."""

    down = False

    def deliver(self) -> Fate:
        return Fate(outcome=Outcome.REFUSED) if self.down else Fate()


async def _two_hours() -> MemoryLog:
    faults = _AProviderIsDown()
    system = System(policies=[published(shipped("mpc-transformer"))], faults=faults)
    await system.start()
    outage = an_alert(
        "GlobalServiceUnavailable",
        app="mpc-transformer",
        severity="critical",
        cluster="prod-eu",
        starts_at=system.clock.now() - 2 * MINUTE,
    )
    await system.post(a_webhook(outage))
    await system.sleep(29 * MINUTE)
    faults.down = True
    await system.sleep(2 * MINUTE)
    faults.down = False
    await system.sleep(34 * MINUTE)
    (incident,) = system.incidents()
    await system.answer(incident, "acknowledge", by="alice")
    await system.answer(incident, "roles", by="alice", role="incident_commander", contact="alice")
    await system.answer(incident, "updates", by="alice", text="DNS is gone", audience="customers")
    await _approve(system, incident, "alice")
    await system.sleep(5 * MINUTE)
    await system.answer(incident, "notes", by="alice", text="Action: lower the TTL of the zone")
    await system.answer(incident, "mitigate", by="alice", text="traffic goes to asia")
    await system.sleep(10 * MINUTE)
    await system.post(a_webhook(outage.resolved(system.clock.now())))
    await system.answer(incident, "resolve", by="alice", text="zone restored")
    await system.sleep(10 * MINUTE)
    again = an_alert(
        "GlobalServiceUnavailable",
        app="mpc-transformer",
        severity="critical",
        cluster="prod-eu",
        starts_at=system.clock.now(),
    )
    await system.post(a_webhook(again))
    await system.sleep(12 * MINUTE)
    await system.answer(incident, "acknowledge", by="bob")
    await _approve(system, incident, "bob")
    await system.sleep(20 * MINUTE)
    await system.post(a_webhook(again.resolved(system.clock.now())))
    await system.answer(incident, "resolve", by="bob", text="cache flushed")
    await system.settle()
    return system.log


async def _approve(system: System, incident: str, by: str) -> None:
    state = system.incidents()[incident]
    *_, remediation = state.remediations.values()
    await system.answer(
        incident, "approve", by=by, remediation=remediation.remediation, step="route-traffic"
    )


def main() -> None:
    """Live through it and write the file."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    log = simulate(_two_hours(), seed=1)
    incidents = sorted(states_of(asyncio.run(read_all(log))))
    gathered = asyncio.run(gather(log, incidents))
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_bytes(b"".join(bundle_lines(gathered, incidents)))


if __name__ == "__main__":
    main()
