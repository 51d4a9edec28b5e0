"""Incidents that the real handlers lived through on a log in memory, for tests of what reads it."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import structlog

from tocsin_simulation.loop import simulate
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.seeded_days import day_policy

MINUTE = timedelta(minutes=1)


async def _lived() -> MemoryLog:
    """A P0 that escalates, is resolved and comes back; a small one; one that is updated late."""
    system = System(policies=[day_policy("shop"), published(a_policy("slow"))], instances=1)
    await system.start()
    down = an_alert(
        "Down", system="shop", severity="critical", instance="i1", starts_at=system.clock.now()
    )
    await system.post(a_webhook(down))
    await system.sleep(90 * timedelta(seconds=1))
    more = an_alert(
        "Down", system="shop", severity="critical", instance="i2", starts_at=system.clock.now()
    )
    await system.post(a_webhook(more, an_alert("Slow", system="shop", severity="warning")))
    incident = next(
        state.incident for state in system.incidents().values() if state.severity == "P0"
    )
    await system.answer(incident, "acknowledge", by="bob")
    await system.answer(incident, "roles", by="bob", role="incident_commander", contact="carol")
    await system.sleep(MINUTE)
    await system.answer(incident, "notes", by="bob", text="Action: alert on the queue's length")
    await system.answer(incident, "updates", by="carol", text="we see it", audience="customers")
    await system.answer(incident, "mitigate", by="bob", text="restarted")
    await system.sleep(MINUTE)
    now = system.clock.now()
    await system.post(a_webhook(down.resolved(now), more.resolved(now)))
    await system.answer(incident, "resolve", by="bob", text="a pool ran dry")
    await system.sleep(MINUTE)
    again = an_alert(
        "Down", system="shop", severity="critical", instance="i1", starts_at=system.clock.now()
    )
    await system.post(a_webhook(again))
    await system.sleep(30 * timedelta(seconds=1))
    await system.answer(incident, "acknowledge", by="alice")
    await system.post(a_webhook(again.resolved(system.clock.now())))
    await system.answer(incident, "resolve", by="alice", text="for good")
    late = an_alert("Late", system="slow", severity="critical", starts_at=system.clock.now())
    await system.post(a_webhook(late))
    await system.sleep(12 * MINUTE)
    other = next(state.incident for state in system.incidents().values() if state.system == "slow")
    await system.answer(other, "acknowledge", by="carol")
    await system.answer(other, "updates", by="carol", text="on it")
    await system.sleep(20 * MINUTE)
    await system.post(a_webhook(late.resolved(system.clock.now())))
    await system.answer(other, "resolve", by="carol", text="")
    await system.settle()
    return system.log


@pytest.fixture(scope="session")
def story() -> MemoryLog:
    """The log of two systems and three incidents; nobody may write to it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return simulate(_lived(), seed=1)
    finally:
        structlog.configure(**before)
