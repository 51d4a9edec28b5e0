"""`tocsin demo`: one incident, all the way, on a real Kafka of its own.

It starts the whole system, posts what Alertmanager posts, lets levels go unanswered, answers as
people would, shows them the plan of the step they let run, and then rebuilds the incident from
Kafka alone. It succeeds only if every page the policy asks for arrived in time, a machine did the
step and saw that it worked, and the rebuilt story is what the receiver saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from remediation.domain.envelope import by_hand, only_looks
from tocsin_cli.playbooks import step_lines
from tocsin_cli.publishing import publish_policy
from tocsin_cli.receiver import Arrival, Receiver, channel_settings
from tocsin_cli.stack import valkey
from tocsin_cli.stack.stack import Stack
from tocsin_contracts.incidents import (
    ProposedStep,
    Purpose,
    RemediationStepFinished,
    RemediationVerified,
)
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification, NotificationStatus, Step, StepStatus
from tocsin_policy import (
    AnyCall,
    AwsCall,
    Classification,
    CommandCall,
    Level,
    Policy,
    RedisCall,
    classify,
    levels_for,
    load_policy,
    resolve_targets,
    scaled,
)
from tocsin_replay import (
    Recorded,
    read_all,
    read_incident,
    render_report,
    report,
    state_of,
    states_of,
    timeline,
    timeline_table,
)
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock

SCALE = 60
"""Durations of the policy are divided by this: an hour of escalation takes a minute."""

TOLERANCE = timedelta(seconds=5)
"""How late a page may be on a machine that is busy with starting everything."""

_SHOWN_LEVELS = 3
_SHOWN_OUTPUT = 8
"""Lines of what a step showed."""

_WIDTH = 120
"""Of what is printed where there is no terminal."""

_CACHED = "MSET price:eth 3100 price:btc 61000 session:1 a session:2 b session:3 c"
"""What the demo's cache holds, as Redis is told."""
_POLL = timedelta(milliseconds=200)
_ECHO = "/bin/echo"


class DemoFailed(RuntimeError):
    """Something did not happen as it must."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo makes happen to a system.

    Attributes:
        labels: Of the alert that opens the incident.
        approve: The step people let run, with all before it.
        by: The contact who answers, and
        second: who agrees where two must.
        update: What people are told meanwhile.
        resolution: What helped.
    """

    labels: Mapping[str, str]
    summary: str
    approve: str
    by: str
    second: str
    update: str
    resolution: str


STORIES: Mapping[str, Story] = {
    "mpc-transformer": Story(
        labels={
            "alertname": "GlobalServiceUnavailable",
            "app": "mpc-transformer",
            "severity": "critical",
            "cluster": "global",
        },
        summary="Global service unavailable",
        approve="route-traffic",
        by="alice",
        second="bob",
        update="Traffic goes to healthy regions.",
        resolution="Traffic was routed around the failed regions.",
    ),
    "mpcstudy": Story(
        labels={"alertname": "ServiceDown", "system": "mpcstudy", "service": "api"},
        summary="The site does not answer",
        approve="roll-back",
        by="mpcstudy",
        second="mpcstudy",
        update="The last deployment is being rolled back.",
        resolution="The last deployment was rolled back.",
    ),
    "ml-platform": Story(
        labels={"alertname": "PartialServiceOutage", "system": "ml-platform"},
        summary="A part of the primary region does not answer",
        approve="move-names",
        by="sre-oncall",
        second="engineering-manager",
        update="The names lead to the secondary region now.",
        resolution="The secondary region took over.",
    ),
    "blockchain-dapp": Story(
        labels={"alertname": "StaleCache", "system": "blockchain-dapp", "key_pattern": "price:"},
        summary="Prices in the cache are hours old",
        approve="clear-keys",
        by="oncall-primary",
        second="team-lead",
        update="The stale prices are deleted.",
        resolution="The stale prices were deleted; fresh ones came.",
    ),
    "mcp-wasm-edge-gateway": Story(
        labels={"alertname": "GatewayDown", "system": "mcp-wasm-edge-gateway"},
        summary="The gateway does not answer",
        approve="restart",
        by="oncall-primary",
        second="engineering-lead",
        update="The gateway is being restarted.",
        resolution="The gateway was restarted.",
    ),
}


def run_demo(system: str, *, scale: int = SCALE, as_json: bool = False) -> int:
    """0 if everything happened as the policy says, 1 if not, 2 for a system without a story."""
    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = _WIDTH
    story = STORIES.get(system)
    if story is None:
        console.print(f"no demo for {system!r}; there are {', '.join(STORIES)}", style="red")
        return 2
    root = _root()
    policy = load_policy(root / "deploy" / "policies" / system / "policy.yaml")
    demo = _Demo(console, root, scaled(policy, scale), story, scale)
    try:
        outcome = demo.run()
    except DemoFailed as error:
        console.print(f"[red]failed:[/red] {error}")
        return 1
    if as_json:
        sys.stdout.write(json.dumps(outcome, indent=2) + "\n")
    return 0


def _root() -> Path:
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "deploy" / "policies").is_dir():
            return folder
    raise DemoFailed("run it inside the repository: it needs deploy/policies")


class _Demo:
    def __init__(
        self, console: Console, root: Path, policy: Policy, story: Story, scale: int
    ) -> None:
        self._console = console
        self._root = root
        self._policy = policy
        self._story = story
        self._scale = scale
        self._clock = SystemClock()
        self._started = self._clock.monotonic()
        self._receiver = Receiver(self._clock, self._show)

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{self._clock.monotonic() - self._started:6.1f} s[/dim]  {text}")

    def _quote(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(f"            │ {line}", markup=False, highlight=False)

    def _show(self, arrival: Arrival) -> None:
        icon = {"pagerduty": "📟", "slack": "💬", "email": "📧", "webhook": "🔗", "step": "🔧"}
        action = f" [{arrival.action}]" if arrival.kind == "pagerduty" else ""
        said = f"{arrival.endpoint}{action}" + (f": {arrival.subject}" if arrival.subject else "")
        self._console.print(
            f"[dim]{self._clock.monotonic() - self._started:6.1f} s[/dim]    "
            f"{icon.get(arrival.kind, '•')} {escape(said)}",
            markup=True,
            highlight=False,
        )

    def run(self) -> dict[str, Any]:
        self._say(
            f"policy [bold]{self._policy.system}[/bold], every duration divided by {self._scale}"
        )
        with (
            self._receiver.serving(),
            TemporaryDirectory(prefix="tocsin-demo-") as folder,
            self._cache(Path(folder)) as cache,
            self._stack(cache) as stack,
        ):
            self._publish(stack)
            return self._story_of(stack)

    @contextmanager
    def _cache(self, folder: Path) -> Iterator[dict[str, str]]:
        """A Valkey for each that a step acts on; its URL by the endpoint the policy names."""
        endpoints = {call.endpoint for call in self._calls() if isinstance(call, RedisCall)}
        if not endpoints:
            yield {}
            return
        server = valkey.start(log=folder / "log", owner=os.getpid())
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(f"{_CACHED}\r\n".encode())
                if not connection.recv(16).startswith(b"+OK"):
                    raise DemoFailed("the cache takes nothing")
            yield dict.fromkeys(endpoints, server.url)
        finally:
            server.stop()

    def _calls(self) -> Iterator[AnyCall]:
        for playbook in self._policy.playbooks.values():
            for step in playbook.steps:
                for part in (step, step.verify, step.undo, step.before):
                    yield from (call for _, call in (part.calls() if part is not None else ()))

    @contextmanager
    def _stack(self, cache: Mapping[str, str]) -> Iterator[Stack]:
        channels = {
            channel.endpoint: channel_settings(self._receiver, channel.kind, channel.endpoint)
            for channel in self._policy.channels.values()
        }
        endpoints = {name: f"{self._receiver.url}/steps/{name}" for name in self._policy.endpoints}
        # The demo's programs only say what they would do.
        calls = list(self._calls())
        programs = {call.program: _ECHO for call in calls if isinstance(call, CommandCall)}
        profiles = {call.profile: "demo" for call in calls if isinstance(call, AwsCall)}
        if profiles:
            programs["aws"] = _ECHO
        stack = Stack(
            self._root,
            ephemeral=True,
            env={
                "TOCSIN_CHANNELS": json.dumps(channels),
                "TOCSIN_ENDPOINTS": json.dumps(endpoints),
                "TOCSIN_PROGRAMS": json.dumps(programs),
                "TOCSIN_AWS_PROFILES": json.dumps(profiles),
                "TOCSIN_REDIS_URLS": json.dumps(cache),
            },
        )
        try:
            stack.start(self._say)
            yield stack
        finally:
            self._say("stopping everything")
            stack.stop()

    def _publish(self, stack: Stack) -> None:
        async def publish() -> str:
            publisher = KafkaPublisher(KafkaConnection(stack.bootstrap, "demo"), self._clock)
            await publisher.start()
            try:
                return await publish_policy(publisher, self._clock, self._policy)
            finally:
                await publisher.stop()

        content_hash = asyncio.run(publish())
        self._say(f"published the policy, {content_hash[:12]}")
        self._wait("every service has the policy", lambda: self._has_policy(stack), 30)

    def _has_policy(self, stack: Stack) -> bool:
        return all(
            "tocsin_policies_in_force 1.0" in httpx.get(f"{url}/metrics", timeout=5).text
            for url in stack.ops_urls.values()
        )

    def _story_of(self, stack: Stack) -> dict[str, Any]:
        fired_at = self._clock.now()
        self._post(stack, self._webhook("firing", fired_at))
        self._say("posted an Alertmanager webhook: [bold]nobody answers for now[/bold]")
        levels = levels_for(self._policy, self._severity())[:_SHOWN_LEVELS]
        for level in levels:
            self._await_level(stack, level, fired_at)
        incident = self._incident(stack)
        self._say(f"[bold]{self._story.by}[/bold] acknowledges {incident}")
        self._answer(stack, incident, "acknowledge", {"by": self._story.by, "via": "demo"})
        self._wait("everyone paged hears of it", lambda: self._taken(stack, incident), 20)
        self._approve(stack, incident)
        self._answer(
            stack,
            incident,
            "updates",
            {"by": self._story.by, "text": self._story.update},
        )
        self._post(stack, self._webhook("resolved", fired_at))
        self._say("the alert resolves; [bold]the incident is resolved[/bold]")
        self._answer(
            stack,
            incident,
            "resolve",
            {"by": self._story.by, "text": self._story.resolution},
        )
        self._wait("everyone paged hears the end", lambda: self._all_told(stack, incident), 30)
        state = self._rebuilt(stack, incident)
        self._judge(state, levels, fired_at)
        return self._tell(stack, incident)

    def _classified(self) -> Classification:
        return classify(self._policy, self._story.labels, {"summary": self._story.summary})

    def _severity(self) -> str:
        return self._classified().severity

    def _webhook(self, status: str, fired_at: datetime) -> dict[str, Any]:
        labels = dict(self._story.labels)
        ends_at = "0001-01-01T00:00:00Z" if status == "firing" else self._clock.now().isoformat()
        alert = {
            "status": status,
            "labels": labels,
            "annotations": {"summary": self._story.summary},
            "startsAt": fired_at.isoformat(),
            "endsAt": ends_at,
            "generatorURL": "",
        }
        name = labels["alertname"]
        return {
            "receiver": "tocsin",
            "status": status,
            "alerts": [alert],
            "groupLabels": {"alertname": name},
            "commonLabels": labels,
            "commonAnnotations": alert["annotations"],
            "externalURL": "http://127.0.0.1:9093",
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{name}"}}',
            "truncatedAlerts": 0,
        }

    def _post(self, stack: Stack, body: Mapping[str, Any]) -> None:
        response = httpx.post(
            f"{stack.ingestion_url}/v1/webhooks/alertmanager",
            json=body,
            headers={"Authorization": f"Bearer {stack.webhook_token}"},
            timeout=30,
        )
        if response.status_code != httpx.codes.ACCEPTED:
            raise DemoFailed(f"ingestion answered {response.status_code}: {response.text}")

    def _answer(self, stack: Stack, incident: str, verb: str, body: Mapping[str, str]) -> None:
        response = httpx.post(
            f"{stack.ingestion_url}/v1/incidents/{incident}/{verb}",
            json=body,
            headers={"Authorization": f"Bearer {stack.api_token}"},
            timeout=30,
        )
        if response.status_code != httpx.codes.ACCEPTED:
            raise DemoFailed(f"ingestion answered {response.status_code}: {response.text}")

    def _pages(self, level: Level, at: datetime) -> set[tuple[str, str, int]]:
        """(kind, endpoint, how many) of what a level must bring to the receiver at once."""
        counted: Counter[tuple[str, str]] = Counter()
        conditions = {"customer_facing": str(self._classified().customer_facing).lower()}
        for target in resolve_targets(self._policy, level, at, conditions=conditions):
            for name in (each for each in target.channels if each not in target.after):
                channel = self._policy.channels[name]
                counted[_heard_as(channel.kind), channel.endpoint] += 1
        return {(kind, endpoint, count) for (kind, endpoint), count in counted.items()}

    def _await_level(self, stack: Stack, level: Level, fired_at: datetime) -> None:
        due_at = fired_at + level.after
        wait = (due_at - self._clock.now()).total_seconds()
        if wait > 1:
            self._say(f"level {level.number} is due in {wait:.0f} s")
            asyncio.run(self._clock.sleep(due_at - self._clock.now()))
        wanted = sum(count for _, _, count in self._pages(level, due_at))

        def arrived() -> bool:
            pages = [
                held
                for state in self._incidents(stack)
                for held in state.notifications.values()
                if held.purpose is Purpose.PAGE
                and held.level == level.number
                and _at_once(held)
                and _out(held)
            ]
            return len(pages) >= wanted

        limit = TOLERANCE.total_seconds() + 15
        self._wait(f"level {level.number} is paged: {wanted} messages", arrived, limit)

    def _incidents(self, stack: Stack) -> list[IncidentState]:
        async def read() -> list[IncidentState]:
            reader = KafkaReader(KafkaConnection(stack.bootstrap, "demo"))
            try:
                return list(states_of(await read_all(reader)).values())
            finally:
                await reader.stop()

        return asyncio.run(read())

    def _incident(self, stack: Stack) -> str:
        for state in self._incidents(stack):
            return state.incident
        raise DemoFailed("the log holds no incident")

    def _taken(self, stack: Stack, incident: str) -> bool:
        held = self._rebuilt(stack, incident).notifications.values()
        told = [one for one in held if one.purpose is Purpose.ACKNOWLEDGED]
        return bool(told) and all(one.status.settled for one in told)

    def _approve(self, stack: Stack, incident: str) -> None:
        """Let steps run, in order, up to the story's; what no machine runs here, a person does."""
        state = self._rebuilt(stack, incident)
        remediation = next(iter(state.remediations.values()), None)
        if remediation is None:
            raise DemoFailed("no remediation was proposed")
        for step in remediation.steps:
            self._step(stack, incident, remediation.remediation, step.proposed)
            if step.proposed.step == self._story.approve:
                return
        raise DemoFailed(f"the playbook has no step {self._story.approve!r}")

    def _step(self, stack: Stack, incident: str, remediation: str, proposed: ProposedStep) -> None:
        def held() -> Step | None:
            return self._rebuilt(stack, incident).remediations[remediation].step(proposed.step)

        def planned() -> bool:
            step = held()
            return step is not None and step.plan is not None

        if proposed.planned:
            self._wait(f"{proposed.step} is planned", planned, 30)
        step = held()
        if step is None:
            raise DemoFailed(f"the remediation has no step {proposed.step}")
        hand = by_hand(step)
        shows = proposed.step == self._story.approve
        if shows and hand:
            raise DemoFailed(f"no machine can run {proposed.step}: {step_lines(step)}")
        if shows:
            self._say(f"what people see before they agree to [bold]{proposed.title}[/bold]:")
            self._quote(step_lines(step))
        if proposed.approval != "automatic" or hand:
            people = (self._story.by, self._story.second)[: 2 if proposed.approval == "two" else 1]
            verb = "did" if hand else "let run"
            self._say(f"[bold]{' and '.join(people)}[/bold] {verb}: {proposed.title}")
            for person in people:
                body = {"by": person, "remediation": remediation, "step": proposed.step}
                self._answer(stack, incident, "approve", body)
        else:
            self._say(f"runs by itself: [bold]{proposed.title}[/bold]")

        def done() -> bool:
            step = held()
            if step is None:
                return False
            ended = step.status in {StepStatus.FAILED, StepStatus.NOT_VERIFIED}
            return step.status in {StepStatus.VERIFIED, StepStatus.FINISHED} or (
                ended and only_looks(step)
            )

        self._wait(f"{proposed.step} is done", done, 30)
        if shows:
            self._quote(self._ended(stack, incident, proposed.step))

    def _ended(self, stack: Stack, incident: str, step: str) -> Iterator[str]:
        """What the log says of how a step ended, and what was seen then."""
        for recorded in self._read(stack, incident):
            fact = recorded.event.fact
            if isinstance(fact, RemediationStepFinished | RemediationVerified):
                if fact.step != step:
                    continue
                if isinstance(fact, RemediationStepFinished):
                    yield f"ran: {fact.reason}"
                else:
                    yield "seen to work:"
                yield from (
                    f"  {line}" for line in fact.evidence.output.splitlines()[:_SHOWN_OUTPUT]
                )

    def _all_told(self, stack: Stack, incident: str) -> bool:
        state = self._rebuilt(stack, incident)
        ends = [n for n in state.notifications.values() if n.purpose is Purpose.RESOLVED]
        return bool(ends) and all(n.status.settled for n in state.notifications.values())

    def _rebuilt(self, stack: Stack, incident: str) -> IncidentState:
        state = state_of(self._read(stack, incident))
        if state is None:
            raise DemoFailed(f"the log does not know {incident}")
        return state

    def _read(self, stack: Stack, incident: str) -> tuple[Recorded, ...]:
        async def read() -> tuple[Recorded, ...]:
            reader = KafkaReader(KafkaConnection(stack.bootstrap, "demo"))
            try:
                return await read_incident(reader, incident)
            finally:
                await reader.stop()

        return asyncio.run(read())

    def _wait(self, what: str, happened: Callable[[], bool], limit: float) -> None:
        deadline = self._clock.monotonic() + limit
        while not happened():
            if self._clock.monotonic() > deadline:
                raise DemoFailed(f"{what}: not within {limit:.0f} s")
            asyncio.run(self._clock.sleep(_POLL))
        self._say(f"[green]✓[/green] {what}")

    def _judge(self, state: IncidentState, levels: tuple[Level, ...], fired_at: datetime) -> None:
        """Raise unless the log and the receiver tell the same, and it is what was due."""
        told = Counter(_said(n, self._policy) for n in state.notifications.values() if _out(n))
        seen = Counter(
            identity
            for arrival in self._receiver.arrivals()
            if (identity := _heard(arrival)) is not None
        )
        if told != seen:
            raise DemoFailed(
                f"the log and the receiver differ: only in the log {told - seen}, "
                f"only at the receiver {seen - told}"
            )
        # A level that nobody answers in time is told again, where the policy says so.
        reached = Counter(level.level for level in state.levels)
        if list(reached) != [level.number for level in levels]:
            raise DemoFailed(f"levels {[*reached]} were reached")
        for level in state.levels:
            if level.reached_at - level.due_at > TOLERANCE:
                late = level.reached_at - level.due_at
                raise DemoFailed(f"level {level.level} came {late} late")
        for planned in levels:
            pages = [
                n
                for n in state.notifications.values()
                if n.purpose is Purpose.PAGE and n.level == planned.number and _at_once(n)
            ]
            wanted = sum(count for _, _, count in self._pages(planned, fired_at))
            delivered = sum(map(_out, pages))
            if delivered < wanted or len(pages) > wanted * reached[planned.number]:
                raise DemoFailed(f"level {planned.number} owed {wanted} pages, made {len(pages)}")

    def _tell(self, stack: Stack, incident: str) -> dict[str, Any]:
        recorded = self._read(stack, incident)
        entries = timeline(recorded, self._policy)
        self._console.rule(f"{incident}, rebuilt from Kafka alone")
        self._console.print(timeline_table(entries))
        outcome = report(recorded, self._policy)
        self._console.print(render_report(outcome))
        self._say("[bold green]every page arrived, and the log tells what the receiver saw[/]")
        result: dict[str, Any] = outcome.model_dump(mode="json")
        return result


def _at_once(notification: Notification) -> bool:
    """Whether it is by a means that is used at once; how many more there are depends on answers."""
    target = notification.target
    return target is None or notification.channel not in target.after


def _out(notification: Notification) -> bool:
    return notification.status is NotificationStatus.DELIVERED


_ACTIONS = {Purpose.ACKNOWLEDGED: "acknowledge", Purpose.RESOLVED: "resolve"}


def _heard_as(kind: str) -> str:
    """The kind of channel by which the receiver hears; see `channel_settings`."""
    return kind if kind in {"pagerduty", "slack", "email"} else "webhook"


def _said(notification: Notification, policy: Policy) -> tuple[str, str, str]:
    """A delivered notification, by what its channel's protocol lets a receiver know."""
    channel = policy.channels[notification.channel]
    key = notification.provider_key
    match channel.kind:
        case "pagerduty":
            action = _ACTIONS.get(notification.purpose, "trigger")
            return channel.kind, channel.endpoint, f"{action} {key}"
        case "slack":
            return channel.kind, channel.endpoint, notification.message.subject
        case "email":
            return channel.kind, "email", notification.notification
        case _:
            return _heard_as(channel.kind), channel.endpoint, key


def _heard(arrival: Arrival) -> tuple[str, str, str] | None:
    match arrival.kind:
        case "pagerduty":
            return arrival.kind, arrival.endpoint, f"{arrival.action} {arrival.key}"
        case "slack":
            return arrival.kind, arrival.endpoint, arrival.subject
        case "webhook":
            return arrival.kind, arrival.endpoint, arrival.key
        case "email":
            return arrival.kind, "email", arrival.key.strip("<>").partition("@")[0]
        case _:
            return None
