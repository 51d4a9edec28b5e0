"""Sentry's integration webhooks: issue alerts, metric alerts, issues.

Format: Sentry documentation. An issue that an alert rule told of is over when the issue is
resolved or archived, so both are named by the issue. Sentry waits one second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, labels_of, read, short, text
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

RESOURCE = "sentry-hook-resource"

_ISSUE_OVER = {"resolved", "archived", "ignored"}
_ISSUE_FIRES = {"created", "unresolved"}


class _Hook(Payload):
    action: str
    data: dict[str, Any] = Field(default_factory=dict)


def parse(received: Received) -> Delivery:
    """An alert of an issue or a metric; what else Sentry tells says nothing here."""
    hook = read(_Hook, received.body)
    resource = received.header(RESOURCE)
    if resource == "metric_alert" or "metric_alert" in hook.data:
        return Delivery(alerts=(_metric(received, hook),))
    if resource == "event_alert" or "event" in hook.data:
        return Delivery(alerts=(_event(received, hook),))
    if resource == "issue" or "issue" in hook.data:
        if hook.action in _ISSUE_OVER | _ISSUE_FIRES:
            return Delivery(alerts=(_issue(received, hook),))
        return Delivery()
    return Delivery()


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    if not isinstance(found, dict):
        raise Malformed("invalid_field", f"data.{name}", "an object is needed")
    return found


def _metric(received: Received, hook: _Hook) -> Seen:
    alert = _part(hook.data, "metric_alert")
    rule = alert.get("alert_rule")
    rule = rule if isinstance(rule, dict) else {}
    identity = text(rule.get("id")) or text(alert.get("id"))
    if not identity:
        raise Malformed("invalid_field", "data.metric_alert.id", "needed")
    return _seen(
        received,
        over=hook.action == "resolved",
        key={"sentry_metric": identity},
        labels={
            "alertname": text(rule.get("name")) or f"sentry-metric-{identity}",
            "severity": hook.action,
            "organization": alert.get("organization_id"),
        },
        summary=text(hook.data.get("description_title")),
        description=text(hook.data.get("description_text")),
        url=text(hook.data.get("web_url")),
    )


def _event(received: Received, hook: _Hook) -> Seen:
    event = _part(hook.data, "event")
    return _seen(
        received,
        over=False,
        key={"sentry_issue": _issue_id(event.get("issue_id"), "data.event.issue_id")},
        labels={
            "alertname": text(event.get("title")),
            "severity": event.get("level"),
            "rule": hook.data.get("triggered_rule"),
            "environment": event.get("environment"),
            "project": event.get("project"),
            "platform": event.get("platform"),
        },
        summary=text(event.get("title")),
        description=text(event.get("culprit")),
        url=text(event.get("web_url")),
    )


def _issue(received: Received, hook: _Hook) -> Seen:
    issue = _part(hook.data, "issue")
    project = issue.get("project")
    return _seen(
        received,
        over=hook.action in _ISSUE_OVER,
        key={"sentry_issue": _issue_id(issue.get("id"), "data.issue.id")},
        labels={
            "alertname": text(issue.get("title")),
            "severity": issue.get("level"),
            "project": project.get("slug") if isinstance(project, dict) else project,
            "platform": issue.get("platform"),
        },
        summary=text(issue.get("title")),
        description=text(issue.get("culprit")),
        url=text(issue.get("web_url")) or text(issue.get("permalink")),
    )


def _issue_id(value: object, field: str) -> str:
    if not text(value):
        raise Malformed("invalid_field", field, "needed")
    return text(value)


def _seen(
    received: Received,
    *,
    over: bool,
    key: Mapping[str, str],
    labels: Mapping[str, object],
    summary: str,
    description: str,
    url: str,
) -> Seen:
    annotations = {"summary": short(summary, 1_000), "description": short(description, 10_000)}
    named = labels_of(labels)
    named.setdefault("alertname", "-".join(("sentry", *key.values())))
    return Seen(
        status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
        fingerprint=fingerprint(key),
        starts_at=None,
        ends_at=received.received_at if over else None,
        labels=named,
        annotations={name: value for name, value in annotations.items() if value},
        generator_url=url,
        keyed=True,
    )


SOURCE = Source(
    name="sentry",
    parse=parse,
    scheme=Signature(
        "sentry-hook-signature", signed=lambda received: received.body, once="request-id"
    ),
    headers=(RESOURCE,),
    documentation=Documentation("Sentry's integration webhooks"),
)
