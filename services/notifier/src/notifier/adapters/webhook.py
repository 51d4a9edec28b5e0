"""Generic webhooks, signed by Standard Webhooks 1.0.

Headers `webhook-id` (the same over retries), `webhook-timestamp` (Unix seconds, new for each
attempt), `webhook-signature: v1,<base64 HMAC-SHA256(secret, "{id}.{timestamp}.{body}")>`. The
body is below 20 kB, and in place of what is cut stands a link.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from notifier.adapters.calling import Caller, NotDone
from notifier.adapters.markup import cut
from notifier.domain.outcomes import Delivered, Outcome
from notifier.ports import Sending
from tocsin_runtime.ports import Clock

_PREFIX = "whsec_"
_MOST_BODY = 4_000
"""Characters of the text, none of which takes more than four bytes, beside everything else."""


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header. `secret` is `whsec_` and base64, or bare base64."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class WebhookChannel:
    """Posts a JSON event to one URL."""

    def __init__(self, calls: Caller, url: str, secret: str, clock: Clock) -> None:
        self._calls = calls
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
                    "status": sending.status,
                    "link": sending.link,
                    "key": sending.provider_key,
                    "for": sending.target.model_dump(mode="json") if sending.target else None,
                    "subject": sending.message.subject,
                    "body": cut(sending.message.body, _MOST_BODY, sending.link),
                },
            },
            ensure_ascii=False,
        ).encode()
        timestamp = int(now.timestamp())
        try:
            await self._calls.call(
                "POST",
                self._url,
                content=body,
                headers={
                    "Content-Type": "application/json",
                    "webhook-id": sending.notification,
                    "webhook-timestamp": str(timestamp),
                    "webhook-signature": sign(self._secret, sending.notification, timestamp, body),
                },
            )
        except NotDone as no:
            return no.outcome
        return Delivered()
