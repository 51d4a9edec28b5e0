"""A bad day of a whole system, drawn from one number: what comes in, and what goes wrong.

    print(a_day(42).report)

Alerts fire and clear, people answer or do not, and meanwhile everything fails that can fail. Then
nothing goes wrong any more, the system settles, and every invariant must hold.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from tocsin_contracts.policies import PolicyPublished
from tocsin_incident import Status
from tocsin_testkit import invariants
from tocsin_testkit.builders import AnAlert, a_webhook, an_alert
from tocsin_testkit.faults import Rates, SeededFaults
from tocsin_testkit.loop import Deadlock, Livelock, simulate
from tocsin_testkit.policies import a_policy, published
from tocsin_testkit.system import Service, System

SYSTEMS = ("shop", "warehouse")

LEVELS: dict[str, tuple[timedelta, ...]] = {
    "P0": (timedelta(0), timedelta(minutes=1), timedelta(minutes=3)),
    "P1": (timedelta(0), timedelta(minutes=2)),
    "P2": (),
}
"""When each level of the policy below is due."""

LENGTH = timedelta(minutes=6)
"""How long things happen before the day is given time to settle."""

BAD = Rates(pause_for=(timedelta(seconds=1), timedelta(seconds=90)))
"""How bad the days are."""


@dataclass(frozen=True, slots=True)
class Day:
    """What came of it.

    Attributes:
        digest: Of everything that happened, in order.
        steps: Callbacks that ran.
    """

    seed: int
    digest: str
    steps: int
    incidents: int
    pages: int
    faults: dict[str, int]


class BadDay(AssertionError):
    """An invariant broke; the message says how to run that day again."""


def day_policy(system: str) -> PolicyPublished:
    """A policy in which minutes count for hours, with everything the days need."""
    targets = ("contact:alice", "contact:bob", "contact:carol")
    restart = {
        "id": "restart",
        "title": "Restart",
        "runner": "http",
        "http": {"method": "POST", "endpoint": "ops", "path": f"/{system}/restart"},
        "risk": "safe",
        "approval": "automatic",
        "timeout": "10s",
        "verify": {"http": {"endpoint": "ops", "path": "/healthz"}},
    }
    return published(
        a_policy(
            system,
            severities=[
                {"name": "P0", "definition": "down", "response_target": "2m"},
                {"name": "P1", "definition": "degraded", "response_target": "5m"},
                {"name": "P2", "definition": "odd", "pages": False},
            ],
            classification={
                "rules": [
                    {
                        "name": "down",
                        "match": ['severity="critical"'],
                        "severity": "P0",
                        "urgent": True,
                        "playbook": "restart",
                    },
                    {"name": "degraded", "match": ['severity="warning"'], "severity": "P1"},
                ],
                "default": "P2",
            },
            grouping={"by": ["alertname"], "reopen_within": "2m", "auto_resolve_after": "1m"},
            escalation={
                severity: [
                    {
                        "number": number,
                        "after": f"{int(after.total_seconds())}s",
                        "targets": [targets[number - 1]],
                    }
                    for number, after in enumerate(levels, start=1)
                ]
                for severity, levels in LEVELS.items()
                if levels
            },
            endpoints={"ops": {"description": "what restarts things"}},
            playbooks={"restart": {"title": "Restart it", "steps": [restart]}},
        )
    )


def a_day(seed: int, *, services: Sequence[Service] | None = None, rates: Rates = BAD) -> Day:
    """Live through the day of this seed.

    Args:
        services: Other services than the real ones, to see a planted bug found.

    Raises:
        BadDay: Something that must hold did not.
    """
    try:
        return simulate(_live(seed, services, rates), seed=seed)
    except (AssertionError, Deadlock, Livelock, RuntimeError) as error:
        raise BadDay(f"seed {seed}: {error}\n\nAgain: SEEDS={seed}-{seed} make soak") from error


async def _live(seed: int, services: Sequence[Service] | None, rates: Rates) -> Day:
    faults = SeededFaults(seed, rates)
    system = System(
        policies=[day_policy(name) for name in SYSTEMS],
        faults=faults,
        instances=2,
        services=services,
    )
    await system.start()
    await _things_happen(system, random.Random(f"day {seed}"))  # noqa: S311 - a seeded script
    await system.settle()
    invariants.check(system)
    late = invariants.unreached(system.incidents().values(), LEVELS, system.clock.now())
    if late:
        raise invariants.Broken("\n".join(late))
    return Day(
        seed=seed,
        digest=system.loop.digest(),
        steps=system.loop.steps,
        incidents=len(system.incidents()),
        pages=len(system.providers.pages()),
        faults=dict(sorted(faults.counts.items())),
    )


async def _things_happen(system: System, draw: random.Random) -> None:
    """Alerts come and go, people answer."""
    firing: list[AnAlert] = []
    ends_at = system.loop.time() + LENGTH.total_seconds()
    while system.loop.time() < ends_at:
        match draw.choices(("fire", "again", "clear", "answer"), (5, 2, 3, 3))[0]:
            case "fire":
                alerts = [_some_alert(draw, system) for _ in range(draw.choice((1, 1, 1, 4)))]
                firing += alerts
                await system.post(a_webhook(*alerts))
            case "again" if firing:
                await system.post(a_webhook(draw.choice(firing)))
            case "clear" if firing:
                alert = firing.pop(draw.randrange(len(firing)))
                await system.post(a_webhook(alert.resolved(system.clock.now())))
            case "answer":
                await _somebody_answers(system, draw)
            case _:
                pass
        await system.sleep(timedelta(seconds=draw.expovariate(1 / 15)))


def _some_alert(draw: random.Random, system: System) -> AnAlert:
    return an_alert(
        draw.choice(("Down", "Slow", "DiskFull")),
        starts_at=system.clock.now(),
        system=draw.choice(SYSTEMS),
        severity=draw.choice(("critical", "warning", "info")),
        instance=f"i{draw.randrange(4)}",
    )


async def _somebody_answers(system: System, draw: random.Random) -> None:
    open_ones = [
        state
        for state in system.incidents().values()
        if state.status in {Status.OPEN, Status.ACKNOWLEDGED, Status.MITIGATED}
    ]
    if not open_ones:
        return
    state = draw.choice(open_ones)
    verb = draw.choice(("acknowledge", "acknowledge", "resolve", "mitigate", "notes"))
    fields = {"text": "a note"} if verb == "notes" else {}
    await system.answer(state.incident, verb, **fields)
