"""A Teams Workflow that waits for a webhook request, and the connector it replaced."""

from __future__ import annotations

from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown

_MOST_BYTES = 28_000


class Teams(Provider):
    """Takes Adaptive Cards; 202 says accepted, not posted."""

    def take(self, request: Request) -> Reply:
        """Show the text blocks of a card."""
        if len(request.body) > _MOST_BYTES:
            return Reply(413, "Request Entity too large")
        message = request.document()
        attachments = message.get("attachments") or [{}]
        card = attachments[0].get("content", {})
        self.require(message.get("type") == "message", "type is not message")
        self.require(
            attachments[0].get("contentType") == "application/vnd.microsoft.card.adaptive",
            "no Adaptive Card",
        )
        self.require(card.get("type") == "AdaptiveCard", "content is no AdaptiveCard")
        self.require(card.get("version") in {"1.2", "1.3", "1.4"}, "an unknown version")
        for action in card.get("actions", ()):
            self.require(action["type"] == "Action.OpenUrl", "a workflow only opens links")
        texts = [block["text"] for block in card.get("body", ()) if block["type"] == "TextBlock"]
        self.shown.append(Shown("\n".join(texts)))
        return Reply(202)
