"""Playbooks from the command, on real processes: planned, frozen, approved, run, taken back."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tocsin_cli.receiver import Receiver
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem, acting_stack

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
TOCSIN = str(Path(sys.executable).with_name("tocsin"))
PARTITIONS = 2

POLICY: dict[str, Any] = {
    "classification": {
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
    "endpoints": {name: {"description": name} for name in ("ops", "pagerduty", "slack")},
    "playbooks": {
        "fix": {
            "title": "Fix it",
            "steps": [
                {
                    "id": "restart",
                    "title": "Restart",
                    "runner": "http",
                    "http": {"method": "POST", "endpoint": "ops", "path": "/restart"},
                    "risk": "disruptive",
                    "approval": "one",
                    "timeout": "10s",
                    "undo": {"http": {"method": "POST", "endpoint": "ops", "path": "/undo"}},
                }
            ],
        }
    },
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SystemClock()).serving() as serving:
        yield serving


@pytest.fixture
def stack(receiver: Receiver) -> Iterator[Stack]:
    with acting_stack(ROOT, receiver, partitions=PARTITIONS) as made:
        yield made


def tocsin(stack: Stack, *arguments: str) -> str:
    done = subprocess.run(
        [TOCSIN, *arguments],
        env={
            "TOCSIN_KAFKA_BOOTSTRAP": stack.bootstrap,
            "TOCSIN_INGESTION_URL": stack.ingestion_url,
            "TOCSIN_API_TOKEN": stack.api_token,
            "COLUMNS": "200",
            "HOME": "/nonexistent",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def steps(receiver: Receiver) -> list[str]:
    return [arrival.subject for arrival in receiver.arrivals() if arrival.kind == "step"]


@pytest.mark.timeout(400)
def test_a_step_is_planned_frozen_approved_run_and_taken_back_from_the_command(
    stack: Stack, receiver: Receiver
) -> None:
    system = RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )

    def until(kind: type[Fact], **fields: Any) -> list[Event[Fact]]:
        def there(seen: list[Event[Fact]]) -> bool:
            return any(
                isinstance(event.fact, kind)
                and all(getattr(event.fact, name) == value for name, value in fields.items())
                for event in seen
            )

        enough: Callable[[list[Event[Fact]]], bool] = there
        return asyncio.run(system.until("incidents", enough))

    asyncio.run(system.put_in_force(published(a_policy(**POLICY))))
    asyncio.run(system.push(a_webhook(an_alert("Down", system="shop", severity="critical"))))
    incident = until(facts.RemediationStepPlanned)[0].subject

    said = tocsin(stack, "freeze", "on", "--by", "carol", "--reason", "a release")
    assert "everything is frozen" in said
    (frozen,) = json.loads(tocsin(stack, "freeze", "show", "--json"))
    assert (frozen["system"], frozen["by"], frozen["reason"]) == (None, "carol", "a release")

    assert "POST ops/restart" in tocsin(stack, "playbook", "plan", incident)
    tocsin(stack, "playbook", "approve", incident, "--by", "alice")
    until(facts.RemediationStepHeld, reason="frozen")
    assert steps(receiver) == []
    assert "waits: frozen, carol froze everything: a release" in tocsin(
        stack, "playbook", "plan", incident
    )

    tocsin(stack, "freeze", "off", "--by", "carol")
    until(facts.RemediationStepFinished)
    assert steps(receiver) == ["POST /restart"]
    assert json.loads(tocsin(stack, "freeze", "show", "--json")) == []

    tocsin(stack, "playbook", "abort", incident, "--by", "alice", "--reason", "no help")
    until(facts.RemediationFailed, reason="aborted")
    assert steps(receiver) == ["POST /restart", "POST /undo"]
