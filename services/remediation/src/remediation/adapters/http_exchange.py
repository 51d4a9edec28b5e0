"""One HTTP request to an endpoint the operator named, and what became of it.

A policy names an endpoint; only settings say where it is. Its host is resolved here, every address
it has is judged, and the connection goes to one of those very addresses: a name that answers
differently a moment later (DNS rebinding) leads nowhere else. No redirect is followed and no proxy
is read from the environment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

MOST_BODY = 1 << 20
"""Bytes of an answer that are read; the rest is left on the wire."""
MOST_ADDRESSES = 4
"""Addresses of one host that are tried, in the order the resolver gives them."""

READS = frozenset({"GET", "HEAD"})

_CLOUD = frozenset(
    ipaddress.ip_address(one) for one in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
"""Where clouds answer questions about a machine, outside the link-local range."""

Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host, as the machine's resolver says.

    Raises:
        OSError: It has none, or nobody could say.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an endpoint is.

    Attributes:
        url: With or without a path, to which a call's path is added.
        token: Sent as a bearer token, there and nowhere else.
    """

    url: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, at most `MOST_BODY` of it."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body for people."""
        return self.body.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the request left this machine."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The request, or a part of it, left; what came of it nobody knows."""

    reason: str


class Exchange:
    """Sends requests to endpoints.

    Args:
        ca_file: PEM file of an authority to trust instead of the public ones.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        ca_file: Path | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self._endpoints = endpoints
        self._ca_file = ca_file
        self._resolve = resolver

    async def where(self, name: str, path: str) -> tuple[str, tuple[str, ...]] | NotSent:
        """The whole URL of a path of an endpoint, and the addresses a connection may go to."""
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            return NotSent("endpoint_not_configured", f"no settings for endpoint {name!r}")
        if any(unquote(part) in {".", ".."} for part in path.partition("?")[0].split("/")):
            return NotSent("path_refused", "a path goes down, never up")
        url = endpoint.url.rstrip("/") + path
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = (await self._resolve(host, port))[:MOST_ADDRESSES]
        except (OSError, UnicodeError) as error:
            return NotSent("unresolvable", f"{host}: {error}")
        for address in addresses:
            if (why := _not_for(host, address)) is not None:
                return NotSent("address_refused", f"{host} is at {address}, {why}")
        return url, addresses

    async def send(
        self, name: str, request: Request, timeout: timedelta
    ) -> Answer | NotSent | Unanswered:
        """What became of a request. Never raises for what the network does."""
        left = False

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            nonlocal left
            left = left or event.endswith("send_request_headers.started")

        try:
            async with asyncio.timeout(timeout.total_seconds()):
                found = await self.where(name, request.path)
                if isinstance(found, NotSent):
                    return found
                return await self._send(name, request, found, trace)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            word = "timed_out" if _is_timeout(error) else "no_answer" if left else "unreachable"
            if left:
                return Unanswered(word)
            return NotSent(word, f"{type(error).__name__}: {error}".removesuffix(": "))

    async def _send(
        self, name: str, request: Request, found: tuple[str, tuple[str, ...]], trace: object
    ) -> Answer:
        url, addresses = found
        token = self._endpoints[name].token
        headers = {"User-Agent": "tocsin-remediation/0.1", "Accept-Encoding": "identity"}
        headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
        tls = ssl.create_default_context(cafile=None if not self._ca_file else str(self._ca_file))
        transport = _Pinned(addresses, httpx.AsyncHTTPTransport(verify=tls))
        async with (
            httpx.AsyncClient(
                transport=transport,
                timeout=None,  # noqa: S113 - the whole exchange has one
                follow_redirects=False,
                trust_env=False,
            ) as client,
            client.stream(
                request.method,
                url,
                content=request.body,
                headers={**headers, **request.headers},
                extensions={"trace": trace},
            ) as response,
        ):
            kept = bytearray()
            async for chunk in response.aiter_raw():
                kept += chunk[: MOST_BODY - len(kept)]
                if len(kept) >= MOST_BODY:
                    break
            return Answer(response.status_code, bytes(kept))


class _Pinned(httpx.AsyncBaseTransport):
    """Connects to addresses that were judged, and shows the host its own name."""

    def __init__(self, addresses: tuple[str, ...], inner: httpx.AsyncBaseTransport) -> None:
        self._addresses = addresses
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # The Host header was made from the name; the certificate must be of the name too.
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        last: httpx.TransportError = httpx.ConnectError("it has no address", request=request)
        for address in self._addresses:
            request.url = request.url.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last = error
        raise last

    async def aclose(self) -> None:
        await self._inner.aclose()


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, (TimeoutError, httpx.TimeoutException))


def _not_for(host: str, address: str) -> str | None:
    """Why a connection to this address is refused; `None` if it may be made.

    An operator who means such an address writes it into the setting itself, as an address.
    """
    at = ipaddress.ip_address(address.partition("%")[0])
    at = getattr(at, "ipv4_mapped", None) or at
    if host.strip("[]") == address:
        return None
    if at.is_link_local or at in _CLOUD:
        return "where a cloud tells secrets of a machine"
    if at.is_loopback and host != "localhost":
        return "which is this machine"
    if at.is_unspecified or at.is_multicast:
        return "which is no host"
    return None
