"""What is written for partitions that may be somebody else's by now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tocsin_runtime.clock import SystemClock
from tocsin_runtime.records import Outgoing, Position
from tocsin_runtime.tenure import Tenure, TenuredPublisher, TenureOver

SESSION = timedelta(seconds=30)
RECORD = Outgoing("incidents", b"shop", b"{}")


class Paused(SystemClock):
    """A clock after a pause; what sleeps hears the group meanwhile."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.naps = 0
        self.awaited = asyncio.Event()

    def monotonic(self) -> float:
        return self.ahead

    async def sleep(self, duration: timedelta) -> None:
        del duration
        self.naps += 1
        self.awaited.set()
        await asyncio.get_running_loop().run_in_executor(None, int)


class Log:
    """A `Publisher` that remembers."""

    def __init__(self) -> None:
        self.written: list[Outgoing] = []

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        self.written += records
        return ()


@pytest.fixture
def clock() -> Paused:
    return Paused()


@pytest.fixture
def tenure(clock: Paused) -> Tenure:
    return Tenure(clock, SESSION)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def publisher(log: Log, tenure: Tenure) -> TenuredPublisher:
    made = TenuredPublisher(log)
    made.tenures.append(tenure)
    return made


async def test_what_is_owned_and_was_heard_within_the_session_is_written_at_once(
    clock: Paused, tenure: Tenure, publisher: TenuredPublisher, log: Log
) -> None:
    tenure.begin()
    clock.ahead = 30.0
    await publisher.publish([RECORD])
    assert (log.written, clock.naps) == ([RECORD], 0)


async def test_after_a_longer_silence_nothing_is_written_until_the_group_has_answered(
    clock: Paused, tenure: Tenure, publisher: TenuredPublisher, log: Log
) -> None:
    tenure.begin()
    clock.ahead = 30.1
    async with asyncio.timeout(5):
        writing = asyncio.create_task(publisher.publish([RECORD]))
        await clock.awaited.wait()
        assert log.written == []
        tenure.heard(tenure.asking())
        await writing
    assert log.written == [RECORD]


async def test_when_the_group_has_given_it_away_nothing_is_written_any_more(
    clock: Paused, tenure: Tenure, publisher: TenuredPublisher, log: Log
) -> None:
    tenure.begin()
    clock.ahead = 30.1
    tenure.revoked()
    tenure.heard(tenure.asking())  # as a new member, before the old work is forgotten
    with pytest.raises(TenureOver):
        await publisher.publish([RECORD])
    assert log.written == []


async def test_a_rebalance_within_the_session_lets_the_batch_in_hand_be_written(
    tenure: Tenure, publisher: TenuredPublisher, log: Log
) -> None:
    tenure.begin()
    tenure.revoked()
    await publisher.publish([RECORD])
    assert log.written == [RECORD]


async def test_once_it_is_forgotten_the_next_share_is_written_for(
    clock: Paused, tenure: Tenure, publisher: TenuredPublisher, log: Log
) -> None:
    tenure.begin()
    clock.ahead = 30.1
    tenure.revoked()
    tenure.end(owns=False)
    await publisher.publish([RECORD])
    tenure.heard(tenure.asking())
    tenure.begin()
    await publisher.publish([RECORD])
    assert log.written == [RECORD, RECORD]
