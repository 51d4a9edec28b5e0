"""A recording lived through twice, side by side: as it was, and with a change.

The two runs know nothing of each other, so a long one is a process of its own and two cores do
both. A short one is not worth the second that starting a process takes.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import structlog

from tocsin_policy import Policy, parse_policy, policy_document
from tocsin_replay.history import History
from tocsin_replay.reading import Progress
from tocsin_replay.simulating import Lived, Simulation
from tocsin_replay.supposing import Supposed

WORTH_A_PROCESS = 2_000
"""Deliveries from which on the second run has a process of its own."""

_LOOK_SECONDS = 0.2


async def live_twice(
    history: History,
    instead: Policy | None,
    supposed: Supposed | None,
    progress: Progress | None = None,
    *,
    worth: int = WORTH_A_PROCESS,
) -> tuple[Lived, Lived]:
    """What came of it as it was, and with the change. The same, however many processes do it.

    Raises:
        ValueError: It is supposed of something that there is not.
    """
    if len(history.inputs) < worth:
        before = await Simulation(history).run(progress)
        return before, await Simulation(history, instead, supposed).run(progress)
    history.scratch.make()  # what the other process puts there must not go with it
    # Started anew, not forked: whoever asks may hold locks and threads of a reader.
    context = multiprocessing.get_context("spawn")
    count = context.Value("q", 0)
    with ProcessPoolExecutor(1, context, initializer=_share, initargs=(count,)) as pool:
        document = None if instead is None else policy_document(instead)
        other = pool.submit(_live, history, document, supposed)
        told = _Told(count, progress)
        before = await Simulation(history).run(told.own)
        return before, _waited_for(other, told)


class _Told:
    """Progress of both runs as one."""

    def __init__(self, count: Any, progress: Progress | None) -> None:  # noqa: ANN401 - a shared int
        self._count = count
        self._progress = progress
        self._seen = 0

    def own(self, more: int) -> None:
        if self._progress is not None:
            self._progress(more + self._others())

    def look(self) -> None:
        if self._progress is not None:
            self._progress(self._others())

    def _others(self) -> int:
        now: int = self._count.value
        more, self._seen = now - self._seen, now
        return more


def _waited_for(other: Future[Lived], told: _Told) -> Lived:
    while True:
        try:
            found = other.result(_LOOK_SECONDS)
        except NotYet:
            told.look()
            continue
        told.look()
        return found


# In the other process.

_counts: list[Any] = []


def _share(count: Any) -> None:  # noqa: ANN401 - a shared int
    _counts.append(count)
    # What handlers log while they live through it again is no answer to whoever asked.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _live(history: History, document: dict[str, Any] | None, supposed: Supposed | None) -> Lived:
    def progress(more: int) -> None:
        for count in _counts:
            count.value += more

    instead = None if document is None else parse_policy(document)
    lived: list[Lived] = []

    async def run() -> None:
        # Not returned: the runner writes out what a coroutine returns, and throws it away.
        lived.append(await Simulation(history, instead, supposed).run(progress))

    asyncio.run(run())
    return lived[0]
