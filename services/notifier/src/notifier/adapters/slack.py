"""Slack incoming webhooks.

Format: `POST` JSON `{text, blocks}`; success is 200 with the body `ok`; errors are plain strings.
Limits: header 150 characters, section 3,000. `&`, `<` and `>` are escaped, so that a label can
neither mention a channel nor make a link.
"""

from __future__ import annotations

import json

import httpx

from notifier.adapters.answers import MOST_DETAIL, post
from notifier.domain.outcomes import Delivered, Outcome, Refused
from notifier.ports import Sending

_HEADER = 150
_SECTION = 3_000


def escape(text: str) -> str:
    """Text that Slack shows as it is.

    >>> escape("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class SlackChannel:
    """Posts to one incoming webhook."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def send(self, sending: Sending) -> Outcome:
        """Delivered only if Slack answers `ok`."""
        repeat = " (may be a repeat)" if sending.attempt > 1 else ""
        subject = sending.message.subject + repeat
        body = {
            "text": escape(subject),
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": subject[:_HEADER]}},
                {
                    "type": "section",
                    "text": {"type": "mrkdwn", "text": _cut(escape(sending.message.body))},
                },
                {
                    "type": "context",
                    "elements": [{"type": "mrkdwn", "text": escape(sending.incident)}],
                },
            ],
        }
        return await post(
            self._client,
            self._url,
            content=json.dumps(body, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json; charset=utf-8"},
            accepted=_accepted,
        )


def _cut(text: str) -> str:
    return text if len(text) <= _SECTION else text[: _SECTION - 1] + "…"


def _accepted(response: httpx.Response) -> Outcome:
    if response.text.strip() == "ok":
        return Delivered()
    return Refused("refused", response.text[:MOST_DETAIL])
