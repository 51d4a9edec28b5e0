"""The one place that makes an HTTP client.

httpx is what channels speak; aiohttp carries it. httpx's own transport takes five to eight times
the processor's time for a request, which in a burst of pages is most of what a page costs. The
adapter that exists for this (httpx-aiohttp 0.2) takes a connection that broke after the request
went out for one that was never made, so that what must not be sent twice would be: hence ours.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import httpx

POOL = 16
"""Connections of one client at most."""
IDLE_FOR = 5.0
"""Seconds a connection is kept that nobody uses."""
MOST_HEADER = 1 << 16
"""Bytes of one header of an answer at most."""

_PIECE = 1 << 16


class HostNotAllowed(httpx.RequestError):
    """A request to a host that this client may not call. Nothing was sent."""


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _in_words_of_httpx():
            async for piece in self._answer.content.iter_chunked(_PIECE):
                yield piece

    async def aclose(self) -> None:
        # The connection is used again if the body was read to its end, and closed if not.
        self._answer.release()


class _OnlyThese(httpx.AsyncBaseTransport):
    """Lets requests to some hosts through, and no other."""

    def __init__(self, hosts: frozenset[str], tls: ssl.SSLContext) -> None:
        self._hosts = hosts
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host not in self._hosts:
            raise HostNotAllowed(f"host {request.url.host!r} is not allowed", request=request)
        content = await request.aread()
        limits = request.extensions["timeout"]
        with _in_words_of_httpx():
            try:
                answer = await self._open().request(
                    request.method,
                    str(request.url),
                    headers=request.headers.multi_items(),
                    data=content or None,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        connect=limits["pool"],
                        sock_connect=limits["connect"],
                        sock_read=limits["read"],
                    ),
                )
            except ValueError as error:
                if isinstance(error, aiohttp.ClientError):
                    raise
                # A header that holds a line's end, and the like: refused before it is written.
                raise httpx.LocalProtocolError(str(error)) from error
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Made with the first request: aiohttp binds to the running event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=POOL, ssl=self._tls, keepalive_timeout=IDLE_FOR
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=MOST_HEADER,
                max_field_size=MOST_HEADER,
            )
        return self._session


class _NoCookies(httpx.Cookies):
    """What a provider would have us keep is not kept; to look for it takes a tenth of a call."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Keep nothing."""


class _Client(httpx.AsyncClient):
    @property
    def cookies(self) -> httpx.Cookies:
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise NotImplementedError("no cookie is kept")


_NO_COOKIES = _NoCookies()


@contextmanager
def _in_words_of_httpx() -> Iterator[None]:
    """Say in httpx's words what went wrong, and above all whether anything can have been sent.

    What is no failure to connect, and no mistake in the request, may have reached the provider.
    """
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise httpx.UnsupportedProtocol(str(error)) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(str(error)) from error
    except aiohttp.ServerTimeoutError as error:
        raise httpx.ReadTimeout(str(error)) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except aiohttp.ClientError as error:
        raise httpx.ReadError(str(error)) from error


def http_client(
    timeout_seconds: float, urls: Iterable[str], *, ca_file: Path | None = None
) -> httpx.AsyncClient:
    """A client that calls the hosts of these URLs and no other.

    It follows no redirect (a provider that moves is a configuration to change) and reads no proxy
    from the environment, which could take every message elsewhere.

    Args:
        ca_file: PEM file of an authority to trust instead of the public ones.
    """
    tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    return _Client(
        transport=_OnlyThese(frozenset(httpx.URL(url).host for url in urls), tls),
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 3.0)),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "tocsin-notifier/0.1"},
    )
