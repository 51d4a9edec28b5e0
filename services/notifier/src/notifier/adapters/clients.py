"""The one place that makes an HTTP client."""

from __future__ import annotations

import httpx

POOL = 16
"""Connections of one client at most; httpx gets slower with more in one client."""


def http_client(timeout_seconds: float) -> httpx.AsyncClient:
    """A client that follows no redirect (a provider that moves is a configuration to change)."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 3.0)),
        limits=httpx.Limits(max_connections=POOL, max_keepalive_connections=POOL),
        follow_redirects=False,
        headers={"User-Agent": "tocsin-notifier/0.1"},
    )
