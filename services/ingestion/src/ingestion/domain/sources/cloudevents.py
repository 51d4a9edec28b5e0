"""CloudEvents 1.0 over HTTP (binary, structured, batch) and over Kafka (binary, structured).

Format: the CloudEvents specification and its HTTP and Kafka bindings. `data` that is an object may
have `status`, `labels`, `annotations`, `startsAt` and `endsAt`, as an alert does; else its scalars
become labels. Where `data` has no labels, source, type and subject name the alert.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from pydantic import Field

from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import (
    MOST_ALERTS,
    Payload,
    When,
    labels_of,
    present,
    read_json,
    read_value,
    short,
    text,
)
from ingestion.domain.sources.source import MANY_ALERTS_BYTES, Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

STRUCTURED = "application/cloudevents"
BATCH = "application/cloudevents-batch"
ATTRIBUTES = ("id", "source", "specversion", "type", "time", "subject", "severity")

_OVER = ("resolved", "recovered", "closed", "cleared")


class _Attributes(Payload):
    id: Annotated[str, Field(min_length=1, max_length=1_024)]
    source: Annotated[str, Field(min_length=1, max_length=2_048)]
    specversion: Annotated[str, Field(pattern=r"^1\.0$")]
    type: Annotated[str, Field(min_length=1, max_length=1_024)]
    subject: Annotated[str, Field(min_length=1, max_length=2_048)] | None = None
    time: When | None = None
    severity: str | None = None


class _Times(Payload):
    starts_at: Annotated[When | None, Field(alias="startsAt")] = None
    ends_at: Annotated[When | None, Field(alias="endsAt")] = None


def parse(received: Received) -> Delivery:
    """The alerts of one event or of several."""
    content_type = received.header("content-type").strip().lower()
    if content_type.startswith(BATCH):
        events = read_json(received.body)
        if not isinstance(events, list) or len(events) > MOST_ALERTS:
            raise Malformed("invalid_field", "", f"a list of at most {MOST_ALERTS} events")
        return Delivery(alerts=tuple(_structured(event) for event in events))
    if content_type.startswith(STRUCTURED):
        return Delivery(alerts=(_structured(read_json(received.body)),))
    attributes = _binary_attributes(received.headers)
    is_json = "json" in content_type or not content_type
    data = read_json(received.body) if is_json and received.body else received.body
    return Delivery(alerts=(_seen(read_value(_Attributes, attributes), data),))


def _structured(event: object) -> Seen:
    if not isinstance(event, dict):
        raise Malformed("not_an_object", "", "an event is an object")
    held = {name: value for name, value in event.items() if value is not None}
    data: object = held.pop("data", None)
    encoded = held.pop("data_base64", None)
    if encoded is not None:
        if data is not None:
            raise Malformed("invalid_field", "data_base64", "data is there already")
        try:
            data = b64decode(str(encoded), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Malformed("invalid_field", "data_base64", "no base64") from error
    return _seen(read_value(_Attributes, held), data)


def _binary_attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """From `ce-…` headers, percent-encoded, or Kafka's `ce_…`, which are not."""
    found: dict[str, str] = {}
    for name in ATTRIBUTES:
        plain = headers.get(f"ce_{name}")
        if plain is not None:
            found[name] = plain
        elif f"ce-{name}" in headers:
            value = headers[f"ce-{name}"].strip()
            if value.startswith('"') and value.endswith('"') and len(value) > 1:
                value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
            try:
                found[name] = unquote_to_bytes(value).decode()
            except UnicodeError as error:
                raise Malformed("invalid_field", name, "no UTF-8") from error
    return found


def _seen(event: _Attributes, data: object) -> Seen:
    content: Mapping[str, Any] = data if isinstance(data, dict) else {}
    times = read_value(_Times, {k: content[k] for k in ("startsAt", "endsAt") if k in content})
    own = content.get("labels")
    labels = labels_of(own if isinstance(own, dict) else _scalars(content))
    keyed = not isinstance(own, dict) or not labels
    labels.setdefault("alertname", event.type)
    for name, value in (("severity", event.severity), ("subject", event.subject)):
        if value:
            labels.setdefault(name, value)
    if keyed:
        named = {"source": event.source, "type": _root(event.type), "subject": event.subject or ""}
        identity = fingerprint(named)
        labels.setdefault("event_source", event.source)
    else:
        identity = fingerprint(labels)
    over = text(content.get("status")).lower() == "resolved" or event.type.lower().endswith(_OVER)
    return Seen(
        status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
        fingerprint=identity,
        starts_at=present(times.starts_at) or (None if over else event.time),
        ends_at=present(times.ends_at) or (event.time if over else None),
        labels=labels,
        annotations=_annotations(content, data),
        keyed=keyed,
    )


def _scalars(content: Mapping[str, Any]) -> dict[str, Any]:
    kept_apart = {"status", "annotations", "startsAt", "endsAt", "summary", "description"}
    return {name: value for name, value in content.items() if name not in kept_apart}


def _root(event_type: str) -> str:
    """The type without its last word where that says how it stands: both name one alert."""
    root, dot, last = event_type.rpartition(".")
    return root if dot and last.lower() in (*_OVER, "firing", "triggered", "opened") else event_type


def _annotations(content: Mapping[str, Any], data: object) -> dict[str, str]:
    own = content.get("annotations")
    annotations = labels_of(own) if isinstance(own, dict) else {}
    for name in ("summary", "description"):
        if text(content.get(name)):
            annotations.setdefault(name, short(text(content[name]), 10_000))
    if isinstance(data, bytes):
        annotations["data"] = short(data.decode(errors="replace"), 2_000)
    elif not isinstance(data, dict) and text(data):
        annotations["data"] = short(text(data), 2_000)
    return {name: value for name, value in annotations.items() if value}


SOURCE = Source(
    name="cloudevents",
    parse=parse,
    most_bytes=MANY_ALERTS_BYTES,
    headers=tuple(f"ce-{name}" for name in ATTRIBUTES),
    documentation=Documentation(
        "CloudEvents 1.0: binary, structured, batch",
        content_types=("application/json", f"{STRUCTURED}+json", f"{BATCH}+json"),
    ),
)
