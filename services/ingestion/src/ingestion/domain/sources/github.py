"""GitHub issues labelled `incident`.

Format: GitHub documentation, event `issues`. Such an issue fires while it is open and has the
label. `X-GitHub-Delivery` is the same when GitHub is told to deliver again.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingestion.domain.authentication import Signature
from ingestion.domain.delivery import Delivery, Received, Seen
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.reading import Payload, When, labels_of, read, short, text
from ingestion.domain.sources.source import Documentation, Source
from tocsin_contracts.alerts import ObservationStatus

EVENT = "x-github-event"
LABEL = "incident"

_GONE = {"deleted", "transferred"}


class _Label(Payload):
    name: str


class _Issue(Payload):
    number: int
    title: Annotated[str, Field(max_length=2_000)] = ""
    body: str | None = None
    state: str = "open"
    html_url: str = ""
    created_at: When | None = None
    closed_at: When | None = None
    labels: list[_Label] = Field(default_factory=list)


class _Repository(Payload):
    full_name: str


class _Issues(Payload):
    action: str
    issue: _Issue
    repository: _Repository
    label: _Label | None = None


class _Any(Payload):
    """Any other event."""


def parse(received: Received) -> Delivery:
    """The issue's state, if it is an incident or just stopped being one."""
    if received.header(EVENT) not in {"issues", ""}:
        read(_Any, received.body)
        return Delivery()
    event = read(_Issues, received.body)
    issue = event.issue
    names = [label.name for label in issue.labels]
    has_label = LABEL in (name.lower() for name in names)
    lost_label = event.action == "unlabeled" and event.label is not None
    unlabelled = lost_label and event.label is not None and event.label.name.lower() == LABEL
    if not has_label and not unlabelled:
        return Delivery()
    over = unlabelled or issue.state == "closed" or event.action in _GONE
    title = f"{event.repository.full_name}#{text(issue.number)}"
    annotations = {"summary": issue.title or title, "description": short(issue.body or "", 10_000)}
    return Delivery(
        alerts=(
            Seen(
                status=ObservationStatus.RESOLVED if over else ObservationStatus.FIRING,
                fingerprint=fingerprint({"github_issue": title}),
                starts_at=issue.created_at,
                ends_at=issue.closed_at or received.received_at if over else None,
                labels=labels_of(
                    {
                        "alertname": title,
                        "repository": event.repository.full_name,
                        "issue": issue.number,
                        "severity": _severity(names),
                    }
                ),
                annotations={name: value for name, value in annotations.items() if value},
                generator_url=issue.html_url,
                keyed=True,
            ),
        )
    )


def _severity(names: list[str]) -> str:
    """From a label such as `severity:critical` or `severity/critical`."""
    for name in names:
        for mark in ("severity:", "severity/"):
            if name.lower().startswith(mark):
                return name[len(mark) :].strip()
    return ""


SOURCE = Source(
    name="github",
    parse=parse,
    scheme=Signature(
        "x-hub-signature-256",
        signed=lambda received: received.body,
        prefix="sha256=",
        once="x-github-delivery",
    ),
    headers=(EVENT,),
    documentation=Documentation("GitHub issues labelled incident"),
)
