"""The figures of the whole system, beside the raw library and Alertmanager, in one run.

`make bench` prints them; nothing here is a timed test. Each part says what it measures.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from tocsin_cli.publishing import publish_policy
from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import codec
from tocsin_contracts.dispositions import Disposed
from tocsin_policy import Policy, load_policy
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.alertmanager import running_alertmanager
from tocsin_testkit.measuring import cpu_seconds, quantiles, raw_round_trips, spent

pytestmark = [pytest.mark.bench, pytest.mark.kafka]
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 6
STORM = int(os.environ.get("BENCH_ALERTS", "50000"))
AT_REST = 100
PAUSE = 0.5
"""Seconds in which what follows a page is over: the next meets a system at rest."""
PROBES = 20

console = Console(width=110)
rows: list[tuple[str, str, str]] = []


def row(what: str, ours: str, beside: str = "") -> None:
    rows.append((what, ours, beside))
    console.print(f"  {what}: {ours}  {beside}", highlight=False)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(SystemClock()).serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ROOT / "deploy" / "policies" / "mpc-transformer" / "policy.yaml")


@pytest.fixture(scope="module")
def stack(receiver: Receiver, policy: Policy) -> Iterator[Stack]:
    channels = {
        channel.endpoint: channel_settings(receiver, channel.kind, channel.endpoint)
        for channel in policy.channels.values()
    }
    made = Stack(
        ROOT, partitions=PARTITIONS, ephemeral=True, env={"TOCSIN_CHANNELS": json.dumps(channels)}
    )
    made.start(lambda line: console.print(f"[dim]{line}[/dim]"))
    try:
        asyncio.run(publish(made, policy))
        time.sleep(2)
        yield made
    finally:
        made.stop()
        table = Table("figure", "Tocsin", "beside it", title=f"load {os.getloadavg()[0]:.1f}")
        for line in rows:
            table.add_row(*line)
        console.print(table)


async def publish(stack: Stack, policy: Policy) -> None:
    clock = SystemClock()
    publisher = KafkaPublisher(KafkaConnection(stack.bootstrap, "bench"), clock)
    await publisher.start()
    await publish_policy(publisher, clock, policy)
    await publisher.stop()


def probe_body(number: int) -> dict[str, Any]:
    alert = {
        "status": "firing",
        "labels": {
            "alertname": "GlobalServiceUnavailable",
            "system": "mpc-transformer",
            "severity": "critical",
            "cluster": f"probe-{number}",
        },
        "annotations": {"summary": f"probe {number} of the benchmark"},
        "startsAt": "2026-11-21T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }
    return {"version": "4", "truncatedAlerts": 0, "alerts": [alert]}


def probe(client: httpx.Client, stack: Stack, receiver: Receiver, number: int) -> float:
    """Seconds from the webhook to the page at the provider; `inf` after half a minute."""
    wanted = f"probe {number} of the benchmark"
    started = time.perf_counter()
    answer = client.post(
        f"{stack.ingestion_url}/v1/webhooks/alertmanager",
        json=probe_body(number),
        headers={"Authorization": f"Bearer {stack.webhook_token}"},
    )
    assert answer.status_code == 202, answer.text
    while time.perf_counter() - started < 30:
        for arrival in reversed(receiver.arrivals()):
            if arrival.kind == "pagerduty" and wanted in arrival.subject:
                return time.perf_counter() - started
        time.sleep(0.0005)
    return float("inf")


def memory_mb(stack: Stack) -> str:
    found = []
    for service in stack.status():
        status = Path(f"/proc/{service.said.pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if "VmRSS" in line)
        found.append(f"{service.name} {int(kilobytes) // 1024}")
    return ", ".join(found) + " MB"


async def disposed(bootstrap: str, count: int, name_seen: set[str]) -> float:
    """Unix time at which the log had the last of `count` observations' dispositions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition("dispositions", n) for n in range(PARTITIONS)])
    last = 0
    async with asyncio.timeout(600):
        while len(name_seen) < count:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    fact = codec.decode(record.headers, record.value, record.key).fact
                    known = len(name_seen)
                    if isinstance(fact, Disposed):
                        name_seen.update(str(d.observation) for d in fact.dispositions)
                    if len(name_seen) > known:
                        last = max(last, record.timestamp)
    await consumer.stop()
    return last / 1000


def storm(
    stack: Stack, receiver: Receiver, alerts: int, batch: int, name: str, *, probes: int
) -> tuple[float, list[float]]:
    """Alerts a second to their dispositions, and the probes' times in the middle of it."""
    seen: set[str] = set()
    asyncio.run(disposed_now(stack.bootstrap, seen))
    before = len(seen)
    command = [sys.executable, str(Path(__file__).with_name("load.py"))]
    command += [f"{stack.ingestion_url}/v1/webhooks/alertmanager", stack.webhook_token]
    command += [str(alerts), str(batch), "8", name]
    started = time.time()
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    took = []
    with httpx.Client(timeout=30) as client:
        for number in range(probes):
            time.sleep(0.15)
            took.append(probe(client, stack, receiver, hash((name, number)) % 10**9))
    out, _ = load.communicate(timeout=600)
    refused = json.loads(out)["refused"]
    ended = asyncio.run(disposed(stack.bootstrap, before + probes + alerts - refused * batch, seen))
    if refused:
        row(f"{name}: requests refused", str(refused))
    return (alerts - refused * batch) / (ended - started), took


async def disposed_now(bootstrap: str, seen: set[str]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition("dispositions", n) for n in range(PARTITIONS)])
    while records := await consumer.getmany(timeout_ms=1500):
        for batch in records.values():
            for record in batch:
                fact = codec.decode(record.headers, record.value, record.key).fact
                if isinstance(fact, Disposed):
                    seen.update(str(d.observation) for d in fact.dispositions)
    await consumer.stop()


def test_figures(stack: Stack, receiver: Receiver) -> None:
    row("memory idle", memory_mb(stack))
    with httpx.Client(timeout=30) as client:
        for number in range(5):
            probe(client, stack, receiver, 10**6 + number)
        rest = []
        for number in range(AT_REST):
            time.sleep(PAUSE)
            rest.append(probe(client, stack, receiver, number))
        close = [probe(client, stack, receiver, 10**5 + number) for number in range(AT_REST)]
    raw = asyncio.run(raw_round_trips(stack.bootstrap, 300))
    ratio = statistics.median(rest) / statistics.median(raw)
    row(
        "webhook to page at rest",
        quantiles(rest),
        f"one aiokafka round trip {quantiles(raw)}; {ratio:.0f}x",
    )
    row("webhook to page, the next as soon as the last has come", quantiles(close))
    assert all(took < float("inf") for took in (*rest, *close))
    for said, batch, alerts, probed in (
        ("new", 100, STORM, PROBES),
        ("repeated", 100, STORM, 0),
        ("new", 1000, STORM, 0),
        ("new", 10, STORM // 5, 0),
        ("new", 1, STORM // 10, PROBES),
        ("repeated", 1, STORM // 10, 0),
    ):
        before = cpu_seconds()
        speed, probes = storm(
            stack, receiver, alerts, batch, f"StormOf{batch}x{alerts}", probes=probed
        )
        after = cpu_seconds()
        what = f"{alerts} {said} alerts in batches of {batch}"
        row(what, f"{speed:.0f} alerts/s to disposition")
        if probes:
            row("  a P0's page in the middle of it", quantiles(probes))
        row("  CPU an alert", spent(before, after, alerts))
        assert all(took < float("inf") for took in probes)
    row("memory with all of them open", memory_mb(stack))


def test_alertmanager_beside_it(receiver: Receiver, tmp_path: Path) -> None:
    """The same payloads into Debian's Alertmanager, which keeps them in memory only."""
    with running_alertmanager(
        ROOT,
        tmp_path,
        webhook=f"{receiver.url}/steps/alertmanager/hook",
        token="none",
        group_by="cluster",
    ) as manager:
        url = f"{manager.url}/api/v2/alerts"
        with httpx.Client(timeout=30) as client:
            rest = []
            for number in range(AT_REST):
                time.sleep(PAUSE)
                rest.append(beside(client, url, receiver, f"rest-{number}"))
            row("Alertmanager: POST to webhook at rest", "", quantiles(rest))
            alerts = [a for b in range(STORM // 100) for a in storm_alerts(b)]
            for batch, count in ((100, STORM), (1000, STORM), (10, STORM // 5), (1, STORM // 10)):
                bodies = [
                    json.dumps(alerts[first : first + batch]) for first in range(0, count, batch)
                ]
                kind = {"Content-Type": "application/json"}
                started = time.perf_counter()
                for body in bodies:
                    client.post(url, content=body, headers=kind).raise_for_status()
                speed = count / (time.perf_counter() - started)
                what = f"Alertmanager: taken into memory, batches of {batch}"
                row(what, "", f"{speed:.0f} alerts/s")
            probes = [beside(client, url, receiver, f"mid-{number}") for number in range(PROBES)]
            row("Alertmanager: POST to webhook behind the storm", "", quantiles(probes))


def storm_alerts(batch: int) -> list[dict[str, Any]]:
    return [
        {"labels": {"alertname": "Storm", "cluster": f"c{batch}", "instance": f"{batch}-{n}"}}
        for n in range(100)
    ]


def beside(client: httpx.Client, url: str, receiver: Receiver, cluster: str) -> float:
    """Seconds from the POST to the webhook that the receiver gets for this cluster."""
    before = len(receiver.arrivals())
    labels = {"alertname": "Probe", "cluster": cluster, "severity": "critical"}
    started = time.perf_counter()
    client.post(url, json=[{"labels": labels}]).raise_for_status()
    while time.perf_counter() - started < 30:
        if any(cluster in arrival.body for arrival in receiver.arrivals()[before:]):
            return time.perf_counter() - started
        time.sleep(0.0005)
    return float("inf")
