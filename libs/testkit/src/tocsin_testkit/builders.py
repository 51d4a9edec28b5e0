"""Builders: whatever a test does not care about has a sensible value.

Alerts and webhooks have the shape Alertmanager 0.25 sends; the real parser reads them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tocsin_contracts.event import Event, Fact, Person
from tocsin_contracts.ids import derive, incident_id, key_of, system_of
from tocsin_contracts.incidents import Alert, Message, Opened, Target
from tocsin_incident import IncidentState, fold
from tocsin_testkit.clock import EPOCH

YEAR_ONE = "0001-01-01T00:00:00Z"
"""What Alertmanager says of the end of an alert that has none."""


@dataclass(frozen=True)
class AnAlert:
    """One alert as a sender sees it. Made by `an_alert`.

    Attributes:
        starts_at: When it began to fire; `None` for whenever it is sent first.
        ends_at: When it stopped; `None` while it fires.
    """

    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def resolved(self, at: datetime) -> AnAlert:
        """The same alert once it has stopped."""
        return replace(self, ends_at=at)

    def began(self, at: datetime) -> AnAlert:
        """The same alert with the time it began, if it has none yet."""
        return self if self.starts_at is not None else replace(self, starts_at=at)

    def document(self) -> dict[str, Any]:
        """As it stands in the webhook; Alertmanager's fingerprint is left for us to derive."""
        return {
            "status": "firing" if self.ends_at is None else "resolved",
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": (self.starts_at or EPOCH).isoformat(),
            "endsAt": YEAR_ONE if self.ends_at is None else self.ends_at.isoformat(),
            "generatorURL": "http://prometheus.example.com:9090/graph",
        }


def an_alert(
    name: str = "GlobalServiceUnavailable",
    *,
    summary: str = "",
    starts_at: datetime | None = None,
    annotations: dict[str, str] | None = None,
    **labels: str,
) -> AnAlert:
    """A firing alert; keyword arguments are labels.

    >>> an_alert("DiskFull", severity="warning", service="api").labels
    {'alertname': 'DiskFull', 'severity': 'warning', 'service': 'api'}
    """
    named = {"alertname": name, **(labels or {"severity": "critical"})}
    said = {"summary": summary or f"{name} is firing", **(annotations or {})}
    return AnAlert(labels=named, annotations=said, starts_at=starts_at)


def a_webhook(*alerts: AnAlert, truncated: int = 0, receiver: str = "tocsin") -> bytes:
    """The body Alertmanager would post for these alerts, as one group."""
    common = dict(alerts[0].labels.items()) if alerts else {}
    for alert in alerts:
        common = {name: v for name, v in common.items() if alert.labels.get(name) == v}
    firing = any(alert.ends_at is None for alert in alerts)
    name = common.get("alertname", "")
    return json.dumps(
        {
            "version": "4",
            "receiver": receiver,
            "status": "firing" if firing else "resolved",
            "groupKey": f'{{}}:{{alertname="{name}"}}',
            "truncatedAlerts": truncated,
            "groupLabels": {"alertname": name} if name else {},
            "commonLabels": common,
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example.com:9093",
            "alerts": [alert.document() for alert in alerts],
        }
    ).encode()


def an_event(
    fact: Fact, *, incident: str = "", at: datetime = EPOCH, source: str = "tocsin/test"
) -> Event[Fact]:
    """A fact in its envelope; its id follows from the incident, the fact and the time."""
    subject = incident or AN_INCIDENT_ID
    parts = (fact.TYPE, subject, at.isoformat(), fact.model_dump_json())
    return Event(
        id=derive(*parts),
        source=source,
        subject=subject,
        key=key_of(subject),
        occurred_at=at,
        fact=fact,
    )


AN_INCIDENT_ID = incident_id("mpc-transformer", "a test")
"""The incident of whoever does not care which."""


def an_opening(
    *,
    incident: str = AN_INCIDENT_ID,
    severity: str = "P0",
    alerts: Sequence[AnAlert] = (),
    playbook: str | None = None,
) -> Opened:
    """The fact that begins an incident."""
    return Opened(
        system=system_of(incident),
        title="GlobalServiceUnavailable",
        severity=severity,
        rule="a rule",
        reason="rule_matched",
        group_key="a group",
        playbook=playbook,
        alerts=tuple(
            Alert(
                fingerprint=f"{index:016x}",
                starts_at=alert.starts_at or EPOCH,
                name=alert.labels["alertname"],
                labels=alert.labels,
            )
            for index, alert in enumerate(alerts or (an_alert(),))
        ),
    )


def an_incident(
    *facts: Fact,
    incident: str = AN_INCIDENT_ID,
    severity: str = "P0",
    playbook: str | None = None,
    opened_at: datetime = EPOCH,
    apart: timedelta = timedelta(minutes=1),
) -> IncidentState:
    """The state of an incident that opened and then had these facts, `apart` from each other.

    Raises:
        AssertionError: A fact was ignored; the test builds something that cannot be.
    """
    opening = an_opening(incident=incident, severity=severity, playbook=playbook)
    state = fold(None, an_event(opening, incident=incident, at=opened_at)).state
    for number, fact in enumerate(facts, start=1):
        folded = fold(state, an_event(fact, incident=incident, at=opened_at + number * apart))
        assert folded.ignored is None, f"{fact.TYPE} was ignored: {folded.ignored}"
        state = folded.state
    assert state is not None
    return state


def a_person(name: str = "alice") -> Person:
    """Somebody who answers."""
    return Person(name=name, via="test")


def a_target(contact: str = "alice", *, channels: tuple[str, ...] = ("pagerduty",)) -> Target:
    """Somebody who is paged."""
    return Target(
        contact=contact,
        name=contact.title(),
        role="on-call engineer",
        via="schedule primary",
        channels=channels,
    )


def a_message(subject: str = "GlobalServiceUnavailable", body: str = "It is down.") -> Message:
    """What people read."""
    return Message(subject=subject, body=body)
