"""Webhooks that real Alertmanagers sent, through the door's parser and the normaliser."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.domain.delivery import Received
from ingestion.domain.fingerprint import fingerprint
from ingestion.domain.normalising import UNCLAIMED, Places, normalise
from ingestion.domain.sources.alertmanager import parse
from tocsin_contracts.alerts import ObservationStatus
from tocsin_contracts.event import Cause
from tocsin_contracts.ids import derive

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CAPTURED = sorted((Path(__file__).parent / "captured").glob("*.json"))


def exchange(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_there_are_recordings() -> None:
    assert len(CAPTURED) >= 17


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_a_recorded_webhook_is_read_alert_by_alert(path: Path) -> None:
    body = exchange(path)["body_raw"].encode()
    sent = json.loads(body)
    read = parse(Received(body, NOW))
    assert [seen.fingerprint for seen in read.alerts] == [a["fingerprint"] for a in sent["alerts"]]
    assert [seen.labels for seen in read.alerts] == [a["labels"] for a in sent["alerts"]]
    assert [str(seen.status) for seen in read.alerts] == [a["status"] for a in sent["alerts"]]
    assert read.truncated == sent["truncatedAlerts"]
    assert read.group_key == sent["groupKey"]
    for seen in read.alerts:
        assert fingerprint(seen.labels) == seen.fingerprint
        assert (seen.ends_at is None) == (seen.status is ObservationStatus.FIRING)


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_the_same_delivery_gives_the_same_observations(path: Path) -> None:
    read = parse(Received(exchange(path)["body_raw"].encode(), NOW))
    delivery_id = derive("delivery", path.name)

    def observed() -> Any:
        return normalise(
            read,
            source="alertmanager",
            delivery_id=delivery_id,
            received_at=NOW,
            cause=Cause(event=delivery_id),
            places=Places(),
            traceparent=None,
        )

    [lane] = observed()
    assert observed() == (lane,)
    assert lane.event.key == UNCLAIMED
    ids = [seen.id for seen in lane.event.fact.observations]
    assert len(set(ids)) == len(read.alerts)
