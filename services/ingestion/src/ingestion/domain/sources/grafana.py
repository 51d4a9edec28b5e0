"""Grafana's webhook contact point: Alertmanager's payload with more in it, as version 1.

Format: Grafana documentation. The signature may cover a timestamp; then it goes stale.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from ingestion.domain.authentication import AnyOf, Signature, Token
from ingestion.domain.delivery import Delivery, Received, Seen
from ingestion.domain.reading import LONGEST_VALUE, MOST_ALERTS, Payload, instant, read
from ingestion.domain.sources.alertmanager import WebhookAlert, seen
from ingestion.domain.sources.source import Documentation, Source

SIGNATURE = "x-grafana-alerting-signature"
TIMESTAMP = "x-grafana-alerting-timestamp"

_Link = Annotated[str, Field(max_length=LONGEST_VALUE)]


class _Alert(WebhookAlert):
    value_string: Annotated[_Link, Field(alias="valueString")] = ""
    silence_url: Annotated[_Link, Field(alias="silenceURL")] = ""
    dashboard_url: Annotated[_Link, Field(alias="dashboardURL")] = ""
    panel_url: Annotated[_Link, Field(alias="panelURL")] = ""
    image_url: Annotated[_Link, Field(alias="imageURL")] = ""


class _Webhook(Payload):
    alerts: Annotated[list[_Alert], Field(max_length=MOST_ALERTS)]
    truncated_alerts: Annotated[int, Field(alias="truncatedAlerts", ge=0)] = 0
    group_key: Annotated[str, Field(alias="groupKey")] = ""


def parse(received: Received) -> Delivery:
    """The alerts; values and links become annotations."""
    webhook = read(_Webhook, received.body)
    return Delivery(
        alerts=tuple(_seen(alert) for alert in webhook.alerts),
        truncated=webhook.truncated_alerts,
        group_key=webhook.group_key,
    )


def _seen(alert: _Alert) -> Seen:
    more = {
        "values": alert.value_string,
        "silence_url": alert.silence_url,
        "dashboard_url": alert.dashboard_url,
        "panel_url": alert.panel_url,
        "image_url": alert.image_url,
    }
    plain = seen(alert)
    annotations = {**{name: value for name, value in more.items() if value}, **plain.annotations}
    return Seen(
        status=plain.status,
        fingerprint=plain.fingerprint,
        starts_at=plain.starts_at,
        ends_at=plain.ends_at,
        labels=plain.labels,
        annotations=annotations,
        generator_url=plain.generator_url,
    )


def _signed(received: Received) -> bytes:
    at = received.header(TIMESTAMP)
    return f"{at}:".encode() + received.body if at else received.body


def _dated(received: Received) -> datetime | None:
    at = received.header(TIMESTAMP)
    return instant(int(at)) if at.isascii() and at.isdigit() else None


SOURCE = Source(
    name="grafana",
    parse=parse,
    scheme=AnyOf(
        (Token(), Signature(SIGNATURE, signed=_signed, dated=_dated, must_be_dated=False))
    ),
    documentation=Documentation("Grafana's webhook contact point"),
)
