"""A person whom everything pages at once gets a few messages, and all that they were for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from notifier.adapters.local_gate import LocalGate
from notifier.domain.bundling import MOST_BUNDLED
from notifier.domain.pacing import PERSON
from notifier.handlers import Notifier
from tocsin_casebook import Casebook, Policies
from tocsin_contracts.ids import reply_code
from tocsin_contracts.incidents import Purpose
from tocsin_incident.state import NotificationStatus
from tocsin_policy import Policy
from tocsin_runtime.ports import Handler
from tocsin_simulation.system import SERVICES, Instance, Runs, System
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import Timeline, minutes, scenario


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def by_mail() -> Policy:
    alice = {"name": "Alice", "role": "on-call engineer", "channels": ["mail"]}
    return a_policy(
        contacts={"alice": alice},
        escalation={"critical": [{"number": 1, "after": "0m", "targets": ["schedule:primary"]}]},
        channels={"mail": {"kind": "email", "endpoint": "mail"}},
    )


def _notifier(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    handler = Notifier(
        casebook=instance.casebook,
        policies=policies,
        publisher=system.publisher,
        clock=system.clock,
        channels=system.providers,
        gate=LocalGate(system.clock),
        instance=instance.name,
    )
    policies.on_change(handler.reconciler.policy_changed)
    return handler, (handler.run,)


WITH_MANNERS = [
    replace(one, build=_notifier) if one.name == "notifier" else one for one in SERVICES
]


def alerts(count: int) -> list[str]:
    return [f"Alert{number:02}" for number in range(count)]


@pytest.mark.parametrize("count", [PERSON.burst, PERSON.burst + 1, 20, MOST_BUNDLED + 20])
@scenario(by_mail, services=WITH_MANNERS)
async def test_a_burst_is_a_few_messages_and_each_incident_is_in_one(
    system: Timeline, count: int
) -> None:
    for name in alerts(count):
        system.at(minutes=0).push(an_alert(name, severity="critical", system="shop"))
    await system.play(until=minutes(2))
    arrivals = [one.sending for one in system.system.providers.arrivals]
    single = [one for one in arrivals if not one.bundled]
    bundles = [one for one in arrivals if one.bundled]
    assert len(single) in {PERSON.burst, PERSON.burst + 1}
    assert len(bundles) <= 1 + count // MOST_BUNDLED
    pages = {
        held.notification: held
        for state in system.incidents()
        for held in state.notifications.values()
        if held.purpose is Purpose.PAGE
    }
    assert len(pages) == count
    assert {held.status for held in pages.values()} == {NotificationStatus.DELIVERED}
    told = [one.notification for one in single] + [name for one in bundles for name in one.bundled]
    assert sorted(told) == sorted(pages)


@scenario(by_mail, services=WITH_MANNERS)
async def test_a_bundle_names_what_acknowledges_each(system: Timeline) -> None:
    for name in alerts(9):
        system.at(minutes=0).push(an_alert(name, severity="critical", system="shop"))
    await system.play(until=minutes(2))
    [bundle] = [one.sending for one in system.system.providers.arrivals if one.sending.bundled]
    assert bundle.message.subject.startswith("4 messages, worst: [critical] Alert")
    codes = {reply_code(state.incident) for state in system.incidents()}
    named = {line.split()[0] for line in bundle.message.body.splitlines()}
    assert len(named) == 4
    assert named <= codes


@scenario(by_mail, services=WITH_MANNERS)
async def test_what_was_answered_while_it_waited_is_not_in_the_bundle(system: Timeline) -> None:
    for name in alerts(9):
        system.at(minutes=0).push(an_alert(name, severity="critical", system="shop"))
        system.at(seconds=5).acknowledge(by="alice", of=name)
    await system.play(until=minutes(2))
    pages = [
        held.status
        for state in system.incidents()
        for held in state.notifications.values()
        if held.purpose is Purpose.PAGE
    ]
    assert pages.count(NotificationStatus.DELIVERED) == PERSON.burst
    assert pages.count(NotificationStatus.SUPERSEDED) == 9 - PERSON.burst
    got = [one.sending for one in system.system.providers.arrivals if one.is_page]
    assert len(got) == PERSON.burst
    assert not any(one.bundled for one in got)
