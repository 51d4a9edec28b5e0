"""`tocsin demo`: one incident, all the way, on a real Kafka of its own.

It starts the whole system, posts what Alertmanager posts, lets levels go unanswered, answers as
people would, and then rebuilds the incident from Kafka alone. It succeeds only if every page the
policy asks for arrived in time and the rebuilt story is what the receiver saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from tocsin_cli.publishing import publish_policy
from tocsin_cli.receiver import Arrival, Receiver, channel_settings
from tocsin_cli.stack.stack import Stack
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification, NotificationStatus, StepStatus
from tocsin_policy import (
    CommandCall,
    Level,
    Policy,
    levels_for,
    load_policy,
    resolve_targets,
    scaled,
)
from tocsin_replay import (
    Recorded,
    read_incident,
    render_report,
    report,
    state_of,
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
_POLL = timedelta(milliseconds=200)
_ECHO = "/bin/echo"


class DemoFailed(RuntimeError):
    """Something did not happen as it must."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo makes happen to a system.

    Attributes:
        labels: Of the alert that opens the incident.
        approve: The step a person lets run.
        by: The contact who answers.
    """

    labels: Mapping[str, str]
    summary: str
    approve: str
    by: str


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
    )
}


def run_demo(system: str, *, scale: int = SCALE, as_json: bool = False) -> int:
    """0 if everything happened as the policy says, 1 if not, 2 for a system without a story."""
    console = Console(stderr=as_json)
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

    def _show(self, arrival: Arrival) -> None:
        icon = {"pagerduty": "📟", "slack": "💬", "email": "📧", "webhook": "🔗", "step": "🔧"}
        action = f" [{arrival.action}]" if arrival.kind == "pagerduty" else ""
        self._console.print(
            f"[dim]{self._clock.monotonic() - self._started:6.1f} s[/dim]    "
            f"{icon.get(arrival.kind, '•')} {arrival.endpoint}{action}: {arrival.subject}",
            markup=True,
            highlight=False,
        )

    def run(self) -> dict[str, Any]:
        self._say(
            f"policy [bold]{self._policy.system}[/bold], every duration divided by {self._scale}"
        )
        with self._receiver.serving(), self._stack() as stack:
            self._publish(stack)
            return self._story_of(stack)

    @contextmanager
    def _stack(self) -> Iterator[Stack]:
        channels = {
            channel.endpoint: channel_settings(self._receiver, channel.kind, channel.endpoint)
            for channel in self._policy.channels.values()
        }
        endpoints = {name: f"{self._receiver.url}/steps/{name}" for name in self._policy.endpoints}
        # The demo's programs only say what they would do.
        programs = {
            call.program: _ECHO
            for playbook in self._policy.playbooks.values()
            for step in playbook.steps
            for part in (step, step.verify, step.undo)
            if part is not None
            for _, call in part.calls()
            if isinstance(call, CommandCall)
        }
        stack = Stack(
            self._root,
            ephemeral=True,
            env={
                "TOCSIN_CHANNELS": json.dumps(channels),
                "TOCSIN_ENDPOINTS": json.dumps(endpoints),
                "TOCSIN_PROGRAMS": json.dumps(programs),
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
            self._await_level(level, fired_at)
        incident = self._incident()
        self._say(f"[bold]{self._story.by}[/bold] acknowledges {incident}")
        self._answer(stack, incident, "acknowledge", {"by": self._story.by, "via": "demo"})
        self._wait("PagerDuty hears of it", lambda: self._saw("pagerduty", "acknowledge"), 20)
        state = self._approve(stack, incident)
        self._answer(
            stack,
            incident,
            "updates",
            {"by": self._story.by, "text": "Traffic goes to healthy regions."},
        )
        self._post(stack, self._webhook("resolved", fired_at))
        self._say("the alert resolves; [bold]the incident is resolved[/bold]")
        self._answer(
            stack,
            incident,
            "resolve",
            {"by": self._story.by, "text": "Traffic was routed around the failed regions."},
        )
        self._wait("everyone paged hears the end", lambda: self._all_told(stack, incident), 30)
        state = self._rebuilt(stack, incident)
        self._judge(state, levels, fired_at)
        return self._tell(stack, incident)

    def _severity(self) -> str:
        return self._policy.severities[0].name

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
        """(kind, endpoint, how many) of what a level must bring to the receiver."""
        counted: Counter[tuple[str, str]] = Counter()
        conditions = {"customer_facing": "true"}
        for target in resolve_targets(self._policy, level, at, conditions=conditions):
            for name in target.channels:
                channel = self._policy.channels[name]
                counted[channel.kind, channel.endpoint] += 1
        return {(kind, endpoint, count) for (kind, endpoint), count in counted.items()}

    def _await_level(self, level: Level, fired_at: datetime) -> None:
        due_at = fired_at + level.after
        wait = (due_at - self._clock.now()).total_seconds()
        if wait > 1:
            self._say(f"level {level.number} is due in {wait:.0f} s")
        mark = f":{self._severity()}:{level.number}:"

        def arrived() -> bool:
            keys = [a.key for a in self._receiver.arrivals() if a.kind == "pagerduty"]
            wanted = sum(n for kind, _, n in self._pages(level, due_at) if kind == "pagerduty")
            return sum(mark in key for key in keys) >= wanted

        limit = max(wait, 0) + TOLERANCE.total_seconds() + 15
        self._wait(f"level {level.number} is paged", arrived, limit)

    def _incident(self) -> str:
        for arrival in self._receiver.arrivals():
            if arrival.kind == "pagerduty" and ":" in arrival.key:
                return arrival.key.partition(":")[0]
        raise DemoFailed("no page named an incident")

    def _saw(self, kind: str, action: str) -> bool:
        return any(a.kind == kind and a.action == action for a in self._receiver.arrivals())

    def _approve(self, stack: Stack, incident: str) -> IncidentState:
        state = self._rebuilt(stack, incident)
        remediation = next(iter(state.remediations.values()), None)
        if remediation is None:
            raise DemoFailed("no remediation was proposed")
        first = remediation.steps[0]
        self._say(
            f"remediation ran [bold]{first.proposed.title}[/bold] by itself: {first.status}; "
            f"{self._story.by} approves [bold]{self._story.approve}[/bold]"
        )
        self._answer(
            stack,
            incident,
            "approve",
            {
                "by": self._story.by,
                "remediation": remediation.remediation,
                "step": self._story.approve,
            },
        )

        def done() -> bool:
            held = self._rebuilt(stack, incident).remediations[remediation.remediation]
            step = held.step(self._story.approve)
            return step is not None and step.status in {
                StepStatus.VERIFIED,
                StepStatus.FINISHED,
            }

        self._wait("the step has run", done, 30)
        return self._rebuilt(stack, incident)

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
        reached = [level.level for level in state.levels]
        if reached != [level.number for level in levels]:
            raise DemoFailed(f"levels {reached} were reached")
        for level in state.levels:
            if level.reached_at - level.due_at > TOLERANCE:
                late = level.reached_at - level.due_at
                raise DemoFailed(f"level {level.level} came {late} late")
        for planned in levels:
            pages = [
                n
                for n in state.notifications.values()
                if n.purpose is Purpose.PAGE and n.level == planned.number
            ]
            wanted = sum(count for _, _, count in self._pages(planned, fired_at))
            if len(pages) != wanted or not all(_out(page) for page in pages):
                raise DemoFailed(f"level {planned.number} owed {wanted} pages, made {len(pages)}")

    def _tell(self, stack: Stack, incident: str) -> dict[str, Any]:
        recorded = self._read(stack, incident)
        entries = timeline(recorded)
        self._console.rule(f"{incident}, rebuilt from Kafka alone")
        self._console.print(timeline_table(entries))
        outcome = report(recorded, self._policy)
        self._console.print(render_report(outcome))
        self._say("[bold green]every page arrived, and the log tells what the receiver saw[/]")
        result: dict[str, Any] = outcome.model_dump(mode="json")
        return result


def _out(notification: Notification) -> bool:
    return notification.status is NotificationStatus.DELIVERED


_ACTIONS = {Purpose.ACKNOWLEDGED: "acknowledge", Purpose.RESOLVED: "resolve"}


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
        case "webhook":
            return channel.kind, channel.endpoint, key
        case _:
            return channel.kind, "email", notification.notification


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
