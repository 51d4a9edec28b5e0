"""Telling somebody who pressed a button in Slack why nothing came of it.

Slack hides whatever a button's request is answered with; what is posted to the `response_url` it
brought along is shown, here to that person alone. Telling may fail: nothing rests on it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import structlog

log = structlog.get_logger()

HOST = "hooks.slack.com"
_TIMEOUT_SECONDS = 2.0


class SlackReplies:
    """A `Replies` over HTTPS: to Slack and nowhere else, once, and not for long."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            transport=transport, timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        )

    async def stop(self) -> None:
        """Disconnect."""
        await self._client.aclose()

    async def tell(self, url: str, words: str) -> None:
        """See `Replies`."""
        if not _is_slack(url):
            log.warning("reply.refused", reason="no_address_of_slack")
            return
        escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        body = {"response_type": "ephemeral", "replace_original": False, "text": escaped}
        try:
            answer = await self._client.post(url, json=body)
        except httpx.HTTPError as error:
            log.warning("reply.failed", reason=type(error).__name__)
            return
        if not answer.is_success:
            log.warning("reply.failed", reason=str(answer.status_code))


def _is_slack(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = parts.username is None and parts.password is None and port in {None, 443}
    return parts.scheme == "https" and plain and parts.hostname == HOST
