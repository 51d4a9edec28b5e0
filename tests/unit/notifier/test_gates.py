"""Manners towards providers: with Redis, without it, and while it is away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from notifier.adapters.local_gate import BREAKS_AFTER, OPEN_FOR, LocalGate
from notifier.adapters.redis_gate import AWAY_FOR, SAID_FOR, RedisGate
from notifier.domain.pacing import PERSON, Asking, Rate, admit
from notifier.ports import Gate
from tocsin_cli.stack import valkey as valkey_process
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.clock import ManualClock

HOUR = 3_600_000
NOISY = Asking("pagerduty-oncall", Rate(HOUR, 4))
URGENT = Asking("pagerduty-oncall", Rate(HOUR, 4), urgent=True)


@pytest.fixture(params=["local", "redis", "redis away"])
async def gate(request: pytest.FixtureRequest) -> AsyncIterator[Gate]:
    if request.param == "local":
        yield LocalGate(ManualClock())
        return
    away = request.param == "redis away"
    url = "redis://127.0.0.1:1" if away else request.getfixturevalue("valkey")
    redis = RedisGate(url, SystemClock(), prefix=f"{request.node.nodeid}:")
    yield redis
    await redis.close()


async def test_an_account_has_so_many_calls_and_then_a_wait_that_is_told(gate: Gate) -> None:
    for _ in range(4):
        assert await gate.hold_off(URGENT) is None
    wait = await gate.hold_off(URGENT)
    assert wait is not None
    assert timedelta(minutes=59) < wait <= timedelta(hours=1)
    assert await gate.hold_off(Asking("another", Rate(HOUR, 4))) is None


async def test_noise_leaves_room_for_what_is_worst(gate: Gate) -> None:
    for _ in range(3):
        assert await gate.hold_off(NOISY) is None
    assert await gate.hold_off(NOISY) is not None
    assert await gate.hold_off(URGENT) is None


async def test_a_person_is_reached_so_often_by_whatever_account(gate: Gate) -> None:
    for number in range(PERSON.burst):
        assert await gate.hold_off(Asking(f"a{number}", Rate(1, 9), person="alice/sms")) is None
    assert await gate.hold_off(Asking("b", Rate(1, 9), person="alice/sms")) is not None
    assert await gate.hold_off(Asking("b", Rate(1, 9), person="bob/sms")) is None


async def test_what_is_worst_reaches_a_person_whom_noise_fills(gate: Gate) -> None:
    for _ in range(PERSON.burst):
        assert await gate.hold_off(Asking("n", Rate(1, 99), person="carol/sms")) is None
    assert await gate.hold_off(Asking("n", Rate(1, 99), person="carol/sms")) is not None
    worst = Asking("n", Rate(1, 99), urgent=True, person="carol/sms")
    assert await gate.hold_off(worst) is None


async def test_a_call_that_waits_takes_no_permit_from_others(gate: Gate) -> None:
    for _ in range(PERSON.burst):
        spent = Asking("x", Rate(1, 9), urgent=True, person="alice/sms")
        assert await gate.hold_off(spent) is None
    full = Asking("y", Rate(HOUR, 2), urgent=True, person="alice/sms")
    for _ in range(5):
        assert await gate.hold_off(full) is not None
    for _ in range(2):
        assert await gate.hold_off(Asking("y", Rate(HOUR, 2), urgent=True)) is None


async def test_a_provider_that_fails_in_a_row_is_left_alone_and_one_yes_is_enough(
    gate: Gate,
) -> None:
    for _ in range(BREAKS_AFTER):
        assert await gate.hold_off(Asking("z", Rate(1, 99))) is None
        await gate.report("z", healthy=False)
    wait = await gate.hold_off(Asking("z", Rate(1, 99), urgent=True))
    assert wait is not None
    assert wait <= OPEN_FOR
    await gate.report("z", healthy=True)
    assert await gate.hold_off(Asking("z", Rate(1, 99))) is None
    for _ in range(BREAKS_AFTER - 1):
        await gate.report("z", healthy=False)
    assert await gate.hold_off(Asking("z", Rate(1, 99))) is None


async def test_after_its_rest_a_provider_is_tried_and_one_more_no_is_enough() -> None:
    clock = ManualClock()
    gate = LocalGate(clock)
    asking = Asking("z", Rate(1, 99))
    for _ in range(BREAKS_AFTER):
        await gate.report("z", healthy=False)
    assert await gate.hold_off(asking) == OPEN_FOR
    clock.advance(OPEN_FOR)
    assert await gate.hold_off(asking) is None
    await gate.report("z", healthy=False)
    assert await gate.hold_off(asking) == OPEN_FOR


async def test_an_attempt_is_claimed_once_and_by_redis_only(valkey: str) -> None:
    clock = SystemClock()
    one, other = (RedisGate(valkey, clock, prefix="claims:") for _ in range(2))
    assert await one.claim("n-1", 1)
    assert not await other.claim("n-1", 1)
    assert await other.claim("n-1", 2)
    assert await LocalGate(clock).claim("n-1", 1)
    for gate in (one, other):
        await gate.close()


async def test_rates_are_shared_by_all_that_share_a_redis(valkey: str) -> None:
    clock = SystemClock()
    one, other = (RedisGate(valkey, clock, prefix="shared:") for _ in range(2))
    assert await one.hold_off(Asking("a", Rate(HOUR, 1), urgent=True)) is None
    assert await other.hold_off(Asking("a", Rate(HOUR, 1), urgent=True)) is not None
    for gate in (one, other):
        await gate.close()


@pytest.mark.parametrize("burst", [1, 3])
def test_over_any_time_there_is_no_more_than_a_burst_and_the_rate(burst: int) -> None:
    rate = Rate(every=100, burst=burst)
    spent: dict[str, int] = {}
    taken = 0
    for now in range(10_000):
        spent, wait = admit(spent, {"a": rate}, now)
        taken += wait == 0
    assert taken == burst + 99


async def test_a_redis_that_stops_costs_a_tenth_of_a_second_once_and_no_call(
    tmp_path: Path,
) -> None:
    server = valkey_process.start(log=tmp_path / "valkey.log", owner=os.getpid())
    clock = SystemClock()
    gate = RedisGate(server.url, clock)
    asking = Asking("a", Rate(HOUR, 100), urgent=True)
    try:
        assert await gate.hold_off(asking) is None
        server.stop()
        began = clock.monotonic()
        for _ in range(20):
            assert await gate.hold_off(asking) is None
            await gate.report("a", healthy=True)
            assert await gate.claim("n-1", 1)
        assert clock.monotonic() - began < AWAY_FOR.total_seconds()
    finally:
        await gate.close()
        server.stop()


async def test_of_many_who_ask_at_once_as_many_go_as_there_is_room_for(gate: Gate) -> None:
    waits = await asyncio.gather(*(gate.hold_off(URGENT) for _ in range(20)))
    assert waits.count(None) == 4
    assert all(wait is None or wait > timedelta(minutes=59) for wait in waits)


async def test_of_many_who_ask_at_once_one_may_be_called_off(gate: Gate) -> None:
    asking = [asyncio.create_task(gate.hold_off(URGENT)) for _ in range(3)]
    asking[0].cancel()
    assert await asyncio.gather(*asking[1:]) == [None, None]


async def test_a_yes_of_another_process_closes_a_circuit_soon_though_it_says_so_seldom(
    valkey: str,
) -> None:
    clock = ManualClock()
    one, other = (RedisGate(valkey, clock, prefix="well:") for _ in range(2))
    asking = Asking("z", Rate(1, 99))
    await one.report("z", healthy=True)
    for _ in range(BREAKS_AFTER):
        await other.report("z", healthy=False)
    assert await one.hold_off(asking) is not None
    clock.advance(SAID_FOR)
    await one.report("z", healthy=True)
    assert await other.hold_off(asking) is None
    for gate in (one, other):
        await gate.close()
