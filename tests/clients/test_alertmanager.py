"""Debian's real Alertmanager and amtool, pointed at a whole real system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_testkit.alertmanager import Alertmanager, running_alertmanager
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 2


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Stands for Slack and PagerDuty."""
    with Receiver(SystemClock()).serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def stack(receiver: Receiver) -> Iterator[Stack]:
    """The whole system, with the policy of the builders in force."""
    channels = {
        kind: channel_settings(receiver, kind, f"{kind}-of-the-test")
        for kind in ("slack", "pagerduty")
    }
    env = {"TOCSIN_CHANNELS": json.dumps(channels)}
    made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
    made.start(print)
    try:
        asyncio.run(seen_from_outside(made).put_in_force(published(a_policy())))
        yield made
    finally:
        made.stop()


def seen_from_outside(stack: Stack) -> RealSystem:
    tokens = (stack.webhook_token, stack.api_token)
    return RealSystem(stack.bootstrap, stack.ingestion_url, *tokens, PARTITIONS)


@pytest.fixture(scope="module")
def alertmanager(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """Debian's, with Tocsin as its only receiver."""
    with running_alertmanager(
        ROOT,
        tmp_path_factory.mktemp("alertmanager"),
        webhook=f"{stack.ingestion_url}/v1/webhooks/alertmanager",
        token=stack.webhook_token,
    ) as running:
        yield running


def about(seen: list[Event[Fact]], name: str) -> list[Event[Fact]]:
    opened = {
        event.subject
        for event in seen
        if isinstance(event.fact, incidents.Opened)
        and any(alert.name == name for alert in event.fact.alerts)
    }
    return [event for event in seen if event.subject in opened]


def has(seen: list[Event[Fact]], name: str, kind: type[Fact]) -> bool:
    return any(isinstance(event.fact, kind) for event in about(seen, name))


async def test_what_amtool_adds_pages_through_alertmanager_and_clears_when_it_ends(
    alertmanager: Alertmanager, stack: Stack, receiver: Receiver
) -> None:
    system = seen_from_outside(stack)
    labels = ("alertname=DiskFull", "system=shop", "severity=critical", "instance=db-1")
    alertmanager.tool("alert", "add", *labels, '--annotation=summary="The disk is full"')
    seen = await system.until(
        "incidents", lambda events: has(events, "DiskFull", incidents.NotificationDelivered)
    )
    [opened] = [e for e in about(seen, "DiskFull") if isinstance(e.fact, incidents.Opened)]
    assert isinstance(opened.fact, incidents.Opened)
    [alert] = opened.fact.alerts
    assert alert.labels == dict(label.split("=") for label in labels)
    assert alert.source == "alertmanager"
    assert any(opened.subject in a.key for a in receiver.arrivals())

    ended = SystemClock().now().isoformat()
    alertmanager.tool("alert", "add", *labels, f"--end={ended}")
    seen = await system.until(
        "incidents", lambda events: has(events, "DiskFull", incidents.AlertsCleared)
    )
    [cleared] = [e for e in about(seen, "DiskFull") if isinstance(e.fact, incidents.AlertsCleared)]
    assert isinstance(cleared.fact, incidents.AlertsCleared)
    assert [one.fingerprint for one in cleared.fact.alerts] == [alert.fingerprint]


async def test_two_alerts_of_a_group_are_one_incident_and_each_clears_by_itself(
    alertmanager: Alertmanager, stack: Stack
) -> None:
    system = seen_from_outside(stack)
    common = ("alertname=PodsDown", "system=shop", "severity=critical")
    for pod in ("a", "b"):
        alertmanager.tool("alert", "add", *common, f"pod={pod}")
    await system.until("incidents", lambda events: len(held(events, "PodsDown")) == 2)
    alertmanager.tool("alert", "add", *common, "pod=a", f"--end={SystemClock().now().isoformat()}")
    seen = await system.until(
        "incidents", lambda events: has(events, "PodsDown", incidents.AlertsCleared)
    )
    found = about(seen, "PodsDown")
    assert len({event.subject for event in found}) == 1
    cleared = [e.fact for e in found if isinstance(e.fact, incidents.AlertsCleared)]
    assert sum(len(fact.alerts) for fact in cleared) == 1


def held(seen: list[Event[Fact]], name: str) -> set[str]:
    return {
        alert.fingerprint
        for event in about(seen, name)
        if isinstance(event.fact, incidents.Opened | incidents.AlertsAttached)
        for alert in event.fact.alerts
    }
