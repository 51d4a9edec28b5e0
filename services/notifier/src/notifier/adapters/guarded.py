"""A channel that lets no secret out, neither to people nor into the log."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.domain.redacting import redacted
from notifier.ports import Channel, Sending
from tocsin_policy.redacting import Redactor


class Guarded:
    """Redacts what goes out, and what a provider says of it.

    A provider may quote a request, secret and all, in its refusal; that refusal goes to the log.
    """

    def __init__(self, channel: Channel, redact: Redactor) -> None:
        self._channel = channel
        self._redact = redact

    async def send(self, sending: Sending) -> Outcome:
        """What the channel says, with nothing secret in it."""
        outcome = await self._channel.send(
            replace(
                sending,
                message=redacted(sending.message, self._redact),
                title=self._redact(sending.title),
                earlier=tuple(
                    replace(one, message=redacted(one.message, self._redact))
                    for one in sending.earlier
                ),
            )
        )
        match outcome:
            case Delivered(ref):
                return Delivered(self._redact(ref))
            case Refused(reason, detail):
                return Refused(reason, self._redact(detail))
            case Unwell(reason, detail, retry_after):
                return Unwell(reason, self._redact(detail), retry_after)
            case Unknown():
                return outcome
        assert_never(outcome)
