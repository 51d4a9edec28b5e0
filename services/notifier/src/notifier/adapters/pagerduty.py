"""PagerDuty Events API v2.

Format: `POST /v2/enqueue` with `routing_key`, `event_action`, `dedup_key` (255 characters) and,
for a trigger, `payload` with `summary` (1,024), `source` and `severity`; success is 202 with
`status: success`. The same `dedup_key` of an open alert is merged, so a retry is harmless.
"""

from __future__ import annotations

import json

import httpx

from notifier.adapters.answers import MOST_DETAIL, post
from notifier.domain.outcomes import Delivered, Outcome, Refused
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose

_SUMMARY = 1_024
_KEY = 255
_SEVERITIES = ("critical", "error", "warning")

_ACTIONS = {Purpose.ACKNOWLEDGED: "acknowledge", Purpose.RESOLVED: "resolve"}


class PagerDutyChannel:
    """Triggers, acknowledges and resolves alerts of one integration."""

    def __init__(self, client: httpx.AsyncClient, url: str, routing_key: str) -> None:
        self._client = client
        self._url = url
        self._routing_key = routing_key

    async def send(self, sending: Sending) -> Outcome:
        """Delivered once PagerDuty says that it has the event."""
        action = _ACTIONS.get(sending.purpose, "trigger")
        event: dict[str, object] = {
            "routing_key": self._routing_key,
            "event_action": action,
            "dedup_key": sending.provider_key[:_KEY],
        }
        if action == "trigger":
            event["client"] = "Tocsin"
            event["payload"] = {
                "summary": sending.message.subject[:_SUMMARY],
                "source": sending.system,
                "severity": _SEVERITIES[min(sending.severity_rank, len(_SEVERITIES) - 1)],
                "custom_details": {
                    "incident": sending.incident,
                    "severity": sending.severity,
                    "for": sending.target.name if sending.target else "",
                    "message": sending.message.body,
                },
            }
        return await post(
            self._client,
            self._url,
            content=json.dumps(event).encode(),
            headers={"Content-Type": "application/json"},
            accepted=_accepted,
        )


def _accepted(response: httpx.Response) -> Outcome:
    try:
        answer = response.json()
    except ValueError:
        return Refused("unreadable_answer", response.text[:MOST_DETAIL])
    if isinstance(answer, dict) and answer.get("status") == "success":
        return Delivered(str(answer.get("dedup_key", "")))
    return Refused("refused", response.text[:MOST_DETAIL])
