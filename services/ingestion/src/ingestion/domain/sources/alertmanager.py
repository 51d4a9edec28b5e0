"""Alertmanager's webhook, payload version 4.

Format: Alertmanager `notify/webhook` and `template.Data`, 0.25 to 0.34; later versions add
top-level keys, which are ignored. Facts that matter here: a firing alert's `endsAt` is year 1;
`fingerprint` is given; `status` of the group is of the listed alerts only and is not read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingestion.domain.delivery import Delivery, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import (
    LONGEST_VALUE,
    MOST_ALERTS,
    LabelSet,
    Payload,
    When,
    present,
    read,
)
from ingestion.domain.sources.source import MANY_ALERTS_BYTES, Documentation, Source
from tocsin_contracts.alerts import ObservationStatus


class WebhookAlert(Payload):
    """One alert of a webhook; Grafana's are a superset."""

    status: Annotated[ObservationStatus, Field(strict=False)]
    labels: Annotated[LabelSet, Field(min_length=1)]
    annotations: LabelSet = Field(default_factory=dict)
    starts_at: Annotated[When, Field(alias="startsAt")]
    ends_at: Annotated[When | None, Field(alias="endsAt")] = None
    generator_url: Annotated[str, Field(alias="generatorURL", max_length=LONGEST_VALUE)] = ""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None


class _Webhook(Payload):
    version: Annotated[str, Field(pattern="^4$")] = "4"
    alerts: Annotated[list[WebhookAlert], Field(max_length=MOST_ALERTS)]
    truncated_alerts: Annotated[int, Field(alias="truncatedAlerts", ge=0)] = 0
    group_key: Annotated[str, Field(alias="groupKey")] = ""


def parse(received: Received) -> Delivery:
    """The alerts of a webhook.

    Raises:
        Malformed: It is no JSON, no object, or a field is wrong.
    """
    webhook = read(_Webhook, received.body)
    return Delivery(
        alerts=tuple(seen(alert) for alert in webhook.alerts),
        truncated=webhook.truncated_alerts,
        group_key=webhook.group_key,
    )


def seen(alert: WebhookAlert) -> Seen:
    """What the webhook says of an alert; a label without a value is no label."""
    labels = {name: value for name, value in alert.labels.items() if value}
    return Seen(
        status=alert.status,
        fingerprint=alert.fingerprint or fingerprint(labels),
        starts_at=alert.starts_at,
        ends_at=present(alert.ends_at),
        labels=labels,
        annotations=alert.annotations,
        generator_url=alert.generator_url,
    )


SOURCE = Source(
    name="alertmanager",
    parse=parse,
    most_bytes=MANY_ALERTS_BYTES,
    documentation=Documentation("Alertmanager's webhook receiver, payload version 4"),
)
