"""Debian's amtool, Prometheus and Alertmanager as they are, with the door in place of another."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ingestion.domain.authentication import Key
from tocsin_contracts.alerts import ObservationStatus
from tocsin_contracts.silences import SilenceCreated, SilenceExpired
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.alertmanager import running_alertmanager, running_prometheus
from tocsin_testkit.door import API_TOKEN, WEBHOOK_TOKEN, DoorUnderTest

ROOT = Path(__file__).resolve().parents[2]
AMTOOL = ROOT / ".local" / "debian" / "usr" / "bin" / "amtool"

RULES = """
groups:
  - name: of-the-test
    rules:
      - alert: AlwaysOn
        expr: vector(1)
        labels: { severity: critical, system: shop }
        annotations: { summary: it is on }
      - alert: OnForAWhile
        expr: vector(time()) < %d
        labels: { severity: minor, system: shop }
"""


class Amtool:
    """amtool, with a person's token in the address."""

    def __init__(self, address: str) -> None:
        self.url = f"http://ada:{API_TOKEN}@{address}"

    async def __call__(self, *arguments: str, ok: bool = True) -> str:
        process = await asyncio.create_subprocess_exec(
            str(AMTOOL),
            f"--alertmanager.url={self.url}",
            *arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert (process.returncode == 0) is ok, (arguments, out, errors)
        return (out + errors).decode()

    async def asked(self, *arguments: str) -> Any:
        return json.loads(await self("--output=json", *arguments))


async def test_amtool_adds_alerts_and_finds_them() -> None:
    door = DoorUnderTest(real_time=True)
    async with door.served() as address:
        amtool = Amtool(address)
        await amtool("alert", "add", "DiskFull", "system=shop", "severity=critical", "node=a")
        await amtool("alert", "add", "DiskFull", "system=shop", "severity=minor", "node=b")
        await door.until(lambda door: len(door.observed()) == 2)
        assert len(await amtool.asked("alert", "query")) == 2
        [found] = await amtool.asked("alert", "query", "severity=~crit.*", "node!=b")
        assert found["labels"]["node"] == "a"
        assert found["receivers"] == [{"name": "shop"}]
        assert "DiskFull" in await amtool("alert", "query", "-o", "extended")
        assert await amtool.asked("alert", "query", "severity=none") == []


async def test_amtool_silences_changes_and_ends() -> None:
    door = DoorUnderTest(real_time=True)
    async with door.served() as address:
        amtool = Amtool(address)
        await amtool("alert", "add", "DiskFull", "system=shop", "severity=critical")
        silence = (
            await amtool(
                "silence", "add", "DiskFull", "node!~b|c", "--author=ada", "--comment=we know"
            )
        ).strip()
        await door.until(lambda door: len(door.observed()) == 1)
        assert await amtool.asked("alert", "query") == []
        [muted] = await amtool.asked("alert", "query", "--silenced")
        assert muted["status"] == {
            "state": "suppressed",
            "silencedBy": [silence],
            "inhibitedBy": [],
        }
        [shown] = await amtool.asked("silence", "query")
        assert (shown["createdBy"], shown["comment"]) == ("ada", "we know")
        await amtool("silence", "update", silence, "--comment=longer", "--duration=3h")
        [longer] = await amtool.asked("silence", "query", "alertname=DiskFull")
        assert (longer["id"], longer["comment"]) == (silence, "longer")
        await amtool("silence", "expire", silence)
        assert await amtool.asked("silence", "query") == []
        assert len(await amtool.asked("silence", "query", "--expired")) == 1
        assert len(await amtool.asked("alert", "query")) == 1
        assert "404" in await amtool(
            "silence", "expire", "00000000-0000-4000-8000-000000000000", ok=False
        )
    facts = [event.fact for event in door.facts("silences")]
    assert [type(fact) for fact in facts] == [SilenceCreated, SilenceCreated, SilenceExpired]
    assert isinstance(facts[0], SilenceCreated)
    assert facts[0].matchers == ('alertname="DiskFull"', 'node!~"b|c"')
    assert len({event.subject for event in door.facts("silences")}) == 1


async def test_amtool_imports_silences_and_shows_what_it_talks_to(tmp_path: Path) -> None:
    door = DoorUnderTest(real_time=True)
    async with door.served() as address:
        amtool = Amtool(address)
        await amtool("silence", "add", "Imported", "--comment=x", "--author=ada")
        exported = tmp_path / "silences.json"
        exported.write_text(await amtool("--output=json", "silence", "query"))
        await amtool("silence", "import", str(exported))
        assert await amtool.asked("silence", "query")
        assert "shop" in await amtool("config", "show")
        assert "shop" in await amtool("config", "routes", "show") + await amtool("config", "show")
        await amtool("cluster", "show")


async def test_a_stranger_with_amtool_hears_that_it_is_not_known() -> None:
    door = DoorUnderTest(real_time=True)
    async with door.served() as address:
        stranger = Amtool(address)
        stranger.url = f"http://{address}"
        assert await stranger("alert", "add", "DiskFull", ok=False)
        assert await stranger("silence", "add", "DiskFull", "--comment=x", ok=False)
    assert door.written() == 0


async def test_prometheus_sends_straight_to_the_door(tmp_path: Path) -> None:
    door = DoorUnderTest(real_time=True)
    ends = int((SystemClock().now() + timedelta(seconds=8)).timestamp())
    async with door.served() as address:
        with running_prometheus(
            ROOT, tmp_path, rules=RULES % ends, alertmanager=address, token=WEBHOOK_TOKEN
        ):
            # Prometheus learns whom to tell only after some seconds, and drops what it had to say.
            await door.until(
                lambda door: (
                    {("AlwaysOn", "firing"), ("OnForAWhile", "resolved")}
                    <= {(seen.labels["alertname"], str(seen.status)) for _, seen in door.observed()}
                )
            )
            [firing] = await Amtool(address).asked("alert", "query")
    assert firing["labels"] == {"alertname": "AlwaysOn", "severity": "critical", "system": "shop"}
    seen = [seen for _, seen in door.observed()]
    assert all(one.ends_at is not None for one in seen)
    always = [one for one in seen if one.labels["alertname"] == "AlwaysOn"]
    assert len({one.starts_at for one in always}) == 1
    assert all(one.urgent for one in always)
    leases = [one.ends_at for one in always if one.ends_at is not None]
    assert leases == sorted(leases)
    over = [one for one in seen if one.status is ObservationStatus.RESOLVED]
    assert {one.labels["alertname"] for one in over} == {"OnForAWhile"}
    assert door.dead_letters == []


PAGERDUTY = """
    pagerduty_configs:
      - routing_key: k
        url: http://{address}/v2/enqueue
        details: {{ system: shop }}
"""

OPSGENIE = """
    opsgenie_configs:
      - api_key: k
        api_url: http://{address}/
        update_alerts: true
        details: {{ system: shop }}
"""


@pytest.mark.parametrize(
    ("source", "receiver"), [("pagerduty-events", PAGERDUTY), ("opsgenie", OPSGENIE)]
)
async def test_alertmanagers_own_integration_pages_the_door_by_another_address(
    source: str, receiver: str, tmp_path: Path
) -> None:
    door = DoorUnderTest(real_time=True, keys={source: [Key(SecretStr("k"))]})
    async with door.served() as address:
        running = running_alertmanager(ROOT, tmp_path, receiver=receiver.format(address=address))
        alertmanager = await asyncio.to_thread(running.__enter__)
        try:
            add = ("alert", "add", "DiskFull", "severity=minor")
            await asyncio.to_thread(alertmanager.tool, *add)
            await door.until(lambda door: len(door.observed()) == 1)
            now = SystemClock().now().isoformat()
            await asyncio.to_thread(alertmanager.tool, *add, f"--end={now}")
            await door.until(lambda door: len(door.observed()) == 2)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    (system, fired), (same, over) = door.observed()
    assert (system, same) == ("shop", "shop")
    assert (fired.status, over.status) == (ObservationStatus.FIRING, ObservationStatus.RESOLVED)
    assert over.fingerprint == fired.fingerprint
    assert over.labels == fired.labels
    assert door.dead_letters == []
