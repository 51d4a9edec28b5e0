"""Every playbook of every shipped policy, from the alert it answers to its end, and back again.

Door, classifier and remediation are the real ones, on a log in memory. PostgreSQL, Valkey,
Prometheus, git and the gateway are real; Kubernetes, GitHub and the AWS command line are doubles.
People agree as the policy asks: as many, and only those who may.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from classifier.handlers import Classifier
from classifier.wiring import LANES
from ingestion.domain.answers import VERBS
from ingestion.handlers import Door, Normaliser
from remediation.domain.duty import upcoming
from remediation.domain.envelope import approvals_needed, by_hand, changes, definition_of
from remediation.handlers import Remediator
from remediation.settings import RemediationSettings
from remediation.wiring import runners
from tocsin_casebook import (
    CLAIMS,
    FREEZES,
    INCIDENTS,
    Casebook,
    Claims,
    Freezes,
    Policies,
    Silences,
)
from tocsin_cli.stack import valkey as valkey_process
from tocsin_contracts.event import Event, event_id
from tocsin_contracts.policies import PolicyPublished
from tocsin_incident import IncidentState, fold
from tocsin_incident.state import Remediation, RemediationStatus, Step, StepStatus
from tocsin_policy import Policy, resolve
from tocsin_replay.scenarios import Suite, load_suite
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.dead_lettering import DeadLetters
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.following import Follower
from tocsin_runtime.ports import Handler
from tocsin_simulation.memory_engine import MemoryEngine
from tocsin_simulation.memory_groups import MemoryGroup
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import AnAlert, a_webhook
from tocsin_testkit.alertmanager import running_prometheus
from tocsin_testkit.kubernetes.double import KubernetesDouble, rules
from tocsin_testkit.kubernetes.objects import a_config_map, a_service, a_workload
from tocsin_testkit.kubernetes.observing import Seen
from tocsin_testkit.kubernetes.real import kubeconfig_of
from tocsin_testkit.kubernetes.trying import shipped
from tocsin_testkit.machine import ADMINISTRATOR, Machine, a_queue, a_repository
from tocsin_testkit.providers.actions import GitHubActions
from tocsin_testkit.providers.serving import Provider, Reply, Request
from tocsin_testkit.real_postgres import running_postgres

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = (
    "blockchain-dapp",
    "mcp-wasm-edge-gateway",
    "ml-platform",
    "mpc-transformer",
    "mpcstudy",
)
SUITES: dict[str, Suite] = {
    system: load_suite(ROOT / "deploy" / "policies" / system / "policy.yaml") for system in RUNBOOKS
}
PLAYBOOKS = [
    (system, playbook) for system in RUNBOOKS for playbook in SUITES[system].policy.playbooks
]
CLOCK = SystemClock()
OFTEN = timedelta(milliseconds=20)
LIMIT = 60
TOKEN = "a-token-of-github"


COUNTERS = {"app": "blockchain-backend", "job": "mcp-gateway", "namespace": "ml-platform"}
"""Labels of the services whose requests are counted."""

GAUGES: dict[str, str] = {
    "mpc_transformer:global_sla_1h": "vector(1)",
    "mpc_transformer_errors_total": "vector(time())",
    "mcp_queue_size": "vector(10)",
    'process_resident_memory_bytes{job="mcp-gateway"}': "vector(500000000)",
    'process_cpu_seconds_total{job="mcp-gateway"}': "vector(time()) * 0.3",
}
"""The rest of what a playbook asks Prometheus about, while all is well."""

WORKLOADS: dict[str, dict[str, int]] = {
    "default": {"blockchain-backend": 4, "api": 4, "frontend": 4, "database": 1},
    "ml-platform": {"ml-inference-api": 4},
    **{
        f"mpc-transformer-{region}": {"mpc-transformer": 4, "mpc-transformer-gpu": 4}
        for region in ("americas", "europe", "apac")
    },
}
"""Deployments and their replicas, each with a revision before the present one."""

OBJECTS = {
    "default": [],
    "ml-platform": [a_service("ml-inference-api"), a_config_map("app-config", read_only="false")],
    **{
        namespace: [
            a_service("mpc-lb", {"traffic.mpc-transformer.com/weight": "33"}),
            a_config_map("app-config", maintenance_mode="false"),
            a_config_map("circuit-breaker-config", mpc_protocol_timeout="5s", max_failures="50"),
        ]
        for namespace in WORKLOADS
        if namespace.startswith("mpc-")
    },
}
"""What else the steps name, where."""

KEPT = (
    "/apis/apps/v1/deployments",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/api/v1/services",
    "/api/v1/configmaps",
)
"""What is compared before a playbook and after it was taken back."""


def the_rules() -> str:
    """Rates while all is well: ten requests a second of which one in a thousand fails."""
    rules: list[dict[str, Any]] = []
    for name, value in COUNTERS.items():
        for status, a_second in (("200", 10), ("500", 0.01)):
            labels = {name: value, "status": status}
            expr = f"vector(time()) * {a_second}"
            rules.append({"record": "http_requests_total", "expr": expr, "labels": labels})
        rules += [
            {
                "record": "http_request_duration_seconds_bucket",
                "expr": "vector(time()) * 10",
                "labels": {name: value, "le": least},
            }
            for least in ("0.1", "+Inf")
        ]
    for series, expr in GAUGES.items():
        record, _, label = series.partition("{")
        labels = {"job": label.partition('"')[2].partition('"')[0]} if label else {}
        rules.append({"record": record, "expr": expr, "labels": labels})
    return json.dumps({"groups": [{"name": "well", "rules": rules}]})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(
        ROOT, folder, rules=the_rules(), alertmanager="127.0.0.1:9", token="none"
    ) as url:
        yield url


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="module")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of this file alone: it is emptied."""
    server = valkey_process.start(log=tmp_path_factory.mktemp("valkey") / "log")
    yield server.url
    server.stop()


class Sites(Provider):
    """Whatever is only asked whether it is well, and the security team's hook."""

    def take(self, request: Request) -> Reply:
        """Say that it is."""
        if request.method == "POST":
            self.require(request.path.startswith("/security-hook"), f"POST {request.path}")
            self.require("Security incident" in request.document()["text"], "its text")
        return Reply.of(200, {"status": "healthy", "checks": {"database": "healthy"}})


class World:
    """What the steps act on.

    Attributes:
        settings: Of remediation, as an operator would have them.
    """

    def __init__(self, folder: Path, urls: dict[str, str]) -> None:
        self.folder = folder
        self.urls = urls
        roles = [each for each in shipped(ROOT) if each["kind"] == "ClusterRole"]
        self.cluster = KubernetesDouble({"administrator": None, "runner": rules(roles)})
        self.machine = Machine(folder, self.cluster, urls["postgres"])
        self.actions = GitHubActions("mpcstudy/mpcstudy", TOKEN)
        self.sites = Sites()
        self.pods: dict[str, str] = {}

    @asynccontextmanager
    async def there(self, policy: Policy) -> AsyncIterator[RemediationSettings]:
        """Everything stands until the block ends; how remediation reaches it."""
        a_queue(self.folder)
        a_repository(self.folder / "repository")
        async with AsyncExitStack() as stack:
            for provider in (self.cluster, self.machine, self.actions, self.sites):
                await stack.enter_async_context(provider.serving())
            stack.enter_context(self.machine.powered())
            await self._filled(stack)
            yield self._settings(policy)
            complaints = [*self.machine.complaints, *self.actions.complaints]
            assert complaints + self.sites.complaints == []

    async def _filled(self, stack: AsyncExitStack) -> None:
        connection = await asyncpg.connect(self.urls["postgres"])
        stack.push_async_callback(connection.close)
        for statement in (
            "DROP TABLE IF EXISTS transactions, models",
            "CREATE TABLE transactions (created_at timestamptz DEFAULT now())",
            "CREATE TABLE models (status text)",
            "INSERT INTO transactions DEFAULT VALUES",
            "INSERT INTO models VALUES ('active')",
        ):
            await connection.execute(statement)
        # A session as the runbook ends them; it does, so nobody closes it.
        stuck = await asyncpg.connect(self.urls["postgres"])
        await stuck.execute("BEGIN")
        stack.callback(stuck.terminate)
        cache = await stack.enter_async_context(Redis.from_url(self.urls["valkey"]))
        await cache.flushall()
        await cache.mset({"stale:1": "a", "stale:2": "b", "kept:1": "c", "kept:2": "d"})
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=self.cluster.url, headers={"Authorization": "Bearer administrator"}
            )
        )
        for node in ("a", "b", "c"):
            await client.post("/api/v1/nodes", json={"metadata": {"name": f"node-{node}"}})
        for namespace, workloads in WORKLOADS.items():
            await client.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
            seen = Seen(client, namespace)
            for name, replicas in workloads.items():
                await self._two_revisions(seen, name, replicas)
            for document in OBJECTS[namespace]:
                await seen.make(document)

    async def _two_revisions(self, seen: Seen, name: str, replicas: int) -> None:
        document = a_workload("Deployment", name, replicas=replicas, env={"DB_POOL_SIZE": "20"})
        (container,) = document["spec"]["template"]["spec"]["containers"]
        container["name"] = name
        await seen.make(document)
        newer = {**container, "image": "registry.example/app:2"}
        await seen.merge(
            "deployment", name, {"spec": {"template": {"spec": {"containers": [newer]}}}}
        )
        await seen.until_ready("deployment", name)
        if name in {"blockchain-backend", "ml-inference-api"}:
            pods = await seen.pods(name)
            self.pods[seen.namespace] = pods[0]["metadata"]["name"]

    def asked(self) -> dict[str, object]:
        """What the cluster is asked to be."""
        found: dict[str, object] = {}
        for path in KEPT:
            request = Request("GET", path, {}, ADMINISTRATOR, b"")
            for each in json.loads(self.cluster.take(request).body)["items"]:
                metadata = each["metadata"]
                said = metadata.get("annotations") or {}
                kept = {n: v for n, v in said.items() if n != "deployment.kubernetes.io/revision"}
                key = f"{path}: {metadata['namespace']}/{metadata['name']}"
                found[key] = (kept, each.get("spec"), each.get("data"))
        return found

    def labels(self, system: str) -> dict[str, str]:
        """What an alert brings of this world, where its playbook has a place for it."""
        return {
            "pod": self.pods["ml-platform" if system == "ml-platform" else "default"],
            "key_pattern": "stale:",
            "backup_day": "20261120",
            "distribution_id": "E1234567890AB",
            "bucket_name": "web-app-production",
            "last_known_good": "2026-11-20T23:00:00Z",
        }

    def _settings(self, policy: Policy) -> RemediationSettings:
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(kubeconfig_of(self.cluster.url, "runner", None)))
        programs = self.machine.programs()
        endpoints = {name: f"{self.sites.url}/{name}" for name in policy.endpoints}
        endpoints |= {
            "gateway": self.machine.gateway_url,
            "github": self.actions.url,
            "prometheus": self.urls["prometheus"],
        }
        return RemediationSettings.model_validate(
            {
                "kafka_bootstrap": "nowhere:9092",
                "endpoints": endpoints,
                "endpoint_tokens": {"github": TOKEN},
                "programs": programs,
                "program_directories": {"git": str(self.folder / "repository")},
                "database_urls": dict.fromkeys(policy.endpoints, self.urls["postgres"]),
                "redis_urls": dict.fromkeys(policy.endpoints, self.urls["valkey"]),
                "aws_profiles": {"aws": "production"},
                "clusters": {each: {"kubeconfig": str(kubeconfig)} for each in policy.endpoints},
            }
        )


class Running:
    """Door, classifier and remediation on a log in memory, in real time."""

    def __init__(self, policy: Policy, settings: RemediationSettings) -> None:
        self.policy = policy
        self.log = MemoryLog(CLOCK, registered_topics(1))
        self._state: IncidentState | None = None
        self._folded = 0
        self.policies = Policies()
        self.freezes = Freezes()
        self.claims = Claims()
        self.silences = Silences()
        self.door = Door(publisher=self.log, policies=self.policies, clock=CLOCK)
        self.remediator = Remediator(
            casebook=Casebook(self.log),
            policies=self.policies,
            freezes=self.freezes,
            claims=self.claims,
            publisher=self.log,
            clock=CLOCK,
            runners=runners(settings, CLOCK),
            instance="remediation-1",
        )
        self.classifier = Classifier(
            casebook=Casebook(self.log),
            policies=self.policies,
            silences=self.silences,
            publisher=self.log,
            clock=CLOCK,
        )

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """They run until the block ends."""
        fact = published(self.policy)
        event = Event(
            id=event_id(PolicyPublished.TYPE, fact.system, fact.hash),
            source="tocsin/policy-publisher",
            subject=fact.system,
            key=fact.system,
            occurred_at=CLOCK.now(),
            fact=fact,
        )
        self.log.append(outgoing(event))
        topics = {
            "policies": self.policies.apply,
            FREEZES: self.freezes.apply,
            CLAIMS: self.claims.apply,
            "silences": self.silences.apply,
        }
        raw = ("alerts.raw.urgent", "alerts.raw")
        normaliser = Normaliser(publisher=self.log, policies=self.policies)
        runs: list[Callable[[], Awaitable[None]]] = [self.classifier.run, self.remediator.run]
        runs += [
            self._engine("ingestion", raw, normaliser),
            self._engine("classifier", LANES, self.classifier),
            self._engine("remediation", (INCIDENTS,), self.remediator),
        ]
        async with asyncio.TaskGroup() as group:
            tasks = []
            for topic, apply in topics.items():
                follower = Follower(self.log, topic, apply)
                tasks.append(group.create_task(follower.run()))
                await follower.caught_up()
            tasks += [group.create_task(_forever(run)) for run in runs]
            yield
            for task in tasks:
                task.cancel()

    def _engine(
        self, name: str, topics: tuple[str, ...], handler: Handler
    ) -> Callable[[], Awaitable[None]]:
        dead_letter = DeadLetters(self.log, CLOCK, name)
        group = MemoryGroup(1)
        return MemoryEngine(
            self.log, group, topics, handler, name=name, dead_letter=dead_letter, clock=CLOCK
        ).run

    async def post(self, alert: AnAlert) -> None:
        """Have an alert delivered."""
        await self.door.accept(
            "alertmanager", a_webhook(alert), content_type="application/json", traceparent=None
        )

    async def answer(self, incident: str, verb: str, **fields: object) -> None:
        """Have somebody answer."""
        found = next(known for known in VERBS if known.name == verb)
        body = found.body.model_validate(fields)
        await self.door.answer(incident, found, body, idempotency_key=None, traceparent=None)

    def incident(self) -> IncidentState | None:
        """The only one, folded from the log."""
        records = self.log.records(INCIDENTS)
        for record in records[self._folded :]:
            self._state = fold(self._state, decode(record)).state or self._state
        self._folded = len(records)
        return self._state

    async def until(self, so: Callable[[IncidentState], object]) -> IncidentState:
        """The incident once something is true of it."""
        state = None
        try:
            async with asyncio.timeout(LIMIT):
                while (state := self.incident()) is None or not so(state):
                    await CLOCK.sleep(OFTEN)
        except TimeoutError:
            raise AssertionError(told(state)) from None
        return state

    async def carried_out(self, alert: AnAlert) -> IncidentState:
        """Agree to each step as it comes, until all are done."""
        asked: set[tuple[str, int]] = set()
        while True:
            state = await self.until(lambda state: self._waits(state, asked))
            (remediation,) = state.remediations.values()
            assert remediation.status is RemediationStatus.PROPOSED, told(state)
            step = self._next(remediation)
            if step is None:
                return state
            if step.status is StepStatus.FINISHED:
                await self.post(alert.resolved(CLOCK.now()))
            for person in () if step.status is StepStatus.FINISHED else self._people(step):
                plan = {} if step.plan is None else {"plan": step.plan.number}
                place = {"remediation": remediation.remediation, "step": step.proposed.step}
                await self.answer(state.incident, "approve", by=person, **place, **plan)
            asked.add(_mark(step))

    def _next(self, remediation: Remediation) -> Step | None:
        playbook = self.policy.playbooks[remediation.playbook]
        for step in remediation.steps:
            definition = definition_of(playbook, step.proposed.step)
            assert definition is not None
            cleared = definition.verify is not None and definition.verify.alert_cleared
            if step.status is StepStatus.FINISHED and cleared:
                return step
        return upcoming(remediation, playbook)

    def _waits(self, state: IncidentState, asked: set[tuple[str, int]]) -> bool:
        """Whether a step waits for people, for the alert to clear, or nothing is left to do."""
        if not state.remediations:
            return False
        (remediation,) = state.remediations.values()
        if remediation.status is not RemediationStatus.PROPOSED:
            return True
        step = self._next(remediation)
        if step is None:
            return all(
                step.status in {StepStatus.VERIFIED, StepStatus.FINISHED, StepStatus.FAILED}
                and (not step.proposed.verification or step.status is not StepStatus.FINISHED)
                for step in remediation.steps
            )
        if _mark(step) in asked or (step.proposed.planned and step.plan is None):
            return False
        return step.status is StepStatus.FINISHED or approvals_needed(step) > 0

    def _people(self, step: Step) -> tuple[str, ...]:
        """As many as must, of those who may."""
        needed = approvals_needed(step)
        for playbook in self.policy.playbooks.values():
            definition = definition_of(playbook, step.proposed.step)
            if definition is None:
                continue
            named = definition.approvers or self.policy.remediation.approvers.get(
                definition.risk, ("role:incident_commander",)
            )
            found = [target.contact for target in resolve(self.policy, named, CLOCK.now())]
            assert len(found) >= needed, f"{step.proposed.step}: {found} of {needed}"
            return tuple(found[:needed])
        raise AssertionError(step.proposed.step)


def _mark(step: Step) -> tuple[str, int]:
    cleared = step.status is StepStatus.FINISHED
    return step.proposed.step, -1 if cleared else step.plan.number if step.plan is not None else 0


async def _forever(run: Callable[[], Awaitable[None]]) -> None:
    await run()
    raise RuntimeError("this was to run for ever")


def told(state: IncidentState | None) -> str:
    """How the steps stand, for a failing test."""
    if state is None:
        return "no incident"
    lines = [f"{state.incident}: {state.severity}, {state.title}"]
    for remediation in state.remediations.values():
        lines.append(f"{remediation.playbook}: {remediation.status} {remediation.reason}")
        for step in remediation.steps:
            plan, hold = step.plan, step.hold
            refused = "" if plan is None else f"{plan.refused} {plan.detail}"
            lines.append(
                f"  {step.proposed.step}: {step.status} {step.reason} {step.proposed.by_hand} "
                f"{refused} {'' if hold is None else hold.reason} {step.proposed.call}"
            )
    return "\n".join(lines)


def the_alert(system: str, playbook: str) -> AnAlert:
    """The first of the policy's scenarios that has this playbook proposed."""
    for held in SUITES[system].scenarios:
        want = held.scenario.want
        proposed = want.playbook or (want.proposal.playbook if want.proposal else None)
        if proposed != playbook:
            continue
        for given in held.scenario.given:
            if given.alert is not None:
                return AnAlert(dict(given.alert.labels), dict(given.alert.annotations))
    raise AssertionError(f"no alert leads to {playbook}")


@pytest.fixture
async def world(tmp_path: Path, postgres: str, own_valkey: str, prometheus: str) -> World:
    urls = {"postgres": postgres, "valkey": own_valkey, "prometheus": prometheus}
    async with httpx.AsyncClient() as client, asyncio.timeout(LIMIT):
        query = {"query": 'sum(rate(http_requests_total{status=~"5.."}[5m])) > 0'}
        while True:
            try:
                answer = await client.get(f"{prometheus}/api/v1/query", params=query)
                if answer.is_success and answer.json()["data"]["result"]:
                    break
            except httpx.TransportError:
                pass
            await CLOCK.sleep(OFTEN)
    return World(tmp_path, urls)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("system", "playbook"), PLAYBOOKS)
async def test_a_playbook_runs_from_its_alert_to_its_end_and_is_taken_back(
    system: str, playbook: str, world: World
) -> None:
    policy = SUITES[system].policy
    async with world.there(policy) as settings:
        before = world.asked()
        running = Running(policy, settings)
        async with running.started():
            alert = the_alert(system, playbook)
            alert.labels.update(world.labels(system))
            await running.post(alert)
            state = await running.carried_out(alert)
            (remediation,) = state.remediations.values()
            assert remediation.playbook == playbook
            for step in remediation.steps:
                assert step.succeeded, told(state)
                assert by_hand(step) == (step.proposed.runner == "manual"), told(state)
            fields = {"remediation": remediation.remediation, "undo": True}
            await running.answer(state.incident, "abort", by="a person", **fields)
            state = await running.until(
                lambda state: all(
                    one.status is RemediationStatus.FAILED for one in state.remediations.values()
                )
            )
        (remediation,) = state.remediations.values()
        for step in remediation.steps:
            taken_back = step.status is StepStatus.ROLLED_BACK
            can = changes(step.proposed) and (step.proposed.undo or step.changed)
            assert taken_back == bool(can), told(state)
        assert world.asked() == before
