"""The one place that makes an HTTP client."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import httpx

POOL = 16
"""Connections of one client at most; httpx gets slower with more in one client."""


class HostNotAllowed(httpx.RequestError):
    """A request to a host that this client may not call. Nothing was sent."""


class _OnlyThese(httpx.AsyncBaseTransport):
    """Lets requests to some hosts through, and no other."""

    def __init__(self, hosts: frozenset[str], inner: httpx.AsyncBaseTransport) -> None:
        self._hosts = hosts
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host not in self._hosts:
            raise HostNotAllowed(f"host {request.url.host!r} is not allowed", request=request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


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
    transport = httpx.AsyncHTTPTransport(
        verify=tls, limits=httpx.Limits(max_connections=POOL, max_keepalive_connections=POOL)
    )
    return httpx.AsyncClient(
        transport=_OnlyThese(frozenset(httpx.URL(url).host for url in urls), transport),
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 3.0)),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "tocsin-notifier/0.1"},
    )
