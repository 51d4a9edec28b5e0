"""What channels call providers by, in tests of providers that answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from notifier.adapters.calling import Caller
from notifier.adapters.clients import http_client

PATIENCE = timedelta(seconds=20)
"""With a provider that answers: nobody waits as long, and on a busy machine nobody gives up."""


@asynccontextmanager
async def a_caller(url: str) -> AsyncIterator[Caller]:
    """A caller that may reach the host of this URL."""
    async with http_client(PATIENCE.total_seconds(), [url]) as client:
        yield Caller(client, PATIENCE)
