"""What is worst is called at once, whatever else waits or hangs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog

from notifier.adapters.local_gate import LocalGate
from notifier.domain.outcomes import Delivered, Outcome, Unwell
from notifier.handlers import WORKERS, Notifier
from notifier.ports import Channel, Sending
from tocsin_casebook import Casebook, Policies
from tocsin_contracts.event import Event
from tocsin_contracts.incidents import NotificationDelivered, Purpose
from tocsin_incident.state import NotificationStatus
from tocsin_policy import Policy
from tocsin_runtime.ports import Clock, Handler, Publisher
from tocsin_runtime.records import Outgoing, Position
from tocsin_simulation.system import SERVICES, Instance, Runs, System
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario

HANGS_FOR = timedelta(minutes=30)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def both_page() -> Policy:
    document: dict[str, Any] = {
        "severities": [
            {"name": "critical", "definition": "customers notice", "pages": True},
            {"name": "minor", "definition": "nobody notices", "pages": True},
        ],
        "escalation": {
            name: [{"number": 1, "after": "0m", "targets": ["contact:bob"]}]
            for name in ("critical", "minor")
        },
    }
    return a_policy(**document)


class Slow:
    """A provider that takes half an hour for what is not worst."""

    def __init__(self, clock: Clock, called: list[tuple[timedelta, str]]) -> None:
        self._clock = clock
        self._called = called
        self._start = clock.now()

    async def send(self, sending: Sending) -> Outcome:
        if sending.purpose is Purpose.PAGE:
            self._called.append((self._clock.now() - self._start, sending.severity))
        if sending.severity != "critical":
            await self._clock.sleep(HANGS_FOR)
        return Delivered()


CALLED: list[tuple[timedelta, str]] = []


def _notifier(
    channel: Callable[[Clock], Channel],
) -> Callable[[System, Instance, Policies], tuple[Handler, Runs]]:
    def build(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
        instance.casebook = instance.casebook or Casebook(system.log)
        handler = Notifier(
            casebook=instance.casebook,
            policies=policies,
            publisher=system.publisher,
            clock=system.clock,
            channels={"pagerduty": channel(system.clock)},
            gate=LocalGate(system.clock),
            instance=instance.name,
        )
        policies.on_change(handler.reconciler.policy_changed)
        return handler, (handler.run,)

    return build


SLOW = [
    replace(one, build=_notifier(lambda clock: Slow(clock, CALLED)))
    if one.name == "notifier"
    else one
    for one in SERVICES
]


@scenario(both_page, services=SLOW)
async def test_a_provider_that_hangs_on_noise_is_called_for_the_worst_at_once(
    system: Timeline,
) -> None:
    CALLED.clear()
    for number in range(20):
        system.at(minutes=0).push(an_alert(f"Noise{number}", severity="low", system="shop"))
    system.at(minutes=5).push(an_alert("Outage", severity="critical", system="shop"))
    await system.play(until=minutes(10))
    within = [(at, severity) for at, severity in CALLED if at < minutes(11)]
    noise = [at for at, severity in within if severity == "minor"]
    assert len(noise) == WORKERS
    [worst] = [at for at, severity in within if severity == "critical"]
    assert minutes(5) <= worst < minutes(5) + timedelta(seconds=30)


class Away:
    """A provider that is away for the first ten minutes."""

    def __init__(self, clock: Clock, told: list[Sending]) -> None:
        self._clock = clock
        self._told = told
        self._back_at = clock.now() + minutes(10)

    async def send(self, sending: Sending) -> Outcome:
        if self._clock.now() < self._back_at:
            return Unwell("unreachable")
        self._told.append(sending)
        return Delivered()


TOLD: list[Sending] = []


class Counted:
    """A publisher that remembers how many outcomes of calls each write told."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        events = [record.event for record in records if isinstance(record.event, Event)]
        told = sum(isinstance(event.fact, NotificationDelivered) for event in events)
        if told:
            WRITES.append(told)
        return await self._publisher.publish(records)


WRITES: list[int] = []


def _counted(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    handler = Notifier(
        casebook=instance.casebook,
        policies=policies,
        publisher=Counted(system.publisher),
        clock=system.clock,
        channels=system.providers,
        gate=LocalGate(system.clock),
        instance=instance.name,
    )
    return handler, (handler.run,)


COUNTED = [replace(one, build=_counted) if one.name == "notifier" else one for one in SERVICES]


@pytest.mark.parametrize(("count", "writes"), [(1, 1), (40, 20)])
@scenario(both_page, services=COUNTED)
async def test_what_became_of_calls_in_a_burst_is_written_together(
    system: Timeline, count: int, writes: int
) -> None:
    WRITES.clear()
    for number in range(count):
        system.at(minutes=0).push(an_alert(f"Noise{number}", severity="low", system="shop"))
    await system.play(until=minutes(5))
    assert sum(WRITES) == count
    assert len(WRITES) <= writes
    held = [held for state in system.incidents() for held in state.notifications.values()]
    assert {one.status for one in held} == {NotificationStatus.DELIVERED}


AWAY = [
    replace(one, build=_notifier(lambda clock: Away(clock, TOLD)))
    if one.name == "notifier"
    else one
    for one in SERVICES
]


@scenario(both_page, services=AWAY)
async def test_what_is_sent_late_says_by_how_much(system: Timeline) -> None:
    TOLD.clear()
    system.at(minutes=0).push(an_alert("Outage", severity="critical", system="shop"))
    system.at(minutes=30).push(an_alert("Another", severity="critical", system="shop"))
    await system.play(until=minutes(40))
    late, prompt = (one for one in TOLD if one.purpose is Purpose.PAGE)
    first, _, rest = late.message.body.partition("\n")
    assert re.fullmatch(r"Sent 1[0-5]m late\.", first)
    assert rest.startswith("Outage")
    assert "late" not in prompt.message.body
