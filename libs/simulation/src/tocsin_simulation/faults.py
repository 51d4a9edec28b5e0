"""What goes wrong in a simulation, and when: all of it drawn from one seed.

The log, the groups and the fake providers ask here what becomes of each call. `NoFaults` is a
perfect world; `SeededFaults` is a bad day that can be had again by its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

from tocsin_simulation.loop import Actor, SimulatedLoop

T = TypeVar("T")


class Outcome(StrEnum):
    """What becomes of a call to something outside the process."""

    DONE = "done"
    """It was done, and the caller hears so."""
    REFUSED = "refused"
    """It was not done, and the caller hears of a failure."""
    UNKNOWN = "unknown"
    """It was done, and the caller hears of a failure: a lost answer, a timeout after the fact."""


@dataclass(frozen=True, slots=True)
class Fate:
    """The way one call goes.

    Attributes:
        there: Seconds until it arrives.
        back: Seconds until the answer arrives.
    """

    outcome: Outcome = Outcome.DONE
    there: float = 0.0
    back: float = 0.0


class Faults(Protocol):
    """Decides what goes wrong."""

    def append(self) -> Fate:
        """The fate of one publish."""
        ...

    def ask(self) -> Fate:
        """The fate of a read, a commit, a heartbeat: delays only."""
        ...

    def deliver(self) -> Fate:
        """The fate of a call to a provider."""
        ...

    def gap(self) -> int:
        """Offsets to leave out before the next record, as compaction and transactions do."""
        ...

    def rewind(self, committed: int) -> int:
        """Where to read on from after an assignment, at most `committed`."""
        ...

    def batch(self, most: int) -> int:
        """How many records to hand over at once, at most."""
        ...


class NoFaults:
    """Everything works, at once."""

    def append(self) -> Fate:
        """Done."""
        return Fate()

    def ask(self) -> Fate:
        """Done."""
        return Fate()

    def deliver(self) -> Fate:
        """Done."""
        return Fate()

    def gap(self) -> int:
        """None: offsets are contiguous."""
        return 0

    def rewind(self, committed: int) -> int:
        """Exactly where the commit says."""
        return committed

    def batch(self, most: int) -> int:
        """As many as allowed."""
        return most


@dataclass(frozen=True, slots=True)
class Rates:
    """How often each fault strikes; probabilities are per call.

    Attributes:
        latency: Mean one-way travel of a message, in seconds.
        slow: Chance that a message takes up to a hundred times as long.
        crash: Chance that the caller dies within the next few of its steps.
        pause: Chance that the caller stands still for a while, at times past its session.
        pause_for: Shortest and longest such pause.
        refused: Chance that an append fails without having happened.
        unknown: Chance that an append happens and its answer is lost.
        provider_refused: Chance that a provider fails.
        provider_unknown: Chance that a provider accepts and its answer is lost.
        gap: Chance that offsets are left out before a record.
        rewind: Chance that a committed offset was lost and an older one is read from.
        step: Mean number of steps of the wall clock in an hour.
        step_by: Longest such step, forward or back.
    """

    latency: float = 0.002
    slow: float = 0.02
    crash: float = 0.01
    pause: float = 0.004
    pause_for: tuple[timedelta, timedelta] = (timedelta(seconds=1), timedelta(seconds=60))
    refused: float = 0.02
    unknown: float = 0.02
    provider_refused: float = 0.05
    provider_unknown: float = 0.05
    gap: float = 0.02
    rewind: float = 0.1
    step: float = 2.0
    step_by: timedelta = timedelta(seconds=5)


DOOM_WITHIN_STEPS = 12
"""A crash or pause strikes at one of this many steps after the call that drew it."""


@dataclass(slots=True)
class SeededFaults:
    """A bad day, the same every time for one seed.

    Args:
        seed: Decides everything.
        rates: How bad.
        kill: What to do with an actor whose time has come; `SimulatedLoop.kill` if not given.

    Attributes:
        active: Set it to `False` for calm: from then on everything works, if not at once.
        counts: How often each fault has struck.
    """

    seed: int
    rates: Rates = Rates()
    kill: Callable[[Actor], None] | None = None
    active: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    _doomed: dict[str, tuple[int, str]] = field(default_factory=dict)
    _random: random.Random = field(init=False)
    _loop: SimulatedLoop | None = None
    _away_until: float = 0.0

    def __post_init__(self) -> None:
        self._random = random.Random(f"faults {self.seed}")  # noqa: S311 - a seeded schedule

    def install(self, loop: SimulatedLoop) -> None:
        """Have this day happen on `loop`."""
        self._loop = loop
        loop.interfere = self._interfere

    def away(self, duration: timedelta) -> None:
        """Have the log take nothing for a while."""
        if self._loop is not None:
            self._away_until = self._loop.time() + duration.total_seconds()

    def chance(self, probability: float, fault: str) -> bool:
        """Whether this fault strikes now; counts it if so."""
        if not self.active or self._random.random() >= probability:
            return False
        self.counts[fault] = self.counts.get(fault, 0) + 1
        return True

    def choose(self, among: Sequence[T]) -> T:
        """One of these."""
        return among[self._random.randrange(len(among))]

    def between(self, low: float, high: float) -> float:
        """A number in this range."""
        return self._random.uniform(low, high)

    def append(self) -> Fate:
        """Late, refused, or done with the answer lost; and it may be the caller's last call."""
        self._doom()
        if self.active and self._loop is not None and self._loop.time() < self._away_until:
            self.counts["log away"] = self.counts.get("log away", 0) + 1
            return self._fate(Outcome.REFUSED)
        if self.chance(self.rates.refused, "append refused"):
            return self._fate(Outcome.REFUSED)
        if self.chance(self.rates.unknown, "append answer lost"):
            return self._fate(Outcome.UNKNOWN)
        return self._fate(Outcome.DONE)

    def ask(self) -> Fate:
        """Late."""
        self._doom(scale=0.25)
        return self._fate(Outcome.DONE)

    def deliver(self) -> Fate:
        """Late, refused, or accepted with the answer lost."""
        self._doom(scale=3)
        if self.chance(self.rates.provider_refused, "provider refused"):
            return self._fate(Outcome.REFUSED)
        if self.chance(self.rates.provider_unknown, "provider answer lost"):
            return self._fate(Outcome.UNKNOWN)
        return self._fate(Outcome.DONE)

    def gap(self) -> int:
        """Now and then a few."""
        return self._random.randrange(1, 5) if self.chance(self.rates.gap, "offset gap") else 0

    def rewind(self, committed: int) -> int:
        """Now and then anywhere before."""
        if committed > 0 and self.chance(self.rates.rewind, "rewound"):
            return self._random.randrange(committed)
        return committed

    def batch(self, most: int) -> int:
        """Anything from one to all."""
        one_to_all = self._random.random() < 0.5  # noqa: PLR2004 - a coin
        return self._random.randint(1, most) if one_to_all else most

    def _fate(self, outcome: Outcome) -> Fate:
        return Fate(outcome, self._travel(), self._travel())

    def _travel(self) -> float:
        seconds = self._random.expovariate(1 / self.rates.latency)
        if self.chance(self.rates.slow, "slow message"):
            seconds *= self._random.uniform(1, 100)
        return seconds

    def _doom(self, scale: float = 1.0) -> None:
        if self._loop is None:
            return
        actor = self._loop.actor()
        if actor is self._loop.world or actor.name in self._doomed:
            return
        for fate, probability in (("crash", self.rates.crash), ("pause", self.rates.pause)):
            if self.chance(probability * scale, fate):
                steps = self._random.randrange(DOOM_WITHIN_STEPS)
                self._doomed[actor.name] = (actor.steps + steps, fate)
                return

    def _interfere(self, actor: Actor) -> None:
        doom = self._doomed.get(actor.name)
        if doom is None or actor.steps < doom[0] or self._loop is None:
            return
        del self._doomed[actor.name]
        if doom[1] == "crash":
            (self.kill or self._loop.kill)(actor)
        else:
            shortest, longest = self.rates.pause_for
            seconds = self.between(shortest.total_seconds(), longest.total_seconds())
            self._loop.pause(actor, seconds)
