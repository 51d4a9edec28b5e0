"""HTTP steps go where settings say, at the address that was judged, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socketserver
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from remediation.adapters.http_exchange import MOST_BODY, Endpoint, Exchange, resolve
from remediation.adapters.http_runner import HttpxRunner
from remediation.domain.plan import MOST_OUTPUT, Lost, Planned, Ran
from tocsin_policy import HttpCall
from tocsin_runtime.clock import SystemClock

LONG = timedelta(seconds=10)
SHORT = timedelta(seconds=0.3)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"status":"healthy"}'


class Server(socketserver.ThreadingTCPServer):
    """Answers every connection with the same bytes, or holds its tongue until it is left.

    Attributes:
        heard: Requests, head and body.
    """

    allow_reuse_address = True

    def __init__(self, answer: bytes | None) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.answer = answer
        self.heard: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Talk(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            length = re.search(rb"(?i)content-length: (\d+)", head)
            self.server.heard.append(head + self.rfile.read(int(length[1]) if length else 0))
            if self.server.answer is None:
                self.rfile.read()
            else:
                self.wfile.write(self.server.answer)


@asynccontextmanager
async def serving(answer: bytes | None = OK) -> AsyncIterator[Server]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def a_runner(
    url: str,
    *,
    token: str | None = None,
    resolver: Callable[[str, int], Awaitable[tuple[str, ...]]] = resolve,
) -> HttpxRunner:
    exchange = Exchange({"api": Endpoint(url, token)}, resolver=resolver)
    return HttpxRunner(exchange, SystemClock(), look_every=timedelta(milliseconds=10))


def a_call(**fields: object) -> HttpCall:
    return HttpCall.model_validate({"endpoint": "api", "path": "/health", **fields})


def at(*addresses: str) -> Callable[[str, int], Awaitable[tuple[str, ...]]]:
    async def answer(host: str, port: int) -> tuple[str, ...]:
        del host, port
        return addresses

    return answer


def verdict(outcome: Ran | Lost | Planned) -> tuple[bool, str]:
    assert isinstance(outcome, Ran), outcome
    return outcome.succeeded, outcome.reason


async def test_the_body_arrives_with_its_type_and_the_token_of_the_endpoint() -> None:
    async with serving() as server:
        call = a_call(method="POST", path="/admin/rate-limit", body='{"requests_per_second": 10}')
        outcome = await a_runner(server.url + "/v1/", token="s3cr3t-token").run(call, LONG)
    assert verdict(outcome) == (True, "as_expected")
    (heard,) = server.heard
    assert heard.startswith(b"POST /v1/admin/rate-limit HTTP/1.1\r\n")
    assert heard.endswith(b'\r\n\r\n{"requests_per_second": 10}')
    assert b"content-type: application/json\r\n" in heard.lower()
    assert b"authorization: bearer s3cr3t-token\r\n" in heard.lower()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (True, "as_expected")),
        ({"expect_body_contains": '"healthy"'}, (True, "as_expected")),
        ({"expect_body_contains": '"ill"'}, (False, "unexpected_body")),
        ({"expect_status": 204}, (False, "unexpected_status")),
    ],
)
async def test_the_answer_is_held_against_what_the_playbook_expects(
    fields: dict[str, object], expected: tuple[bool, str]
) -> None:
    async with serving() as server:
        outcome = await a_runner(server.url).run(a_call(**fields), LONG)
    assert verdict(outcome) == expected


async def test_an_endpoint_without_settings_is_not_called() -> None:
    outcome = await a_runner("http://127.0.0.1:9").run(a_call(endpoint="other"), LONG)
    assert verdict(outcome) == (False, "endpoint_not_configured")


@pytest.mark.parametrize("path", ["/../admin", "/a/%2e%2e/b", "/./x", "/a/..?x=1"])
async def test_a_path_that_goes_up_is_not_called(path: str) -> None:
    async with serving() as server:
        outcome = await a_runner(server.url + "/public").run(a_call(path=path), LONG)
    assert verdict(outcome) == (False, "path_refused")
    assert server.heard == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
async def test_a_name_that_leads_to_this_machine_or_to_metadata_is_not_called(
    address: str,
) -> None:
    async with serving() as server:
        port = urlsplit(server.url).port
        url = f"http://gateway.example:{port}"
        runner = a_runner(url, resolver=at("192.0.2.1", address))
        assert verdict(await runner.run(a_call(), LONG)) == (False, "address_refused")
        assert verdict(await runner.plan(a_call(), LONG)) == (False, "address_refused")
    assert server.heard == []


async def test_an_address_the_operator_wrote_is_called() -> None:
    async with serving() as server:
        assert verdict(await a_runner(server.url).run(a_call(), LONG)) == (True, "as_expected")


async def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    """A name that leads elsewhere when it is asked again (DNS rebinding) is asked only once."""
    async with serving() as server:
        port = urlsplit(server.url).port
        asked: list[str] = []

        async def rebinding(host: str, _port: int) -> tuple[str, ...]:
            asked.append(host)
            return ("127.0.0.1",) if len(asked) == 1 else ("169.254.169.254",)

        url = f"http://localhost:{port}"
        outcome = await a_runner(url, resolver=rebinding).run(a_call(), LONG)
    assert verdict(outcome) == (True, "as_expected")
    assert asked == ["localhost"]
    assert f"Host: localhost:{port}".encode() in server.heard[0]


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async with serving() as server:
        port = urlsplit(server.url).port
        runner = a_runner(f"http://localhost:{port}", resolver=at("127.0.0.2", "127.0.0.1"))
        assert verdict(await runner.run(a_call(), LONG)) == (True, "as_expected")


async def test_a_redirect_is_not_followed() -> None:
    async with serving() as other:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n"
        async with serving(moved.encode()) as server:
            outcome = await a_runner(server.url).run(a_call(), LONG)
    assert verdict(outcome) == (False, "unexpected_status")
    assert other.heard == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as proxy, serving() as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert verdict(await a_runner(server.url).run(a_call(), LONG)) == (True, "as_expected")
    assert proxy.heard == []


async def test_of_a_long_answer_the_start_is_read() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (10 * MOST_BODY)
    async with serving(endless) as server:
        outcome = await a_runner(server.url).run(a_call(), LONG)
    assert isinstance(outcome, Ran)
    assert len(outcome.evidence.output) < MOST_OUTPUT + 100


@pytest.mark.parametrize(
    ("method", "expected"), [("GET", "timed_out"), ("POST", Lost("timed_out"))]
)
async def test_an_answer_that_does_not_come_leaves_doubt_unless_the_call_only_reads(
    method: str, expected: str | Lost
) -> None:
    async with serving(None) as server:
        outcome = await a_runner(server.url).run(a_call(method=method), SHORT)
    assert (outcome if isinstance(outcome, Lost) else outcome.reason) == expected
    assert len(server.heard) == 1


async def test_a_connection_that_breaks_leaves_doubt_unless_the_call_only_reads() -> None:
    async with serving(b"") as server:
        assert await a_runner(server.url).run(a_call(method="POST"), LONG) == Lost("no_answer")
        assert verdict(await a_runner(server.url).run(a_call(), LONG)) == (False, "no_answer")


@pytest.mark.parametrize("status", [502, 504])
async def test_a_proxy_that_lost_the_server_leaves_doubt(status: int) -> None:
    answer = f"HTTP/1.1 {status} Bad\r\nContent-Length: 0\r\n\r\n".encode()
    async with serving(answer) as server:
        outcome = await a_runner(server.url).run(a_call(method="POST"), LONG)
        assert outcome == Lost(f"http_{status}")
        assert verdict(await a_runner(server.url).run(a_call(), LONG)) == (
            False,
            "unexpected_status",
        )


async def test_a_host_that_is_not_there_was_not_reached() -> None:
    async with serving() as server:
        url = server.url
    assert verdict(await a_runner(url).run(a_call(method="POST"), LONG)) == (False, "unreachable")


async def test_a_host_nobody_knows_was_not_reached() -> None:
    async def unknown(host: str, port: int) -> tuple[str, ...]:
        raise OSError(f"nobody knows {host}:{port}")

    outcome = await a_runner("http://nowhere.example", resolver=unknown).run(
        a_call(method="POST"), LONG
    )
    assert verdict(outcome) == (False, "unresolvable")


async def test_a_plan_shows_the_request_and_sends_nothing() -> None:
    async with serving() as server:
        call = a_call(method="POST", path="/admin/rate-limit?x=1", body="{}")
        planned = await a_runner(server.url).plan(call, LONG)
    assert isinstance(planned, Planned)
    assert planned.targets == ("http:api/admin/rate-limit",)
    assert planned.diff.startswith(f"POST {server.url}/admin/rate-limit?x=1\n")
    assert planned.diff.endswith("\n\n{}")
    assert server.heard == []


async def test_a_look_that_would_change_something_is_refused() -> None:
    async with serving() as server:
        outcome = await a_runner(server.url).verify(a_call(method="POST"), LONG)
    assert verdict(outcome) == (False, "not_a_look")
    assert server.heard == []


async def test_a_look_is_repeated_until_it_is_as_expected() -> None:
    async with serving(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as server:

        async def recover() -> None:
            while len(server.heard) < 3:
                await SystemClock().sleep(timedelta(milliseconds=5))
            server.answer = OK

        recovering = asyncio.create_task(recover())
        outcome = await a_runner(server.url).verify(a_call(), LONG)
        await recovering
    assert verdict(outcome) == (True, "as_expected")


async def test_a_look_ends_with_its_time_and_says_what_it_saw_last() -> None:
    async with serving(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as server:
        outcome = await a_runner(server.url).verify(a_call(), SHORT)
    assert verdict(outcome) == (False, "unexpected_status")
    assert len(server.heard) > 1
