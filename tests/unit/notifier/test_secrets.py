"""Canaries stand in every secret of every channel; nothing that is written holds one.

The providers here are hostile: they quote a whole request, secrets and all, in whatever they say.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import httpx
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from notifier.adapters.apprise import AppriseChannel
from notifier.adapters.calling import Caller
from notifier.adapters.guarded import Guarded
from notifier.adapters.local_gate import LocalGate
from notifier.domain.outcomes import Delivered, Unknown
from notifier.handlers import Notifier
from notifier.settings import NotifierSettings
from notifier.wiring import channel_of, redactor_of
from tocsin_casebook import Casebook, Policies
from tocsin_contracts.incidents import Purpose
from tocsin_policy import Policy
from tocsin_runtime.logs import start_logs
from tocsin_runtime.ports import Handler
from tocsin_simulation.clock import ManualClock
from tocsin_simulation.system import SERVICES, Instance, Runs, System
from tocsin_testkit.builders import a_sending, an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.providers import AppriseTarget, Reply, Said
from tocsin_testkit.timeline import Timeline, hours, scenario

CANARY = "canary7f3k2q9x"
ROUTING = CANARY.ljust(32, "0")
SIGNING = "whsec_" + base64.b64encode(CANARY.ljust(32, "0").encode()).decode()
ACCOUNT = {"account": "AC" + "0" * 32, "token": CANARY, "sender": "+15005550006"}

CHANNELS: dict[str, dict[str, object]] = {
    "slack": {"kind": "slack", "url": f"https://hooks.slack.com/services/T/B/{CANARY}"},
    "slack-app": {"kind": "slack-app", "token": CANARY, "channel": "C0ALL"},
    "pagerduty": {
        "kind": "pagerduty",
        "routing_key": ROUTING,
        "rest_token": CANARY,
        "rest_user": "t@example.com",
    },
    "webhook": {"kind": "webhook", "url": "https://hook.example.com/", "secret": SIGNING},
    "statuspage": {"kind": "statuspage", "page": "p4ge", "token": CANARY},
    "sms": {"kind": "sms", **ACCOUNT},
    "voice": {"kind": "voice", **ACCOUNT},
    "github": {"kind": "github", "repository": "acme/shop", "token": CANARY},
    "jira": {
        "kind": "jira",
        "url": "https://acme.atlassian.net",
        "user": "t@example.com",
        "token": CANARY,
        "project": "OPS",
    },
    "teams": {"kind": "teams", "url": f"https://x.logic.azure.com/workflows/1?sig={CANARY}"},
}
SETTINGS = NotifierSettings.model_validate({"channels": CHANNELS})
ENCODED = base64.b64encode(f"{ACCOUNT['account']}:{CANARY}".encode()).decode()
FORMS = (CANARY, ENCODED, base64.b64encode(f"t@example.com:{CANARY}".encode()).decode())


class Parrot(httpx.AsyncBaseTransport):
    """A provider that says back what it was told, by every way there is to say no."""

    def __init__(self) -> None:
        self.quoted = 0
        self._ways = itertools.cycle((403, 500, 429, 200, 0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        quoted = f"{request.url} {dict(request.headers)} {request.content.decode()}"
        assert any(form in quoted for form in (*FORMS, "webhook-signature"))
        self.quoted += 1
        status = next(self._ways)
        if status == 0:
            raise httpx.ReadError(f"lost: {quoted}", request=request)
        if status == 200:
            return httpx.Response(200, json={"ok": False, "error": quoted, "id": quoted})
        return httpx.Response(status, text=quoted)


class Bug(httpx.AsyncBaseTransport):
    """What nobody foresaw."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError(f"a bug of ours in {request.method}")


PARROT = Parrot()


def everything_is_announced() -> Policy:
    alice = {
        "name": "Alice",
        "role": "on-call engineer",
        "phone": "+41 44 555 01 00",
        "slack": "U0ALICE",
        "channels": [name for name in CHANNELS if name != "statuspage"],
    }
    every = list(CHANNELS)
    return a_policy(
        contacts={"alice": alice},
        escalation={"critical": [{"number": 1, "after": "0m", "targets": ["schedule:primary"]}]},
        channels={name: {"kind": one["kind"], "endpoint": name} for name, one in CHANNELS.items()},
        announcements={"critical": {"opened": every, "updates": every, "resolved": every}},
    )


def _notifier(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    calls = Caller(httpx.AsyncClient(transport=PARROT), timedelta(seconds=5))
    channels = {
        name: Guarded(
            channel_of(one, calls, system.clock, SETTINGS),
            redactor_of(SETTINGS),
        )
        for name, one in SETTINGS.channels.items()
    }
    handler = Notifier(
        casebook=instance.casebook,
        policies=policies,
        publisher=system.publisher,
        clock=system.clock,
        channels=channels,
        gate=LocalGate(system.clock),
        instance=instance.name,
        redact=redactor_of(SETTINGS),
    )
    policies.on_change(handler.reconciler.policy_changed)
    return handler, (handler.run,)


WITH_PARROTS = [
    replace(one, build=_notifier) if one.name == "notifier" else one for one in SERVICES
]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tocsin_runtime.telemetry._tracer", provider.get_tracer("test"))
        yield exporter
    provider.shutdown()


PAGE = a_sending(
    purpose=Purpose.OPENED,
    attempt=2,
    severity="critical",
    phone="+41445550100",
)


def holds_a_secret(text: str) -> bool:
    return any(form in text for form in FORMS)


@pytest.fixture
def logs() -> Iterator[None]:
    """Whatever sends logs somewhere ends with the test."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.configure(**before)


@scenario(everything_is_announced, services=WITH_PARROTS)
async def test_no_secret_is_in_a_record_a_log_or_a_trace(
    system: Timeline,
    spans: InMemorySpanExporter,
    capfd: pytest.CaptureFixture[str],
    logs: None,  # noqa: ARG001 - it puts back what the test changes
) -> None:
    start_logs("notifier", log_format="json", level="debug")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    told = f"login with token={CANARY} failed"
    system.at(minutes=0).push(
        an_alert("Down", summary="is down", severity="critical", system="shop")
    )
    system.at(minutes=5).update("alice", told)
    system.at(minutes=6).acknowledge(by="alice")
    system.at(minutes=9).resolve(by="alice")
    await system.play(until=hours(1))
    assert PARROT.quoted > len(CHANNELS)
    written = [
        record
        for topic in ("incidents", "dead-letters", "incidents.state")
        for record in system.system.log.records(topic)
    ]
    by_notifier = [
        text
        for record in written
        if b"tocsin/notifier" in dict(record.headers).get("ce_source", b"")
        for text in [f"{record.headers} {record.value!r}"]
    ]
    assert any("[redacted]" in text for text in by_notifier)
    assert [text for text in by_notifier if holds_a_secret(text)] == []
    logged = capfd.readouterr()
    assert not holds_a_secret(logged.out + logged.err)
    shown = [span.to_json() for span in spans.get_finished_spans()]
    assert not any(holds_a_secret(text) for text in shown)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_what_apprise_writes_of_its_calls_is_in_no_log(
    capfd: pytest.CaptureFixture[str],
    logs: None,  # noqa: ARG001 - it puts back what the test changes
) -> None:
    start_logs("notifier", log_format="json", level="debug")
    target = AppriseTarget()
    async with target.serving() as url:
        where = f"json://alice:{CANARY}@{url.removeprefix('http://')}/{CANARY}"
        channel = AppriseChannel(where, timedelta(seconds=2))
        target.fates.append(Said(Reply(500, f"no {CANARY}")))
        outcomes = [await channel.send(PAGE), await channel.send(PAGE)]
        await channel.close()
    assert [type(one) for one in outcomes] == [Unknown, Delivered]
    logged = capfd.readouterr()
    assert not holds_a_secret(logged.out + logged.err)


async def test_a_crash_in_the_middle_of_a_call_is_logged_without_what_it_held(
    capfd: pytest.CaptureFixture[str],
    logs: None,  # noqa: ARG001 - it puts back what the test changes
) -> None:
    client = httpx.AsyncClient(transport=Bug())
    calls = Caller(client, timedelta(seconds=1))
    formats: tuple[Literal["json", "console"], ...] = ("json", "console")
    tries = itertools.product(formats, SETTINGS.channels.values(), (Purpose.PAGE, Purpose.UPDATE))
    crashed = set()
    for log_format, one, purpose in tries:
        start_logs("notifier", log_format=log_format, level="debug")
        channel = channel_of(one, calls, ManualClock(), SETTINGS)
        try:
            await channel.send(replace(PAGE, purpose=purpose))
        except RuntimeError:
            crashed.add(one.kind)
            structlog.get_logger().exception("service.crashed")
            logging.getLogger("asyncio").exception("task failed")
    logged = capfd.readouterr()
    assert crashed == {one.kind for one in SETTINGS.channels.values()}
    assert "a bug of ours" in logged.err
    assert not holds_a_secret(logged.err)
    await client.aclose()


def test_settings_show_no_secret_whoever_prints_them() -> None:
    shown = f"{SETTINGS!r} {SETTINGS} {SETTINGS.model_dump_json()} {json.dumps(str(SETTINGS))}"
    assert not holds_a_secret(shown)
    assert SIGNING not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "pagerduty", "routing_key": CANARY, "rest_token": CANARY},
        {"kind": "carrier-pigeon", "token": CANARY},
        {"kind": "webhook", "url": CANARY, "secret": CANARY},
        {"kind": "slack", "url": CANARY, "tokn": CANARY},
        {"kind": "sms", "token": CANARY, "account": CANARY, "sender": CANARY},
    ],
)
def test_settings_that_are_refused_show_no_secret_either(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        NotifierSettings.model_validate({"channels": {"a": wrong}})
    assert not holds_a_secret(str(refused.value))
    assert "channels.a" in str(refused.value)
