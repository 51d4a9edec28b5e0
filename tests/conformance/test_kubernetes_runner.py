"""One suite for the Kubernetes runner, on a real API with real controllers and on the double.

The double runs in `make test`, the real one in `make test-kubernetes`. What the double cannot do
is marked where it is asked.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from remediation.adapters.kubernetes import Access, KubernetesRunner
from remediation.adapters.kubernetes.cluster import reached
from remediation.adapters.kubernetes.editing import MOST_ATTEMPTS, changed_object
from remediation.adapters.kubernetes.failing import Refused
from remediation.adapters.kubernetes.kinds import ConfigMap, Deployment
from remediation.domain.plan import Lost, Planned, Ran
from tocsin_cli.stack.processes import free_ports
from tocsin_policy import KubernetesCall
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.kubernetes.double import Rule, rules
from tocsin_testkit.kubernetes.objects import (
    a_budget,
    a_config_map,
    a_service,
    a_workload,
)
from tocsin_testkit.kubernetes.observing import Seen
from tocsin_testkit.kubernetes.real import RealKubernetes
from tocsin_testkit.kubernetes.trying import Trial, on_double, on_real, shipped
from tocsin_testkit.providers.serving import Fate, Reply, Said

ROOT = Path(__file__).resolve().parents[2]
LONG = timedelta(seconds=30)
SHORT = timedelta(seconds=1)
V2 = {"template": {"spec": {"containers": [{"name": "main", "image": "registry.example/app:2"}]}}}
BROKEN = {"template": {"spec": {"containers": [{"name": "main", "image": "registry/broken:3"}]}}}
_numbers = itertools.count(1)

Call = Callable[..., KubernetesCall]


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.kubernetes)])
async def trial(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Trial]:
    """A namespace of this test's own."""
    async with tried(request, tmp_path) as trial:
        yield trial


@asynccontextmanager
async def tried(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Trial]:
    namespace = f"test-{next(_numbers)}"
    if request.param == "double":
        async with on_double(ROOT, folder, namespace) as trial:
            yield trial
    else:
        kubernetes: RealKubernetes = request.getfixturevalue("real_kubernetes")
        async with on_real(kubernetes, ROOT, folder, namespace) as trial:
            yield trial


@pytest.fixture
def seen(trial: Trial) -> Seen:
    return trial.seen


@pytest.fixture
def runner(trial: Trial) -> KubernetesRunner:
    access = Access(kubeconfig=trial.kubeconfig)
    limited = Access(kubeconfig=trial.kubeconfig, namespaces=frozenset({"elsewhere"}))
    gone = Access(kubeconfig=trial.kubeconfig.parent / "no-such-file")
    return KubernetesRunner({"default": access, "limited": limited, "gone": gone}, SystemClock())


@pytest.fixture
def call(trial: Trial) -> Call:
    def made(action: str, resource: str | None = None, **more: Any) -> KubernetesCall:
        document = {"namespace": trial.seen.namespace, **more, "action": action}
        return KubernetesCall.model_validate({**document, "resource": resource})

    return made


def cannot(trial: Trial, request: pytest.FixtureRequest, reason: str) -> None:
    """Expect this test to fail on the double."""
    if trial.double is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=f"the double {reason}"))


def good(outcome: Ran | Lost) -> Ran:
    assert isinstance(outcome, Ran), outcome
    assert outcome.succeeded, (outcome.reason, outcome.evidence.output)
    return outcome


def reason(outcome: Ran | Lost | Planned) -> str:
    """Why it did not succeed."""
    assert isinstance(outcome, Ran | Lost), outcome
    assert isinstance(outcome, Lost) or not outcome.succeeded, outcome
    return outcome.reason


def plan(outcome: Planned | Ran) -> Planned:
    assert isinstance(outcome, Planned), outcome
    return outcome


async def a_deployment(seen: Seen, name: str = "api", **more: Any) -> None:
    await seen.make(a_workload("Deployment", name, **more))
    await seen.until_ready("deployment", name)


def image_of(spec: dict[str, Any]) -> str:
    found: str = spec["containers"][0]["image"]
    return found


def image(workload: dict[str, Any]) -> str:
    return image_of(workload["spec"]["template"]["spec"])


# Scale


async def test_a_plan_to_scale_says_what_would_change_and_changes_nothing(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=3)
    planned = plan(await runner.plan(call("scale", "deployment/api", replicas=5), LONG))
    assert planned.targets == (f"deployment:default/{seen.namespace}/api",)
    assert "-  replicas: 3\n+  replicas: 5" in planned.diff
    assert "3 of 3 pods ready, revision 1" in planned.state
    assert (planned.pods, planned.share) == (2, 0.0)
    assert (await seen.get("deployment", "api"))["spec"]["replicas"] == 3


async def test_scaling_down_takes_its_part_of_the_replicas(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=4)
    planned = plan(await runner.plan(call("scale", "deployment/api", replicas=1), LONG))
    assert (planned.pods, planned.share) == (3, 0.75)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_what_is_scaled_gets_its_pods_and_loses_them_by_an_undo(
    kind: str, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_workload(kind, "api", replicas=2))
    await seen.until_ready(kind.lower(), "api")
    scale = call("scale", f"{kind.lower()}/api", replicas=4)
    ran = good(await runner.run(scale, LONG))
    good(await runner.verify(scale, LONG))
    assert len(await seen.pods("api")) == 4
    good(await runner.undo(scale, ran.changed, LONG))
    await seen.until_ready(kind.lower(), "api")
    assert len(await seen.pods("api")) == 2


async def test_scaling_to_what_it_is_changes_nothing(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=2)
    before = await seen.get("deployment", "api")
    scale = call("scale", "deployment/api", replicas=2)
    assert plan(await runner.plan(scale, LONG)).diff == ""
    ran = good(await runner.run(scale, LONG))
    assert (ran.reason, dict(ran.changed)) == ("as_it_was", {})
    assert good(await runner.undo(scale, ran.changed, LONG)).reason == "nothing_to_undo"
    after = await seen.get("deployment", "api")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_an_undo_leaves_what_somebody_has_changed_since(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=2)
    scale = call("scale", "deployment/api", replicas=4)
    ran = good(await runner.run(scale, LONG))
    await seen.merge("deployment", "api", {"spec": {"replicas": 7}})
    assert reason(await runner.undo(scale, ran.changed, LONG)) == "changed_since"
    assert (await seen.get("deployment", "api"))["spec"]["replicas"] == 7


async def test_an_undo_leaves_another_object_of_the_same_name(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_config_map("app", mode="normal"))
    patch = call("patch_config_map", "configmap/app", values={"mode": "read-only"})
    ran = good(await runner.run(patch, LONG))
    await seen.remove("configmap", "app")
    await seen.make(a_config_map("app", mode="read-only"))
    assert reason(await runner.undo(patch, ran.changed, LONG)) == "replaced"
    assert (await seen.get("configmap", "app"))["data"] == {"mode": "read-only"}


# Rollouts


async def test_a_rollout_undo_goes_to_the_revision_before_and_its_undo_comes_back(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await two_revisions(seen)
    undo = call("rollout_undo", "deployment/api")
    planned = plan(await runner.plan(undo, LONG))
    assert "registry.example/app:1" in planned.diff
    assert "to revision 1" in planned.state
    assert "all 3 pods in turn, at most 0 away at one time" in planned.state
    assert (planned.pods, planned.share) == (3, 0.0)
    ran = good(await runner.run(undo, LONG))
    good(await runner.verify(undo, LONG))
    back = await seen.until_ready("deployment", "api")
    assert image(back) == "registry.example/app:1"
    assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    good(await runner.undo(undo, ran.changed, LONG))
    forward = await seen.until_ready("deployment", "api")
    assert image(forward) == "registry.example/app:2"
    assert {image_of(pod["spec"]) for pod in await seen.pods("api")} == {"registry.example/app:2"}


async def two_revisions(seen: Seen) -> None:
    await a_deployment(seen)
    await seen.merge("deployment", "api", {"spec": V2})
    await seen.until_ready("deployment", "api")


async def test_a_rollout_undo_can_name_its_revision(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await two_revisions(seen)
    await seen.merge("deployment", "api", {"spec": BROKEN})
    await seen.until("deployment", "api", revision_is("3"))
    assert reason(await runner.run(call("rollout_undo", "deployment/api", revision=7), LONG)) == (
        "no_such_revision"
    )
    good(await runner.run(call("rollout_undo", "deployment/api", revision=1), LONG))
    good(await runner.verify(call("rollout_undo", "deployment/api"), LONG))
    assert image(await seen.until_ready("deployment", "api")) == "registry.example/app:1"


def revision_is(number: str) -> Callable[[dict[str, Any]], bool]:
    def so(found: dict[str, Any]) -> bool:
        said = found["metadata"].get("annotations") or {}
        return bool(said.get("deployment.kubernetes.io/revision") == number)

    return so


async def test_a_bad_deployment_is_rolled_back_while_it_is_stuck(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen)
    await seen.merge("deployment", "api", {"spec": BROKEN})
    await seen.until("deployment", "api", revision_is("2"))
    status = call("rollout_status", "deployment/api")
    assert reason(await runner.verify(status, SHORT)) == "timed_out"
    good(await runner.run(call("rollout_undo", "deployment/api"), LONG))
    good(await runner.verify(status, LONG))
    assert {image_of(pod["spec"]) for pod in await seen.pods("api")} == {"registry.example/app:1"}


async def test_a_rollout_that_is_stuck_for_good_is_said_to_be(
    trial: Trial, request: pytest.FixtureRequest, runner: KubernetesRunner, call: Call
) -> None:
    cannot(trial, request, "has no clock, so nothing is ever late")
    document = a_workload("Deployment", "api", image="registry.example/broken:1")
    document["spec"]["progressDeadlineSeconds"] = 1
    await trial.seen.make(document)
    patience = SHORT if trial.double else LONG
    outcome = await runner.verify(call("rollout_status", "deployment/api"), patience)
    assert reason(outcome) == "rollout_failed"


async def test_a_deployment_that_has_never_been_another_has_nowhere_to_go_back(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen)
    undo = call("rollout_undo", "deployment/api")
    assert reason(await runner.plan(undo, LONG)) == "no_earlier_revision"
    assert reason(await runner.run(undo, LONG)) == "no_earlier_revision"


async def test_a_rollout_undo_is_not_undone_once_somebody_has_deployed(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await two_revisions(seen)
    undo = call("rollout_undo", "deployment/api")
    ran = good(await runner.run(undo, LONG))
    await seen.merge("deployment", "api", {"spec": BROKEN})
    await seen.until("deployment", "api", revision_is("4"))
    assert reason(await runner.undo(undo, ran.changed, LONG)) == "changed_since"
    assert "broken" in image(await seen.get("deployment", "api"))


@pytest.mark.parametrize(
    ("kind", "away"), [("Deployment", 0), ("StatefulSet", 1), ("DaemonSet", 1)]
)
async def test_a_restart_replaces_every_pod_and_counts_those_away_at_one_time(
    kind: str, away: int, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_workload(kind, "api", replicas=2))
    await seen.until_ready(kind.lower(), "api")
    before = {pod["metadata"]["uid"] for pod in await seen.pods("api")}
    restart = call("rollout_restart", f"{kind.lower()}/api")
    planned = plan(await runner.plan(restart, LONG))
    assert (planned.pods, planned.share) == (len(before), away / len(before))
    assert f"all {len(before)} pods in turn, at most {away} away at one time" in planned.state
    good(await runner.run(restart, LONG))
    good(await runner.verify(restart, LONG))
    after = {pod["metadata"]["uid"] for pod in await seen.pods("api")}
    assert len(after) == len(before)
    assert not after & before


@pytest.mark.parametrize(
    ("strategy", "share"),
    [
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}, 1 / 3),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}, 2 / 3),
        ({"type": "Recreate", "rollingUpdate": None}, 1.0),
    ],
)
async def test_the_strategy_of_a_deployment_says_how_many_of_its_pods_are_away_at_one_time(
    strategy: dict[str, Any], share: float, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=3)
    await seen.merge("deployment", "api", {"spec": {"strategy": strategy}})
    planned = plan(await runner.plan(call("rollout_restart", "deployment/api"), LONG))
    assert (planned.pods, planned.share) == (3, share)


async def test_the_undo_of_a_restart_goes_back_to_the_template_before(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen)
    before = await seen.get("deployment", "api")
    restart = call("rollout_restart", "deployment/api")
    ran = good(await runner.run(restart, LONG))
    good(await runner.undo(restart, ran.changed, LONG))
    after = await seen.until_ready("deployment", "api")
    said = after["spec"]["template"]["metadata"].get("annotations") or {}
    assert said == {}
    assert after["spec"]["template"]["spec"] == before["spec"]["template"]["spec"]
    assert len(await seen.listed("replicaset")) == 2


# Variables and resources


async def test_a_variable_is_set_and_put_back_and_others_stay(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, env={"LEVEL": "info", "POOL": "20"})
    values = {"POOL": "50", "FLAG": "off"}
    set_env = call("set_env", "deployment/api", container="main", values=values)
    ran = good(await runner.run(set_env, LONG))
    good(await runner.verify(set_env, LONG))
    assert await environment(seen) == {"LEVEL": "info", "POOL": "50", "FLAG": "off"}
    pods = await seen.pods("api")
    assert all({"name": "POOL", "value": "50"} in p["spec"]["containers"][0]["env"] for p in pods)
    good(await runner.undo(set_env, ran.changed, LONG))
    assert await environment(seen) == {"LEVEL": "info", "POOL": "20"}


async def environment(seen: Seen) -> dict[str, str]:
    found = await seen.get("deployment", "api")
    env = found["spec"]["template"]["spec"]["containers"][0].get("env") or []
    return {each["name"]: each["value"] for each in env}


async def test_a_value_that_may_be_a_secret_is_neither_shown_nor_kept(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, env={"DB_PASSWORD": "hunter2", "LEVEL": "info"})
    level = call("set_env", "deployment/api", values={"LEVEL": "debug"})
    assert "hunter2" not in plan(await runner.plan(level, LONG)).diff
    password = call("set_env", "deployment/api", values={"DB_PASSWORD": "correct-horse"})
    assert reason(await runner.run(password, LONG)) == "looks_secret"
    assert (await environment(seen))["DB_PASSWORD"] == "hunter2"


async def test_resources_are_set_and_put_back_whole(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen)
    values = {"memory": "2Gi", "cpu": "0.5", "requests.memory": "1Gi"}
    resources = call("set_resources", "deployment/api", values=values)
    ran = good(await runner.run(resources, LONG))
    good(await runner.verify(resources, LONG))
    found = await seen.get("deployment", "api")
    held = found["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (held["limits"]["memory"], held["requests"]["memory"]) == ("2Gi", "1Gi")
    good(await runner.undo(resources, ran.changed, LONG))
    back = await seen.until_ready("deployment", "api")
    held = back["spec"]["template"]["spec"]["containers"][0].get("resources") or {}
    assert not held.get("limits")
    assert not held.get("requests")


async def test_what_the_cluster_would_refuse_is_known_from_the_plan(
    trial: Trial, request: pytest.FixtureRequest, runner: KubernetesRunner, call: Call
) -> None:
    cannot(trial, request, "checks no values: it takes a request above its limit")
    await a_deployment(trial.seen)
    values = {"limits.memory": "1Gi", "requests.memory": "2Gi"}
    resources = call("set_resources", "deployment/api", values=values)
    assert reason(await runner.plan(resources, LONG)) == "invalid"


async def test_a_container_that_is_not_there_is_named(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen)
    set_env = call("set_env", "deployment/api", container="sidecar", values={"A": "1"})
    assert reason(await runner.run(set_env, LONG)) == "no_such_container"


# Annotations and ConfigMaps


async def test_annotations_are_set_and_put_back_absent_ones_too(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_service("api", {"example.org/weight": "100"}))
    values = {"example.org/weight": "10", "circuit-breaker": "enabled"}
    annotate = call("annotate", "service/api", values=values)
    assert plan(await runner.plan(annotate, LONG)).pods == 0
    ran = good(await runner.run(annotate, LONG))
    good(await runner.verify(annotate, LONG))
    assert (await seen.get("service", "api"))["metadata"]["annotations"] == values
    good(await runner.undo(annotate, ran.changed, LONG))
    found = await seen.get("service", "api")
    assert found["metadata"]["annotations"] == {"example.org/weight": "100"}


async def test_a_config_map_is_patched_and_put_back_and_the_plan_counts_who_reads_it(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_config_map("app", maintenance="off", other="1"))
    await a_deployment(seen, "web", replicas=1)
    volume = {"name": "c", "configMap": {"name": "app"}}
    await a_deployment(seen, "api", replicas=3, volumes=[volume])
    patch = call(
        "patch_config_map", "configmap/app", values={"maintenance": "on", "read_only": "true"}
    )
    planned = plan(await runner.plan(patch, LONG))
    assert (planned.pods, planned.share) == (3, 0.75)
    ran = good(await runner.run(patch, LONG))
    good(await runner.verify(patch, LONG))
    found = (await seen.get("configmap", "app"))["data"]
    assert found == {"maintenance": "on", "other": "1", "read_only": "true"}
    good(await runner.undo(patch, ran.changed, LONG))
    assert (await seen.get("configmap", "app"))["data"] == {"maintenance": "off", "other": "1"}


async def test_an_immutable_config_map_is_refused_by_the_cluster(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make({**a_config_map("app", mode="a"), "immutable": True})
    patch = call("patch_config_map", "configmap/app", values={"mode": "b"})
    assert reason(await runner.plan(patch, LONG)) == "invalid"
    assert reason(await runner.run(patch, LONG)) == "invalid"
    assert (await seen.get("configmap", "app"))["data"] == {"mode": "a"}


# What a plan stands on


async def test_a_fingerprint_stays_while_only_the_status_moves(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_workload("Deployment", "api", replicas=3))
    scale = call("scale", "deployment/api", replicas=5)
    early = plan(await runner.plan(scale, LONG))
    await seen.until_ready("deployment", "api")
    late = plan(await runner.plan(scale, LONG))
    assert early.fingerprint == late.fingerprint
    assert late.state != ""


async def test_a_fingerprint_differs_once_somebody_asked_for_something_else(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await two_revisions(seen)
    scale = call("scale", "deployment/api", replicas=5)
    undo = call("rollout_undo", "deployment/api")
    before = [plan(await runner.plan(each, LONG)).fingerprint for each in (scale, undo)]
    await seen.merge("deployment", "api", {"metadata": {"annotations": {"weight": "1"}}})
    after = [plan(await runner.plan(each, LONG)).fingerprint for each in (scale, undo)]
    assert not set(before) & set(after)


# Isolation


async def test_pods_are_isolated_by_a_policy_of_our_own_that_an_undo_removes(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, "api", replicas=3)
    await a_deployment(seen, "web", replicas=1)
    isolate = call("isolate", "deployment/api")
    planned = plan(await runner.plan(isolate, LONG))
    assert (planned.pods, planned.share) == (3, 0.75)
    assert f"deployment:default/{seen.namespace}/api" in planned.targets
    assert not await seen.listed("networkpolicy")
    ran = good(await runner.run(isolate, LONG))
    good(await runner.verify(isolate, LONG))
    (policy,) = await seen.listed("networkpolicy")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "api"}}
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    good(await runner.undo(isolate, ran.changed, LONG))
    assert not await seen.listed("networkpolicy")


async def test_a_namespace_is_isolated_and_its_network_restored(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    isolate = call("isolate", "networkpolicy/default-deny")
    restore = call("restore_network", "networkpolicy/default-deny")
    good(await runner.run(isolate, LONG))
    policy = await seen.get("networkpolicy", "default-deny")
    assert policy["spec"]["podSelector"] == {}
    assert good(await runner.run(isolate, LONG)).reason == "as_it_was"
    assert "-  podSelector: {}" in plan(await runner.plan(restore, LONG)).diff
    ran = good(await runner.run(restore, LONG))
    good(await runner.verify(restore, LONG))
    assert not await seen.there("networkpolicy", "default-deny")
    good(await runner.undo(restore, ran.changed, LONG))
    assert (await seen.get("networkpolicy", "default-deny"))["spec"] == policy["spec"]


async def test_a_policy_somebody_else_made_is_left_alone_and_its_openings_are_told(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    spec = {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}
    document = {"kind": "NetworkPolicy", "metadata": {"name": "let-in"}, "spec": spec}
    await seen.make({"apiVersion": "networking.k8s.io/v1", **document})
    for action in ("isolate", "restore_network"):
        assert reason(await runner.run(call(action, "networkpolicy/let-in"), LONG)) == "not_ours"
    planned = plan(await runner.plan(call("isolate", "networkpolicy/default-deny"), LONG))
    assert "stays allowed for the pods they select: let-in" in planned.state
    assert (await seen.get("networkpolicy", "let-in"))["spec"]["ingress"] == [{}]


# Nodes and pods


async def test_a_node_is_cordoned_and_takes_pods_again_by_an_undo(
    trial: Trial, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    cordon = call("cordon", f"node/{trial.nodes[0]}")
    assert plan(await runner.plan(cordon, LONG)).targets == (f"node:default/{trial.nodes[0]}",)
    ran = good(await runner.run(cordon, LONG))
    good(await runner.verify(cordon, LONG))
    assert (await seen.get("node", trial.nodes[0]))["spec"]["unschedulable"] is True
    good(await runner.undo(cordon, ran.changed, LONG))
    assert "unschedulable" not in (await seen.get("node", trial.nodes[0]))["spec"]


async def test_a_drained_node_has_no_pods_but_those_of_daemons(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=6)
    await seen.make(a_workload("DaemonSet", "agent"))
    await seen.until_ready("daemonset", "agent")
    node = (await seen.pods("api"))[0]["spec"]["nodeName"]
    there = [p for p in await seen.pods("api") if p["spec"]["nodeName"] == node]
    drain = call("drain", f"node/{node}")
    planned = plan(await runner.plan(drain, LONG))
    assert planned.pods == len(there)
    assert planned.share == pytest.approx(len(there) / 6)
    assert set(planned.targets) == {
        f"node:default/{node}",
        f"deployment:default/{seen.namespace}/api",
    }
    assert len([p for p in await seen.pods("api") if p["spec"]["nodeName"] == node]) == len(there)
    ran = good(await runner.run(drain, LONG))
    good(await runner.verify(drain, LONG))
    await seen.until_ready("deployment", "api")
    assert not [p for p in await seen.pods("api") if p["spec"]["nodeName"] == node]
    assert [p for p in await seen.pods("agent") if p["spec"]["nodeName"] == node]
    good(await runner.undo(drain, ran.changed, LONG))
    assert "unschedulable" not in (await seen.get("node", node))["spec"]


async def test_a_drain_waits_for_a_disruption_budget_and_gives_up_in_time(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=2)
    await seen.make(a_budget("api", 2))
    await budget_seen(seen)
    before = {pod["metadata"]["uid"] for pod in await seen.pods("api")}
    node = (await seen.pods("api"))[0]["spec"]["nodeName"]
    drain = call("drain", f"node/{node}")
    assert "a disruption budget forbids it now" in plan(await runner.plan(drain, LONG)).diff
    ran = await runner.run(drain, SHORT)
    assert reason(ran) == "timed_out"
    assert isinstance(ran, Ran)
    assert "disruption budget" in ran.evidence.output
    assert {pod["metadata"]["uid"] for pod in await seen.pods("api")} == before
    assert (await seen.get("node", node))["spec"]["unschedulable"] is True
    good(await runner.undo(drain, ran.changed, LONG))
    assert "unschedulable" not in (await seen.get("node", node))["spec"]


async def budget_seen(seen: Seen) -> None:
    """Return once the controller knows the budget; the double always does."""

    def so(found: dict[str, Any]) -> bool:
        status = found.get("status")
        return status is None or status.get("observedGeneration") == 1

    await seen.until("poddisruptionbudget", "api", so)


@pytest.mark.parametrize("loss", ["data", "pod"])
async def test_a_drain_that_would_lose_something_does_nothing(
    loss: str, trial: Trial, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=1)
    node = (await seen.pods("api"))[0]["spec"]["nodeName"]
    await seen.make(a_pod("lonely", node, volumes=[]))
    if loss == "data":
        await seen.remove("pod", "lonely")
        volumes = [{"name": "scratch", "emptyDir": {}}]
        await seen.make(a_workload("Deployment", "cache", replicas=3, volumes=volumes))
        await seen.until_ready("deployment", "cache")
        node = (await seen.pods("cache"))[0]["spec"]["nodeName"]
    drain = call("drain", f"node/{node}")
    assert reason(await runner.plan(drain, LONG)) == "would_lose_something"
    assert reason(await runner.run(drain, LONG)) == "would_lose_something"
    assert "unschedulable" not in (await seen.get("node", node))["spec"]
    assert node in trial.nodes


def a_pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "registry.example/app:1"}]
    document = {"nodeName": node, "containers": containers, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": document}


async def test_a_deleted_pod_is_replaced_and_does_not_come_back(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=4)
    (first, *_) = await seen.pods("api")
    name = first["metadata"]["name"]
    delete = call("delete_pod", f"pod/{name}")
    planned = plan(await runner.plan(delete, LONG))
    assert (planned.pods, planned.share) == (1, 0.25)
    assert planned.targets[1:] == (f"deployment:default/{seen.namespace}/api",)
    assert await seen.there("pod", name)
    ran = good(await runner.run(delete, LONG))
    good(await runner.verify(delete, LONG))
    await seen.until_ready("deployment", "api")
    assert name not in {pod["metadata"]["name"] for pod in await seen.pods("api")}
    assert reason(await runner.undo(delete, ran.changed, LONG)) == "no_undo"


async def test_a_pod_that_nothing_would_replace_is_not_deleted(
    trial: Trial, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await seen.make(a_pod("lonely", trial.nodes[0]))
    delete = call("delete_pod", "pod/lonely")
    assert reason(await runner.run(delete, LONG)) == "would_lose_something"
    assert await seen.there("pod", "lonely")


# Evidence


@pytest.mark.parametrize("by", ["resource", "selector"])
async def test_logs_are_read_from_every_pod(
    by: str, seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=2)
    which = {"resource": "deployment/api"} if by == "resource" else {"selector": "app=api"}
    logs = call("logs", **which, since="1h")
    assert plan(await runner.plan(logs, LONG)).targets == ()
    output = good(await runner.run(logs, LONG)).evidence.output
    for pod in await seen.pods("api"):
        assert f"{seen.namespace}/{pod['metadata']['name']}/main line 3" in output


async def test_the_state_of_a_namespace_shows_workloads_sick_pods_and_warnings(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, "api", replicas=2)
    await seen.make(a_workload("Deployment", "sick", replicas=1, image="registry/broken:1"))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "one"},
        "involvedObject": {"kind": "Pod", "name": "sick", "namespace": seen.namespace},
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off pulling image",
    }
    await seen.make(event)
    await until_waiting(seen)
    output = good(await runner.run(call("state"), LONG)).evidence.output
    assert "deployment/api: 2 of 2 pods ready, revision 1" in output
    assert "deployment/sick: 0 of 1 pods ready" in output
    assert "ImagePullBackOff" in output
    assert "warning: pod/sick: BackOff: Back-off pulling image" in output
    one = good(await runner.run(call("state", "deployment/api"), LONG)).evidence.output
    assert "sick" not in one


async def until_waiting(seen: Seen) -> None:
    await seen.until("deployment", "sick", lambda found: found["status"].get("replicas"))
    (pod,) = await seen.pods("sick")
    await seen.until("pod", pod["metadata"]["name"], lambda p: p["status"].get("containerStatuses"))


# What cannot be


@pytest.mark.parametrize(
    ("resource", "more", "why"),
    [
        ("deployment/none", {}, "not_found"),
        ("configmap/app", {}, "wrong_kind"),
        ("secret/app", {}, "unknown_kind"),
        ("deployment/api", {"cluster": "other"}, "cluster_not_configured"),
        ("deployment/api", {"cluster": "gone"}, "cluster_not_readable"),
        ("deployment/api", {"cluster": "limited"}, "namespace_not_allowed"),
        ("deployment/api", {"namespace": "kube-system"}, "not_found"),
    ],
)
async def test_what_is_not_there_or_not_allowed_is_said(
    resource: str,
    more: dict[str, str],
    why: str,
    trial: Trial,
    seen: Seen,
    runner: KubernetesRunner,
    call: Call,
) -> None:
    await a_deployment(seen, replicas=1)
    if "namespace" in more and trial.double is None:
        why = "forbidden"  # the double binds the roles in every namespace
    for outcome in (
        await runner.plan(call("scale", resource, replicas=9, **more), LONG),
        await runner.run(call("scale", resource, replicas=9, **more), LONG),
    ):
        assert reason(outcome) == why
    assert (await seen.get("deployment", "api"))["spec"]["replicas"] == 1


async def test_what_was_decided_on_an_older_version_is_refused_and_changes_nothing(
    trial: Trial, seen: Seen
) -> None:
    await a_deployment(seen, replicas=2)
    async with reached(Access(kubeconfig=trial.kubeconfig)) as cluster:
        before = await cluster.get(Deployment, "api", seen.namespace)
        await seen.merge("deployment", "api", {"spec": {"replicas": 3}})
        for attempt in (
            cluster.patch(Deployment, before, {"spec": {"replicas": 9}}),
            changed_object(cluster, Deployment, before, {"/spec/replicas": 9}),
        ):
            with pytest.raises(Refused) as refused:
                await attempt
            assert refused.value.reason == "changed_meanwhile"
    assert (await seen.get("deployment", "api"))["spec"]["replicas"] == 3


async def test_a_status_that_moved_meanwhile_stops_no_change(trial: Trial, seen: Seen) -> None:
    await a_deployment(seen, replicas=2)
    async with reached(Access(kubeconfig=trial.kubeconfig)) as cluster:
        before = await cluster.get(Deployment, "api", seen.namespace)
        noted = [{"type": "Noted", "status": "True"}]
        await seen.say("deployment", "api", {"conditions": noted})
        now = await cluster.get(Deployment, "api", seen.namespace)
        assert now["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
        await changed_object(cluster, Deployment, before, {"/spec/replicas": 4})
    assert (await seen.get("deployment", "api"))["spec"]["replicas"] == 4


async def test_an_object_made_anew_under_the_same_name_is_not_changed_in_its_place(
    trial: Trial, seen: Seen
) -> None:
    await seen.make(a_config_map("app", mode="a"))
    async with reached(Access(kubeconfig=trial.kubeconfig)) as cluster:
        before = await cluster.get(ConfigMap, "app", seen.namespace)
        await seen.remove("configmap", "app")
        await seen.make(a_config_map("app", mode="a"))
        with pytest.raises(Refused):
            await changed_object(cluster, ConfigMap, before, {"/data/mode": "b"})
    assert (await seen.get("configmap", "app"))["data"] == {"mode": "a"}


# Faults on the wire, which only the double can be told to have


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[Trial]:
    async with on_double(ROOT, tmp_path, "faulty") as trial:
        await trial.seen.make(a_config_map("app", mode="a"))
        yield trial


async def patched(trial: Trial, *fates: Fate | Said) -> Ran | Lost:
    assert trial.double is not None
    trial.double.fates += fates
    runner = KubernetesRunner({"default": Access(kubeconfig=trial.kubeconfig)}, SystemClock())
    patch = KubernetesCall(
        action="patch_config_map",
        namespace="faulty",
        resource="configmap/app",
        values={"mode": "b"},
    )
    return await runner.run(patch, LONG)


@pytest.mark.parametrize(("fate", "mode"), [(Fate.CUT, "a"), (Fate.TAKEN_AND_CUT, "b")])
async def test_a_change_without_an_answer_is_lost_whether_it_was_made_or_not(
    fate: Fate, mode: str, faulty: Trial
) -> None:
    assert isinstance(await patched(faulty, fate), Lost)
    assert (await faulty.seen.get("configmap", "app"))["data"] == {"mode": mode}


@pytest.mark.parametrize(
    ("reply", "lost"),
    [
        (Reply(200, "<html>a proxy's</html>", {"Content-Type": "text/html"}), "unreadable_answer"),
        (Reply(503, "away", {"Content-Type": "text/plain"}), "status_503"),
        (Reply(503, "of no type at all"), "unreadable_answer"),
        (Reply.of(500, {"kind": "Status", "message": "etcdserver: timed out"}), "status_500"),
    ],
)
async def test_an_answer_that_says_nothing_leaves_the_change_in_doubt(
    reply: Reply, lost: str, faulty: Trial
) -> None:
    assert await patched(faulty, Said(reply)) == Lost(lost)


async def test_a_conflict_over_nothing_that_was_asked_for_is_tried_again(faulty: Trial) -> None:
    conflict = Said(Reply.of(409, {"kind": "Status", "message": "has been modified"}))
    good(await patched(faulty, conflict, conflict))
    assert (await faulty.seen.get("configmap", "app"))["data"] == {"mode": "b"}


async def test_an_object_that_never_stands_still_is_given_up(faulty: Trial) -> None:
    conflict = Said(Reply.of(409, {"kind": "Status", "message": "has been modified"}))
    assert reason(await patched(faulty, *[conflict] * MOST_ATTEMPTS)) == "changed_meanwhile"
    assert (await faulty.seen.get("configmap", "app"))["data"] == {"mode": "a"}


async def test_a_token_that_cannot_be_had_is_said(faulty: Trial) -> None:
    config = json.loads(faulty.kubeconfig.read_text())
    version = "client.authentication.k8s.io/v1beta1"
    user = {"exec": {"apiVersion": version, "command": "/no/such/program"}}
    config["users"] = [{"name": "tests", "user": user}]
    faulty.kubeconfig.write_text(json.dumps(config))
    assert reason(await patched(faulty)) == "not_authenticated"


async def test_a_cluster_that_is_away_is_said(faulty: Trial) -> None:
    (port,) = free_ports(1)
    config = json.loads(faulty.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{port}"
    faulty.kubeconfig.write_text(json.dumps(config))
    assert reason(await patched(faulty)) == "unreachable"


# Least privilege


async def test_the_shipped_roles_allow_what_every_action_needs_and_nothing_else(
    tmp_path: Path,
) -> None:
    roles = [each for each in shipped(ROOT) if each["kind"] == "ClusterRole"]
    async with on_double(ROOT, tmp_path, "least") as trial:
        assert trial.double is not None
        await everything(trial)
        assert trial.double.used == rules(roles)


async def test_without_a_rule_the_cluster_refuses(tmp_path: Path) -> None:
    async with on_double(ROOT, tmp_path, "least") as trial:
        assert trial.double is not None
        await a_deployment(trial.seen)
        allowed = trial.double._tokens["runner"]
        assert allowed is not None
        trial.double._tokens = {"runner": allowed - {Rule("patch", "apps", "deployments")}}
        runner = KubernetesRunner({"default": Access(kubeconfig=trial.kubeconfig)}, SystemClock())
        scale = KubernetesCall(
            action="scale", namespace="least", resource="deployment/api", replicas=1
        )
        assert reason(await runner.run(scale, LONG)) == "forbidden"


async def everything(trial: Trial) -> None:
    """Every action once, on every kind it takes."""
    seen = trial.seen
    runner = KubernetesRunner({"default": Access(kubeconfig=trial.kubeconfig)}, SystemClock())
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        await seen.make(a_workload(kind, f"a-{kind.lower()}"))
    await two_revisions(seen)
    await seen.make(a_service("api"))
    ingress = {"kind": "Ingress", "metadata": {"name": "api"}, "spec": {}}
    await seen.make({"apiVersion": "networking.k8s.io/v1", **ingress})
    await seen.make(a_config_map("app", mode="a"))
    pod = (await seen.pods("api"))[0]["metadata"]["name"]
    calls: list[dict[str, Any]] = [
        {"action": "state"},
        {"action": "logs", "resource": "service/api"},
        {"action": "delete_pod", "resource": f"pod/{pod}"},
        {"action": "rollout_undo", "resource": "deployment/api"},
        {"action": "annotate", "resource": "service/api", "values": {"w": "1"}},
        {"action": "annotate", "resource": "ingress/api", "values": {"w": "1"}},
        {"action": "patch_config_map", "resource": "configmap/app", "values": {"mode": "b"}},
        {"action": "isolate", "resource": "networkpolicy/deny"},
        {"action": "restore_network", "resource": "networkpolicy/deny"},
        {"action": "drain", "resource": f"node/{trial.nodes[0]}"},
    ]
    calls += [
        {"action": "rollout_restart", "resource": f"{word}/a-{word}"}
        for word in ("deployment", "statefulset", "daemonset")
    ]
    for document in calls:
        call = KubernetesCall.model_validate({"namespace": seen.namespace, **document})
        if document["action"] != "delete_pod":
            assert isinstance(await runner.plan(call, LONG), Planned), document
        good(await runner.run(call, LONG))


# What the plan remembers, for an undo of a run of which nobody heard


@pytest.mark.parametrize(
    ("action", "resource", "more"),
    [
        ("scale", "deployment/api", {"replicas": 5}),
        ("rollout_restart", "deployment/api", {}),
        ("rollout_undo", "deployment/api", {}),
        ("set_env", "deployment/api", {"values": {"LEVEL": "debug", "NEW": "1"}}),
        ("set_resources", "deployment/api", {"values": {"memory": "2Gi"}}),
        ("annotate", "service/api", {"values": {"weight": "10", "breaker": "on"}}),
        ("patch_config_map", "configmap/app", {"values": {"mode": "b", "more": "1"}}),
        ("isolate", "deployment/api", {}),
        ("restore_network", "networkpolicy/closed", {}),
    ],
)
async def test_a_run_of_which_nobody_heard_is_taken_back_by_what_its_plan_remembered(
    action: str,
    resource: str,
    more: dict[str, Any],
    seen: Seen,
    runner: KubernetesRunner,
    call: Call,
) -> None:
    await two_revisions(seen)
    await seen.make(a_service("api", {"weight": "100"}))
    await seen.make(a_config_map("app", mode="a"))
    good(await runner.run(call("isolate", "networkpolicy/closed"), LONG))
    before = await asked_for(seen)
    step = call(action, resource, **more)
    planned = plan(await runner.plan(step, LONG))
    good(await runner.run(step, LONG))
    assert await asked_for(seen) != before
    good(await runner.undo(step, planned.before, LONG))
    assert await asked_for(seen) == before


async def asked_for(seen: Seen) -> list[Any]:
    """What people asked for, by everything a step may change here."""
    api = await seen.get("deployment", "api")
    policies = await seen.listed("networkpolicy")
    template = api["spec"]["template"]
    return [
        api["spec"]["replicas"],
        template["metadata"].get("annotations") or {},
        [{k: v for k, v in each.items() if v} for each in template["spec"]["containers"]],
        (await seen.get("service", "api"))["metadata"]["annotations"],
        (await seen.get("configmap", "app"))["data"],
        sorted((each["metadata"]["name"], str(each["spec"])) for each in policies),
    ]


async def test_a_plan_that_would_change_nothing_remembers_nothing(
    seen: Seen, runner: KubernetesRunner, call: Call
) -> None:
    await a_deployment(seen, replicas=3)
    planned = plan(await runner.plan(call("scale", "deployment/api", replicas=3), LONG))
    assert planned.before == {}
