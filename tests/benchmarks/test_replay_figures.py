"""What reading back costs, as ratios: a decode against JSON, a fold against a decode, a scan.

`make bench` prints them. A ratio holds on any machine; a figure a second is of this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import incident_id
from tocsin_incident import fold
from tocsin_policy import Policy
from tocsin_replay import (
    Comparison,
    HeldLog,
    History,
    Simulation,
    read_history,
    read_incident,
    state_of,
    states_at,
    what_if,
)
from tocsin_replay.inputs import MOST_HELD_BYTES
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


def _delivery(groups: int, number: int, episode: int) -> Outgoing:
    """A webhook as Alertmanager sends it for a group: it fires, still fires, has ended.

    Args:
        episode: Deliveries an episode takes: the first is news, the last its end.
    """
    group, turn = number % groups, number // groups
    began_at = EPOCH + timedelta(seconds=group, hours=14 * (turn // episode) * episode)
    alerts = [
        an_alert(
            f"Alert{group % 40}",
            system="shop",
            severity="minor",
            service=f"service-{group % 25}",
            instance=f"i{group}-{place}",
            starts_at=began_at,
        )
        for place in range(BATCH)
    ]
    if turn % episode == episode - 1:
        alerts = [
            alert.resolved(began_at + timedelta(hours=14 * (episode - 1))) for alert in alerts
        ]
    body = a_webhook(*alerts)
    return Outgoing("alerts.raw", b"alertmanager", body, (("source", b"alertmanager"),))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return a_policy("shop")


def _history(
    policy: Policy, alerts: int, episode: int, groups: int | None = None, pace: float | None = None
) -> History:
    """Deliveries of ten alerts; all of them in thirty days, each group fifty times, if not said.

    Args:
        pace: Seconds between two deliveries.
    """
    version = outgoing(an_event(published(policy), incident="shop-0000000000"))
    head = _record(version, "policies", 0, -1)
    count = alerts // BATCH
    every = pace or 30 * 86_400 / count
    of = groups or max(1, count // 50)
    records = (_record(_delivery(of, n, episode), "alerts.raw", n, every * n) for n in range(count))
    widths = {"alerts.raw": 1, "incidents": 1, "policies": 1}
    return asyncio.run(read_history(_Streamed(widths, head, records)))


class _Streamed(HeldLog):
    """A log whose deliveries are made as they are read: a million of them are held by nobody."""

    def __init__(self, widths: Mapping[str, int], head: Record, records: Iterable[Record]) -> None:
        super().__init__(widths, [head])
        self._deliveries = iter(records)

    async def read(
        self, topic: str, partition: int, start: int, end: int | None
    ) -> AsyncIterator[Record]:
        if topic == "alerts.raw":
            for record in self._deliveries:
                yield record
            return
        async for record in super().read(topic, partition, start, end):
            yield record


MIXES = {2: "nothing repeats", 4: "half repeats", 10: "eight of ten repeat"}
"""By the deliveries of an episode: one in which its alerts fire, one that ends them; the others
repeat the first. Alertmanager repeats every group that fires, most of a recording is repeats."""


@pytest.mark.parametrize("episode", MIXES, ids=MIXES.values())
def test_a_what_if(policy: Policy, episode: int) -> None:
    history = _history(policy, WHAT_IF_ALERTS, episode)
    found: list[Comparison] = []
    before = _processor()
    took = _took(lambda: found.append(asyncio.run(what_if(history, policy))))
    busy = (_processor() - before) / 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    alerts, million = found[0].alerts, 1_000_000 / found[0].alerts
    print(  # noqa: T201 - a benchmark prints
        f"\nwhat-if of {alerts:,} alerts, {episode - 2} of {episode} deliveries repeats, "
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


GROUPS = 200
"""Groups that fire and end in turn, however long it goes on."""

MOST_APART = 2 * MOST_HELD_BYTES
"""What a history ten times as long may take more, in bytes: what is kept of inputs in memory, until
they go to disk, and a summary of each incident, packed."""


def test_memory_is_of_what_is_open_and_not_of_history(policy: Policy) -> None:
    peaks, incidents = [], []
    for alerts in (WHAT_IF_ALERTS // 10, WHAT_IF_ALERTS):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        history = _history(policy, alerts, 2, GROUPS, pace=300.0)
        found: list[int] = []

        async def live(history: History = history, found: list[int] = found) -> None:
            found.append(len((await Simulation(history).run()).incidents))

        asyncio.run(live())
        peaks.append(_peak())
        incidents += found
    print(  # noqa: T201 - a benchmark prints
        f"\nat most {peaks[0] >> 20} MB for {WHAT_IF_ALERTS // 10:,} alerts in {incidents[0]:,} "
        f"incidents, {peaks[1] >> 20} MB for {WHAT_IF_ALERTS:,} in {incidents[1]:,}"
    )
    assert incidents[1] > 5 * incidents[0]
    assert peaks[1] < peaks[0] + MOST_APART


def _peak() -> int:
    """The most memory this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise LookupError("no VmHWM")
