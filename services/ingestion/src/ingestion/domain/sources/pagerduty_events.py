"""PagerDuty's Events API v2: whatever can page PagerDuty pages Tocsin by changing an address.

Format: PagerDuty developer documentation and, for what Alertmanager sends, recordings. An event
names its alert by `dedup_key`, and an acknowledgement or resolution has nothing else; the routing
key is the secret, and settings give it labels. `custom_details` may hold any JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ingestion.domain.authentication import KeyInBody
from ingestion.domain.delivery import Delivery, Given, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, When, labels_of, read, short, text
from ingestion.domain.sources.source import (
    Documentation,
    Refusal,
    Reply,
    Source,
    Taken,
    as_json,
)
from tocsin_contracts.alerts import ObservationStatus

CHANGES = "/v2/change/enqueue"

_ABOUT_A_GROUP = {"firing", "resolved", "num_firing", "num_resolved", "error"}
"""Details that Alertmanager writes about its group: they say nothing of what the alert is."""

_LONGEST_SUMMARY = 1_024
_MOST_LINKS = 10

Summary = Annotated[str, Field(min_length=1, max_length=_LONGEST_SUMMARY)]
Details = dict[str, Any] | str | None


class _Payload(Payload):
    summary: Summary
    source: Annotated[str, Field(min_length=1, max_length=1_024)]
    severity: Literal["critical", "error", "warning", "info"]
    timestamp: When | None = None
    component: str | None = None
    group: str | None = None
    class_: Annotated[str | None, Field(alias="class")] = None
    custom_details: Details = None


class _Link(Payload):
    href: Annotated[str, Field(max_length=2_000)]


class _Event(Payload):
    routing_key: str
    event_action: Literal["trigger", "acknowledge", "resolve"]
    dedup_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    payload: _Payload | None = None
    client_url: str | None = None
    links: list[_Link] | None = None


class _ChangePayload(Payload):
    summary: Summary
    source: str | None = None
    timestamp: When | None = None
    custom_details: Details = None


class _Change(Payload):
    routing_key: str
    payload: _ChangePayload


def parse(received: Received) -> Delivery:
    """An alert, its end, or an acknowledgement; a change event is kept and says nothing."""
    if received.path.partition("?")[0] == CHANGES:
        read(_Change, received.body)
        return Delivery()
    event = read(_Event, received.body)
    if event.event_action != "trigger" and event.dedup_key is None:
        raise Malformed("invalid_field", "dedup_key", "needed to acknowledge or resolve")
    identity = _identity(event, received.body)
    if event.event_action == "acknowledge":
        answer = Given(
            verb="acknowledge", by="pagerduty-events", via="pagerduty", fingerprint=identity
        )
        return Delivery(answer=answer)
    over = event.event_action == "resolve"
    payload = event.payload
    if payload is None and not over:
        raise Malformed("invalid_field", "payload", "needed to trigger")
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
                fingerprint=identity,
                starts_at=None if over or payload is None else payload.timestamp,
                ends_at=received.received_at if over else None,
                labels={} if payload is None else _labels(payload, event),
                annotations={} if payload is None else _annotations(payload, event),
                generator_url=event.client_url or "",
                keyed=True,
            ),
        )
    )


def _identity(event: _Event, body: bytes) -> str:
    """One key of one integration is one alert; an event without a key is one of its own."""
    key = event.dedup_key or hashlib.sha256(body).hexdigest()
    integration = hashlib.sha256(event.routing_key.encode()).hexdigest()
    return fingerprint({"dedup_key": key, "integration": integration})


def _labels(payload: _Payload, event: _Event) -> dict[str, str]:
    details: Mapping[str, object] = {}
    if isinstance(payload.custom_details, dict):
        details = {n: v for n, v in payload.custom_details.items() if n not in _ABOUT_A_GROUP}
    own = {
        "alertname": payload.class_ or event.dedup_key or short(payload.summary, 200),
        "severity": payload.severity,
        "source": payload.source,
        "component": payload.component,
        "group": payload.group,
        "class": payload.class_,
        "dedup_key": event.dedup_key,
    }
    return {**labels_of(details), **labels_of(own)}


def _annotations(payload: _Payload, event: _Event) -> dict[str, str]:
    annotations = {"summary": payload.summary}
    details = payload.custom_details
    if isinstance(details, str) and details:
        annotations["details"] = short(details, 10_000)
    elif isinstance(details, dict):
        for name in _ABOUT_A_GROUP & details.keys():
            if text(details[name]):
                annotations[name] = short(text(details[name]), 10_000)
    for number, link in enumerate((event.links or [])[:_MOST_LINKS]):
        annotations[f"link_{number}"] = link.href
    return annotations


def answered(received: Received, taken: Taken) -> Reply:
    """202 with the key, one that we made where the sender has none.

    Also for an acknowledgement of what is not open, as PagerDuty does.
    """
    document = {"status": "success", "message": "Event processed"}
    if received.path.partition("?")[0] != CHANGES:
        event = read(_Event, received.body)
        document["dedup_key"] = event.dedup_key or hashlib.sha256(received.body).hexdigest()
    if taken.unheard:
        document["message"] = f"Event dropped: {taken.unheard}"
    return as_json(202, document)


def refused(refusal: Refusal) -> Reply:
    """PagerDuty's shape: 400 for what is wrong, whatever is wrong with it."""
    if refusal.status in {400, 401, 422}:
        where = f"{refusal.field}: " if refusal.field else ""
        return as_json(
            400,
            {
                "status": "invalid event",
                "message": "Event object is invalid",
                "errors": [f"{where}{refusal.message}"],
            },
        )
    return as_json(
        refusal.status,
        {"status": refusal.reason, "message": refusal.message, "errors": [refusal.message]},
    )


SOURCE = Source(
    name="pagerduty-events",
    parse=parse,
    routes=("POST /v2/enqueue", f"POST {CHANGES}"),
    scheme=KeyInBody("routing_key"),
    answered=answered,
    refused=refused,
    keeps=False,
    busy=429,
    documentation=Documentation(
        "PagerDuty's Events API v2",
        statuses={202: "It stands in the log.", 400: "The event is invalid.", 429: "Come again."},
    ),
)
