"""PagerDuty's V3 webhooks: who acknowledges or resolves there, does so here.

Format: PagerDuty developer documentation. Of incidents that Tocsin opened there, `incident_key` is
the key under which the notifier sent the page, and it begins with our incident's id. What an
integration did is not an answer: our own acknowledgements come back that way, and would echo.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Given, Received
from ingestion.domain.reading import Payload, read, read_value
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.ids import key_of

_VERBS = {"incident.acknowledged": "acknowledge", "incident.resolved": "resolve"}
_A_PERSON = "user_reference"


class _Agent(Payload):
    id: str = ""
    type: str = ""
    summary: Annotated[str | None, Field(max_length=200)] = None


class _Incident(Payload):
    incident_key: str | None = None


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
    verb = _VERBS.get(event.event_type)
    agent = event.agent
    if verb is None or agent is None or agent.type != _A_PERSON:
        return Delivery()
    incident = _ours(read_value(_Incident, event.data).incident_key)
    if incident is None:
        return Delivery()
    by = agent.summary or agent.id or "pagerduty"
    return Delivery(
        answer=Given(verb=verb, by=by, via="pagerduty", incident=incident, handle=agent.id)
    )


def _ours(incident_key: str | None) -> str | None:
    incident = (incident_key or "").partition(":")[0]
    try:
        key_of(incident)
    except ValueError:
        return None
    return incident


SOURCE = Source(
    name="pagerduty",
    parse=parse,
    scheme=Signature(
        "x-pagerduty-signature",
        signed=lambda received: received.body,
        prefix="v1=",
        once="x-webhook-id",
    ),
    documentation=Documentation("PagerDuty's V3 webhooks: answers given there"),
)
