"""Silences and dead letters on a running cluster, by the commands an operator has."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.dispositions import Disposed, Disposition, Outcome
from tocsin_contracts.event import Event, Fact
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import AnAlert, a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
ROOT = Path(__file__).resolve().parents[2]
TOCSIN = Path(sys.executable).with_name("tocsin")
PARTITIONS = 2
A_PROCESS_HAS = 20
"""Connections to a broker: a producer, consumers, a reader, who each have one or two."""

_ESTABLISHED = "01"
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The whole system, with one policy in force."""
    with Receiver(SystemClock()).serving() as receiver:
        channels = {kind: channel_settings(receiver, kind, kind) for kind in ("slack", "pagerduty")}
        env = {"TOCSIN_CHANNELS": json.dumps(channels)}
        made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
        made.start(print)
        try:
            asyncio.run(_system(made).put_in_force(published(a_policy())))
            yield made
        finally:
            made.stop()


def _system(stack: Stack) -> RealSystem:
    return RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )


def tocsin(stack: Stack, *arguments: str, code: int = 0) -> str:
    """What the command says on a narrow terminal."""
    ran = subprocess.run(
        [TOCSIN, *arguments],
        env={
            "TOCSIN_KAFKA_BOOTSTRAP": stack.bootstrap,
            "TOCSIN_INGESTION_URL": stack.ingestion_url,
            "TOCSIN_API_TOKEN": stack.api_token,
            "COLUMNS": "80",
            "HOME": "/nonexistent",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout + ran.stderr


def of_name(name: str) -> AnAlert:
    return an_alert(name, system="shop", severity="critical")


async def test_a_silence_is_added_listed_and_expired_and_what_still_fires_pages_then(
    stack: Stack,
) -> None:
    system = _system(stack)
    said = tocsin(stack, "silence", "add", "alertname=Quiet", "--by", "alice", "-m", "a new disk")
    silence = said.split()[0]
    assert UUID.fullmatch(silence)
    assert silence in tocsin(stack, "silence", "list")

    await system.push(a_webhook(of_name("Quiet")))
    await system.until("silences", lambda seen: len(seen) == 1)
    disposed = await system.until("dispositions", lambda seen: len(seen) == 1)
    [quiet] = [one for event in disposed for one in _dispositions(event)]
    assert (quiet.outcome, quiet.by) == (Outcome.SILENCED, silence)
    assert "alice silenced alertname" in " ".join(tocsin(stack, "explain", "Quiet").split())

    tocsin(stack, "silence", "expire", silence)
    await system.until(
        "incidents",
        lambda seen: any(isinstance(e.fact, incidents.NotificationDelivered) for e in seen),
    )
    assert "nothing is silenced" in tocsin(stack, "silence", "list")
    assert silence in tocsin(stack, "silence", "list", "--all")
    assert "Paged Alice" in tocsin(stack, "explain", "Quiet")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "alertname=", "--by", "a", "-m", "x"), 2, "must not match the empty string"),
        (("add", "a=b", "--by", "a", "-m", "x", "--for", "soon"), 2, "'soon' is no duration"),
        (("expire", "nonsense"), 2, "silenceID in path must be of type uuid"),
        (("expire", "00000000-0000-4000-8000-000000000000"), 3, "silence not found"),
    ],
)
def test_a_silence_that_cannot_be_is_refused_in_words(
    stack: Stack, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = tocsin(stack, "silence", *arguments, code=code)
    assert words in said
    assert not said.startswith(('"', "{"))


async def test_a_poisonous_body_is_listed_shown_mended_and_handled_and_the_log_says_by_whom(
    stack: Stack, tmp_path: Path
) -> None:
    system = _system(stack)
    async with httpx.AsyncClient(base_url=stack.ingestion_url) as client:
        answer = await client.post(
            "/v1/webhooks/alertmanager",
            content=b'{"alerts": poison',
            headers={"Authorization": f"Bearer {stack.webhook_token}"},
        )
    assert answer.json()["status"] == "kept"
    await system.until("dead-letters", lambda seen: len(seen) == 1)
    listed = tocsin(stack, "dead-letters", "list")
    [where] = re.findall(r"alerts\.raw-\d+-\d+", listed)
    assert '{"alerts": poison' in tocsin(stack, "dead-letters", "show", where)

    mended = tmp_path / "mended.json"
    mended.write_bytes(a_webhook(of_name("Mended")))
    tocsin(stack, "dead-letters", "redrive", where, "--by", "alice", "--value", str(mended))
    await system.until(
        "incidents",
        lambda seen: any(
            isinstance(e.fact, incidents.Opened) and e.fact.alerts[0].name == "Mended" for e in seen
        ),
    )
    [letter] = json.loads(tocsin(stack, "dead-letters", "list", "--json"))
    assert "alice" in json.dumps(letter["redriven"])
    assert "no dead letters" in tocsin(stack, "dead-letters", "list", "--waiting")


async def test_what_no_policy_claims_is_set_aside_and_says_where_to_look(stack: Stack) -> None:
    system = _system(stack)
    await system.push(a_webhook(an_alert("Stray", severity="critical")))
    await system.until(
        "dispositions",
        lambda seen: any(
            one.outcome is Outcome.DEAD_LETTERED for event in seen for one in _dispositions(event)
        ),
    )
    said = " ".join(tocsin(stack, "explain", "Stray").split())
    assert "no policy claims it" in said
    listed = json.loads(tocsin(stack, "dead-letters", "list", "--json"))
    assert "`claims` of the policies" in listed[-1]["detail"]
    audited = tocsin(stack, "audit", "--since", "1h", "--grace", "1s")
    assert "everything is accounted for" in audited


async def test_hundreds_of_requests_at_once_share_one_producer(stack: Stack) -> None:
    """PagerDuty, August 2025: one producer for each request, and 95 % of events were refused."""
    system = _system(stack)
    door = next(one.said.pid for one in stack.status() if one.name == "ingestion")
    assert door is not None
    alerts = [an_alert("Crowd", system="shop", severity="minor", n=str(n)) for n in range(300)]
    await asyncio.gather(*(system.push(a_webhook(alert)) for alert in alerts))
    assert 0 < _connections(door, stack.bootstrap) < A_PROCESS_HAS


def _connections(process: int, bootstrap: str) -> int:
    """How many connections a process has to a broker."""
    port = int(bootstrap.rpartition(":")[2])
    own = set()
    for each in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            own.add(str(each.readlink()))
    table = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
    rows = [(row[2], row[3], row[9]) for row in map(str.split, table)]
    return sum(
        int(remote.rpartition(":")[2], 16) == port
        and state == _ESTABLISHED
        and f"socket:[{inode}]" in own
        for remote, state, inode in rows
    )


def _dispositions(event: Event[Fact]) -> tuple[Disposition, ...]:
    return event.fact.dispositions if isinstance(event.fact, Disposed) else ()
