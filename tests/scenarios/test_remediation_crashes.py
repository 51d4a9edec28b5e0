"""The remediation service is killed at each of its steps, one run a step; nothing happens twice.

The whole system runs on a log in memory; one process, remediation, dies at the n-th time it gets
to run, is started again by its supervisor, and people answer what they are asked. `n` goes over
every await there is in the life of a playbook of five steps, its undo included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tocsin_casebook import INCIDENTS, Policies
from tocsin_contracts import incidents as facts
from tocsin_incident import IncidentState
from tocsin_incident.state import RemediationStatus, StepStatus
from tocsin_policy import Policy
from tocsin_runtime.events import decode
from tocsin_runtime.ports import Handler
from tocsin_simulation.loop import Actor, simulate
from tocsin_simulation.runners import ran
from tocsin_simulation.system import SERVICES, Instance, Runs, System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.invariants import run_twice, unfinished
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import minutes

Build = Callable[[System, Instance, Policies], tuple[Handler, Runs]]

CHUNKS = 8
"""Tests that share the kills at every await."""

APART = 20
"""Awaits from one kill to the next in the tests of every day."""

NAMES = ("one", "two", "three", "four", "five")


def five_steps() -> Policy:
    """Five steps that change something, each looked at and each undone by a call of its own.

    An undo is told what was there before its step.
    """

    def call(path: str, method: str = "POST") -> dict[str, object]:
        return {"http": {"method": method, "endpoint": "ops", "path": path}}

    steps = [
        {
            "id": name,
            "title": name.title(),
            "runner": "http",
            **call(f"/{name}"),
            "risk": "disruptive",
            "approval": "one",
            "timeout": "10s",
            "verify": call(f"/{name}", "GET"),
            "before": {**call("/was", "GET"), "values": {"was": "/was"}},
            "undo": call(f"/back/${{was}}/undo/{name}"),
        }
        for name in NAMES
    ]
    return a_policy(
        classification={
            "rules": [
                {
                    "name": "critical by label",
                    "match": ['severity="critical"'],
                    "severity": "critical",
                    "playbook": "fix",
                }
            ],
            "default": "minor",
        },
        endpoints={name: {"description": name} for name in ("ops", "pagerduty", "slack")},
        remediation={"tell": ["contact:bob"]},
        playbooks={"fix": {"title": "Fix it", "steps": steps}},
    )


async def a_life(
    kill_at: int | None, *, fails: bool, build: Build | None = None
) -> tuple[System, int]:
    """One incident, its playbook approved step by step; how often remediation got to run."""
    policy = five_steps()
    services = [
        replace(one, build=build) if build is not None and one.name == "remediation" else one
        for one in SERVICES
        if one.name != "escalation-timer"
    ]
    system = System(policies=[published(policy)], services=services, partitions=1)
    system.world.answers["GET ops/was"] = ran(answer='{"was": "so"}')
    if fails:
        system.world.answers["GET ops/five"] = ran(good=False)
    steps = 0

    def count(actor: Actor) -> None:
        nonlocal steps
        if not actor.name.startswith("remediation"):
            return
        steps += 1
        if steps == kill_at:
            system.kill(actor)

    system.loop.interfere = count
    await system.start()
    await system.post(a_webhook(an_alert("Down", system="shop", severity="critical")))
    await system.sleep(minutes(0.1))
    (state,) = system.incidents().values()
    for name in NAMES:
        for _ in range(2):
            await system.sleep(minutes(0.25))
            (state,) = system.incidents().values()
            remediation = next(iter(state.remediations.values()), None)
            if remediation is not None:
                await system.answer(
                    state.incident,
                    "approve",
                    by="alice",
                    remediation=remediation.remediation,
                    step=name,
                )
    await system.sleep(minutes(3))
    return system, steps


def what_is_wrong(system: System) -> list[str]:
    """What happened twice, and what happened that no person is told of."""
    (state,) = system.incidents().values()
    wrong = [*run_twice(system), *unfinished([state])]
    done = Counter(effect.what for effect in system.world.effects if effect.changes)
    wrong += [f"{what} happened {times} times" for what, times in done.items() if times > 1]
    wrong += [f"{what} is no way back" for what in done if "undo" in what and "/so/" not in what]
    return wrong + untold(system, state)


def untold(system: System, state: IncidentState) -> list[str]:
    """Every change of the world has an end in the log, or stands in doubt and somebody is asked."""
    (remediation,) = state.remediations.values()
    ended = {
        fact.step
        for record in system.log.records(INCIDENTS)
        if isinstance(fact := decode(record).fact, facts.RemediationStepFinished)
    }
    undone = {
        fact.step
        for record in system.log.records(INCIDENTS)
        if isinstance(fact := decode(record).fact, facts.RemediationRolledBack)
    }
    wrong = []
    for effect in system.world.effects:
        step = effect.what.rpartition("/")[2]
        known = undone if "/undo/" in effect.what else ended
        held = remediation.step(step)
        doubt = held is not None and held.status is StepStatus.IN_DOUBT
        if effect.changes and step not in known and not doubt:
            wrong.append(f"{effect.what} happened, and the log does not say how it ended")
    if remediation.status in {RemediationStatus.IN_DOUBT, RemediationStatus.FAILED}:
        asked = [n for n in state.notifications.values() if n.purpose is facts.Purpose.REMINDER]
        if not asked:
            wrong.append(f"the remediation is {remediation.status} and nobody was told")
    elif not all(step.status is StepStatus.VERIFIED for step in remediation.steps):
        stands = [str(step.status) for step in remediation.steps]
        wrong.append(f"it goes on for ever: {stands}")
    return wrong


def killed(at: int | None, *, fails: bool, build: Build | None = None) -> tuple[list[str], int]:
    async def life() -> tuple[list[str], int]:
        system, steps = await a_life(at, fails=fails, build=build)
        return what_is_wrong(system), steps

    return simulate(life())


both_ends = pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "is undone"])


def lives(first: int, apart: int, *, fails: bool) -> dict[int, list[str]]:
    """What is wrong with each life that ends first at this await, by the await."""
    wrong, steps = killed(None, fails=fails)
    assert not wrong
    found = {at: killed(at, fails=fails)[0] for at in range(first, steps + 1, apart)}
    return {at: wrong for at, wrong in found.items() if wrong}


@both_ends
def test_a_service_killed_at_one_await_in_twenty_runs_no_step_twice_and_leaves_nothing_unknown(
    *, fails: bool
) -> None:
    assert lives(4, APART, fails=fails) == {}


@pytest.mark.soak
@both_ends
@pytest.mark.parametrize("chunk", range(1, CHUNKS + 1))
def test_a_service_killed_at_every_await_runs_no_step_twice_and_leaves_nothing_unknown(
    chunk: int, *, fails: bool
) -> None:
    assert lives(chunk, CHUNKS, fails=fails) == {}


def _keeps_its_name(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    """After a crash it takes the steps of its life before for its own."""
    service = next(one for one in SERVICES if one.name == "remediation")
    namesake = Instance(instance.service, instance.name.partition("#")[0])
    handler, runs = service.build(system, namesake, policies)
    instance.casebook, instance.followers = namesake.casebook, namesake.followers
    return handler, runs


def test_a_service_that_takes_what_its_life_before_did_for_its_own_is_found() -> None:
    _, steps = killed(None, fails=False)
    # At every await, from a tenth of its life on, until one falls between an effect and its fact.
    assert any(
        "happened 2 times" in sentence
        for at in range(steps // 10, steps)
        for sentence in killed(at, fails=False, build=_keeps_its_name)[0]
    )
