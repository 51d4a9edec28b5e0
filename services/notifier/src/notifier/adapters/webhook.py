"""Generic webhooks, signed by Standard Webhooks 1.0.

Headers `webhook-id` (the same over retries), `webhook-timestamp` (Unix seconds, new for each
attempt), `webhook-signature: v1,<base64 HMAC-SHA256(secret, "{id}.{timestamp}.{body}")>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import httpx

from notifier.adapters.answers import post
from notifier.domain.outcomes import Outcome
from notifier.ports import Sending
from tocsin_runtime.ports import Clock

_PREFIX = "whsec_"


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header. `secret` is `whsec_` and base64, or bare base64."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class WebhookChannel:
    """Posts a JSON event to one URL."""

    def __init__(self, client: httpx.AsyncClient, url: str, secret: str, clock: Clock) -> None:
        self._client = client
        self._url = url
        self._secret = secret
        self._clock = clock

    async def send(self, sending: Sending) -> Outcome:
        """Delivered on any 2xx."""
        now = self._clock.now()
        body = json.dumps(
            {
                "type": f"incident.{sending.purpose}",
                "timestamp": now.isoformat(),
                "data": {
                    "incident": sending.incident,
                    "system": sending.system,
                    "severity": sending.severity,
                    "key": sending.provider_key,
                    "for": sending.target.model_dump(mode="json") if sending.target else None,
                    "subject": sending.message.subject,
                    "body": sending.message.body,
                },
            },
            ensure_ascii=False,
        ).encode()
        timestamp = int(now.timestamp())
        return await post(
            self._client,
            self._url,
            content=body,
            headers={
                "Content-Type": "application/json",
                "webhook-id": sending.notification,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": sign(self._secret, sending.notification, timestamp, body),
            },
        )
