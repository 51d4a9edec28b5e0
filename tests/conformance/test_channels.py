"""Every channel over HTTP means the same by the same answer, or by none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest

from notifier.adapters.clients import http_client
from notifier.adapters.email import EmailChannel
from notifier.adapters.pagerduty import PagerDutyChannel
from notifier.adapters.slack import SlackChannel
from notifier.adapters.webhook import WebhookChannel, sign
from notifier.domain.outcomes import Delivered, Refused, Unknown, Unwell
from notifier.ports import Channel, Sending
from tocsin_cli.receiver import SECRET
from tocsin_contracts.incidents import Purpose
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_target
from tocsin_testkit.clock import EPOCH

Make = Callable[[httpx.AsyncClient, str], Channel]
MAKERS: dict[str, Make] = {
    "slack": SlackChannel,
    "pagerduty": lambda client, url: PagerDutyChannel(client, url, "k" * 32),
    "webhook": lambda client, url: WebhookChannel(client, url, SECRET, SystemClock()),
}
channels = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
SENDING = Sending(
    notification="a notification",
    incident=AN_INCIDENT_ID,
    system="shop",
    purpose=Purpose.PAGE,
    provider_key="a key",
    attempt=1,
    severity="P0",
    severity_rank=0,
    opened_at=EPOCH,
    target=a_target(),
    address=None,
    message=a_message(),
)


@asynccontextmanager
async def provider(answer: bytes | None) -> AsyncIterator[str]:
    """URL of a provider that says these bytes and hangs up; `None` never says anything."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [
            int(line.split(b":")[1])
            for line in head.lower().splitlines()
            if line.startswith(b"content-length")
        ]
        await reader.readexactly(length)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()
        try:
            await writer.wait_closed()
        finally:
            ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await ended.wait()


def http(status: int, body: str = "", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join((*lines, "", body)).encode()


async def sent(make: Make, answer: bytes | None) -> object:
    async with provider(answer) as url, http_client(0.3) as client:
        return await make(client, url).send(SENDING)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("slack", http(200, "ok")),
        ("pagerduty", http(202, '{"status": "success"}')),
        ("webhook", http(204)),
    ],
)
async def test_a_providers_yes_is_delivered(name: str, answer: bytes) -> None:
    assert isinstance(await sent(MAKERS[name], answer), Delivered)


@channels
@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 410])
async def test_a_no_or_a_redirect_is_final(make: Make, status: int) -> None:
    answer = http(status, "", "Location: http://127.0.0.1:1/")
    assert isinstance(await sent(make, answer), Refused)


@channels
async def test_too_many_waits_as_long_as_the_provider_says(make: Make) -> None:
    outcome = await sent(make, http(429, "", "Retry-After: 7"))
    assert isinstance(outcome, Unwell)
    assert outcome.retry_after == timedelta(seconds=7)


@channels
@pytest.mark.parametrize("status", [408, 500, 502, 503])
async def test_a_providers_own_trouble_passes(make: Make, status: int) -> None:
    assert isinstance(await sent(make, http(status)), Unwell)


@channels
@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
async def test_no_answer_after_the_request_went_out_is_unknown(
    make: Make, answer: bytes | None
) -> None:
    assert isinstance(await sent(make, answer), Unknown)


@channels
async def test_what_cannot_be_reached_got_nothing(make: Make) -> None:
    async with http_client(0.3) as client:
        assert isinstance(await make(client, "http://127.0.0.1:1/").send(SENDING), Unwell)


@pytest.mark.parametrize("name", ["slack", "pagerduty"])
async def test_a_200_whose_body_says_no_is_refused(name: str) -> None:
    assert isinstance(await sent(MAKERS[name], http(200, '{"ok": false}')), Refused)


async def test_mail_without_an_address_or_a_relay_is_told_apart() -> None:
    channel = EmailChannel(host="127.0.0.1", port=1, sender="t@example.com", start_tls=False)
    assert isinstance(await channel.send(SENDING), Refused)


def test_a_signature_is_the_one_of_standard_webhooks() -> None:
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
