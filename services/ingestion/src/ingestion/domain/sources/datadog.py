"""Datadog's webhook integration, with the payload `docs/sources.md` gives to paste.

Format: Datadog documentation. The body is whatever the user typed; a variable that is not set
arrives as its own name or as nothing. There is no signature, so the secret is a header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import (
    instant,
    label_name,
    labels_of,
    read_form,
    read_json,
    short,
    text,
)
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

_TRANSITION = re.compile(r"^\[[^\]]*\]\s*")
_UNSET = re.compile(r"\$[A-Z_]+")
_MOST_TAGS = 100
_SILENT = {"null"}


def parse(received: Received) -> Delivery:
    """One alert of one monitor and scope; a test of the integration says nothing."""
    fields = _fields(received)
    monitor = fields.get("monitor_id") or fields.get("alert_id") or ""
    if not monitor:
        raise Malformed("invalid_field", "monitor_id", "use the payload of docs/sources.md")
    transition = fields.get("alert_transition", "").lower()
    if transition in _SILENT:
        return Delivery()
    over = transition == "recovered" or (
        not transition and fields.get("alert_type", "").lower() == "success"
    )
    at = _milliseconds(fields.get("date", ""))
    scope = fields.get("scopes", "")
    labels = {
        **_tags(fields.get("tags", "")),
        **labels_of(
            {
                "alertname": _TRANSITION.sub("", fields.get("title", "")) or f"datadog-{monitor}",
                "severity": fields.get("severity", ""),
                "alert_type": fields.get("alert_type", ""),
                "monitor_id": monitor,
                "scope": scope,
                "host": fields.get("hostname", ""),
            }
        ),
    }
    annotations = {
        "summary": fields.get("title", ""),
        "description": short(fields.get("body", ""), 10_000),
        "transition": fields.get("alert_transition", ""),
        "query": fields.get("alert_query", ""),
        "snapshot": fields.get("snapshot", ""),
    }
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
                fingerprint=fingerprint({"monitor": monitor, "scope": scope}),
                starts_at=None if over else at,
                ends_at=at or received.received_at if over else None,
                labels=labels,
                annotations={name: value for name, value in annotations.items() if value},
                generator_url=fields.get("url", ""),
                keyed=True,
            ),
        )
    )


def _fields(received: Received) -> dict[str, str]:
    if received.header("content-type").lower().startswith("application/x-www-form-urlencoded"):
        found: Mapping[str, object] = read_form(received.body)
    else:
        body = read_json(received.body)
        if not isinstance(body, dict):
            raise Malformed("not_an_object", "", "use the payload of docs/sources.md")
        found = body
    shown = {name: text(value) for name, value in found.items()}
    return {n: "" if _UNSET.fullmatch(value) else value for n, value in shown.items()}


def _tags(tags: str) -> dict[str, str]:
    pairs = [each.strip().partition(":") for each in tags.split(",")[:_MOST_TAGS]]
    return labels_of({label_name(name): value for name, _, value in pairs if name and value})


def _milliseconds(value: str) -> datetime | None:
    return instant(int(value) / 1000) if value.isascii() and value.isdigit() else None


SOURCE = Source(
    name="datadog",
    parse=parse,
    documentation=Documentation(
        "Datadog's webhook integration",
        content_types=("application/json", "application/x-www-form-urlencoded"),
    ),
)
