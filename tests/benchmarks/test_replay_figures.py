"""What reading back costs, as ratios: a decode against JSON, a fold against a decode, a scan.

`make bench` prints them. A ratio holds on any machine; a figure a second is of this one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import incident_id
from tocsin_incident import fold
from tocsin_replay import HeldLog, read_history, read_incident, states_at, what_if
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import a_person, an_alert, an_event, an_opening
from tocsin_testkit.policies import a_policy

pytestmark = pytest.mark.bench

INCIDENTS = 2_000
FACTS = 20
ALERTS = 20_000
BATCH = 50


def _record(written: Outgoing, topic: str, offset: int, seconds: float) -> Record:
    at = EPOCH + timedelta(seconds=seconds)
    return Record(Position(topic, 0, offset), written.key, written.value, written.headers, at)


@pytest.fixture(scope="module")
def log() -> HeldLog:
    """Forty thousand facts of two thousand incidents, interleaved in one partition."""
    names = [incident_id("shop", str(number)) for number in range(INCIDENTS)]
    records = []
    for number in range(INCIDENTS * FACTS):
        name, turn = names[number % INCIDENTS], number // INCIDENTS
        fact: Fact = (
            an_opening(incident=name, severity="critical", alerts=(an_alert("Down"),))
            if turn == 0
            else facts.NoteAdded(by=a_person(), text=f"note {turn}")
        )
        event: Event[Fact] = an_event(fact, incident=name, at=EPOCH + timedelta(seconds=number))
        records.append(_record(outgoing(event), "incidents", number, number))
    return HeldLog({"incidents": 1}, records)


def _took(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_decoding_and_folding(log: HeldLog) -> None:
    records = log.fetch("incidents", 0, 0)
    raw = _took(lambda: [json.loads(record.value or b"") for record in records])
    decoded: list[Event[Fact]] = []
    decoding = _took(lambda: decoded.extend(decode(record) for record in records))
    states: dict[str, object] = {}

    def folding() -> None:
        held: dict[str, object] = {}
        for event in decoded:
            held[event.subject] = fold(held.get(event.subject), event).state  # type: ignore[arg-type]
        states.update(held)

    folded = _took(folding)
    count = len(records)
    print(  # noqa: T201 - a benchmark prints
        f"\ndecode {count / decoding:,.0f} facts/s, {decoding / raw:.1f} x json.loads; "
        f"fold {count / folded:,.0f} facts/s, {folded / decoding:.2f} x decode"
    )
    assert len(states) == INCIDENTS
    assert folded < 3 * decoding


def test_one_incident_costs_a_scan_of_headers_and_not_a_decode_of_everything(
    log: HeldLog,
) -> None:
    incident = incident_id("shop", "7")
    one = _took(lambda: asyncio.run(read_incident(log, incident)))
    everything = _took(lambda: asyncio.run(states_at(log, None)))
    count = INCIDENTS * FACTS
    print(  # noqa: T201 - a benchmark prints
        f"\nscan for one of {INCIDENTS} incidents {count / one:,.0f} records/s, "
        f"{everything / one:.1f} x faster than to fold them all; five million records: "
        f"{5_000_000 / count * one:.1f} s"
    )
    assert one < everything / 4


def test_a_what_if(log: HeldLog) -> None:
    del log
    policy = a_policy("shop")
    version = outgoing(an_event(published(policy), incident="shop-0000000000"))
    records = [_record(version, "policies", 0, -1)]
    for batch in range(ALERTS // BATCH):
        alerts = [
            an_alert(
                f"Alert{batch % 40}",
                system="shop",
                severity="minor",
                instance=f"i{batch}-{n}",
                starts_at=EPOCH + timedelta(seconds=batch),
            )
            for n in range(BATCH)
        ]
        written = Outgoing("alerts.raw", b"alertmanager", a_webhook(*alerts))
        written = Outgoing(
            written.topic, written.key, written.value, (("source", b"alertmanager"),)
        )
        records.append(_record(written, "alerts.raw", batch, 60 * batch))
    widths = {"alerts.raw": 1, "incidents": 1, "policies": 1}
    history = asyncio.run(read_history(HeldLog(widths, records)))
    took = _took(lambda: asyncio.run(what_if(history, policy)))
    print(  # noqa: T201 - a benchmark prints
        f"\nwhat-if {2 * ALERTS / took:,.0f} alerts/s; a million under both policies: "
        f"{took * 1_000_000 / ALERTS:.0f} s"
    )
