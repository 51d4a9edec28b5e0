"""Single misfortunes, each told by itself; `test_seeds.py` has them by the thousand."""

from __future__ import annotations

import pytest

from tocsin_contracts.incidents import RemediationStepFinished
from tocsin_incident import Status
from tocsin_incident.state import NotificationStatus, StepStatus
from tocsin_policy import Policy
from tocsin_runtime.records import Record
from tocsin_simulation.faults import Fate, NoFaults, Outcome
from tocsin_simulation.loop import running_loop
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, at, minutes, page, scenario

DOWN = an_alert("Down", system="shop", severity="critical")
GONE = an_alert("Gone", system="shop", severity="critical")

HANGS = Fate(Outcome.REFUSED, there=40)
"""Longer than a handler may take, and then it fails."""

SLOW = Fate(Outcome.DONE, there=1)
FINE = Fate()


class Broker(NoFaults):
    """What becomes of the first publishes of one service; all others are fine."""

    def __init__(self, service: str, *fates: Fate) -> None:
        self._service = service
        self._fates = list(fates)

    def append(self) -> Fate:
        if self._fates and running_loop().actor().name.startswith(self._service):
            return self._fates.pop(0)
        return FINE


async def _both_are_paged(system: Timeline) -> None:
    await system.play(until=minutes(1))
    assert [got.shown for got in system.got()] == ["on-call engineer: alice"] * 2


@pytest.mark.parametrize("publish", range(4))
@pytest.mark.parametrize("service", ["ingestion", "classifier", "escalation-timer", "notifier"])
def test_a_broker_that_hangs_while_something_is_written_delays_pages_and_loses_none(
    service: str, publish: int
) -> None:
    @scenario(faults=lambda: Broker(service, *[FINE] * publish, HANGS))
    async def day(system: Timeline) -> None:
        system.at(minutes=0).push(DOWN, GONE)
        await _both_are_paged(system)

    day()


@scenario(faults=lambda: Broker("notifier", SLOW, HANGS))
async def test_an_attempt_read_back_beside_something_that_could_not_be_written_is_still_made(
    system: Timeline,
) -> None:
    system.at(seconds=0).push(DOWN)
    system.at(seconds=0.5).push(GONE)
    await _both_are_paged(system)


class EverythingTakesLong(NoFaults):
    """Calls to the world take 11 seconds; from the ninth second on one service's broker is slow."""

    def __init__(self, service: str, first_call: Outcome = Outcome.DONE) -> None:
        self._service = service
        self._first_call = first_call
        self._called = False

    def ask(self) -> Fate:
        loop = running_loop()
        slow = 9 < loop.time() < 60 and loop.actor().name.startswith(self._service)
        return Fate(there=1, back=1) if slow else FINE

    def deliver(self) -> Fate:
        outcome = Outcome.DONE if self._called else self._first_call
        self._called = True
        return Fate(outcome, there=11)


def _rebalance_at(seconds: int, system: Timeline, service: str) -> None:
    """Somebody joins the service's group and leaves it: everything comes back to who had it."""

    async def rebalance() -> None:
        group = system.system.groups[service]
        group.join("somebody else", running_loop().create_future())
        group.leave("somebody else")

    system.at(seconds=seconds).do("a rebalance", rebalance)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_call_that_ends_while_its_partition_is_away_is_not_forgotten_when_it_comes_back(
    outcome: Outcome,
) -> None:
    policy = a_policy(
        contacts={
            name: {"name": name, "role": name, "channels": ["pagerduty"]}
            for name in ("alice", "bob", "carol", "dave")
        }
    )

    @scenario(lambda: policy, faults=lambda: EverythingTakesLong("notifier", outcome))
    async def day(system: Timeline) -> None:
        system.at(seconds=0).push(DOWN)
        _rebalance_at(8, system, "notifier")
        await system.play(until=minutes(2))
        (page,) = system.incident().notifications.values()
        assert page.status is NotificationStatus.DELIVERED

    day()


def with_a_playbook() -> Policy:
    return a_policy(
        classification={
            "rules": [
                {
                    "name": "critical by label",
                    "match": ['severity="critical"'],
                    "severity": "critical",
                    "playbook": "restart",
                }
            ],
            "default": "minor",
        },
        endpoints={name: {"description": name} for name in ("ops", "pagerduty", "slack")},
        playbooks={
            "restart": {
                "title": "Restart it",
                "steps": [
                    {
                        "id": "restart",
                        "title": "Restart",
                        "runner": "http",
                        "http": {"method": "POST", "endpoint": "ops", "path": "/restart/${name}"},
                        "parameters": {"name": {"label": "alertname", "pattern": "Down[0-9]?"}},
                        "risk": "safe",
                        "approval": "automatic",
                        "timeout": "30s",
                        "verify": {"http": {"endpoint": "ops", "path": "/healthz"}},
                    }
                ],
            }
        },
    )


def _steps(system: Timeline) -> list[StepStatus]:
    return [
        step.status
        for incident in system.incidents()
        for remediation in incident.remediations.values()
        for step in remediation.steps
    ]


@scenario(with_a_playbook, faults=lambda: EverythingTakesLong("remediation"))
async def test_a_step_whose_turn_comes_while_its_partition_is_away_runs_when_it_is_back(
    system: Timeline,
) -> None:
    alerts = [an_alert(f"Down{n}", system="shop", severity="critical") for n in range(5)]
    system.at(seconds=0).push(*alerts)
    _rebalance_at(8, system, "remediation")
    await system.play(until=minutes(2))
    assert _steps(system) == [StepStatus.VERIFIED] * 5


@scenario(with_a_playbook)
async def test_a_step_whose_process_dies_before_it_was_verified_is_verified_by_the_next(
    system: Timeline,
) -> None:
    def die(record: Record) -> None:
        remediation = system.system.instances["remediation-1"]
        if record.header("ce_type") == RemediationStepFinished.TYPE.encode():
            assert remediation.actor is not None
            system.system.kill(remediation.actor)

    system.system.log.appended.append(die)
    system.at(seconds=0).push(DOWN)
    await system.play(until=minutes(2))
    assert _steps(system) == [StepStatus.VERIFIED]
    assert [effect.what for effect in system.system.world.effects if effect.changes] == [
        "POST ops/restart/Down"
    ]


class ForgottenPlaces(NoFaults):
    """A consumer that joins a group reads everything again."""

    def rewind(self, committed: int) -> int:
        del committed
        return 0


@scenario(faults=ForgottenPlaces)
async def test_an_alert_read_again_after_its_incident_was_closed_wakes_nobody(
    system: Timeline,
) -> None:
    async def everybody_dies() -> None:
        for instance in tuple(system.system.instances.values()):
            assert instance.actor is not None
            system.system.kill(instance.actor)

    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).resolve(by="alice").close(by="alice")
    system.at(minutes=5).do("everybody dies", everybody_dies)
    system.want(at(minutes=0), page("alice"))
    await system.run(until=minutes(20))
    assert system.status() is Status.CLOSED
    held = system.system.instances["escalation-timer-1"].casebook
    assert held is not None
    assert [state.status for _, state in held.states()] == [Status.CLOSED]


class RefusesOnceAfterADeath(NoFaults):
    """The first call hangs; the first publish of the process that takes over is refused late."""

    def __init__(self) -> None:
        self._called = False
        self._refused = False

    def deliver(self) -> Fate:
        first, self._called = not self._called, True
        return Fate(Outcome.REFUSED, there=3600) if first else FINE

    def append(self) -> Fate:
        if self._refused or running_loop().actor().name != "notifier-1#2":
            return FINE
        self._refused = True
        return Fate(Outcome.REFUSED, there=5)


@scenario(faults=RefusesOnceAfterADeath)
async def test_a_retry_never_overtakes_the_doubt_it_follows_from(system: Timeline) -> None:
    async def die() -> None:
        notifier = system.system.instances["notifier-1"].actor
        assert notifier is not None
        system.system.kill(notifier)

    system.at(seconds=0).push(DOWN)
    system.at(seconds=2).do("the notifier dies", die)
    await system.play(until=minutes(2))
    pages = system.incident().notifications.values()
    assert {page.status for page in pages} == {NotificationStatus.DELIVERED}
