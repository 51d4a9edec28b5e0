"""PagerDuty's V3 webhooks: what a person does there to an incident of ours, they do here.

Format: PagerDuty developer documentation. Of incidents that Tocsin opened there, `incident_key` is
the key under which the notifier sent the page, and it begins with our incident's id. A note names
its incident by PagerDuty's id alone, so every delivery that has both is remembered.

Nothing echoes: what an integration or a timeout did is no answer (our own acknowledgements come
back that way), and notes that the notifier wrote in a user's name end in their notification's id.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Given, Malformed, Received
from ingestion.domain.reading import Payload, read, read_value, short
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.ids import key_of

_VERBS = {
    "incident.acknowledged": "acknowledge",
    "incident.resolved": "resolve",
    "incident.reopened": "reopen",
    "incident.escalated": "escalate",
    "incident.delegated": "escalate",
    "incident.reassigned": "handover",
    "incident.priority_updated": "severity",
    "incident.annotated": "notes",
    "incident.status_update_published": "updates",
}
_OURS = re.compile(r"\[[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\]\s*", re.ASCII)
_MOST_TEXT = 10_000
_A_PERSON = "user_reference"


class _Agent(Payload):
    id: str = ""
    type: str = ""
    summary: Annotated[str | None, Field(max_length=200)] = None


class _Reference(Payload):
    id: str = ""
    summary: Annotated[str | None, Field(max_length=1_000)] = None


class _Incident(Payload):
    """An incident; or a note or status update, which names its own as `incident`."""

    id: str = ""
    incident_key: str | None = None
    incident: _Reference = _Reference()
    assignees: list[_Reference] = Field(default_factory=list)
    priority: _Reference | None = None
    content: str | None = None
    message: str | None = None


class _Event(Payload):
    id: str
    event_type: str
    agent: _Agent | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class _Envelope(Payload):
    event: _Event


def parse(received: Received) -> Delivery:
    """An answer, if a person gave one about an incident of ours; nothing else."""
    event = read(_Envelope, received.body).event
    if not event.event_type.startswith("incident."):
        return Delivery()
    data = read_value(_Incident, event.data)
    incident = _ours(data.incident_key)
    named = (f"pagerduty:{data.id}", incident) if incident is not None and data.id else None
    verb = _VERBS.get(event.event_type)
    agent = event.agent
    about = incident is not None or data.incident.id
    if verb is None or agent is None or agent.type != _A_PERSON or not about:
        return Delivery(named=named)
    fields = _fields(verb, data)
    if fields is None:
        return Delivery(named=named)
    answer = Given(
        verb=verb,
        by=agent.summary or agent.id or "pagerduty",
        via="pagerduty",
        fields=fields,
        incident=incident,
        reference=None if incident is not None else f"pagerduty:{data.incident.id}",
        handle=agent.id,
        to=_first(data.assignees) if verb == "handover" else (),
    )
    return Delivery(answer=answer, named=named)


def _fields(verb: str, data: _Incident) -> dict[str, str] | None:
    """What else the verb takes; `None` where it has nothing to say, or says what we said."""
    assigned = [one.summary or one.id for one in data.assignees]
    match verb:
        case "handover":
            return {} if assigned else None
        case "escalate":
            return {"text": f"to {', '.join(assigned)}"[:_MOST_TEXT]} if assigned else {}
        case "severity":
            said = data.priority.summary if data.priority is not None else None
            return {"severity": said} if said else None
        case "notes" | "updates":
            said = (data.content if verb == "notes" else data.message) or ""
            return {"text": short(said, _MOST_TEXT)} if said and not _OURS.search(said) else None
        case _:
            return {}


def _first(people: list[_Reference]) -> tuple[str, ...]:
    """What the first of them is called: by id, as the settings may know them, and by name."""
    return tuple(said for said in (people[0].id, people[0].summary) if said)


def _ours(incident_key: str | None) -> str | None:
    incident = (incident_key or "").partition(":")[0]
    try:
        key_of(incident)
    except ValueError:
        return None
    return incident


def _event_id(received: Received) -> str:
    """The event's own id; the header of the same kind is not signed."""
    try:
        return read(_Envelope, received.body).event.id
    except Malformed:
        return ""


SOURCE = Source(
    name="pagerduty",
    parse=parse,
    scheme=Signature(
        "x-pagerduty-signature",
        signed=lambda received: received.body,
        prefix="v1=",
        once="x-webhook-id",
        once_signed=_event_id,
    ),
    documentation=Documentation("PagerDuty's V3 webhooks: answers given there"),
)
