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

from tocsin_contracts.event import Person
from tocsin_contracts.policies import PolicyPublished
from tocsin_contracts.silences import SilenceExpired
from tocsin_runtime.events import outgoing
from tocsin_runtime.records import Outgoing
from tocsin_simulation.faults import Rates, SeededFaults
from tocsin_simulation.loop import Deadlock, Livelock, simulate
from tocsin_simulation.system import Service, System, published
from tocsin_simulation.webhooks import AnAlert, a_webhook
from tocsin_testkit import invariants
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.silences import a_silence, of_silence
from tocsin_testkit.watching import Watch

SYSTEMS = ("shop", "warehouse")

BOB = Person(name="bob", via="cli")
"""Who silences."""

LEVELS: dict[str, tuple[timedelta, ...]] = {
    "P0": (timedelta(0), timedelta(minutes=1), timedelta(minutes=3)),
    "P1": (timedelta(0), timedelta(minutes=2)),
    "P2": (),
}
"""When each level of the policy below is due."""

LENGTH = timedelta(minutes=6)
"""How long things happen before the day is given time to settle."""

HAPPENINGS = {
    "fire": 50,
    "again": 20,
    "clear": 30,
    "answer": 40,
    "clean": 5,
    "nonsense": 3,
    "policy": 2,
    "storm": 1,
    "outage": 2,
    "silence": 4,
    "unsilence": 3,
}
"""What happens, and how often."""

ANSWERS = {
    "acknowledge": 10,
    "resolve": 5,
    "mitigate": 4,
    "notes": 3,
    "updates": 3,
    "reopen": 2,
    "severity": 3,
    "roles": 2,
    "merge": 2,
    "review": 1,
    "close": 1,
}
"""What people answer, and how often."""

MOSTLY = 0.8
"""How often an answer is about an incident that goes on."""

NONSENSE = (
    b"",
    b"{",
    b"[]",
    b'{"version": "4"}',
    b'{"alerts": [{"labels": 1}]}',
    bytes(range(256)),
)
"""What others put on `alerts.raw` that nobody can read."""

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


def day_policy(system: str, *, owner: str = "the days") -> PolicyPublished:
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
            owner=owner,
            severities=[
                {"name": "P0", "definition": "down", "response_target": "2m"},
                {"name": "P1", "definition": "degraded", "response_target": "5m"},
                {"name": "P2", "definition": "odd"},
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
            grouping={
                "by": ["alertname"],
                "reopen_within": "2m",
                "auto_resolve_after": "1m",
                "storm": {"alerts": 300, "severity": "P2"},
            },
            services={
                "web": {"title": "Web", "depends_on": ["database"]},
                "database": {"title": "Database"},
            },
            inhibition={
                "rules": {
                    "down": {
                        "source": ['alertname="Down"', 'severity="critical"'],
                        "target": ['alertname="Slow"'],
                        "equal": ["instance"],
                    }
                },
                "along_dependencies": True,
            },
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
    Watch(system)
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
    """Alerts come and go, people answer, and the log is cleaned and fed by others meanwhile."""
    firing: list[AnAlert] = []
    silences: list[str] = []
    ends_at = system.loop.time() + LENGTH.total_seconds()
    while system.loop.time() < ends_at:
        match draw.choices(tuple(HAPPENINGS), tuple(HAPPENINGS.values()))[0]:
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
            case "clean":
                system.log.compact("incidents.state")
            case "silence" | "unsilence" as what:
                _somebody_silences(system, draw, silences, begins=what == "silence")
            case "nonsense":
                system.log.append(Outgoing("alerts.raw", b"alertmanager", draw.choice(NONSENSE)))
            case "outage" if isinstance(system.faults, SeededFaults):
                system.faults.away(timedelta(seconds=draw.uniform(5, 60)))
            case "policy":
                name = draw.choice(SYSTEMS)
                system.publish_policy(day_policy(name, owner=f"team {draw.randrange(100)}"))
            case "storm":
                name = draw.choice(SYSTEMS)
                alerts = [_some_alert(draw, system, host=f"h{n}", system=name) for n in range(600)]
                await system.post(a_webhook(*alerts))
            case _:
                pass
        await system.sleep(timedelta(seconds=draw.expovariate(1 / 15)))


def _somebody_silences(
    system: System, draw: random.Random, silences: list[str], *, begins: bool
) -> None:
    if begins:
        silences.append(_silence(system, draw, len(silences)))
    elif silences:
        name = silences.pop(draw.randrange(len(silences)))
        event = of_silence(SilenceExpired(by=BOB), at=system.clock.now(), name=name)
        system.log.append(outgoing(event))


def _silence(system: System, draw: random.Random, number: int) -> str:
    """Somebody does not want to hear of something for up to ten minutes."""
    now = system.clock.now()
    label, value = draw.choice(
        (("alertname", "Down"), ("alertname", "Slow"), ("instance", "i1"), ("service", "web"))
    )
    starts_at = now + timedelta(seconds=draw.choice((0, 0, 60)))
    lasts = timedelta(seconds=draw.uniform(30, 600))
    fact = a_silence(f'{label}="{value}"', starts_at=starts_at, lasts=lasts, by=BOB)
    name = f"silence-{number}-{system.loop.time()}"
    system.log.append(outgoing(of_silence(fact, at=now, name=name)))
    return name


def _some_alert(draw: random.Random, world: System, /, **labels: str) -> AnAlert:
    drawn = {
        "system": draw.choice((*SYSTEMS, *SYSTEMS, *SYSTEMS, "nowhere")),
        "severity": draw.choice(("critical", "warning", "info")),
        "instance": f"i{draw.randrange(4)}",
        "service": draw.choice(("web", "database", "mail")),
    }
    return an_alert(
        draw.choice(("Down", "Slow", "DiskFull")),
        starts_at=world.clock.now(),
        **{**drawn, **labels},  # type: ignore[arg-type]  # labels, whatever they are called
    )


async def _somebody_answers(system: System, draw: random.Random) -> None:
    """One of the answers to one of the incidents, whether it still applies or not."""
    states = list(system.incidents().values())
    if not states:
        return
    live = [state for state in states if state.status.live]
    state = draw.choice(live if live and draw.random() < MOSTLY else states)
    verbs = tuple(ANSWERS)
    verb = draw.choices(verbs, [ANSWERS[name] for name in verbs])[0]
    fields: dict[str, object] = {}
    match verb:
        case "notes" | "updates":
            fields = {"text": "as it stands"}
        case "roles":
            fields = {"role": "incident_commander", "contact": "bob"}
        case "severity":
            fields = {"severity": draw.choice(("P0", "P1", "P2"))}
        case "merge":
            others = [other for other in live if other.key == state.key and other != state]
            if not others:
                return
            fields = {"into": draw.choice(others).incident}
    await system.answer(state.incident, verb, **fields)
