"""Receivers of generic webhooks: Standard Webhooks, and the JSON that Apprise posts."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta

from tocsin_runtime.ports import Clock
from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown

_TOLERANCE = timedelta(minutes=5)


class WebhookTarget(Provider):
    """Checks signature and age, and takes each `webhook-id` once, as the standard asks."""

    def __init__(self, secret: str, clock: Clock) -> None:
        super().__init__()
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._clock = clock

    def take(self, request: Request) -> Reply:
        """Show it unless its id was there before."""
        message = request.headers.get("webhook-id", "")
        timestamp = request.headers.get("webhook-timestamp", "0")
        age = abs(self._clock.now().timestamp() - int(timestamp))
        if age > _TOLERANCE.total_seconds():
            return Reply(400, "too old")
        signed = f"{message}.{timestamp}.".encode() + request.body
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        if expected not in request.headers.get("webhook-signature", "").split():
            return Reply(401, "bad signature")
        event = request.document()
        self.require({"type", "timestamp", "data"} <= event.keys(), "an event has three members")
        self.require(len(request.body) <= 20_000, "an event is at most 20 kB")
        if all(shown.key != message for shown in self.shown):
            data = event["data"]
            self.shown.append(Shown(f"{data['subject']}\n{data['body']}", message))
        return Reply(204)


class AppriseTarget(Provider):
    """What `json://` of Apprise posts to; a status is all that it reads of an answer."""

    CUT_AFTER = 8

    def take(self, request: Request) -> Reply:
        """Show it."""
        event = request.document()
        self.require({"version", "title", "message", "type"} <= event.keys(), "not of Apprise")
        self.shown.append(Shown(f"{event['title']}\n{event['message']}"))
        return Reply(200)
