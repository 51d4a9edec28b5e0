"""Opsgenie's Alert API: a way out for its users before it is switched off in April 2027.

Format: Opsgenie's documentation and, for what Alertmanager sends, recordings. An alert is named by
its alias; what is done to it later carries the alias in the path and nothing of the alert. Every
answer is 202: Opsgenie, too, only promises to look at it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

from pydantic import Field

from ingestion.domain.authentication import Token
from ingestion.domain.delivery import Delivery, Given, Malformed, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, labels_of, read, short
from ingestion.domain.sources.source import (
    Documentation,
    Refusal,
    Reply,
    Source,
    Taken,
    as_json,
)
from tocsin_contracts.alerts import ObservationStatus
from tocsin_contracts.ids import derive

ROOTS = ("/v2/alerts", "/jsm/ops/integration/v2/alerts")

_ACTION = re.compile(r"(?P<root>.*/v2/alerts)/(?P<identifier>[^/]+)/(?P<action>[a-z]+)")
_LONGEST_NOTE = 10_000
_VERBS = {"acknowledge": "acknowledge", "notes": "notes"}
_HEARD_ONLY = {"message", "description", "priority", "unacknowledge", "snooze", "tags", "details"}
"""Actions that change nothing here; they are kept."""


class _Create(Payload):
    message: Annotated[str, Field(min_length=1, max_length=1_000)]
    alias: Annotated[str, Field(max_length=512)] = ""
    description: Annotated[str, Field(max_length=50_000)] = ""
    details: dict[str, Any] = Field(default_factory=dict)
    entity: Annotated[str, Field(max_length=512)] = ""
    priority: Annotated[str, Field(pattern="^P[1-5]$")] = "P3"
    source: Annotated[str, Field(max_length=1_000)] = ""
    tags: list[str] = Field(default_factory=list)


class _Action(Payload):
    user: Annotated[str, Field(max_length=200)] = ""
    source: Annotated[str, Field(max_length=1_000)] = ""
    note: Annotated[str, Field(max_length=25_000)] = ""


def parse(received: Received) -> Delivery:
    """An alert, its end, or an answer about it."""
    path = urlsplit(received.path)
    found = _ACTION.fullmatch(path.path)
    if found is None:
        return Delivery(alerts=(_created(read(_Create, received.body)),))
    action = found["action"]
    kind = parse_qs(path.query).get("identifierType", ["id"])[0]
    if kind != "alias":
        raise Malformed("invalid_field", "identifierType", "only alias is known here")
    identity = _identity(unquote(found["identifier"]))
    if action in _HEARD_ONLY:
        return Delivery()
    said = read(_Action, received.body or b"{}")
    if action == "close":
        over = Seen(
            status=ObservationStatus.RESOLVED,
            fingerprint=identity,
            starts_at=None,
            ends_at=received.received_at,
            labels={},
            keyed=True,
        )
        return Delivery(alerts=(over,))
    verb = _VERBS.get(action)
    if verb is None:
        raise Malformed("invalid_field", "action", f"{action!r} is not known here")
    fields = {}
    if verb == "notes":
        if not said.note:
            raise Malformed("invalid_field", "note", "needed")
        fields["text"] = said.note[:_LONGEST_NOTE]
    by = said.user or said.source or "opsgenie"
    answer = Given(verb=verb, by=by[:200], via="opsgenie", fields=fields, fingerprint=identity)
    return Delivery(answer=answer)


def _identity(alias: str) -> str:
    return fingerprint({"alias": alias, "integration": "opsgenie"})


def _created(alert: _Create) -> Seen:
    alias = alert.alias or hashlib.sha256(alert.message.encode()).hexdigest()
    details = labels_of(alert.details)
    labels = {
        **details,
        **labels_of({"source": alert.source, "entity": alert.entity, "alias": alias}),
        "alertname": details.get("alertname", alias),
        "priority": alert.priority,
    }
    annotations = {"summary": alert.message, "description": short(alert.description, 15_000)}
    if alert.tags:
        annotations["tags"] = short(",".join(alert.tags), 2_000)
    return Seen(
        status=ObservationStatus.FIRING,
        fingerprint=_identity(alias),
        starts_at=None,
        ends_at=None,
        labels=labels,
        annotations={name: value for name, value in annotations.items() if value},
        keyed=True,
    )


def answered(received: Received, taken: Taken) -> Reply:
    """202: it will be looked at. The request id follows from the request."""
    document = {
        "result": "Request will be processed" if not taken.unheard else taken.unheard,
        "took": 0.0,
        "requestId": _request_id(received),
    }
    return as_json(202, document)


def _request_id(received: Received) -> str:
    made: UUID = derive(
        "opsgenie", received.path, received.received_at.isoformat(), received.body.hex()
    )
    return str(made)


def refused(refusal: Refusal) -> Reply:
    """Opsgenie's shape."""
    where = f"{refusal.field}: " if refusal.field else ""
    document = {"message": f"{where}{refusal.message}", "took": 0.0, "requestId": refusal.reason}
    return as_json(refusal.status, document)


SOURCE = Source(
    name="opsgenie",
    parse=parse,
    routes=tuple(
        route
        for root in ROOTS
        for route in (
            f"POST {root}",
            f"POST {root}/{{identifier}}/{{action}}",
            f"PUT {root}/{{identifier}}/{{action}}",
        )
    ),
    scheme=Token(schemes=("geniekey", "basic")),
    answered=answered,
    refused=refused,
    keeps=False,
    busy=429,
    documentation=Documentation("Opsgenie's Alert API", statuses={202: "It will be looked at."}),
)
