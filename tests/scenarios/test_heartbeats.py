"""A provider that stops taking pages is noticed while nothing is wrong, and said by another."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from notifier.domain.heartbeats import beating
from notifier.heartbeats import HEARTBEATS
from tocsin_contracts.heartbeats import (
    HeartbeatAttempted,
    HeartbeatDelivered,
    HeartbeatFact,
    HeartbeatMissed,
    HeartbeatReturned,
)
from tocsin_incident import Status
from tocsin_policy import Policy, beat_due
from tocsin_runtime.events import decode
from tocsin_simulation.channels import Arrival
from tocsin_simulation.faults import Fate, NoFaults, Outcome, Rates, SeededFaults
from tocsin_simulation.loop import running_loop, simulate
from tocsin_simulation.system import System, published
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario

EVERY = minutes(4)
WITHIN = minutes(2)


def with_heartbeats(**changed: object) -> Policy:
    beat = {"every": "4m", "within": "2m", **changed}
    return a_policy(
        channels={
            "pagerduty": {"kind": "pagerduty", "endpoint": "pagerduty", "heartbeat": beat},
            "slack": {"kind": "slack", "endpoint": "slack", "heartbeat": beat},
        }
    )


def beats(system: System, channel: str) -> list[Arrival]:
    arrivals = system.providers.arrivals
    return [
        one
        for one in arrivals
        if one.channel == channel and "HEARTBEAT" in one.sending.title and one.is_page
    ]


F = TypeVar("F", bound=HeartbeatFact)


def told(system: System, kind: type[F]) -> list[F]:
    events = [decode(record) for record in system.log.records(HEARTBEATS)]
    return [event.fact for event in events if isinstance(event.fact, kind)]


def paged_by(system: Timeline) -> set[str]:
    return {
        one.channel
        for one in system.system.providers.pages()
        if "HEARTBEAT" not in one.sending.title
    }


def silence(system: Timeline, channel: str, lasts: timedelta) -> None:
    async def fail() -> None:
        system.system.providers.fail(channel, lasts)

    system.at(minutes=10).do(f"{channel} goes silent", fail)


@scenario(with_heartbeats)
async def test_each_channel_gets_a_synthetic_page_every_interval_and_nobody_an_incident(
    system: Timeline,
) -> None:
    await system.play(until=minutes(20))
    for channel in ("pagerduty", "slack"):
        assert len(beats(system.system, channel)) >= 5
        at = [one.sending.opened_at for one in beats(system.system, channel)]
        assert {later - earlier for earlier, later in itertools.pairwise(at)} == {EVERY}
    assert system.incidents() == []


@scenario(with_heartbeats)
async def test_a_provider_that_goes_silent_is_an_incident_told_by_another_channel(
    system: Timeline,
) -> None:
    silence(system, "pagerduty", minutes(20))
    system.at(minutes=19).acknowledge(by="alice").resolve(by="alice")
    await system.play(until=minutes(20))
    incident = system.incident("pagerduty")
    assert incident.severity == "critical"
    (missed,) = told(system.system, HeartbeatMissed)
    assert missed.reason == "provider_error"
    assert incident.opened_at - missed.missed_at < timedelta(seconds=10)
    # No later than a beat and its time after the last that arrived, however long it takes to look.
    assert missed.last_delivered is not None
    assert missed.missed_at <= missed.last_delivered + EVERY + WITHIN + timedelta(seconds=2)
    assert paged_by(system) == {"slack"}


@scenario(with_heartbeats)
async def test_the_incident_ends_by_itself_once_pages_arrive_again(system: Timeline) -> None:
    silence(system, "pagerduty", minutes(10))
    await system.play(until=minutes(40))
    assert len(told(system.system, HeartbeatMissed)) == 1
    assert len(told(system.system, HeartbeatReturned)) == 1
    assert system.status() is Status.RESOLVED


@scenario(with_heartbeats)
async def test_a_beat_that_fails_is_tried_again_while_its_time_lasts(system: Timeline) -> None:
    due_at = beat_due("shop", "slack", EVERY, system.start + minutes(10) + EVERY)

    async def fail() -> None:
        system.system.providers.fail("slack", minutes(1))

    system.at(seconds=(due_at - system.start).total_seconds() - 5).do("slack is unwell", fail)
    await system.play(until=minutes(20))
    assert told(system.system, HeartbeatMissed) == []
    tried = [one for one in told(system.system, HeartbeatAttempted) if one.due_at == due_at]
    assert len(tried) > 2
    assert due_at in [one.due_at for one in told(system.system, HeartbeatDelivered)]


class AcceptsAndTimesOut(NoFaults):
    """From some time on a provider takes what it gets and never says so."""

    def deliver(self) -> Fate:
        out = 600 < running_loop().time() < 1200
        return Fate(Outcome.UNKNOWN, there=10) if out else Fate()


@scenario(with_heartbeats, faults=AcceptsAndTimesOut)
async def test_a_provider_that_takes_pages_and_never_says_so_is_silent(system: Timeline) -> None:
    await system.play(until=minutes(40))
    missed = told(system.system, HeartbeatMissed)
    assert {one.channel for one in missed} == {"pagerduty", "slack"}


def _dies(system: Timeline, at: timedelta, lasts: timedelta) -> None:
    async def die() -> None:
        for slot, instance in list(system.system.instances.items()):
            if slot.startswith("notifier") and instance.actor is not None:
                system.system.loop.pause(instance.actor, lasts.total_seconds())

    system.at(seconds=at.total_seconds()).do("the notifier stands still", die)


@scenario(with_heartbeats)
async def test_while_we_are_down_nobody_is_accused(system: Timeline) -> None:
    _dies(system, minutes(10), minutes(20))
    await system.play(until=minutes(40))
    assert told(system.system, HeartbeatMissed) == []
    assert system.incidents() == []


KILLED = Rates(
    crash=0.05, pause=0, refused=0, unknown=0, provider_refused=0, provider_unknown=0, rewind=0
)


def _killed(seed: int) -> System:
    async def live() -> System:
        system = System(
            policies=[published(with_heartbeats())], faults=SeededFaults(seed, KILLED), instances=2
        )
        await system.start()
        await system.sleep(minutes(20))
        await system.settle()
        return system

    return simulate(live(), seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_notifier_that_is_killed_loses_no_beat_and_doubles_none_it_knows_of(seed: int) -> None:
    system = _killed(seed)
    for channel in beating(with_heartbeats()):
        due: dict[datetime, list[int]] = {}
        for one in beats(system, channel):
            due.setdefault(one.sending.opened_at, []).append(one.sending.attempt)
        assert len(due) >= 5
        # A beat is sent again only as another attempt: one whose sender is gone is in doubt.
        assert all(len(set(attempts)) == len(attempts) for attempts in due.values())
        # None is left out: they follow each other on the grid, from the first to the last.
        at = sorted(
            {one.due_at for one in told(system, HeartbeatAttempted) if one.channel == channel}
        )
        assert {later - earlier for earlier, later in itertools.pairwise(at)} == {EVERY}
