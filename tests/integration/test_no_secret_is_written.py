"""Canaries stand in settings, labels, annotations and answers; all that is written is searched.

The real processes, every topic, every log, every trace and every metric. The providers quote whole
requests, secrets and all, in whatever they say.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from tocsin_cli.stack import Stack
from tocsin_contracts import incidents
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.registry import TOPICS
from tocsin_policy import Policy
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.providers import MailServer, Provider, Reply, Request, Said
from tocsin_testkit.real_system import RealSystem

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 3

OURS = "canary7settings3k2q9x"
"""In every secret of the settings."""
THEIRS = ("canary8label5m4n", "canary9annotation6p", "canary1update7r2s")
"""In what senders of alerts and people say."""
SAID = "canary2answer8t3v"
"""In what a provider says of itself."""

SIGNING = "whsec_" + base64.b64encode(OURS.ljust(32, "0").encode()).decode()
ACCOUNT = "AC" + "0" * 32
FORMS = (
    OURS,
    SIGNING.removeprefix("whsec_"),
    base64.b64encode(f"{ACCOUNT}:{OURS}".encode()).decode(),
    base64.b64encode(f"t@example.com:{OURS}".encode()).decode(),
)


class Parrot(Provider):
    """Says back what it was told, by every way there is to say no, and yes in the end."""

    def __init__(self) -> None:
        super().__init__()
        self._ways = itertools.cycle((500, 429, 403))

    def take(self, request: Request) -> Reply:
        """What it was told, and a secret of its own."""
        quoted = f"{request.path} {dict(request.query)} {dict(request.headers)} {request.body!r}"
        return Reply(next(self._ways), f"password={SAID} {quoted}")


class Collector(Provider):
    """Takes traces and metrics over OTLP."""

    def take(self, request: Request) -> Reply:
        """It is kept in `requests`."""
        del request
        return Reply(200, "", {"Content-Type": "application/x-protobuf"})


def channels(url: str, mail_url: str = "") -> dict[str, dict[str, object]]:
    where, relay = urlsplit(url), urlsplit(mail_url)
    twilio = {"account": ACCOUNT, "token": OURS, "sender": "+15005550006", "url": url}
    return {
        "slack": {"kind": "slack", "url": f"{url}/services/{OURS}"},
        "slack-app": {"kind": "slack-app", "url": url, "token": OURS, "channel": "C0ALL"},
        "pagerduty": {"kind": "pagerduty", "url": url, "routing_key": OURS.ljust(32, "0")},
        "webhook": {"kind": "webhook", "url": url, "secret": SIGNING},
        "statuspage": {"kind": "statuspage", "url": url, "page": "p4ge", "token": OURS},
        "sms": {"kind": "sms", **twilio},
        "voice": {"kind": "voice", **twilio},
        "github": {"kind": "github", "url": url, "repository": "acme/shop", "token": OURS},
        "jira": {
            "kind": "jira",
            "url": url,
            "user": "t@example.com",
            "token": OURS,
            "project": "OPS",
        },
        "teams": {"kind": "teams", "url": f"{url}/workflows/1?sig={OURS}"},
        "apprise": {"kind": "apprise", "url": f"json://t:{OURS}@{where.netloc}/{OURS}"},
        "email": {
            "kind": "email",
            "host": relay.hostname or "127.0.0.1",
            "port": relay.port or 25,
            "sender": "t@example.com",
            "username": "t@example.com",
            "password": OURS,
            "start_tls": False,
            "implicit_tls": True,
            "to": ["ops@example.com"],
        },
    }


def everything_is_announced() -> Policy:
    kinds = list(channels(""))
    alice = {
        "name": "Alice",
        "role": "on-call engineer",
        "phone": "+41 44 555 01 00",
        "slack": "U0ALICE",
        "email": "alice@example.com",
        "channels": [kind for kind in kinds if kind != "statuspage"],
    }
    beat = {"every": "1m", "within": "10s"}
    return a_policy(
        contacts={"alice": alice},
        escalation={"critical": [{"number": 1, "after": "0m", "targets": ["schedule:primary"]}]},
        channels={
            kind: {
                "kind": kind,
                "endpoint": kind,
                **({"heartbeat": beat} if kind == "slack" else {}),
            }
            for kind in kinds
        },
        announcements={"critical": {"opened": kinds, "updates": kinds, "resolved": kinds}},
    )


@dataclass
class World:
    stack: Stack
    system: RealSystem
    parrot: Parrot
    collector: Collector
    mail: MailServer


@asynccontextmanager
async def a_world(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as held:
        parrot, collector = Parrot(), Collector()
        url = await held.enter_async_context(parrot.serving())
        mail = MailServer(login=("t@example.com", OURS))
        ca = trustme.CA()
        relay = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("127.0.0.1").configure_cert(relay)
        trusted = folder / "ca.pem"
        ca.cert_pem.write_to_path(trusted)
        mail_url = await held.enter_async_context(mail.serving(relay, implicit=True))
        # Each refusal quotes the password; the third mail is taken.
        mail.fates.extend(Said(Reply(code, f"password={SAID} {OURS}")) for code in (451, 550))
        env = {
            "TOCSIN_CHANNELS": json.dumps(channels(url, mail_url)),
            "TOCSIN_PROVIDER_CA_FILE": str(trusted),
            "TOCSIN_OTEL_ENDPOINT": await held.enter_async_context(collector.serving()),
            "TOCSIN_LOG_LEVEL": "debug",
        }
        made = Stack(ROOT, partitions=PARTITIONS, ephemeral=True, env=env)
        await asyncio.to_thread(made.start, print)
        held.push_async_callback(asyncio.to_thread, made.stop)
        system = RealSystem(
            made.bootstrap, made.ingestion_url, made.webhook_token, made.api_token, PARTITIONS
        )
        yield World(made, system, parrot, collector, mail)


async def records(bootstrap: str) -> list[ConsumerRecord]:
    """Everything in every topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    places = [
        TopicPartition(topic.name, number)
        for topic in TOPICS
        for number in consumer.partitions_for_topic(topic.name) or range(topic.partitions)
        if number < (PARTITIONS if topic.partitions > 1 else 1)
    ]
    consumer.assign(places)
    found: list[ConsumerRecord] = []
    while batches := await consumer.getmany(timeout_ms=2000):
        found += [record for batch in batches.values() for record in batch]
    await consumer.stop()
    return found


def text_of(record: ConsumerRecord) -> str:
    return f"{record.key!r} {record.headers!r} {record.value!r}"


def told_enough(seen: list[Event[Fact]]) -> bool:
    failed = {
        event.fact.notification
        for event in seen
        if isinstance(event.fact, incidents.NotificationFailed | incidents.NotificationInDoubt)
    }
    wanted = {
        event.fact.notification
        for event in seen
        if isinstance(event.fact, incidents.NotificationRequested)
    }
    purposes = {
        str(event.fact.purpose)
        for event in seen
        if isinstance(event.fact, incidents.NotificationRequested)
    }
    return {"page", "opened", "update"} <= purposes and len(failed) >= len(wanted) * 3 // 4


def held_in(texts: Iterator[tuple[str, str]], secrets: tuple[str, ...]) -> list[str]:
    return sorted({where for where, text in texts for secret in secrets if secret in text})


@pytest.mark.timeout(300)
async def test_no_secret_is_in_any_record_log_trace_or_metric(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        await world.system.put_in_force(published(everything_is_announced()))
        alert = an_alert(
            "Down",
            summary="shop is down",
            annotations={"description": f"login with password={THEIRS[1]} failed"},
            system="shop",
            severity="critical",
            api_token=THEIRS[0],
        )
        await world.system.push(a_webhook(alert))
        opened = await world.system.until("incidents", bool)
        said = json.dumps({"by": "alice", "text": f"restarted with token={THEIRS[2]}"}).encode()
        await world.system.answer(opened[0].subject, "updates", said)
        await world.system.until("incidents", told_enough)

        written = await records(world.stack.bootstrap)
        async with httpx.AsyncClient() as client:
            pages = [await client.get(f"{url}/metrics") for url in world.stack.ops_urls.values()]
        metrics = [page.text for page in pages]
    # Only now has everybody sent what they had.
    logs = {path.name: path.read_text(errors="replace") for path in world.stack.logs.iterdir()}
    exported = [repr(request.body) for request in world.collector.requests]
    paths = {request.path for request in world.collector.requests}
    assert {"/v1/traces", "/v1/metrics"} <= paths
    assert any("tocsin/notifier" in text_of(record) for record in written)
    assert "heartbeats" in {record.topic for record in written}
    assert any("incidents" in text for text in exported)
    assert any(logs.values())

    everything = [
        *((record.topic, text_of(record)) for record in written),
        *(("log " + name, text) for name, text in logs.items()),
        *(("trace or metric", text) for text in (*exported, *metrics)),
    ]
    tokens = (world.system.webhook_token, world.system.api_token)
    assert held_in(iter(everything), (*FORMS, *tokens, SAID)) == []

    # The search finds what is there, in each of these places.
    found = set(held_in(iter(everything), ("notifier",)))
    assert {"heartbeats", "incidents", "trace or metric"} <= found
    assert any(where.startswith("log ") for where in found)

    # What senders say is kept as it was received, and told to nobody.
    assert set(held_in(iter(everything), THEIRS)) <= {
        "alerts.raw",
        "alerts.raw.urgent",
        "alerts",
        "alerts.urgent",
        "incidents",
        "incidents.state",
    }
    told = [
        (record.topic, text_of(record))
        for record in written
        if ("ce_source", b"tocsin/notifier") in record.headers
    ]
    sent = [("request", repr(request.body)) for request in world.parrot.requests]
    mails = [("mail", mail.as_string()) for mail in world.mail.mails]
    assert mails, "the login with the canary was taken"
    assert held_in(iter([*told, *sent, *mails]), THEIRS) == []
    assert any("[redacted]" in text for _, text in sent)
