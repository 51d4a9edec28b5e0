"""The remediation process is killed again and again while playbooks run; no step runs twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tocsin_cli.receiver import Receiver
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_incident import IncidentState, fold
from tocsin_incident.state import RemediationStatus, StepStatus
from tocsin_policy import Policy
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem, acting_stack

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]

PARTITIONS = 2
STEPS = ("one", "two", "three", "four", "five")
INCIDENTS = tuple(f"Down{number}" for number in range(8))
KILLS = 6
BETWEEN = timedelta(milliseconds=1700)
"""About as long as the process needs to be back and to have begun something."""


def five_steps() -> Policy:
    """Five steps that run by themselves, each of its own target in each incident."""
    steps = [
        {
            "id": name,
            "title": name.title(),
            "runner": "http",
            "http": {"method": "POST", "endpoint": "ops", "path": f"/{name}/${{alert}}"},
            "parameters": {"alert": {"label": "alertname", "pattern": "Down[0-9]+"}},
            "risk": "safe",
            "approval": "automatic",
            "timeout": "5s",
            "verify": {"http": {"endpoint": "ops", "path": "/healthz"}},
        }
        for name in STEPS
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


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Stands for PagerDuty, Slack, and what the steps call."""
    with Receiver(SystemClock()).serving() as serving:
        yield serving


@pytest.fixture
def stack(receiver: Receiver) -> Iterator[Stack]:
    """The whole system, its pages and its steps leading to the receiver."""
    with acting_stack(ROOT, receiver, partitions=PARTITIONS) as made:
        yield made


def states(seen: list[Event[Fact]]) -> dict[str, IncidentState]:
    found: dict[str, IncidentState] = {}
    for event in seen:
        folded = fold(found.get(event.subject), event)
        if folded.state is not None:
            found[event.subject] = folded.state
    return found


def over(state: IncidentState) -> bool:
    """Whether its playbook went well to the end, or stands in doubt and somebody was told."""
    if not state.remediations:
        return False
    (remediation,) = state.remediations.values()
    if remediation.status is RemediationStatus.IN_DOUBT:
        return any(
            held.purpose is facts.Purpose.REMINDER and held.status.settled
            for held in state.notifications.values()
        )
    return all(step.status is StepStatus.VERIFIED for step in remediation.steps)


@pytest.mark.timeout(600)
async def test_no_step_runs_twice_and_nothing_is_unknown_though_remediation_is_killed(
    stack: Stack, receiver: Receiver
) -> None:
    system = RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )
    clock = SystemClock()
    await system.put_in_force(published(five_steps()))
    for name in INCIDENTS:
        await system.push(a_webhook(an_alert(name, system="shop", severity="critical")))
    killed: set[int] = set()
    while len(killed) < KILLS:
        await clock.sleep(BETWEEN)
        pid = next(one.said.pid for one in stack.status() if one.name == "remediation")
        if pid is not None and pid not in killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    seen = await system.until(
        "incidents",
        lambda events: (
            len(found := states(events)) == len(INCIDENTS) and all(map(over, found.values()))
        ),
    )
    called = Counter(
        arrival.subject
        for arrival in receiver.arrivals()
        if arrival.kind == "step" and arrival.action == "POST"
    )
    assert {what: times for what, times in called.items() if times > 1} == {}
    # Everything that was called is known to have ended, or to be in doubt.
    known = {
        step.proposed.call.replace("POST ops", "POST ")
        for state in states(seen).values()
        for remediation in state.remediations.values()
        for step in remediation.steps
        if step.status in {StepStatus.VERIFIED, StepStatus.IN_DOUBT}
    }
    assert set(called) <= known
