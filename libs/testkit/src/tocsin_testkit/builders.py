"""Builders: whatever a test does not care about has a sensible value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from notifier.ports import Sending
from tocsin_contracts.event import Event, Fact, Person
from tocsin_contracts.ids import derive, incident_id, key_of, system_of
from tocsin_contracts.incidents import Alert, Message, Opened, Purpose, Target
from tocsin_incident import IncidentState, fold
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.webhooks import AnAlert


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


def a_sending(**changes: Any) -> Sending:  # noqa: ANN401 - any part of it
    """A page to Alice, as a channel is given it."""
    arguments: dict[str, Any] = {
        "notification": "n-1",
        "incident": AN_INCIDENT_ID,
        "system": "shop",
        "purpose": Purpose.PAGE,
        "provider_key": "key",
        "attempt": 1,
        "severity": "P0",
        "severity_rank": 0,
        "opened_at": EPOCH,
        "target": a_target(),
        "address": None,
        "message": a_message(),
    }
    return Sending(**arguments | changes)
