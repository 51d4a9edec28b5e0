"""What carries a call says above all whether anything can have been sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from notifier.adapters.calling import Caller, NotDone
from notifier.adapters.clients import http_client
from notifier.domain.outcomes import Refused, Unknown

ANSWER = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each connection with what it is given, a piece for each request, then ends it."""

    def __init__(self, *connections: tuple[bytes, ...]) -> None:
        self.requests: list[bytes] = []
        self.url = ""
        self.ended = asyncio.Event()
        self._connections = list(connections)
        self._talks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Caller]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with http_client(5.0, [self.url]) as client:
            yield Caller(client, timedelta(seconds=5))
        server.close()
        await asyncio.gather(*self._talks)
        await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.append(task)
        with suppress(asyncio.IncompleteReadError):
            for answer in self._connections.pop(0):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
                await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.ended.set()


async def test_a_kept_connection_that_the_provider_has_closed_since_is_not_used_again() -> None:
    server, other = Server((ANSWER,), (ANSWER,)), Server((ANSWER,))
    async with server.serving() as calls, other.serving() as elsewhere:
        assert (await calls.call("POST", server.url)).text == "ok"
        await server.ended.wait()
        await elsewhere.call("POST", other.url)
        assert (await calls.call("POST", server.url)).text == "ok"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", ANSWER[:-1], b"nonsense\r\n"]
)
async def test_what_breaks_once_the_request_is_out_is_unknown(said: bytes) -> None:
    server = Server((said,))
    async with server.serving() as calls:
        with pytest.raises(NotDone) as no:
            await calls.call("POST", server.url, document={"a": 1})
    assert isinstance(no.value.outcome, Unknown)
    assert len(server.requests) == 1


async def test_a_kept_connection_that_breaks_under_a_request_leaves_it_unknown_and_unrepeated() -> (
    None
):
    server = Server((ANSWER, b""), (ANSWER,))
    async with server.serving() as calls:
        assert (await calls.call("POST", server.url)).text == "ok"
        with pytest.raises(NotDone) as no:
            await calls.call("POST", server.url)
    assert isinstance(no.value.outcome, Unknown)
    assert len(server.requests) == 2


async def test_a_request_that_cannot_be_written_is_refused_and_nothing_is_sent() -> None:
    server = Server((ANSWER,))
    async with server.serving() as calls:
        with pytest.raises(NotDone) as no:
            await calls.call("POST", server.url, headers={"X-Title": "a\r\nHost: elsewhere"})
    assert no.value.outcome == Refused("cannot_be_asked", "LocalProtocolError")
    assert server.requests == []


async def test_nothing_is_added_that_the_caller_did_not_say_and_no_cookie_is_kept() -> None:
    server = Server((ANSWER, ANSWER))
    async with server.serving() as calls:
        for _ in range(2):
            await calls.call("POST", server.url, document={})
    names = {line.partition(b":")[0].lower() for line in server.requests[1].splitlines()[1:-1]}
    assert names == {
        b"host",
        b"accept",
        b"accept-encoding",
        b"connection",
        b"user-agent",
        b"content-type",
        b"content-length",
    }
