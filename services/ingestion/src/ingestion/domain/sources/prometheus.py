"""Alertmanager's `POST /api/v2/alerts`, and v1's: Prometheus and amtool send straight to the door.

Format: Alertmanager 0.25, `api/v2`, recorded. An `endsAt` to come is a lease: Prometheus sends
firing alerts again and again, and if it stops, they are over at that time. What has none gets
Alertmanager's own, five minutes.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, RootModel, ValidationError

from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import (
    LONGEST_VALUE,
    MOST_ALERTS,
    LabelSet,
    Payload,
    When,
    malformed,
    present,
)
from ingestion.domain.sources.source import (
    MANY_ALERTS_BYTES,
    Documentation,
    Refusal,
    Reply,
    Source,
    Taken,
    as_json,
)
from tocsin_contracts.alerts import ObservationStatus

RESOLVE_TIMEOUT = timedelta(minutes=5)
"""The lease of an alert that comes without one."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_ZONELESS = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)")
_VARY = {"Vary": "Origin"}

_INVALID_FORM = 601
_REQUIRED = 602


def _zoned(value: object) -> object:
    """A time without a zone, which go-openapi takes for UTC."""
    if isinstance(value, str):
        found = _ZONELESS.fullmatch(value)
        if found is not None:
            return f"{found[1]}T{found[2]}Z"
    return value


class _Alert(Payload):
    labels: LabelSet
    annotations: LabelSet = Field(default_factory=dict)
    starts_at: Annotated[When | None, Field(alias="startsAt")] = None
    ends_at: Annotated[When | None, Field(alias="endsAt")] = None
    generator_url: Annotated[str, Field(alias="generatorURL", max_length=LONGEST_VALUE)] = ""


class _Alerts(RootModel[Annotated[list[_Alert], Field(max_length=MOST_ALERTS)]]):
    """The body."""


def parse(received: Received) -> Delivery:
    """The alerts that are good; of the others the last one's error is told.

    Raises:
        Malformed: The body has another form, or an alert in it cannot be; those that can are its
            `valid`, and count.
    """
    wrong_kind = unsupported(received.header("content-type"))
    if received.path and wrong_kind:
        raise Malformed("unsupported_media_type", "", wrong_kind)
    if not received.body.strip():
        raise Malformed("required", "", "alerts in body is required")
    try:
        alerts = _Alerts.model_validate_json(received.body).root
    except ValidationError as error:
        raise malformed(error) from error
    good: list[Seen] = []
    wrong = ""
    for index, alert in enumerate(alerts):
        if not _is_uri(alert.generator_url):
            raise Malformed(
                "not_a_uri",
                f"{index}.generatorURL",
                f'{index}.generatorURL in body must be of type uri: "{alert.generator_url}"',
            )
        problem = _problem(alert, received.received_at)
        if problem:
            wrong = problem
        else:
            good.append(_seen(alert, received.received_at))
    delivery = Delivery(alerts=tuple(good))
    if wrong:
        raise Malformed("invalid_alert", "", wrong, valid=delivery if good else None)
    return delivery


def _is_uri(text: str) -> bool:
    if not text:
        return True
    try:
        return bool(urlsplit(text).scheme or text.startswith("/")) and " " not in text
    except ValueError:
        return False


def _problem(alert: _Alert, now: datetime) -> str:
    names = [name for name, value in alert.labels.items() if value]
    if not names:
        return "at least one label pair required"
    bad = next((n for n in (*names, *alert.annotations) if _NAME.fullmatch(n) is None), None)
    if bad is not None:
        kind = "label set" if bad in alert.labels else "annotations"
        return f'invalid {kind}: invalid name "{bad}"'
    starts_at, ends_at = _interval(alert, now)
    if starts_at > ends_at:
        return "start time must be before end time"
    return ""


def _interval(alert: _Alert, now: datetime) -> tuple[datetime, datetime]:
    ends_at = present(alert.ends_at)
    starts_at = present(alert.starts_at) or ends_at or now
    if present(alert.starts_at) is None and ends_at is not None:
        starts_at = min(ends_at, now)
    return starts_at, ends_at or now + RESOLVE_TIMEOUT


def _seen(alert: _Alert, now: datetime) -> Seen:
    labels = {name: value for name, value in alert.labels.items() if value}
    _, ends_at = _interval(alert, now)
    over = ends_at <= now
    return Seen(
        status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
        fingerprint=fingerprint(labels),
        starts_at=present(alert.starts_at) or (ends_at if over else None),
        ends_at=ends_at,
        labels=labels,
        annotations=alert.annotations,
        generator_url=alert.generator_url,
    )


def answered(received: Received, taken: Taken) -> Reply:
    """200 without a body; v1 has one. The error of an alert comes though the others count."""
    if taken.problem is not None:
        return refused(
            Refusal(400, taken.problem.reason, taken.problem.detail, taken.problem.field)
        )
    if received.path.startswith("/api/v1/"):
        return as_json(200, {"status": "success"})
    return Reply(200, headers=_VARY)


def refused(refusal: Refusal) -> Reply:
    """An error in Alertmanager's two shapes."""
    match refusal.reason:
        case "invalid_alert":
            return with_line(as_json(400, refusal.message, _VARY))
        case "required":
            return _coded(422, _REQUIRED, refusal.message)
        case "not_a_uri":
            return _coded(422, _INVALID_FORM, refusal.message)
        case "unsupported_media_type":
            return _coded(415, 415, refusal.message)
        case "not_json" | "not_an_object" | "invalid_field":
            problem = Malformed(refusal.reason, refusal.field, refusal.message)
            return form_error(problem, "alerts")
        case _:
            return _coded(refusal.status, refusal.status, refusal.message)


def form_error(problem: Malformed, what: str) -> Reply:
    """What go-openapi says of a body of another form."""
    if problem.detail == "Field required" or problem.detail.endswith("valid dictionary"):
        return _coded(422, _REQUIRED, f"{problem.field} in body is required")
    where = f"{problem.field}: " if problem.field else ""
    return _coded(400, 400, f'parsing {what} body from "" failed, because {where}{problem.detail}')


def unsupported(content_type: str) -> str:
    """What is wrong with a body that does not say it is JSON; nothing if it does."""
    kind = content_type.partition(";")[0].strip().lower()[:100]
    if kind == "application/json":
        return ""
    return f'unsupported media type "{kind}", only [application/json] are allowed'


def with_line(reply: Reply) -> Reply:
    """The same with a line feed at its end, as Go writes JSON."""
    return Reply(reply.status, reply.body + b"\n", reply.content_type, reply.headers)


def _coded(status: int, code: int, message: str) -> Reply:
    return as_json(status, {"code": code, "message": message}, _VARY)


SOURCE = Source(
    name="prometheus",
    parse=parse,
    most_bytes=MANY_ALERTS_BYTES,
    routes=("POST /api/v2/alerts", "POST /api/v1/alerts"),
    answered=answered,
    refused=refused,
    keeps=False,
    for_people=True,
    documentation=Documentation(
        "Alertmanager's POST /api/v2/alerts: Prometheus and amtool, straight to the door",
        statuses={200: "It stands in the log."},
        wordless=True,
    ),
)
