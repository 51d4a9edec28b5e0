"""Each service is killed in the middle of a storm: nothing is lost, and what repeats is known."""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.dispositions import Disposed, Disposition, Outcome
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.audited import audited_cluster, said
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]

ALERTS = 2_000
IN_A_WEBHOOK = 25
PARTITIONS = 3
NAMES = tuple(f"Down{number}" for number in range(8))
"""Alerts of one name are one incident."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Stands for Slack and PagerDuty."""
    with Receiver(SystemClock()).serving() as serving:
        yield serving


@pytest.fixture
def stack(receiver: Receiver) -> Iterator[Stack]:
    """The whole system, its pages leading to the receiver."""
    channels = {kind: channel_settings(receiver, kind, kind) for kind in ("slack", "pagerduty")}
    made = Stack(
        ROOT, partitions=PARTITIONS, ephemeral=True, env={"TOCSIN_CHANNELS": json.dumps(channels)}
    )
    made.start(print)
    yield made
    made.stop()


def webhooks() -> list[bytes]:
    """Two thousand alerts that all differ, of eight names in turn."""
    alerts = [
        an_alert(
            NAMES[number // IN_A_WEBHOOK % len(NAMES)],
            system="shop",
            severity="critical",
            instance=f"node-{number}",
        )
        for number in range(ALERTS)
    ]
    return [a_webhook(*alerts[at : at + IN_A_WEBHOOK]) for at in range(0, ALERTS, IN_A_WEBHOOK)]


def accounted(seen: list[Event[Fact]]) -> dict[UUID, set[Disposition]]:
    """Every different thing that is said to have become of each observation."""
    found: dict[UUID, set[Disposition]] = defaultdict(set)
    for event in seen:
        if isinstance(event.fact, Disposed):
            for one in event.fact.dispositions:
                found[one.observation].add(one)
    return found


def fingerprints(seen: list[Event[Fact]]) -> set[str]:
    return {one.fingerprint for outcomes in accounted(seen).values() for one in outcomes}


def paged(seen: list[Event[Fact]]) -> set[str]:
    return {e.subject for e in seen if isinstance(e.fact, incidents.NotificationDelivered)}


def opened(seen: list[Event[Fact]]) -> set[str]:
    return {event.subject for event in seen if isinstance(event.fact, incidents.Opened)}


@pytest.mark.timeout(600)
async def test_nothing_is_lost_when_every_service_is_killed_in_a_storm(
    stack: Stack, receiver: Receiver
) -> None:
    system = RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )
    began_at = SystemClock().now()
    await system.put_in_force(published(a_policy()))
    services = [(one.name, one.said.pid) for one in stack.status()]
    bodies = webhooks()
    a_part = len(bodies) // (len(services) + 1)
    attempts = 0
    for number, body in enumerate(bodies):
        if number % a_part == 0 and number and services:
            _, pid = services.pop()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        attempts += await system.push(body)
    assert not services

    disposed = await system.until("dispositions", lambda seen: len(fingerprints(seen)) == ALERTS)
    # A delivery that was tried again may be there twice, each time with outcomes of its own.
    outcomes = accounted(disposed)
    assert ALERTS <= len(outcomes) <= attempts * IN_A_WEBHOOK
    assert {len(said) for said in outcomes.values()} == {1}
    assert {one.outcome for said in outcomes.values() for one in said} <= {
        Outcome.OPENED,
        Outcome.ATTACHED,
        Outcome.REPEATED,
    }

    facts = await system.until("incidents", lambda seen: len(paged(seen)) == len(NAMES))
    assert len(opened(facts)) == len(NAMES)
    # What a provider cannot merge must not repeat: one key for one person's page of one level.
    wanted = {e.subject for e in facts if isinstance(e.fact, incidents.LevelReached)}
    assert wanted == opened(facts)
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for arrival in receiver.arrivals():
        keys[arrival.kind, arrival.subject].add(arrival.key)
    assert {len(different) for different in keys.values()} == {1}

    audited = await audited_cluster(stack.bootstrap, began_at)
    assert said(audited) == []
    assert audited.counts["observations"] >= ALERTS
    assert audited.counts["pages"] >= len(NAMES)
