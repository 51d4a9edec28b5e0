"""Reading a request's body: never more than the limit, never longer than the time."""

from __future__ import annotations

import asyncio
import zlib
from datetime import timedelta

from starlette.requests import ClientDisconnect, Request

from ingestion.domain.sources.source import Refusal

_GZIP = 31


class Unreadable(Exception):
    """The body is not taken in. Attributes: `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Plain:
    def __init__(self, most: int) -> None:
        self._most = most
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._body += chunk
        if len(self._body) > self._most:
            raise too_large(self._most)

    def end(self) -> bytes:
        return bytes(self._body)


class _Gzip:
    """Inflates at most one byte more than is allowed, so that a bomb costs nothing."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._body = bytearray()
        self._inflate = zlib.decompressobj(_GZIP)

    def feed(self, chunk: bytes) -> None:
        try:
            self._body += self._inflate.decompress(chunk, self._most + 1 - len(self._body))
        except zlib.error as error:
            raise Unreadable(Refusal(400, "bad_encoding", f"no gzip: {error}")) from error
        if len(self._body) > self._most:
            raise too_large(self._most)

    def end(self) -> bytes:
        if not self._inflate.eof or self._inflate.unused_data:
            raise Unreadable(Refusal(400, "bad_encoding", "the gzip stream is cut"))
        return bytes(self._body)


def too_large(most: int) -> Unreadable:
    """What a sender of too much hears."""
    return Unreadable(Refusal(413, "too_large", f"the body is larger than {most} bytes"))


async def read_body(request: Request, *, most: int, within: timedelta) -> bytes:
    """The body, inflated if it is compressed.

    Raises:
        Unreadable: It is too large, compressed otherwise than with gzip, or does not come.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > most:
        raise too_large(most)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", ""}:
        raise Unreadable(Refusal(415, "bad_encoding", "content-encoding: gzip or none"))
    taking = _Gzip(most) if encoding == "gzip" else _Plain(most)
    try:
        async with asyncio.timeout(within.total_seconds()):
            async for chunk in request.stream():
                if chunk:
                    taking.feed(chunk)
    except TimeoutError as error:
        raise Unreadable(Refusal(408, "too_slow", "the body did not come in time")) from error
    except ClientDisconnect as error:
        raise Unreadable(Refusal(400, "cut_off", "the sender went away")) from error
    return taking.end()
