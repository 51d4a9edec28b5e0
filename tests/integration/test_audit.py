"""`tocsin audit` and `tocsin explain` on a running cluster, as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack, processes
from tocsin_contracts import incidents
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
TOCSIN = Path(sys.executable).with_name("tocsin")
PARTITIONS = 2


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole system, and one incident in it that has paged."""
    with Receiver(SystemClock()).serving() as receiver:
        channels = {kind: channel_settings(receiver, kind, kind) for kind in ("slack", "pagerduty")}
        env = {"TOCSIN_CHANNELS": json.dumps(channels)}
        made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
        made.start(print)
        try:
            asyncio.run(_one_page(made))
            yield made
        finally:
            made.stop()


async def _one_page(stack: Stack) -> None:
    system = RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )
    await system.put_in_force(published(a_policy()))
    await system.push(a_webhook(an_alert("Down", system="shop", severity="critical")))
    await system.until(
        "incidents",
        lambda seen: any(isinstance(e.fact, incidents.NotificationDelivered) for e in seen),
    )


def environment(stack: Stack) -> dict[str, str]:
    return {"TOCSIN_KAFKA_BOOTSTRAP": stack.bootstrap, "COLUMNS": "200", "HOME": "/nonexistent"}


def tocsin(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOCSIN, *arguments],
        env=environment(stack),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_running_cluster_is_audited_from_an_instant_on(stack: Stack) -> None:
    done = tocsin(stack, "audit", "--since", "1h", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["holds"]
    assert document["counts"]["records received"] >= 1
    assert document["counts"]["pages"] >= 1


def test_nothing_is_older_than_an_instant_to_come(stack: Stack) -> None:
    done = tocsin(stack, "audit", "--since", "2100-01-01", "--json")
    assert json.loads(done.stdout)["counts"] == {}


def test_an_alert_is_explained_from_the_running_cluster(stack: Stack) -> None:
    done = tocsin(stack, "explain", "alertname=Down", "--since", "1h")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "→ Paged" in done.stdout
    missing = tocsin(stack, "explain", "alertname=Up")
    assert missing.returncode == 3
    assert "no alert alertname=Up was seen" in missing.stderr


def test_the_periodic_audit_serves_its_findings_and_ends_when_told(stack: Stack) -> None:
    [port] = processes.free_ports(1)
    command = [str(TOCSIN), "audit", "--every", "1h", "--port", str(port)]
    with subprocess.Popen(
        command, env=environment(stack), stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        finished = json.loads(job.stdout.readline())
        shown = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        job.terminate()
        assert job.wait(timeout=30) == 0
    assert finished["event"] == "audit.finished"
    assert 'tocsin_audit_findings{kind="accepted_and_lost"} 0' in shown
