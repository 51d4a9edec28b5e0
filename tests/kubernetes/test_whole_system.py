"""An alert, people's agreement, and a real cluster that changes: five processes on a real Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tocsin_cli.stack import Stack
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_policy import Policy
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.kubernetes.objects import a_workload
from tocsin_testkit.kubernetes.real import RealKubernetes
from tocsin_testkit.kubernetes.trying import Trial, on_real
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 2
NAMESPACE = "whole-system"


def a_step(name: str, call: dict[str, Any], looked_at: str) -> dict[str, Any]:
    status = {"action": "rollout_status", "namespace": NAMESPACE, "resource": looked_at}
    return {
        "id": name,
        "title": name,
        "runner": "kubernetes",
        "kubernetes": {"namespace": NAMESPACE, **call},
        "verify": {"kubernetes": status},
        "verify_within": "5s",
        "risk": "disruptive",
        "approval": "one",
        "timeout": "30s",
    }


ROLL_BACK = a_step(
    "roll-back", {"action": "rollout_undo", "resource": "deployment/api"}, "deployment/api"
)
SCALE = a_step(
    "scale", {"action": "scale", "resource": "deployment/web", "replicas": 4}, "deployment/sick"
)


def a_rule(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "match": [f'alertname="{name}"'],
        "severity": "critical",
        "playbook": name.lower(),
    }


def the_policy() -> Policy:
    return a_policy(
        classification={"rules": [a_rule("Errors"), a_rule("Load")], "default": "minor"},
        endpoints={name: {"description": name} for name in ("default", "pagerduty", "slack")},
        playbooks={
            "errors": {"title": "Errors since the last deployment", "steps": [ROLL_BACK]},
            "load": {"title": "More load than replicas", "steps": [SCALE]},
        },
    )


@pytest.fixture
async def trial(real_kubernetes: RealKubernetes, tmp_path: Path) -> AsyncIterator[Trial]:
    async with on_real(real_kubernetes, ROOT, tmp_path, NAMESPACE) as trial:
        yield trial


@pytest.fixture
async def system(trial: Trial) -> AsyncIterator[RealSystem]:
    """The whole system, with a kubeconfig of the shipped roles."""
    clusters = {"default": {"kubeconfig": str(trial.kubeconfig), "namespaces": [NAMESPACE]}}
    env = {"TOCSIN_CLUSTERS": json.dumps(clusters)}
    made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
    await asyncio.to_thread(made.start, print)
    try:
        tokens = (made.webhook_token, made.api_token)
        seen = RealSystem(made.bootstrap, made.ingestion_url, *tokens, PARTITIONS)
        await seen.put_in_force(published(the_policy()))
        yield seen
    finally:
        await asyncio.to_thread(made.stop)


async def agreed(system: RealSystem, alert: str) -> tuple[str, facts.RemediationStepPlanned]:
    """The incident whose only step somebody let run, and the plan they saw."""
    await system.push(a_webhook(an_alert(alert, system="shop", severity="critical")))

    def planned(seen: list[Event[Fact]]) -> list[Event[Fact]]:
        opened = {e.subject for e in seen if isinstance(e.fact, facts.Opened) and about(e, alert)}
        plans = [e for e in seen if isinstance(e.fact, facts.RemediationStepPlanned)]
        return [e for e in plans if e.subject in opened]

    [event, *_] = planned(await system.until("incidents", lambda seen: bool(planned(seen))))
    fact = event.fact
    assert isinstance(fact, facts.RemediationStepPlanned)
    answer = {"by": "alice", "remediation": fact.remediation, "step": fact.step}
    await system.answer(event.subject, "approve", json.dumps(answer).encode())
    return event.subject, fact


def about(event: Event[Fact], name: str) -> bool:
    assert isinstance(event.fact, facts.Opened)
    return any(alert.labels.get("alertname") == name for alert in event.fact.alerts)


async def until(system: RealSystem, incident: str, kind: type[Fact]) -> None:
    await system.until(
        "incidents",
        lambda seen: any(e.subject == incident and isinstance(e.fact, kind) for e in seen),
    )


@pytest.mark.timeout(600)
async def test_what_people_agreed_to_changes_the_cluster_and_what_did_not_help_is_taken_back(
    trial: Trial, system: RealSystem
) -> None:
    seen = trial.seen
    for name, image in (("api", "app:1"), ("web", "app:1")):
        await seen.make(a_workload("Deployment", name, replicas=2, image=image))
        await seen.until_ready("deployment", name)
    await seen.make(a_workload("Deployment", "sick", replicas=1, image="broken:1"))
    newer = {"spec": {"containers": [{"name": "main", "image": "broken:2"}]}}
    await seen.merge("deployment", "api", {"spec": {"template": newer}})
    await seen.until("deployment", "api", lambda found: found["status"].get("updatedReplicas"))

    incident, plan = await agreed(system, "Errors")
    assert plan.targets == (f"deployment:default/{NAMESPACE}/api",)
    assert "app:1" in plan.diff
    await until(system, incident, facts.RemediationVerified)
    back = await seen.until_ready("deployment", "api")
    assert back["spec"]["template"]["spec"]["containers"][0]["image"] == "app:1"

    incident, plan = await agreed(system, "Load")
    assert "+  replicas: 4" in plan.diff
    await until(system, incident, facts.RemediationRolledBack)
    assert (await seen.get("deployment", "web"))["spec"]["replicas"] == 2
