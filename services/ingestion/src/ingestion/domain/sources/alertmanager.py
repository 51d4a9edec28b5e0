"""Alertmanager's webhook, payload version 4.

Format: Alertmanager `notify/webhook` and `template.Data`, 0.25 to 0.34; later versions add
top-level keys, which are ignored. Facts that matter here: a firing alert's `endsAt` is year 1;
`fingerprint` is given; `status` of the group is of the listed alerts only and is not read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ingestion.domain.delivery import Delivery, Malformed, Seen
from ingestion.domain.fingerprint import fingerprint
from tocsin_contracts.alerts import ObservationStatus
from tocsin_contracts.event import Instant

MOST_ALERTS = 10_000
"""Alerts in one delivery at most."""

_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)
_ABSENT = "0001-01-01T00:00:00Z"


def _present(value: object) -> object:
    return None if value == _ABSENT else value


_Name = Annotated[str, Field(min_length=1, max_length=1_024)]
_Labels = Annotated[dict[_Name, Annotated[str, Field(max_length=16_384)]], Field(max_length=256)]


class _Alert(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    status: Annotated[ObservationStatus, Field(strict=False)]
    labels: Annotated[_Labels, Field(min_length=1)]
    annotations: _Labels = Field(default_factory=dict)
    starts_at: Annotated[Instant, Field(alias="startsAt", strict=False)]
    ends_at: Annotated[
        Instant | None, Field(alias="endsAt", strict=False), BeforeValidator(_present)
    ] = None
    generator_url: Annotated[str, Field(alias="generatorURL", max_length=16_384)] = ""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None


class _Webhook(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    version: Annotated[str, Field(pattern="^4$")] = "4"
    alerts: Annotated[list[_Alert], Field(max_length=MOST_ALERTS)]
    truncated_alerts: Annotated[int, Field(alias="truncatedAlerts", ge=0)] = 0
    group_key: Annotated[str, Field(alias="groupKey")] = ""


def parse(body: bytes) -> Delivery:
    """The alerts of a webhook.

    Raises:
        Malformed: It is no JSON, no object, or a field is wrong.
    """
    try:
        webhook = _Webhook.model_validate_json(body)
    except ValidationError as error:
        raise _malformed(error) from error
    return Delivery(
        alerts=tuple(_seen(alert) for alert in webhook.alerts),
        truncated=webhook.truncated_alerts,
        group_key=webhook.group_key,
    )


def _malformed(error: ValidationError) -> Malformed:
    problem = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "json_invalid":
        return Malformed("not_json", "", problem["msg"])
    if not field:
        return Malformed("not_an_object", "", problem["msg"])
    return Malformed("invalid_field", field, problem["msg"])


def _seen(alert: _Alert) -> Seen:
    labels = {name: value for name, value in alert.labels.items() if value}
    ends_at = alert.ends_at
    if ends_at is not None and ends_at <= _YEAR_ONE:
        ends_at = None
    return Seen(
        status=alert.status,
        fingerprint=alert.fingerprint or fingerprint(labels),
        starts_at=alert.starts_at,
        ends_at=ends_at,
        labels=labels,
        annotations=alert.annotations,
        generator_url=alert.generator_url,
    )
