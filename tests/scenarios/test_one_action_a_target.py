"""Two systems, two processes of remediation, one thing both want to change: never both at a time.

The whole system runs on a log in memory. What each did in the world is held against what the log
says at that very moment of the other: whoever has acted and has not ended has the target.
"""

from __future__ import annotations

import pytest

from remediation.domain.envelope import taken_by
from remediation.handlers import Remediator
from tocsin_contracts.claims import TargetsClaimed, TargetsReleased
from tocsin_incident.state import RemediationStatus, Step, StepStatus
from tocsin_policy import Policy
from tocsin_runtime.events import decode
from tocsin_simulation.faults import Rates, SeededFaults
from tocsin_simulation.loop import Actor, simulate
from tocsin_simulation.runners import Effect, ran
from tocsin_simulation.system import SERVICES, System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.invariants import run_twice
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import minutes

SYSTEMS = ("bank", "shop")
CHUNKS = 4
APART = 40
"""Awaits from one kill to the next in the tests of every day."""
ACTS = frozenset({StepStatus.STARTED, StepStatus.FINISHED, StepStatus.IN_DOUBT})
TAKES_BACK = frozenset({StepStatus.UNDOING, StepStatus.IN_DOUBT})


def wanting(system: str) -> Policy:
    """A step on the endpoint's `/shared`, looked at, and taken back where that does not show."""

    def call(method: str, body: str | None = None) -> dict[str, object]:
        return {"http": {"method": method, "endpoint": "ops", "path": "/shared", "body": body}}

    step = {
        "id": "change",
        "title": "Change it",
        "runner": "http",
        **call("POST", f'{{"by": "{system}"}}'),
        "risk": "disruptive",
        "approval": "one",
        "timeout": "10s",
        "verify": {"http": {"endpoint": "ops", "path": f"/{system}"}},
        "undo": call("POST", f'{{"back": "{system}"}}'),
    }
    rule = {"name": "all", "match": ['severity="critical"'], "severity": "critical"}
    return a_policy(
        system,
        classification={"rules": [{**rule, "playbook": "fix"}], "default": "minor"},
        endpoints={name: {"description": name} for name in ("ops", "pagerduty", "slack")},
        remediation={"tell": ["contact:bob"], "waits_for_target": "1h"},
        playbooks={"fix": {"title": "Fix it", "steps": [step]}},
    )


class Watched:
    """What the two did, and whether one acted while the other had the target."""

    def __init__(self, system: System) -> None:
        self.wrong: list[str] = []
        self.acted: list[str] = []
        self._last: dict[str, str] = {}
        self._system = system
        system.world.happened.append(self._heard)

    def _heard(self, effect: Effect) -> None:
        if not effect.changes:
            return
        actor = next(name for name in SYSTEMS if f'"{name}"' in effect.what)
        for state in self._system.incidents().values():
            if state.system == actor or state.system not in self._last:
                continue
            for remediation in state.remediations.values():
                step = remediation.steps[0]
                if self._has_not_ended(state.system, step):
                    self.wrong.append(f"{actor} acted while {state.system} was {step.status}")
        self._last[actor] = effect.what
        self.acted.append(actor)

    def _has_not_ended(self, system: str, step: Step) -> bool:
        """Whether the log does not tell yet how this system's last effect ended."""
        if '"back"' in self._last[system]:
            return step.status in TAKES_BACK
        return step.status in ACTS and not step.undone_by


async def a_day(
    *,
    kill_at: int | None = None,
    fails: bool = False,
    seed: int | None = None,
    instances: int = 2,
) -> tuple[System, Watched, int]:
    """Both are approved at once; how often remediation got to run."""
    faults = None if seed is None else SeededFaults(seed, Rates())
    system = System(
        policies=[published(wanting(name)) for name in SYSTEMS],
        services=[one for one in SERVICES if one.name not in {"escalation-timer", "notifier"}],
        partitions=4,
        instances=instances,
        faults=faults,
    )
    watched = Watched(system)
    if fails:
        system.world.answers["GET ops/bank"] = ran(good=False)
    steps = 0

    def count(actor: Actor) -> None:
        nonlocal steps
        if not actor.name.startswith("remediation"):
            return
        steps += 1
        if steps == kill_at:
            system.kill(actor)

    if seed is None:
        system.loop.interfere = count
    await system.start()
    for name in SYSTEMS:
        await system.post(a_webhook(an_alert("Down", system=name, severity="critical")))
    for _ in range(4):
        await system.sleep(minutes(0.5))
        for state in list(system.incidents().values()):
            for held in state.remediations.values():
                await system.answer(
                    state.incident,
                    "approve",
                    by="alice",
                    remediation=held.remediation,
                    step="change",
                )
    await system.sleep(minutes(1))
    return system, watched, steps


async def settled(system: System) -> None:
    """People settle what is in doubt, and nobody dies any more."""
    if isinstance(system.faults, SeededFaults):
        system.faults.active = False
    for _ in range(4):
        await system.sleep(minutes(1.5))
        for state in list(system.incidents().values()):
            for held in state.remediations.values():
                if held.status is RemediationStatus.IN_DOUBT:
                    await system.answer(
                        state.incident,
                        "settle",
                        by="alice",
                        remediation=held.remediation,
                        step="change",
                        done=True,
                    )


def what_is_wrong(system: System, watched: Watched) -> list[str]:
    return [*watched.wrong, *run_twice(system)]


def unended(system: System) -> list[str]:
    """Steps that wait for something that never comes."""
    waiting = {StepStatus.PROPOSED, StepStatus.STARTED, StepStatus.UNDOING, StepStatus.IN_DOUBT}
    return [
        f"the step of {state.system} is {held.steps[0].status} for ever"
        for state in system.incidents().values()
        for held in state.remediations.values()
        if held.steps[0].status in waiting
    ]


def still_claimed(system: System) -> set[tuple[str, int, int]]:
    """What the log says is held at the end."""
    held: set[tuple[str, int, int]] = set()
    for record in system.log.records("claims"):
        fact = decode(record).fact
        assert isinstance(fact, TargetsClaimed | TargetsReleased)
        claim = (decode(record).subject, fact.attempt, fact.undo)
        (held.add if isinstance(fact, TargetsClaimed) else held.discard)(claim)
    return held


def lives(first: int, apart: int, *, fails: bool) -> dict[int, list[str]]:
    """What is wrong with each day on which remediation dies first at this await."""

    async def day(kill_at: int | None) -> tuple[list[str], int]:
        system, watched, steps = await a_day(kill_at=kill_at, fails=fails)
        await settled(system)
        wrong = what_is_wrong(system, watched)
        wrong += [f"{claim} is held for ever" for claim in still_claimed(system)]
        wrong += unended(system)
        return wrong, steps

    wrong, steps = simulate(day(None))
    assert not wrong
    found = {at: simulate(day(at))[0] for at in range(first, steps + 1, apart)}
    return {at: wrong for at, wrong in found.items() if wrong}


both_ends = pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "is undone"])


@both_ends
def test_two_systems_never_act_on_one_target_at_a_time_wherever_remediation_dies(
    *, fails: bool
) -> None:
    assert lives(5, APART, fails=fails) == {}


@pytest.mark.soak
@both_ends
@pytest.mark.parametrize("chunk", range(1, CHUNKS + 1))
def test_two_systems_never_act_on_one_target_at_a_time_killed_at_every_await(
    chunk: int, *, fails: bool
) -> None:
    assert lives(chunk, CHUNKS, fails=fails) == {}


@pytest.mark.parametrize("seed", range(10))
def test_two_systems_never_act_on_one_target_at_a_time_on_a_bad_day(seed: int) -> None:
    async def day() -> list[str]:
        system, watched, _ = await a_day(seed=seed)
        await settled(system)
        return what_is_wrong(system, watched)

    assert simulate(day()) == []


def test_a_service_that_does_not_ask_the_claims_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remediator, "_waits_for", lambda *_: taken_by(None))

    async def day() -> list[str]:
        _, watched, _ = await a_day()
        return watched.wrong

    assert any("acted while" in sentence for sentence in simulate(day()))
