"""Builders make what the real code reads."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ingestion.domain.delivery import Received
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.sources.alertmanager import parse
from tocsin_contracts.alerts import ObservationStatus
from tocsin_contracts.incidents import Acknowledged, Reviewed
from tocsin_incident import Status
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import a_person, an_alert, an_incident


def test_the_real_parser_reads_a_built_webhook() -> None:
    alert = an_alert("DiskFull", severity="warning", service="api", starts_at=EPOCH)
    (seen,) = parse(Received(a_webhook(alert), EPOCH)).alerts
    assert seen.status is ObservationStatus.FIRING
    assert seen.starts_at == EPOCH
    assert seen.ends_at is None
    assert seen.fingerprint == fingerprint(alert.labels)


def test_a_resolved_alert_is_the_same_alert_with_an_end() -> None:
    alert = an_alert("DiskFull", starts_at=EPOCH)
    later = EPOCH + timedelta(minutes=5)
    firing, over = parse(Received(a_webhook(alert, alert.resolved(later)), EPOCH)).alerts
    assert over.status is ObservationStatus.RESOLVED
    assert over.ends_at == later
    assert (over.fingerprint, over.starts_at) == (firing.fingerprint, firing.starts_at)


def test_an_incident_is_folded_from_its_facts() -> None:
    state = an_incident(Acknowledged(by=a_person("alice")))
    assert state.status is Status.ACKNOWLEDGED
    assert state.acknowledged_at == EPOCH + timedelta(minutes=1)


def test_an_incident_that_cannot_be_is_refused() -> None:
    with pytest.raises(AssertionError, match="was ignored"):
        an_incident(Reviewed(by=a_person()))
