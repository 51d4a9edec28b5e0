"""Microsoft Teams, by a Workflow that waits for a webhook request.

Format: `POST` a message with one Adaptive Card to a URL that is itself the secret; 202 says
accepted, which is all that is ever said. The connectors it replaced answer 200 and hide an error
in the body, so the body is read. A card is at most some 21 kB in practice.
"""

from __future__ import annotations

from typing import Any

from notifier.adapters.calling import Answer, Caller, NotDone, judge
from notifier.adapters.markup import card, cut, one_line, repeated
from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Sending

_SUBJECT = 300
_BODY = 4_000
"""Characters; four bytes each at most, and so within the size of a card."""
_COLOURS = ("Attention", "Attention", "Warning")
_OK = 200


class TeamsChannel:
    """Posts cards to one workflow."""

    def __init__(self, calls: Caller, url: str) -> None:
        self._calls = calls
        self._url = url

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once the workflow accepted it."""
        message = {
            "type": "message",
            "attachments": [
                {
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "contentUrl": None,
                    "content": _content(sending),
                }
            ],
        }
        try:
            await self._calls.call("POST", self._url, document=message, judged=_judge)
        except NotDone as no:
            return no.outcome
        return Delivered()


def _content(sending: Sending) -> dict[str, Any]:
    subject = repeated(one_line(sending.message.subject), may_repeat=sending.may_repeat)
    body = cut(sending.message.body, _BODY, sending.link, escape=card)
    facts = [
        {"title": "Incident", "value": card(sending.incident)},
        {"title": "Severity", "value": card(sending.severity)},
        {"title": "Status", "value": card(sending.status)},
    ]
    content: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "full"},
        "body": [
            {
                "type": "TextBlock",
                "text": cut(subject, _SUBJECT, escape=card),
                "size": "Medium",
                "weight": "Bolder",
                "style": "heading",
                "wrap": True,
                "color": _COLOURS[min(sending.severity_rank, len(_COLOURS) - 1)],
            },
            {"type": "TextBlock", "text": body, "wrap": True},
            {"type": "FactSet", "facts": facts},
        ],
    }
    if sending.link is not None:
        content["actions"] = [{"type": "Action.OpenUrl", "title": "Open", "url": sending.link}]
    return content


def _judge(answer: Answer) -> Refused | Unwell | Unknown | None:
    outcome = judge(answer)
    if outcome is not None or answer.status != _OK:
        return outcome
    if "HTTP error 429" in answer.text:
        return Unwell("rate_limited", answer.detail())
    if answer.text.strip() not in {"", "1"}:
        return Refused("refused", answer.detail())
    return None
