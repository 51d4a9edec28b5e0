"""What the door has read is not read again, and says the same."""

from __future__ import annotations

from datetime import UTC, datetime

from ingestion.domain.delivery import Delivery, Received
from ingestion.domain.parsed import Parsed
from tocsin_contracts.alerts import Observed
from tocsin_runtime.events import decode
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.door import DoorUnderTest

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def received(body: bytes) -> Received:
    return Received(body, NOW, {"content-type": "application/json"}, "/v1/webhooks/alertmanager")


def test_a_delivery_is_handed_out_once_and_only_for_what_was_received() -> None:
    parsed, delivery = Parsed(), Delivery(truncated=3)
    parsed.put("alertmanager", received(b"one"), delivery)
    assert parsed.take("alertmanager", received(b"two")) is None
    assert parsed.take("grafana", received(b"one")) is None
    assert parsed.take("alertmanager", received(b"one")) is delivery
    assert parsed.take("alertmanager", received(b"one")) is None


def test_what_was_kept_longest_goes_first_by_number_and_by_size() -> None:
    few, small = Parsed(most=2), Parsed(most_bytes=7)
    for kept in (few, small):
        for body in (b"one", b"two", b"three"):
            kept.put("alertmanager", received(body), Delivery())
    assert [len(few), len(small)] == [2, 1]
    assert few.take("alertmanager", received(b"one")) is None
    assert small.take("alertmanager", received(b"three")) is not None


async def test_what_was_read_at_the_door_gives_the_same_events_as_the_bytes_do() -> None:
    door = DoorUnderTest()
    alert = an_alert("Down", system="shop", severity="critical", starts_at=NOW)
    answer = await door.send("POST", "/v1/webhooks/alertmanager", a_webhook(alert))
    assert answer.status_code == 202
    # Nothing is kept any more, so the second time the bytes are read.
    await door.again()
    first, second = (
        decode(record)
        for topic in ("alerts.urgent", "alerts")
        for record in door.log.records(topic)
    )
    assert isinstance(first.fact, Observed)
    assert first == second
