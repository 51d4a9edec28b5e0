"""JSON mapped by expressions: checked at the start, bounded, and telling where it went wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr, ValidationError

from ingestion.domain.authentication import Key
from ingestion.domain.delivery import Malformed, Received
from ingestion.domain.sources import BUILT_IN, Sources
from ingestion.domain.sources.mapped import AlertMapping, MappingRefused, mapped_source
from tocsin_contracts.alerts import ObservationStatus
from tocsin_testkit.door import DoorUnderTest

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
NIGHTWATCH = AlertMapping(
    alerts="body.events",
    firing='item.state != "ok"',
    key="item.id",
    labels={"alertname": "item.check", "tier": 'headers["x-tier"]', "nothing": "item.tags"},
    annotations={"summary": 'item.check + " on " + item.host'},
    starts_at="timestamp(item.since)",
    headers=("X-Tier",),
)
EVENT = {
    "id": 7,
    "check": "disk",
    "host": "db-1",
    "state": "bad",
    "since": "2026-03-02T08:00:00Z",
    "tags": ["a"],
}


async def test_a_mapped_source_is_a_source_like_any_other() -> None:
    sources = Sources((*BUILT_IN, mapped_source("nightwatch", NIGHTWATCH)))
    door = DoorUnderTest(
        sources=sources, keys={"nightwatch": [Key(SecretStr("k"), {"system": "shop"})]}
    )
    for state in ("bad", "ok"):
        body = json.dumps({"events": [EVENT | {"state": state}]})
        answer = await door.send(
            "POST", "/v1/webhooks/nightwatch", body, token="k", headers={"X-Tier": "gold"}
        )
        assert (answer.status_code, answer.json()["alerts"]) == (202, 1)
    (system, fired), (_, over) = door.observed()
    assert system == "shop"
    assert fired.labels == {"alertname": "disk", "tier": "gold", "system": "shop"}
    assert fired.annotations == {"summary": "disk on db-1"}
    assert fired.starts_at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert over.status is ObservationStatus.RESOLVED
    assert over.fingerprint == fired.fingerprint


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"alerts": "body.events +"}, "alerts"),
        ({"alerts": '"text"'}, "alerts"),
        ({"firing": '"yes"'}, "firing"),
        ({"firing": "nonsense(item)"}, "firing"),
        ({"labels": {"alertname": '"a" + 1'}}, "labels.alertname"),
        ({"labels": {"name": "item.check"}}, "labels.alertname"),
        ({"starts_at": "1 + 1"}, "starts_at"),
        ({"key": "unknown_variable"}, "key"),
    ],
)
def test_a_wrong_expression_is_told_with_its_place_before_anything_starts(
    change: dict[str, object], place: str
) -> None:
    mapping = AlertMapping.model_validate(NIGHTWATCH.model_dump() | change)
    with pytest.raises(MappingRefused, match=f"^nightwatch: {place}"):
        mapped_source("nightwatch", mapping)


def test_a_key_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="frirng"):
        AlertMapping.model_validate(NIGHTWATCH.model_dump() | {"frirng": "true"})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"check": None}, "labels.alertname"),
        ({"host": 1}, "nightwatch: annotations.summary"),
        ({"since": "today"}, "nightwatch: starts_at"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_expression_that_failed(
    change: dict[str, object], field: str
) -> None:
    body = json.dumps({"events": [EVENT | change]}).encode()
    with pytest.raises(Malformed) as refused:
        mapped_source("nightwatch", NIGHTWATCH).parse(Received(body, NOW))
    assert refused.value.field == field


def test_an_expression_that_never_ends_is_stopped() -> None:
    endless = "body.n.all(a, body.n.all(b, body.n.all(c, body.n.all(d, true))))"
    mapping = AlertMapping(firing=endless, labels={"alertname": '"x"'})
    body = json.dumps({"n": list(range(300))}).encode()
    with pytest.raises(Malformed, match="budget"):
        mapped_source("endless", mapping).parse(Received(body, NOW))
