"""Zendesk: tickets that are incidents, from event subscriptions or from triggers.

Format: Zendesk documentation. Of all tickets those of type incident or problem are meant, and those
tagged `incident`. A trigger's body is the user's own; `docs/sources.md` gives one to paste.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, When, labels_of, read_json, read_value, short, text
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

AT = "x-zendesk-webhook-signature-timestamp"

_OVER = {"solved", "closed", "deleted"}
_MEANT = {"incident", "problem"}


class _Created(Payload):
    created_at: When | None = None


def parse(received: Received) -> Delivery:
    """The ticket's state, if the ticket is an incident."""
    body = read_json(received.body)
    if not isinstance(body, dict):
        raise Malformed("not_an_object", "", "a ticket or an event is an object")
    event = text(body.get("type"))
    subscribed = event.startswith("zen:event-type:")
    ticket = body.get("detail") if subscribed else body.get("ticket", body)
    if not isinstance(ticket, dict):
        raise Malformed("invalid_field", "detail" if subscribed else "ticket", "needed")
    if subscribed and (not event.startswith("zen:event-type:ticket.") or not _is_meant(ticket)):
        return Delivery()
    number = text(ticket.get("id"))
    if not number:
        raise Malformed("invalid_field", "id", "the ticket's number is needed")
    over = text(ticket.get("status")).lower() in _OVER or event.endswith("_deleted")
    title = text(ticket.get("subject")) or text(ticket.get("title"))
    created = {name: ticket[name] for name in ("created_at",) if ticket.get(name)}
    annotations = {
        "summary": short(title, 1_000),
        "description": short(text(ticket.get("description")), 10_000),
    }
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
                fingerprint=fingerprint({"zendesk_ticket": number}),
                starts_at=read_value(_Created, created).created_at,
                ends_at=received.received_at if over else None,
                labels=labels_of(
                    {
                        "alertname": f"zendesk-ticket-{number}",
                        "severity": text(ticket.get("priority")).lower(),
                        "ticket": number,
                        "group": ticket.get("group_id"),
                        "brand": ticket.get("brand_id"),
                        "account": body.get("account_id"),
                    }
                ),
                annotations={name: value for name, value in annotations.items() if value},
                generator_url=text(ticket.get("url")),
                keyed=True,
            ),
        )
    )


def _is_meant(ticket: Mapping[str, Any]) -> bool:
    tags = ticket.get("tags")
    tagged = isinstance(tags, list) and "incident" in tags
    return tagged or text(ticket.get("type")).lower() in _MEANT


def _signed(received: Received) -> bytes | None:
    at = received.header(AT)
    return at.encode() + received.body if at else None


def _dated(received: Received) -> datetime | None:
    try:
        at = datetime.fromisoformat(received.header(AT))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


SOURCE = Source(
    name="zendesk",
    parse=parse,
    scheme=Signature(
        "x-zendesk-webhook-signature",
        signed=_signed,
        base64=True,
        dated=_dated,
        once="x-zendesk-webhook-invocation-id",
    ),
    documentation=Documentation("Zendesk's webhooks: tickets that are incidents"),
)
