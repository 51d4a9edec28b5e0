"""The deterministic loop: time, order, death and pause."""
# ruff: noqa: TID251 - what sleeps here is virtual time

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tocsin_simulation.loop import Deadlock, Livelock, SimulatedLoop, running_loop, simulate


async def _busy(log: list[str], name: str) -> None:
    for number in range(5):
        await asyncio.sleep(0.5)
        log.append(f"{name}{number}")


async def _everything_asyncio_has() -> list[str]:
    log: list[str] = []
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    lock, event = asyncio.Lock(), asyncio.Event()

    async def produce() -> None:
        for number in range(3):
            await queue.put(number)
        event.set()

    async def consume() -> None:
        for _ in range(3):
            number = await queue.get()
            async with lock:
                await asyncio.sleep(0.1)
                log.append(f"got {number}")

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        group.create_task(consume())
    await event.wait()
    try:
        async with asyncio.timeout(60):
            await asyncio.Event().wait()
    except TimeoutError:
        log.append(f"timeout at {asyncio.get_running_loop().time():g}")
    log.append(str(await asyncio.gather(*(asyncio.sleep(1, n) for n in range(3)))))
    return log


def test_the_whole_of_asyncio_works_in_virtual_time() -> None:
    assert simulate(_everything_asyncio_has()) == [
        "got 0",
        "got 1",
        "got 2",
        "timeout at 60.3",
        "[0, 1, 2]",
    ]


def _race(seed: int) -> tuple[list[str], str]:
    async def main() -> tuple[list[str], str]:
        loop, log = running_loop(), []
        actors = [loop.spawn(name, _busy(log, name)) for name in "abc"]
        await asyncio.wait([a.main for a in actors if a.main is not None])
        return log, loop.digest()

    return simulate(main(), seed=seed)


def test_the_same_seed_gives_the_same_run() -> None:
    assert _race(7) == _race(7)


def test_another_seed_gives_another_interleaving_between_actors() -> None:
    assert len({tuple(_race(seed)[0]) for seed in range(20)}) > 10


def test_the_hash_seed_of_the_interpreter_changes_nothing() -> None:
    program = (
        "import sys, importlib.util as u; s = u.spec_from_file_location('t', sys.argv[1]);"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m._race(3)[1])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__))],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(digests) == 1


def test_callbacks_of_one_actor_keep_their_order() -> None:
    async def main() -> list[int]:
        loop, log = running_loop(), []

        async def process() -> None:
            for number in range(50):
                loop.call_soon(log.append, number)
            await asyncio.sleep(1)

        actor = loop.spawn("one", process())
        loop.spawn("other", process())
        assert actor.main is not None
        await asyncio.wait([actor.main])
        return log

    log = simulate(main(), seed=5)
    seen: list[list[int]] = [[], []]
    for number in log:
        next(s for s in seen if len(s) == number).append(number)
    assert seen == [list(range(50))] * 2


def _killed_while_it_waits(effects: list[str]) -> Coroutine[Any, Any, None]:
    async def generator() -> Any:
        try:
            yield 1
            await asyncio.sleep(10)
            yield 2
        finally:
            effects.append("generator's finally")

    async def child() -> None:
        try:
            async for number in generator():
                effects.append(f"started {number}")  # noqa: PERF401 - one step at a time
        except asyncio.CancelledError:
            effects.append("cancelled")
        finally:
            effects.append("finally")

    async def process() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        finally:
            effects.append("outer finally")

    async def main() -> None:
        loop = running_loop()
        actor = loop.spawn("victim", process())
        await asyncio.sleep(5)
        loop.kill(actor)
        await asyncio.sleep(3600)
        effects.append("the end")

    return main()


def test_a_killed_actor_runs_no_finally_and_no_except() -> None:
    effects: list[str] = []
    simulate(_killed_while_it_waits(effects))
    assert effects[: effects.index("the end")] == ["started 1"]


def test_a_message_already_on_its_way_arrives_though_its_sender_is_dead() -> None:
    async def main() -> list[str]:
        loop, arrived = running_loop(), []

        async def send() -> None:
            loop.call_as(loop.world, 1, arrived.append, "message")
            loop.call_later(1, arrived.append, "own timer")
            await asyncio.sleep(10)

        actor = loop.spawn("sender", send())
        await asyncio.sleep(0.5)
        loop.kill(actor)
        await asyncio.sleep(10)
        return arrived

    assert simulate(main()) == ["message"]


def test_a_paused_actor_goes_on_later_in_a_world_that_moved_on() -> None:
    async def main() -> list[str]:
        loop, log = running_loop(), []

        async def process() -> None:
            await asyncio.sleep(1)
            log.append(f"zombie writes at {loop.time():g}")

        actor = loop.spawn("zombie", process())
        await asyncio.sleep(0.5)
        loop.pause(actor, 60)
        await asyncio.sleep(30)
        log.append("the world moved on")
        await asyncio.sleep(60)
        return log

    assert simulate(main()) == ["the world moved on", "zombie writes at 60.5"]


def test_an_actor_can_be_killed_between_any_two_awaits() -> None:
    def run(die_at: int) -> list[int]:
        async def main() -> list[int]:
            loop, log = running_loop(), []

            async def process() -> None:
                for number in range(5):
                    log.append(number)
                    await asyncio.sleep(0)

            def interfere(actor: Any) -> None:
                if actor.steps == die_at:
                    loop.kill(actor)

            loop.interfere = interfere
            loop.spawn("victim", process())
            await asyncio.sleep(1)
            return log

        return simulate(main())

    assert [run(die_at) for die_at in range(4)] == [[], [0], [0, 1], [0, 1, 2]]


def test_a_deadlock_names_the_task_and_the_line_it_waits_at() -> None:
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="waits_for_ever"):
        simulate(waits_for_ever())


def test_time_that_stands_still_is_a_livelock() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 - the livelock itself
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="spin"):
        simulate(spin())


def test_a_callback_that_raises_ends_the_simulation() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        running_loop().call_later(1, broken)
        await asyncio.sleep(2)

    with pytest.raises(ZeroDivisionError):
        simulate(main())


async def test_a_part_of_the_simulation_refuses_a_real_loop() -> None:
    with pytest.raises(TypeError, match="SimulatedLoop"):
        running_loop()


def test_no_one_wakes_before_the_instant_asked_for() -> None:
    async def main() -> bool:
        loop = running_loop()
        for _ in range(1000):
            due = loop.time() + 0.0000013
            await asyncio.sleep(0.0000013)
            if loop.time() < due:
                return False
        return True

    assert simulate(main())


def test_a_loop_that_was_closed_takes_no_more_tasks() -> None:
    loop = SimulatedLoop()
    loop.close()
    with pytest.raises(RuntimeError, match="over"):
        loop.create_task(asyncio.sleep(0))
