"""Single misfortunes, each told by itself; `test_seeds.py` has them by the thousand."""

from __future__ import annotations

import pytest

from tocsin_incident.state import NotificationStatus
from tocsin_testkit.builders import an_alert
from tocsin_testkit.faults import Fate, NoFaults, Outcome
from tocsin_testkit.loop import running_loop
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario

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


class ProviderThatTimesOutDuringARebalance(NoFaults):
    """The broker answers the notifier slowly from the ninth second on; so does the provider."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._delivered = False

    def ask(self) -> Fate:
        loop = running_loop()
        slow = 9 < loop.time() < 60 and loop.actor().name.startswith("notifier")
        return Fate(there=1, back=1) if slow else FINE

    def deliver(self) -> Fate:
        outcome = Outcome.DONE if self._delivered else self._outcome
        self._delivered = True
        return Fate(outcome, there=11)


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

    @scenario(lambda: policy, faults=lambda: ProviderThatTimesOutDuringARebalance(outcome))
    async def day(system: Timeline) -> None:
        async def rebalance() -> None:
            group = system.system.groups["notifier"]
            group.join("somebody else", running_loop().create_future())
            group.leave("somebody else")

        system.at(seconds=0).push(DOWN)
        system.at(seconds=8).do("a rebalance", rebalance)
        await system.play(until=minutes(2))
        (page,) = system.incident().notifications.values()
        assert page.status is NotificationStatus.DELIVERED

    day()
