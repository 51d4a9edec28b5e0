"""A classifier that was paused past its session finds its work with another, and writes nothing.

A virtual machine that is moved, a debugger, a swapped-out process: it wakes up in the middle of
what it had decided, and does not know that others have decided since.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tocsin_cli.stack import kafka as kafka_process
from tocsin_cli.stack import topics
from tocsin_contracts.alerts import Observation, ObservationStatus, Observed
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import derive
from tocsin_incident import IncidentState, fold
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_publisher import KafkaPublisher
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.consuming import EXIT_CODE
from tocsin_runtime.events import outgoing
from tocsin_runtime.settings import EngineName
from tocsin_simulation.system import published
from tocsin_testkit.policies import a_policy
from tocsin_testkit.real_system import RealSystem

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]
PAUSED = Path(__file__).with_name("paused_classifier.py")
SESSION = timedelta(seconds=3)


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    """A broker with every topic, in one partition."""
    broker = kafka_process.start(
        kafka_process.install(ROOT), tmp_path / "kafka", log=tmp_path / "kafka.log"
    )
    asyncio.run(topics.apply_topics(broker.bootstrap, 1))
    yield broker.bootstrap
    broker.stop()


@asynccontextmanager
async def a_classifier(
    bootstrap: str, engine: EngineName, *program: str, log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of its own, that ends with the block."""
    environment = {
        "TOCSIN_KAFKA_BOOTSTRAP": bootstrap,
        "TOCSIN_KAFKA_SESSION_TIMEOUT": str(SESSION.total_seconds()),
        "TOCSIN_ENGINE": engine,
        "TOCSIN_OPS_HOST": "127.0.0.1",
    }
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *program, env=environment, stdout=said, stderr=said
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            process.send_signal(signal.SIGCONT)
            await process.wait()


async def see(publisher: KafkaPublisher, name: str, lane: str) -> None:
    """Have one alert of the group seen, in a lane."""
    now = SystemClock().now()
    observation = Observation(
        id=derive("seen", name),
        status=ObservationStatus.FIRING,
        fingerprint=derive("alert", name).hex[:16],
        starts_at=now,
        labels={"alertname": "Down", "system": "shop", "severity": "critical", "pod": name},
    )
    event: Event[Fact] = Event(
        id=derive("delivery", name),
        source="tocsin/ingestion",
        subject="shop",
        key="shop",
        occurred_at=now,
        fact=Observed(source="alertmanager", received_at=now, observations=(observation,)),
    )
    await publisher.publish([outgoing(event, topic=lane)])


def is_stopped(process: asyncio.subprocess.Process) -> bool:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


async def stopped(process: asyncio.subprocess.Process) -> None:
    """Return once the process has stopped itself."""
    async with asyncio.timeout(60):
        while not is_stopped(process):
            await SystemClock().sleep(timedelta(milliseconds=50))


def folded(log: list[Event[Fact]]) -> dict[str, IncidentState]:
    """What the log says of each incident."""
    states: dict[str, IncidentState] = {}
    for event in log:
        state = fold(states.get(event.subject), event).state
        if state is not None:
            states[event.subject] = state
    return states


@pytest.mark.parametrize("engine", list(EngineName))
async def test_a_classifier_that_was_paused_past_its_session_opens_no_second_incident(
    bootstrap: str, engine: EngineName, tmp_path: Path
) -> None:
    publisher = KafkaPublisher(KafkaConnection(bootstrap, "test"), SystemClock())
    system = RealSystem(bootstrap, "", "", "", partitions=1)
    await system.put_in_force(published(a_policy()))
    first = a_classifier(bootstrap, engine, str(PAUSED), log=tmp_path / "first.log")
    second = a_classifier(bootstrap, engine, "-m", "classifier", log=tmp_path / "second.log")
    async with first as paused:
        await see(publisher, "a", "alerts")
        await stopped(paused)
        # What comes by the other lane is first with whoever begins now.
        await see(publisher, "b", "alerts.urgent")
        async with second:
            await system.until("dispositions", lambda seen: len(seen) == 2)
            before = await system.until("incidents", lambda seen: bool(folded(seen)))
            paused.send_signal(signal.SIGCONT)
            async with asyncio.timeout(60):
                # Its supervisor starts it again, and it begins from the log.
                assert await paused.wait() == EXIT_CODE
    await publisher.stop()
    after = await system.until("incidents", lambda seen: len(seen) >= len(before))

    [state] = folded(after).values()
    assert {held.alert.labels["pod"] for held in state.alerts.values()} == {"a", "b"}
    assert "TenureOver" in (tmp_path / "first.log").read_text()
