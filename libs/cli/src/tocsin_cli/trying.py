"""A message for nothing, by each channel of a contact."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from notifier.domain.outcomes import Delivered, Outcome, Refused, Unknown, Unwell
from notifier.ports import Channel, Earlier, Sending
from notifier.settings import NotifierSettings
from notifier.wiring import open_channels
from tocsin_cli.exits import NotFound
from tocsin_contracts.ids import derive, incident_id
from tocsin_contracts.incidents import Message, Purpose, Target
from tocsin_policy import Policy
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.ports import Clock

_KEPT = frozenset({"pagerduty", "github", "jira", "slack-app"})
"""Kinds where a message leaves something open; the test closes it again."""


async def try_channels(
    policy: Policy,
    contact: str,
    only: Sequence[str] = (),
    settings: NotifierSettings | None = None,
) -> list[dict[str, str]]:
    """What became of a test message by each channel of the contact's, in their order.

    Args:
        only: Names of the channels to try; all of the contact's, if there is none.
        settings: The notifier's; those of the environment, if not given.

    Raises:
        NotFound: The policy has no such contact, or the contact none of these channels.
    """
    person = policy.contacts.get(contact)
    if person is None:
        raise NotFound(f"the policy of {policy.system} has no contact {contact!r}")
    missing = set(only) - set(person.channel_names)
    if missing:
        raise NotFound(f"{contact} has no channel {', '.join(sorted(missing))}")
    clock = SystemClock()
    tried = []
    async with AsyncExitStack() as stack:
        channels = open_channels(settings or NotifierSettings(), clock, stack.push_async_callback)
        for name in [one for one in person.channel_names if not only or one in only]:
            named = policy.channels[name]
            sending = _message(policy, contact, name, clock)
            began = clock.monotonic()
            outcome = await _send(channels.get(named.endpoint), named.kind, sending)
            tried.append(
                {
                    "channel": name,
                    "kind": named.kind,
                    "endpoint": named.endpoint,
                    **_told(outcome),
                    "seconds": f"{clock.monotonic() - began:.2f}",
                }
            )
    return tried


async def _send(channel: Channel | None, kind: str, sending: Sending) -> Outcome:
    if channel is None:
        return Refused("channel_not_configured", "TOCSIN_CHANNELS has no such endpoint")
    outcome = await channel.send(sending)
    if isinstance(outcome, Delivered) and kind in _KEPT:
        over = replace(
            sending,
            notification=str(derive("notification", sending.incident, "over")),
            purpose=Purpose.RESOLVED,
            status="resolved",
            message=Message(subject="[TEST] over", body="The test is over."),
            earlier=(Earlier(sending.purpose, outcome.ref, sending.message),),
        )
        return await channel.send(over)
    return outcome


def _message(policy: Policy, contact: str, channel: str, clock: Clock) -> Sending:
    now = clock.now()
    person = policy.contacts[contact]
    incident = incident_id(policy.system, "notify test", contact, channel, now.isoformat())
    return Sending(
        notification=str(derive("notification", incident)),
        incident=incident,
        system=policy.system,
        purpose=Purpose.PAGE,
        provider_key=incident,
        attempt=1,
        severity=policy.severities[0].name,
        severity_rank=0,
        opened_at=now,
        target=Target(
            contact=contact,
            name=person.name,
            role=person.role,
            via="a test",
            channels=person.channel_names,
        ),
        address=person.email,
        phone=person.phone,
        handle=person.slack,
        title="[TEST] Tocsin",
        message=Message(
            subject=f"[TEST] Tocsin reaches {person.name} by {channel}",
            body="Nothing is wrong, and no answer is needed. Somebody wanted to know whether a "
            "page would arrive.",
        ),
    )


def _told(outcome: Outcome) -> dict[str, str]:
    match outcome:
        case Delivered():
            return {"outcome": "delivered", "detail": outcome.ref}
        case Refused(reason, detail):
            return {"outcome": f"refused: {reason}", "detail": detail}
        case Unwell(reason, detail, _):
            return {"outcome": f"failed: {reason}", "detail": detail}
        case Unknown(reason):
            return {"outcome": "in doubt", "detail": reason}
