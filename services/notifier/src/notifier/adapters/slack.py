"""Slack incoming webhooks.

Format: `POST` JSON `{text, blocks}`; success is 200 with the body `ok`; errors are plain strings.
Nothing comes back by which a message could be found, changed or answered: `slack-app` can.
"""

from __future__ import annotations

from notifier.adapters.calling import MOST_DETAIL, Caller, NotDone
from notifier.adapters.markup import cut, mrkdwn, one_line, repeated
from notifier.domain.outcomes import Delivered, Outcome, Refused
from notifier.ports import Sending

HEADER = 150
SECTION = 3_000
MOST_TEXT = 3_000
"""Characters of a header, of a section, and of what a notification on a phone shows."""


class SlackChannel:
    """Posts to one incoming webhook."""

    def __init__(self, calls: Caller, url: str) -> None:
        self._calls = calls
        self._url = url

    async def send(self, sending: Sending) -> Outcome:
        """Delivered only if Slack answers `ok`."""
        subject = repeated(one_line(sending.message.subject), may_repeat=sending.may_repeat)
        body = {
            "text": cut(subject, MOST_TEXT, escape=mrkdwn),
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": cut(subject, HEADER)}},
                {
                    "type": "section",
                    "text": {
                        "type": "mrkdwn",
                        "text": cut(sending.message.body, SECTION, sending.link, escape=mrkdwn)
                        or "-",
                    },
                },
                {
                    "type": "context",
                    "elements": [{"type": "mrkdwn", "text": mrkdwn(sending.incident)}],
                },
            ],
        }
        try:
            answer = await self._calls.call("POST", self._url, document=body)
        except NotDone as no:
            return no.outcome
        if answer.text.strip() == "ok":
            return Delivered()
        return Refused("refused", answer.text[:MOST_DETAIL])
