"""From a page that is owed to the provider that is called, beside the raw libraries, in one run.

`make bench` prints them; nothing here is a timed test. LinkedIn published that 6,000 escalations at
once took their system less than ten seconds, so that many are measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from rich.console import Console
from rich.table import Table

from tocsin_cli.stack import Stack
from tocsin_contracts import codec
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import (
    LevelReached,
    NotificationAttempted,
    NotificationDelivered,
    NotificationRequested,
    Opened,
)
from tocsin_policy import Policy
from tocsin_simulation.system import published
from tocsin_testkit.builders import an_event
from tocsin_testkit.measuring import cpu_seconds, quantiles, raw_round_trips, spent
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = [pytest.mark.bench, pytest.mark.kafka]
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 6
SYSTEMS = tuple(f"shop-{number}" for number in range(12))
AT_REST = int(os.environ.get("BENCH_PAGES_AT_REST", "100"))
QUEUED = int(os.environ.get("BENCH_PAGES_QUEUED", "10000"))
AT_ONCE = int(os.environ.get("BENCH_ESCALATIONS", "6000"))
LEAD = timedelta(seconds=float(os.environ.get("BENCH_LEAD", "20")))
"""Between the opening of what escalates at once and its second level."""
LOOK = 1.0
"""Seconds between two looks into the log."""
STAGES = (LevelReached, NotificationRequested, NotificationAttempted, NotificationDelivered)
FACTS = (Opened, *STAGES)
PROBE_EVERY = 0.2
MOST_PROBES = 500

console = Console(width=110)
rows: list[tuple[str, str, str]] = []


def row(what: str, ours: str, beside: str = "") -> None:
    rows.append((what, ours, beside))
    console.print(f"  {what}: {ours}  {beside}", highlight=False)


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("provider.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


@pytest.fixture(scope="module")
def stack(provider: str) -> Iterator[Stack]:
    account = {"kind": "pagerduty", "routing_key": "0" * 32, "per_second": 1000}
    channels = {"pagerduty": {**account, "url": f"{provider}/v2/enqueue"}}
    env = {"TOCSIN_CHANNELS": json.dumps(channels)}
    made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
    made.start(lambda line: console.print(f"[dim]{line}[/dim]"))
    try:
        asyncio.run(_in_force(made))
        yield made
    finally:
        made.stop()
        table = Table("figure", "Tocsin", "beside it", title=f"load {os.getloadavg()[0]:.1f}")
        for line in rows:
            table.add_row(*line)
        console.print(table)


def a_policy_of(system: str) -> Policy:
    """`P0` and `P3` page at once, `late` after a while."""
    levels = {
        "P0": "0s",
        "late": f"{int(LEAD.total_seconds())}s",
        "P3": "0s",
    }
    return a_policy(
        system,
        severities=[{"name": name, "definition": name} for name in levels],
        classification={"default": "P3"},
        contacts={"alice": {"name": "Alice", "role": "on call", "channels": ["pagerduty"]}},
        schedules={},
        escalation={
            name: [{"number": 1, "after": after, "targets": ["contact:alice"]}]
            for name, after in levels.items()
        },
        channels={"pagerduty": {"kind": "pagerduty", "endpoint": "pagerduty"}},
    )


async def _in_force(stack: Stack) -> None:
    system = RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )
    for name in SYSTEMS:
        await system.put_in_force(published(a_policy_of(name)))
    await asyncio.sleep(3)


def openings(name: str, count: int, severity: str, at: datetime) -> list[Event[Fact]]:
    made = []
    for number in range(count):
        system = SYSTEMS[number % len(SYSTEMS)]
        incident = incident_id(system, name, str(number))
        opened = Opened(
            system=system,
            title=f"{name} {number}",
            severity=severity,
            rule="a rule",
            reason="rule_matched",
            group_key=f"{name} {number}",
        )
        made.append(an_event(opened, incident=incident, at=at, source="tocsin/classifier"))
    return made


async def write(stack: Stack, events: Sequence[Event[Fact]]) -> None:
    wires = [codec.encode(event) for event in events]
    async with AIOKafkaProducer(
        bootstrap_servers=stack.bootstrap, acks="all", linger_ms=5, max_batch_size=1 << 20
    ) as producer:
        sent = [
            await producer.send(wire.topic, wire.value, key=wire.key, headers=list(wire.headers))
            for wire in wires
        ]
        await asyncio.gather(*sent)


@dataclass
class Seen:
    """Unix times of one page: its facts in the log, by type, and the call."""

    facts: dict[type[Fact], float]
    called: float = 0.0


async def pages(stack: Stack, provider: str, incidents: set[str], patience: float) -> list[Seen]:
    """What became of the pages of these incidents, once every one was called and told."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition("incidents", n) for n in range(PARTITIONS)])
    found = {incident: Seen({}) for incident in incidents}
    keys: dict[str, str] = {}
    told: set[str] = set()
    async with asyncio.timeout(patience):
        while len(told) < len(incidents):
            # Once a second: who looks takes the processor from what is looked at.
            await asyncio.sleep(LOOK)
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if dict(record.headers)["ce_subject"].decode() not in found:
                        continue
                    event = codec.decode(record.headers, record.value, record.key)
                    if not isinstance(event.fact, FACTS):
                        continue
                    found[event.subject].facts.setdefault(type(event.fact), record.timestamp / 1000)
                    if isinstance(event.fact, NotificationRequested):
                        keys[event.fact.provider_key] = event.subject
                    if isinstance(event.fact, NotificationDelivered):
                        told.add(event.subject)
    await consumer.stop()
    async with httpx.AsyncClient(timeout=60) as client:
        for at, key in (await client.get(provider)).json():
            if key in keys and not found[keys[key]].called:
                found[keys[key]].called = at
    return list(found.values())


def requested_to_called(seen: Sequence[Seen]) -> list[float]:
    return [one.called - one.facts[NotificationRequested] for one in seen]


async def probes(stack: Stack, provider: str, name: str, count: int) -> list[Seen]:
    """P0 pages, one at a time."""
    events = openings(name, count, "P0", datetime.now(UTC))
    for event in events:
        await write(stack, [event])
        await asyncio.sleep(0.05)
    return await pages(stack, provider, {event.subject for event in events}, 60)


async def raw_posts(provider: str, count: int, at_once: int) -> tuple[float, list[float]]:
    """Posts a second, and what each took, of one httpx client alone."""
    event = {
        "routing_key": "0" * 32,
        "event_action": "trigger",
        "payload": {"summary": "x" * 80, "custom_details": {"message": "y" * 400}},
    }
    took: list[float] = []
    work = iter(range(count))
    limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
    async with httpx.AsyncClient(limits=limits) as client:

        async def worker() -> None:
            for number in work:
                began = time.perf_counter()
                document = {**event, "dedup_key": f"raw {at_once} {number}"}
                (await client.post(f"{provider}/v2/enqueue", json=document)).raise_for_status()
                took.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        return count / (time.perf_counter() - began), took


async def test_a_page_at_rest(stack: Stack, provider: str) -> None:
    await probes(stack, provider, "warm", 20)
    seen = requested_to_called(await probes(stack, provider, "rest", AT_REST))
    trips = await raw_round_trips(stack.bootstrap, 600)
    _, posts = await raw_posts(provider, 200, 1)
    beside = statistics.median(trips) + statistics.median(posts)
    row(
        "page requested to provider called, at rest",
        quantiles(seen),
        f"aiokafka there and back {quantiles(trips)}, httpx post {quantiles(posts)};"
        f" {statistics.median(seen) / beside:.1f}x both",
    )


async def test_pages_behind_ten_thousand(stack: Stack, provider: str) -> None:
    """What is worst is paged all the while: as the queue is made, and as it is called."""
    queue = openings("queued", QUEUED, "P3", datetime.now(UTC))
    urgent = openings("urgent", MOST_PROBES, "P0", datetime.now(UTC))
    probed: set[str] = set()
    before, began = cpu_seconds(), time.time()
    await write(stack, queue)
    noise = asyncio.create_task(pages(stack, provider, {event.subject for event in queue}, 600))
    for event in urgent:
        await write(stack, [event])
        probed.add(event.subject)
        await asyncio.wait({noise}, timeout=PROBE_EVERY)
        if noise.done():
            break
    seen = await noise
    after = cpu_seconds()
    worst = await pages(stack, provider, probed, 60)
    queued = max(one.facts[NotificationAttempted] for one in seen)
    ended = max(one.called for one in seen)
    speed, _ = await raw_posts(provider, 2000, 4)
    row(
        f"pages a second, {QUEUED} at once",
        f"{QUEUED / (ended - began):.0f}; all queued after {queued - began:.1f} s",
        f"one httpx client alone, 4 at once: {speed:.0f}",
    )
    row("  CPU a page", spent(before, after, QUEUED))
    row(
        f"  a page of them, requested to called (with {QUEUED} queued)",
        quantiles(requested_to_called(seen)),
    )
    phases = {
        "while they are being queued": [one for one in worst if one.facts[Opened] < queued],
        "with all of them queued": [one for one in worst if queued <= one.facts[Opened] < ended],
    }
    for phase, ours in phases.items():
        if ours:
            row(
                f"  a P0 {phase} ({len(ours)} probes)",
                f"requested to called {quantiles(requested_to_called(ours))}; opened to called "
                + quantiles([one.called - one.facts[Opened] for one in ours]),
            )


async def test_six_thousand_escalations_at_once(stack: Stack, provider: str) -> None:
    due_at = datetime.now(UTC) + LEAD
    events = openings("escalates", AT_ONCE, "late", due_at - LEAD)
    await write(stack, events)
    spare = due_at.timestamp() - time.time()
    assert spare > 0, "the lead is too short to write them"
    await asyncio.sleep(spare)
    before = cpu_seconds()
    seen = await pages(stack, provider, {event.subject for event in events}, 300)
    started = due_at.timestamp()
    last = {kind.__name__: max(one.facts[kind] for one in seen) - started for kind in STAGES}
    took = max(one.called for one in seen) - started
    after = cpu_seconds()
    began = time.process_time()
    speed, _ = await raw_posts(provider, 2000, 4)
    alone = (time.process_time() - began) * 1e6 / 2000
    row("  CPU a page", spent(before, after, AT_ONCE), f"one httpx client alone: {alone:.0f} us")
    row(
        f"{AT_ONCE} escalations due at once: due to the last provider called",
        f"{took:.1f} s",
        f"one httpx client alone: {AT_ONCE / speed:.1f} s; LinkedIn published under 10 s",
    )
    row("  the last of each", ", ".join(f"{name} {at:.1f} s" for name, at in last.items()))
