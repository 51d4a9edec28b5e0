"""Debian's Alertmanager and Tocsin, side by side: who is told of which groups, and what is muted.

The same 5,000 alerts fire, resolve and flap, under the same silences and inhibition rules, in an
Alertmanager in real time and in the whole of Tocsin in virtual time. What must be the same: the
groups somebody was told of, the alerts in them, and at every step which alerts are muted. What
differs by design is listed in `docs/alertmanager.md`.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from classifier.domain.deciding import ears_of
from classifier.domain.holdings import Holdings
from tocsin_casebook import InForce
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.incidents import Purpose
from tocsin_contracts.silences import SilenceExpired
from tocsin_incident import IncidentState
from tocsin_policy import Policy, SilenceBook, classify, parse_policy, policy_hash
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.events import decode, outgoing
from tocsin_simulation.loop import simulate
from tocsin_simulation.system import System, published
from tocsin_testkit.alertmanager import running_alertmanager
from tocsin_testkit.builders import a_person
from tocsin_testkit.silences import a_silence, of_silence

ROOT = Path(__file__).resolve().parents[2]
ALERTS = 5_000
STEPS = 9
STEP = timedelta(seconds=4)
LOOK = timedelta(seconds=3, milliseconds=300)
"""After a step: time enough for group_wait and group_interval, and before the next."""

Labels = dict[str, str]
Group = tuple[str, str, str]

CONFIG = """
route:
  receiver: info
  group_by: [alertname, cluster, severity]
  group_wait: 1s
  group_interval: 1s
  repeat_interval: 1h
  routes:
    - matchers: [severity="critical"]
      receiver: critical
    - matchers: [severity="warning"]
      receiver: warning
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [alertname, cluster]
  - source_matchers: [alertname="ClusterDown"]
    target_matchers: [alertname=~".+"]
    equal: [cluster]
receivers:
  - name: critical
    webhook_configs: [{{url: "{url}", max_alerts: 0}}]
  - name: warning
    webhook_configs: [{{url: "{url}", max_alerts: 0}}]
  - name: info
    webhook_configs: [{{url: "{url}", max_alerts: 0}}]
"""


def the_equivalent() -> Policy:
    return parse_policy(
        {
            "system": "shop",
            "owner": "the comparison",
            "claims": [['alertname=~".+"']],
            "severities": [
                {"name": name, "definition": name} for name in ("critical", "warning", "info")
            ],
            "classification": {
                "rules": [
                    {"name": name, "match": [f'severity="{name}"'], "severity": name}
                    for name in ("critical", "warning")
                ],
                "default": "info",
            },
            "grouping": {
                "by": ["alertname", "cluster", "severity"],
                "wait": "1s",
                "reopen_within": "1h",
                "auto_resolve_after": "1s",
            },
            "inhibition": {
                "rules": {
                    "by-critical": {
                        "source": ['severity="critical"'],
                        "target": ['severity="warning"'],
                        "equal": ["alertname", "cluster"],
                    },
                    "cluster-down": {
                        "source": ['alertname="ClusterDown"'],
                        "target": ['alertname=~".+"'],
                        "equal": ["cluster"],
                    },
                }
            },
            "contacts": {"alice": {"name": "Alice", "role": "on call", "channels": ["hook"]}},
            "channels": {"hook": {"kind": "webhook", "endpoint": "hook"}},
            "escalation": {
                name: [{"number": 1, "after": "0s", "targets": ["contact:alice"]}]
                for name in ("critical", "warning", "info")
            },
        }
    )


# The script both follow.


@dataclass(slots=True)
class Step:
    """What happens at once: alerts by label set, with when they began, and silences."""

    fire: list[tuple[Labels, int]] = field(default_factory=list)
    resolve: list[tuple[Labels, int]] = field(default_factory=list)
    silence: list[tuple[str, list[tuple[str, str, bool]]]] = field(default_factory=list)
    expire: list[str] = field(default_factory=list)


def script(seed: int) -> list[Step]:
    """Steps in which `ALERTS` alerts fire, a fifth resolve each time, and some of them again."""
    draw = random.Random(seed)  # noqa: S311 - a seeded script
    every = [
        {
            "alertname": f"A{n % 23}",
            "cluster": f"c{draw.randrange(14)}",
            "severity": draw.choice(("critical", "warning", "warning", "info", "info")),
            "instance": f"i{n}",
        }
        for n in range(ALERTS - 3)
    ]
    steps = [Step() for _ in range(STEPS)]
    down = [
        {"alertname": "ClusterDown", "cluster": f"c{n}", "severity": "critical"} for n in (2, 3, 4)
    ]
    firing: dict[int, int] = {}
    resolved: list[int] = []
    share = len(every) // (STEPS - 1)
    for number, step in enumerate(steps):
        for index in draw.sample(sorted(firing), len(firing) // 5):
            step.resolve.append((every[index], firing.pop(index)))
            resolved.append(index)
        if number:
            for index in draw.sample(resolved, min(len(resolved), 60)):
                if index not in firing and (every[index], number) not in step.fire:
                    began = {id(labels) for labels, _ in step.resolve}
                    if id(every[index]) not in began:
                        step.fire.append((every[index], number))
                        firing[index] = number
                        resolved.remove(index)
        first = number * share
        last = len(every) if number == STEPS - 2 else first + share
        for index in range(first, min(last, len(every))):
            if number < STEPS - 1:
                step.fire.append((every[index], number))
                firing[index] = number
        draw.shuffle(step.fire)
    steps[0].silence += [
        ("a cluster", [("cluster", "c1", False)]),
        ("some instances", [("instance", "i1[0-9]+", True)]),
        ("one alert", [("alertname", "A3", False), ("severity", "info", False)]),
    ]
    steps[2].fire = [(down[0], 2), (down[1], 2), *steps[2].fire]
    steps[3].silence.append(("what fires already", [("cluster", "c5", False)]))
    steps[4].fire.append((down[2], 4))
    steps[5].expire.append("a cluster")
    steps[6].resolve.append((down[0], 2))
    steps[7].expire.append("what fires already")
    steps[8].expire.append("one alert")
    return steps


def post(step: Step, start: datetime, now: datetime) -> list[list[dict[str, Any]]]:
    """The bodies that Prometheus would send."""

    def began(number: int) -> str:
        return rfc3339(start + number * STEP - timedelta(seconds=1))

    alerts = [
        {"labels": labels, "startsAt": began(number), "endsAt": rfc3339(now)}
        for labels, number in step.resolve
    ] + [{"labels": labels, "startsAt": began(number)} for labels, number in step.fire]
    return [alerts[first : first + 64] for first in range(0, len(alerts), 64)]


@dataclass(slots=True)
class Seen:
    """What came of it: alerts told of by group, and those muted at each step."""

    told: dict[Group, set[str]] = field(default_factory=lambda: defaultdict(set))
    muted: list[set[str]] = field(default_factory=list)
    firing: list[set[str]] = field(default_factory=list)

    def heard(self) -> set[str]:
        """Alerts that fired and were not muted when somebody looked."""
        pairs = zip(self.firing, self.muted, strict=True)
        return {name for firing, muted in pairs for name in firing - muted}

    def groups(self) -> dict[Group, set[str]]:
        """Groups somebody was told of, with those of their alerts that were heard at a look."""
        heard = self.heard()
        found = {group: names & heard for group, names in self.told.items()}
        return {group: names for group, names in found.items() if names}


def name_of(labels: Labels) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


# Alertmanager.


@contextmanager
def listening(seen: Seen) -> Iterator[str]:
    """Takes Alertmanager's webhooks until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                if alert["status"] == "firing":
                    labels = alert["labels"]
                    group = (labels["alertname"], labels["cluster"], labels["severity"])
                    seen.told[group].add(name_of(labels))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        # A thousand groups are told of at once.
        request_queue_size = 2_000

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


async def lived_by_alertmanager(steps: list[Step], url: str, seen: Seen) -> None:
    clock = SystemClock()
    silences: dict[str, str] = {}
    start = clock.now()
    async with httpx.AsyncClient(base_url=f"{url}/api/v2", timeout=20) as client:

        async def until(at: datetime) -> None:
            await clock.sleep(max(at - clock.now(), timedelta()))

        for number, step in enumerate(steps):
            await until(start + number * STEP)
            for name in step.expire:
                answer = await client.delete(f"/silence/{silences[name]}")
                answer.raise_for_status()
            for name, matchers in step.silence:
                answer = await client.post("/silences", json=silence(matchers, clock.now(), name))
                silences[name] = answer.raise_for_status().json()["silenceID"]
            for body in post(step, start, clock.now()):
                (await client.post("/alerts", json=body)).raise_for_status()
            await until(start + number * STEP + LOOK)
            alerts = (await client.get("/alerts")).raise_for_status().json()
            seen.firing.append({name_of(alert["labels"]) for alert in alerts})
            seen.muted.append(
                {
                    name_of(alert["labels"])
                    for alert in alerts
                    if alert["status"]["state"] == "suppressed"
                }
            )


def silence(matchers: list[tuple[str, str, bool]], now: datetime, name: str) -> dict[str, Any]:
    return {
        "matchers": [
            {"name": label, "value": value, "isRegex": regex} for label, value, regex in matchers
        ],
        "startsAt": rfc3339(now),
        "endsAt": rfc3339(now + timedelta(hours=1)),
        "createdBy": "the comparison",
        "comment": name,
    }


# Tocsin.


async def lived_by_tocsin(steps: list[Step], policy: Policy, seen: Seen) -> None:
    system = System(policies=[published(policy)], partitions=1, calm=True)
    await system.start()
    start = system.clock.now()

    async def until(at: datetime) -> None:
        await system.sleep(max(at - system.clock.now(), timedelta()))

    for number, step in enumerate(steps):
        await until(start + number * STEP)
        for name in step.expire:
            ended = SilenceExpired(by=a_person())
            system.log.append(outgoing(of_silence(ended, at=system.clock.now(), name=name)))
        for name, matchers in step.silence:
            now = system.clock.now()
            texts = [
                f'{label}{"=~" if regex else "="}"{value}"' for label, value, regex in matchers
            ]
            made = a_silence(*texts, starts_at=now, lasts=timedelta(hours=1))
            system.log.append(outgoing(of_silence(made, at=now, name=name)))
        if step.silence or step.expire:
            # A silence has its own topic: a hundredth of a second lets it come first.
            await system.sleep(timedelta(milliseconds=50))
        for body in post(step, start, system.clock.now()):
            await system.post(json.dumps(body).encode(), source="prometheus")
        await until(start + number * STEP + LOOK)
        look(system, policy, seen)
    for state in system.incidents().values():
        paged = any(n.purpose is Purpose.PAGE for n in state.notifications.values())
        for held in state.alerts.values() if paged else ():
            labels = held.alert.labels
            if not held.guest:
                group = (labels["alertname"], labels["cluster"], labels["severity"])
                seen.told[group].add(name_of(labels))


def look(system: System, policy: Policy, seen: Seen) -> None:
    """Which alerts fire now, and which of them nobody is to hear of."""
    book = SilenceBook()
    for record in system.log.records("silences"):
        book.apply(decode(record))
    holdings = Holdings()
    states: dict[str, IncidentState] = system.incidents()
    for state in states.values():
        holdings.update(state)
    in_force = InForce(policy, policy_hash(policy))
    ears = ears_of("shop", in_force, states.get, holdings, book, system.clock.now())
    firing: dict[str, Labels] = {}
    kept: set[str] = set()
    for state in states.values():
        for held in state.alerts.values():
            if held.firing:
                firing[name_of(held.alert.labels)] = held.alert.labels
                if held.guest:
                    kept.add(name_of(held.alert.labels))
    muted = set()
    for name, labels in firing.items():
        classified = classify(policy, labels, {})
        if ears.muting(labels, classified.service, classified.severity) is not None:
            muted.add(name)
    assert kept <= muted, "what is kept from people is muted by something that is there"
    seen.firing.append(set(firing))
    seen.muted.append(muted)


@pytest.mark.parametrize("seed", [20261121])
def test_the_same_groups_are_told_of_and_the_same_alerts_are_muted(
    tmp_path: Path, seed: int
) -> None:
    steps = script(seed)
    theirs, ours = Seen(), Seen()
    with (
        listening(theirs) as hook,
        running_alertmanager(ROOT, tmp_path, config=CONFIG.format(url=hook)) as alertmanager,
    ):
        asyncio.run(lived_by_alertmanager(steps, alertmanager.url, theirs))
    simulate(lived_by_tocsin(steps, the_equivalent(), ours))
    assert len({name for step in theirs.firing for name in step}) == ALERTS
    for number in range(STEPS):
        assert ours.firing[number] == theirs.firing[number], f"step {number}"
        assert ours.muted[number] == theirs.muted[number], f"step {number}"
    assert any(theirs.muted)
    assert ours.groups().keys() == theirs.groups().keys()
    assert ours.groups() == theirs.groups()
