"""A provider over HTTP that can fail on the wire as well as in words."""

from __future__ import annotations

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

_MOST_DRIPS = 1_000
_DRIP = 0.02


class Fate(StrEnum):
    """What becomes of one request on the wire."""

    ANSWERED = "answered"
    HANGS = "hangs"
    """It is read and not taken; nothing is ever said."""
    TAKEN_AND_HANGS = "taken_and_hangs"
    CUT = "cut"
    """It is read and not taken; the connection ends."""
    TAKEN_AND_CUT = "taken_and_cut"
    """It is taken; the connection ends in the middle of the answer."""
    DRIPS = "drips"
    """It is taken; the answer comes a byte at a time, and never whole."""


_TAKEN = frozenset({Fate.ANSWERED, Fate.TAKEN_AND_HANGS, Fate.TAKEN_AND_CUT, Fate.DRIPS})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was read."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object of the body; empty if it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def form(self) -> dict[str, str]:
        """The fields of a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, document: object) -> Reply:
        """A reply in JSON."""
        return cls(status, json.dumps(document), {"Content-Type": "application/json"})


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that is given instead of the provider's own; nothing is taken."""

    reply: Reply


@dataclass(slots=True)
class Shown:
    """One message as a person sees it."""

    text: str
    key: str = ""


class Provider(ABC):
    """Answers on a port of the loopback.

    Attributes:
        fates: What becomes of the next requests that have an effect; a look is always answered.
        shown: What people see, in order, after the provider merged what it merges.
        complaints: What it was sent that the published format forbids.
        requests: Everything it read.
        CUT_AFTER: Bytes of an answer that is cut; half of it if 0.
    """

    CUT_AFTER: ClassVar[int] = 0

    def __init__(self) -> None:
        self.fates: deque[Fate | Said] = deque()
        self.shown: list[Shown] = []
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self.url = ""

    @abstractmethod
    def take(self, request: Request) -> Reply:
        """Do what it asks, and say so."""

    def effects(self, request: Request) -> bool:
        """Whether a request would show people something."""
        return request.method != "GET"

    def require(self, true: object, complaint: str) -> None:
        """Complain unless something is so."""
        if not true:
            self.complaints.append(complaint)

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen until the block ends; its URL."""
        talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            talks[task] = writer
            try:
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    await self._talk(reader, writer)
            finally:
                writer.close()
                with suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()
                del talks[task]

        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        try:
            yield self.url
        finally:
            server.close()
            for writer in talks.values():
                # Whoever waits for more reads the end; nothing here waits for anything else.
                writer.transport.abort()
            await asyncio.gather(*talks)
            await server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _request(reader)
        self.requests.append(request)
        fate: Fate | Said = Fate.ANSWERED
        if self.fates and self.effects(request):
            fate = self.fates.popleft()
        if isinstance(fate, Said):
            writer.write(_bytes(fate.reply))
            await writer.drain()
            return
        reply = self.take(request) if fate in _TAKEN else Reply()
        answer = _bytes(reply)
        match fate:
            case Fate.ANSWERED:
                writer.write(answer)
                await writer.drain()
            case Fate.HANGS | Fate.TAKEN_AND_HANGS:
                await reader.read()
            case Fate.CUT:
                pass
            case Fate.TAKEN_AND_CUT:
                writer.write(answer[: self.CUT_AFTER or len(answer) // 2])
                await writer.drain()
            case Fate.DRIPS:
                await _drip(reader, writer, answer)


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method, parts.path, query, headers, body)


def _bytes(reply: Reply) -> bytes:
    body = reply.body.encode()
    headers = {"Content-Length": str(len(body)), "Connection": "close", **reply.headers}
    lines = (f"HTTP/1.1 {reply.status} -", *(f"{name}: {v}" for name, v in headers.items()))
    return "\r\n".join((*lines, "", "")).encode() + body


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    head = b"HTTP/1.1 200 -\r\nX-Padding: "
    for byte in (head + b"." * (_MOST_DRIPS + len(answer)))[:_MOST_DRIPS]:
        writer.write(bytes([byte]))
        await writer.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRIP):
                if not await reader.read(1):
                    return
