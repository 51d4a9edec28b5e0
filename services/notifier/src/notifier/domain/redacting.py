"""A message without what must not be told."""

from __future__ import annotations

from collections.abc import Callable

from tocsin_contracts.incidents import Message

_MOST_SUBJECT = 500
_MOST_BODY = 20_000


def redacted(message: Message, redact: Callable[[str], str]) -> Message:
    """The message, still within its limits though a mask is longer than what it hides."""
    return Message(
        subject=redact(message.subject)[:_MOST_SUBJECT], body=redact(message.body)[:_MOST_BODY]
    )
