"""What Alertmanager's event recorder tells is evidence; it opens nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingestion.domain.delivery import Malformed
from ingestion.domain.sources.alertmanager_events import evidence
from ingestion.handlers import RAW
from tocsin_runtime.records import Outgoing
from tocsin_testkit.door import DoorUnderTest

EXAMPLE: dict[str, Any] = json.loads(
    (Path(__file__).parent / "examples" / "alertmanager-events.json").read_text()
)
SINGLE, BATCH = (one["request"]["body"].encode() for one in EXAMPLE["exchanges"])
FINGERPRINT = "0d4b8e0c6b1f4a3e"


def test_a_silenced_alert_is_told_with_its_silence_and_who_made_it() -> None:
    [one] = evidence(SINGLE)
    assert (one.did, one.fingerprint, one.instance) == ("silenced", FINGERPRINT, "am-0")
    assert one.by == "silence 3f1c2a1e-6c0e-4a50-9d3f-0a6f1f6f7a10 of alice: moving the disk"
    assert one.labels["alertname"] == "HighErrorRate"


def test_a_batch_tells_who_was_notified_of_what_and_what_was_left_out() -> None:
    told = [(one.did, one.fingerprint, one.by) for one in evidence(BATCH)]
    assert told == [
        ("notified", f"{12:016x}", "team-web by slack (first_notification)"),
        ("muted", FINGERPRINT, "team-web by slack (first_notification)"),
        (
            "inhibited",
            f"{12:016x}",
            '{severity="critical"} mutes {severity="warning"}, equal instance',
        ),
    ]


def test_labels_are_read_in_both_versions_of_the_format() -> None:
    labels = [dict(one.labels) for one in evidence(BATCH)]
    assert labels == [
        {"alertname": "Slow"},
        {},
        {"alertname": "Slow", "severity": "warning"},
    ]


@pytest.mark.parametrize("kind", ["alertCreated", "alertGrouped", "alertResolved"])
def test_what_became_of_an_alert_is_told_whether_it_is_wrapped_or_not(kind: str) -> None:
    alert = {"fingerprint": "10", "labels": {"alertname": "Slow"}}
    for wrapped in (alert, {"hash": "10", "details": alert}):
        event = {"@timestamp": "2026-03-02T09:00:00Z", "data": {kind: {"alert": wrapped}}}
        [one] = evidence(json.dumps(event).encode())
        assert one.did == kind.removeprefix("alert").lower()
        assert one.fingerprint == f"{10:016x}"
        assert one.labels == {"alertname": "Slow"}


@pytest.mark.parametrize("body", [b"{", b"3", b"{}", b'{"@timestamp":"x","data":{}}', b"[3]"])
def test_what_is_no_event_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        evidence(body)


async def test_alertmanagers_kafka_output_needs_no_header_and_opens_nothing() -> None:
    door = DoorUnderTest()
    await door.log.publish([Outgoing(RAW, b"am-0", SINGLE, ())])
    await door.normalise()
    assert door.observed() == []
    assert door.dead_letters == []


async def test_what_alertmanager_wrote_as_protobuf_is_dead_lettered() -> None:
    door = DoorUnderTest()
    await door.log.publish([Outgoing(RAW, b"am-0", b"\x0a\x0c\x08\x9f\xb8", ())])
    await door.normalise()
    assert len(door.dead_letters) == 1
