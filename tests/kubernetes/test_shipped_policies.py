"""Every Kubernetes step of every shipped policy, on a real API with real controllers.

Each is planned, run, verified, undone from what it said it changed, run again, and taken back by
the policy's own undo where it has one. Only the namespace is the test's own; what a step names is
made as the runbook describes it, with a revision before the present one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from remediation.adapters.kubernetes import Access, KubernetesRunner
from remediation.domain.filling import Filled, fill
from remediation.domain.plan import Lost, Planned, Ran
from tocsin_policy import KubernetesCall, PlaybookStep, Policy, load_policy
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.kubernetes.objects import a_config_map, a_service, a_workload
from tocsin_testkit.kubernetes.observing import Seen
from tocsin_testkit.kubernetes.real import RealKubernetes
from tocsin_testkit.kubernetes.trying import Trial, on_real

pytestmark = pytest.mark.kubernetes
ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "deploy" / "policies"
LONG = timedelta(seconds=60)
WITHOUT = {"mcp-wasm-edge-gateway"}
"""Policies without a step on Kubernetes: its runbook has none."""

READS = {"logs", "state", "rollout_status"}


@pytest.fixture
async def trial(
    request: pytest.FixtureRequest, real_kubernetes: RealKubernetes, tmp_path: Path
) -> AsyncIterator[Trial]:
    system = request.node.callspec.params["system"]
    async with on_real(real_kubernetes, ROOT, tmp_path, f"of-{system}") as trial:
        yield trial


@pytest.mark.parametrize("system", sorted(path.name for path in POLICIES.iterdir()))
@pytest.mark.timeout(600)
async def test_every_kubernetes_step_runs_is_verified_and_is_taken_back(
    system: str, trial: Trial
) -> None:
    policy = load_policy(POLICIES / system / "policy.yaml")
    steps = dict(kubernetes_steps(policy))
    assert bool(steps) == (system not in WITHOUT)
    for title, step in steps.items():
        try:
            await Tried(trial, step).all()
        except AssertionError as error:
            raise AssertionError(f"{system}: {title}: {error}") from error


def kubernetes_steps(policy: Policy) -> Iterator[tuple[str, PlaybookStep]]:
    """Each once, though several playbooks use it."""
    met: set[str] = set()
    for name, playbook in policy.playbooks.items():
        for step in playbook.steps:
            if step.kubernetes is None or step.kubernetes.model_dump_json() in met:
                continue
            met.add(step.kubernetes.model_dump_json())
            yield f"{name}/{step.id}", step


class Tried:
    """One step, in a world made for it."""

    def __init__(self, trial: Trial, step: PlaybookStep) -> None:
        self.seen = trial.seen
        self.raw = step
        access = Access(kubeconfig=trial.kubeconfig)
        clusters = {"default", "eks", "primary-cluster", "secondary-cluster"}
        self.runner = KubernetesRunner(dict.fromkeys(clusters, access), SystemClock())

    def here(self, call: KubernetesCall) -> KubernetesCall:
        return call.model_copy(update={"namespace": self.seen.namespace})

    async def all(self) -> None:
        assert self.raw.kubernetes is not None
        made = await a_world_for(self.seen, self.raw.kubernetes)
        try:
            filled = fill(self.raw, [await self.labels()])
            assert isinstance(filled, Filled), filled
            await self.taken_there_and_back(filled.step)
        finally:
            for kind, name in made:
                await self.seen.remove(kind, name)

    async def labels(self) -> dict[str, str]:
        """Those of an alert about the first pod there is."""
        pods = await self.seen.listed("pod")
        ready = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return {"pod": ready[0]["metadata"]["name"]} if ready else {}

    async def taken_there_and_back(self, step: PlaybookStep) -> None:
        assert step.kubernetes is not None
        call = self.here(step.kubernetes)
        before = await asked(self.seen, call)
        planned = await self.runner.plan(call, LONG)
        assert isinstance(planned, Planned), planned
        assert await asked(self.seen, call) == before
        ran = good(await self.runner.run(call, LONG))
        good(await self.runner.verify(call, LONG))
        await self.verified(step)
        if call.action in READS:
            return
        assert planned.diff
        assert await asked(self.seen, call) != before
        undone = await self.runner.undo(call, ran.changed, LONG)
        if call.action == "delete_pod":
            assert undone.reason == "no_undo"
            return
        good(undone)
        assert await asked(self.seen, call) == before
        await self.settled(call)
        await self.taken_back_by_the_policy(step, call)

    async def verified(self, step: PlaybookStep) -> None:
        if step.verify is not None and step.verify.kubernetes is not None:
            good(await self.runner.verify(self.here(step.verify.kubernetes), LONG))

    async def taken_back_by_the_policy(self, step: PlaybookStep, call: KubernetesCall) -> None:
        if step.undo is None or step.undo.kubernetes is None:
            return
        good(await self.runner.run(call, LONG))
        await self.settled(call)
        after = await asked(self.seen, call)
        undo = self.here(step.undo.kubernetes)
        good(await self.runner.run(undo, LONG))
        good(await self.runner.verify(undo, LONG))
        assert await asked(self.seen, call) != after

    async def settled(self, call: KubernetesCall) -> None:
        word, _, name = (call.resource or "").partition("/")
        if word == "deployment":
            await self.seen.until_ready(word, name)


def good(outcome: Ran | Lost) -> Ran:
    assert isinstance(outcome, Ran), outcome
    assert outcome.succeeded, (outcome.reason, outcome.evidence.output)
    return outcome


async def asked(seen: Seen, call: KubernetesCall) -> dict[str, Any]:
    """What the step's object is asked to be; of an owner's pods, which there are."""
    word, _, name = (call.resource or "").partition("/")
    if not word or not await seen.there(word, name):
        return {}
    found = await seen.get(word, name)
    said = found["metadata"].get("annotations") or {}
    kept = {n: v for n, v in said.items() if n != "deployment.kubernetes.io/revision"}
    return {"annotations": kept, "spec": found.get("spec"), "data": found.get("data")}


async def a_world_for(seen: Seen, call: KubernetesCall) -> list[tuple[str, str]]:
    """What the call names, as it may have been before; kinds and names, to be removed."""
    word, _, name = (call.resource or "").partition("/")
    match word:
        case "configmap":
            await seen.make(a_config_map(name, **dict.fromkeys(call.values, "before")))
        case "service":
            await seen.make(a_service(name))
        case "networkpolicy":
            return [(word, name)]
        case _:
            name = name if word == "deployment" else _app(call)
            await two_revisions(seen, name, call)
            return [("deployment", name)]
    return [(word, name)]


def _app(call: KubernetesCall) -> str:
    if call.selector:
        return call.selector.partition("=")[2]
    return "blockchain-backend"


async def two_revisions(seen: Seen, name: str, call: KubernetesCall) -> None:
    env = dict.fromkeys(call.values, "before") if call.action == "set_env" else {}
    document = a_workload("Deployment", name, replicas=3, env=env)
    (container,) = document["spec"]["template"]["spec"]["containers"]
    container["name"] = call.container or "main"
    await seen.make(document)
    await seen.until_ready("deployment", name)
    newer = {**container, "image": "registry.example/app:2"}
    template = {"spec": {"containers": [newer]}}
    await seen.merge("deployment", name, {"spec": {"template": template}})
    await seen.until_ready("deployment", name)
