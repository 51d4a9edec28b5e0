"""What reading back costs, as ratios: a decode against JSON, a fold against a decode, a scan.

`make bench` prints them. A ratio holds on any machine; a figure a second is of this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from ingestion.domain.fingerprint import fingerprint
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import episode, incident_id
from tocsin_incident import fold
from tocsin_policy import Policy, group_key
from tocsin_replay import (
    Comparison,
    HeldLog,
    History,
    read_history,
    read_incident,
    state_of,
    states_at,
    what_if,
)
from tocsin_replay.comparing import compare
from tocsin_replay.inputs import MOST_HELD_BYTES
from tocsin_replay.living import live_twice
from tocsin_replay.shelving import MOST_HELD_BYTES as MOST_ON_A_SHELF
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.records import Outgoing, Position, Record
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import AnAlert, a_webhook
from tocsin_testkit.builders import a_message, a_person, a_target, an_alert, an_event, an_opening
from tocsin_testkit.policies import a_policy

pytestmark = pytest.mark.bench

INCIDENTS = 2_000
FACTS = 20
BATCH = 10
WHAT_IF_ALERTS = int(os.environ.get("BENCH_WHAT_IF", "50000"))
"""A million is what `BENCH_WHAT_IF=1000000 make bench` takes some minutes for."""

TOPIC = int(os.environ.get("BENCH_TOPIC", "400000"))
"""Records of the topic one incident is looked for in; `BENCH_TOPIC=5000000` for the long one."""


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


class _Long(HeldLog):
    """A topic of any length: the facts of a held one again and again, as other incidents'."""

    def __init__(self, log: HeldLog, length: int) -> None:
        super().__init__(log.widths)
        self._round = log.fetch("incidents", 0, 0)
        self._length = length

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        del topic, partition
        return 0, self._length

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        del end
        size = len(self._round)
        for offset in range(start, self._length):
            turn, place = divmod(offset, size)
            record = self._round[place]
            headers = record.headers if turn == 0 else _OTHERS
            position = Position(topic, partition, offset)
            yield Record(position, record.key, record.value, headers, record.recorded_at)


_OTHERS = (("ce_id", b"0"), ("ce_type", b"of another"), ("ce_subject", b"shop-0000000000"))


def test_one_incident_costs_a_scan_of_headers_and_not_a_decode_of_everything(
    log: HeldLog,
) -> None:
    incident = incident_id("shop", "7")
    one = _took(lambda: asyncio.run(read_incident(log, incident)))
    everything = _took(lambda: asyncio.run(states_at(log, None)))
    count = INCIDENTS * FACTS
    states: list[object] = []
    long = _Long(log, TOPIC)
    first = _took(lambda: states.append(state_of(asyncio.run(read_incident(long, incident)))))
    print(  # noqa: T201 - a benchmark prints
        f"\nscan for one of {INCIDENTS} incidents {count / one:,.0f} records/s, "
        f"{everything / one:.1f} x faster than to fold them all; its state in a partition of "
        f"{TOPIC:,} records after {first:.1f} s"
    )
    assert one < everything / 4
    assert states[0] is not None


def _alerts(groups: int, number: int, turns: int, severity: str = "minor") -> list[AnAlert]:
    """What a group tells: it fires, still fires, has ended.

    Args:
        turns: Deliveries an episode takes: the first is news, the last its end.
    """
    group, turn = number % groups, number // groups
    began_at = EPOCH + timedelta(seconds=group, hours=14 * (turn // turns) * turns)
    alerts = [
        an_alert(
            f"Alert{group}",
            system="shop",
            severity=severity,
            service=f"service-{group % 25}",
            instance=f"i{group}-{place}",
            starts_at=began_at,
        )
        for place in range(BATCH)
    ]
    if turn % turns == turns - 1:
        ended_at = began_at + timedelta(hours=14 * (turns - 1))
        return [alert.resolved(ended_at) for alert in alerts]
    return alerts


def _delivery(alerts: list[AnAlert]) -> Outgoing:
    """A webhook as Alertmanager sends it."""
    body = a_webhook(*alerts)
    return Outgoing("alerts.raw", b"alertmanager", body, (("source", b"alertmanager"),))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return a_policy("shop")


def _history(policy: Policy, alerts: int, turns: int) -> History:
    """Deliveries of ten alerts, all of them in thirty days, each group fifty times."""
    count = alerts // BATCH
    every, groups = 30 * 86_400 / count, max(1, count // 50)
    records = (
        _record(_delivery(_alerts(groups, n, turns)), "alerts.raw", n, every * n)
        for n in range(count)
    )
    return asyncio.run(read_history(_Streamed(policy, {"alerts.raw": records})))


class _Streamed(HeldLog):
    """A log whose records are made as they are read: a million of them are held by nobody."""

    def __init__(self, policy: Policy, records: Mapping[str, Iterable[Record]]) -> None:
        version = outgoing(an_event(published(policy), incident="shop-0000000000"))
        head = _record(version, "policies", 0, -1)
        super().__init__({"alerts.raw": 1, "incidents": 1, "policies": 1}, [head])
        self._made = records

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        if topic in self._made:
            for record in self._made[topic]:
                yield record
            return
        async for record in super().read(topic, partition, start, end):
            yield record


MIXES = {2: "nothing repeats", 4: "half repeats", 10: "eight of ten repeat"}
"""By the deliveries of an episode: one in which its alerts fire, one that ends them; the others
repeat the first. Alertmanager repeats every group that fires, most of a recording is repeats."""


@pytest.mark.parametrize("turns", MIXES, ids=MIXES.values())
def test_a_what_if(policy: Policy, turns: int) -> None:
    history = _history(policy, WHAT_IF_ALERTS, turns)
    found: list[Comparison] = []
    before = _processor()
    took = _took(lambda: found.append(asyncio.run(what_if(history, policy))))
    busy = (_processor() - before) / 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    alerts, million = found[0].alerts, 1_000_000 / found[0].alerts
    print(  # noqa: T201 - a benchmark prints
        f"\nwhat-if of {alerts:,} alerts, {turns - 2} of {turns} deliveries repeats, "
        f"under both policies: {took:.1f} s, {busy:.1f} s of processor each; a million: "
        f"{took * million:.0f} s, {busy * million:.0f} s of processor on each of two cores; "
        f"{peak} MB at most"
    )
    assert found[0].same
    assert alerts == WHAT_IF_ALERTS


def _processor() -> float:
    """Seconds of processor that this process and those it waited for have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


GROUPS = 20
"""Groups that fire and end in turn, however long it goes on."""

PACE = 300.0
"""Seconds between two deliveries: an incident goes on for an hour and forty minutes."""

MOST_APART = MOST_HELD_BYTES + 4 * MOST_ON_A_SHELF
"""What a history four times as long may take more, in bytes: what is held until it goes to disk."""


def _answered(policy: Policy, groups: int, number: int) -> Iterable[Event[Fact]]:
    """What the log says of a delivery: somebody was paged and took it, or it has ended."""
    alerts = [
        facts.Alert(
            fingerprint=fingerprint(alert.labels),
            starts_at=alert.starts_at or EPOCH,
            name=alert.labels["alertname"],
            labels=alert.labels,
        )
        for alert in _alerts(groups, number, 2, "critical")
    ]
    group, turn = number % groups, number // groups
    first = alerts[0]
    its_group = group_key(policy, first.labels)
    incident = incident_id("shop", its_group, episode(first.fingerprint, first.starts_at))
    page, at = f"page-{group}-{turn // 2}", EPOCH + timedelta(seconds=PACE * number)
    told: list[Fact] = [
        facts.AlertsCleared(
            alerts=tuple(
                facts.Cleared(
                    fingerprint=alert.fingerprint,
                    starts_at=alert.starts_at,
                    ended_at=at,
                    reason="resolved",
                )
                for alert in alerts
            )
        ),
        facts.Resolved(by=a_person()),
    ]
    if turn % 2 == 0:
        told = [
            an_opening(incident=incident, severity="critical").model_copy(
                update={"alerts": tuple(alerts)}
            ),
            facts.NotificationRequested(
                notification=page,
                purpose=facts.Purpose.PAGE,
                generation=1,
                level=1,
                target=a_target(),
                channel="pagerduty",
                kind="pagerduty",
                provider_key=page,
                message=a_message(),
            ),
            facts.NotificationAttempted(notification=page, attempt=1, instance="n1"),
            facts.NotificationDelivered(notification=page, attempt=1),
            facts.Acknowledged(by=a_person()),
        ]
    for place, fact in enumerate(told):
        source = f"tocsin/{fact.WRITER}"
        yield an_event(fact, incident=incident, at=at + timedelta(seconds=place), source=source)


def _with_answers(policy: Policy, alerts: int) -> History:
    numbers = range(alerts // BATCH)
    deliveries = (
        _record(_delivery(_alerts(GROUPS, n, 2, "critical")), "alerts.raw", n, PACE * n)
        for n in numbers
    )
    told = ((n, event) for n in numbers for event in _answered(policy, GROUPS, n))
    records = (
        _record(outgoing(event), "incidents", offset, PACE * n)
        for offset, (n, event) in enumerate(told)
    )
    log = _Streamed(policy, {"alerts.raw": deliveries, "incidents": records})
    return asyncio.run(read_history(log))


def test_memory_is_of_what_is_open_and_not_of_history(policy: Policy) -> None:
    # What is over is remembered for a day, so the shorter has two days.
    lengths = (WHAT_IF_ALERTS // 8, WHAT_IF_ALERTS // 2)
    peaks, incidents = [], []
    for alerts in lengths:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        history = _with_answers(policy, alerts)
        before, after = asyncio.run(live_twice(history, policy, None, worth=sys.maxsize))
        found = compare(history, policy, before, after)
        peaks.append(_peak())
        incidents.append(len(before.incidents))
        assert found.same
        assert found.fidelity["of these paged again"] == len(history.recorded)
        assert found.fidelity["answers off by seconds, at most"] < 60
        del history, before, after, found
    print(  # noqa: T201 - a benchmark prints
        f"\nread, lived through twice and compared: at most {peaks[0] >> 20} MB for "
        f"{lengths[0]:,} alerts in {incidents[0]:,} incidents that somebody answered, "
        f"{peaks[1] >> 20} MB for {lengths[1]:,} in {incidents[1]:,}"
    )
    assert incidents[1] > 3 * incidents[0]
    assert peaks[1] < peaks[0] + MOST_APART


def _peak() -> int:
    """The most memory this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise LookupError("no VmHWM")
