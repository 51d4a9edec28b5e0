"""What remediation steps run on, in memory: an effect happens or not, its answer may be lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from remediation.domain.plan import Lost, Planned, Ran, evidence, shown
from remediation.ports import Runner
from tocsin_policy import (
    RUNNERS,
    AnyCall,
    HttpCall,
    KubernetesCall,
    PrometheusCall,
    RedisCall,
    SqlCall,
)
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock
from tocsin_simulation.faults import Faults, NoFaults, Outcome
from tocsin_simulation.memory_log import call as travel


@dataclass(frozen=True, slots=True)
class Effect:
    """Something a step did in the world.

    Attributes:
        what: The call as people read it: `POST ops/restart`, or a program and its arguments.
        changes: Whether it is more than a look.
        how: `run`, `verify` or `undo`.
    """

    at: datetime
    what: str
    changes: bool
    how: str = "run"


class World:
    """Runs every kind of call, in memory; everything succeeds unless a test says otherwise.

    Attributes:
        effects: What happened, in order, whoever heard of it.
        answers: What a call answers instead, by its text; it has its effect all the same.
        hang: Calls, by their text, that have their effect and never answer.
        looks: What stands at each target, by its text; a plan tells one world from another by it.
        plans_in: How long a plan takes.
        pods: How much each call touches, by its text.
        before: What a plan of a call says an undo needs to know, by its text.
        runners: A runner for each kind of call.
    """

    def __init__(self, clock: Clock, faults: Faults | None = None) -> None:
        self.effects: list[Effect] = []
        self.answers: dict[str, Ran | Lost] = {}
        self.hang: set[str] = set()
        self.looks: dict[str, str] = {}
        self.plans_in = timedelta()
        self.pods: dict[str, int] = {}
        self.before: dict[str, Mapping[str, str]] = {}
        self.happened: list[Callable[[Effect], None]] = []
        self.runners: Mapping[str, Runner[Any]] = {name: _Runner(self, name) for name in RUNNERS}
        self._clock = clock
        self._faults = faults or NoFaults()

    async def happen(self, what: str, *, changes: bool, how: str = "run") -> Ran | Lost:
        """Let something happen, or not."""
        fate = self._faults.deliver()

        def effect() -> None:
            if fate.outcome is Outcome.REFUSED:
                raise Transient("unreachable")
            done = Effect(self._clock.now(), what, changes, how)
            self.effects.append(done)
            for heard in self.happened:
                heard(done)
            if fate.outcome is Outcome.UNKNOWN:
                raise Transient("timed_out")

        try:
            await travel(effect, fate)
        except Transient as error:
            if fate.outcome is Outcome.UNKNOWN:
                return Lost(error.reason)
            return ran(good=False, reason=error.reason, output="refused")
        if what in self.hang:
            await self.wait(timedelta(days=365))
        return self.answers.get(what, ran())

    async def wait(self, duration: timedelta) -> None:
        """Let the world take its time."""
        if duration:
            await self._clock.sleep(duration)


def ran(
    *, good: bool = True, reason: str = "", output: str = "ok", answer: str = "", **changed: str
) -> Ran:
    """An outcome, for a test to have a call answer; keyword arguments are what it changed."""
    said = reason or ("as_expected" if good else "not_as_expected")
    return Ran(good, said, evidence(output, timedelta()), changed, answer)


def target_of(runner: str, call: AnyCall) -> str:
    """What a call acts on."""
    match call:
        case KubernetesCall():
            return f"{call.cluster}/{call.namespace}/{call.resource or call.selector}"
        case HttpCall():
            return f"http:{call.endpoint}{call.path}"
        case _:
            return f"{runner}:{shown(call)}"


_READS = frozenset({"rollout_status", "logs", "state"})


def _changes(call: AnyCall) -> bool:
    match call:
        case HttpCall():
            return call.method not in {"GET", "HEAD"}
        case KubernetesCall():
            return call.action not in _READS
        case SqlCall():
            return call.writes
        case RedisCall():
            return call.action in {"delete_matching", "flush_database"}
        case PrometheusCall():
            return False
        case _:
            return True


class _Runner:
    """One kind of call. A `Runner`."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    async def plan(self, call: AnyCall, timeout: timedelta) -> Planned | Ran:
        """What it would do to the world as it is."""
        del timeout
        await self._world.wait(self._world.plans_in)
        target, what = target_of(self._name, call), shown(call)
        looks = self._world.looks.get(target, "as ever")
        return Planned(
            targets=(target,),
            state=f"{target}: {looks}",
            diff=what,
            pods=self._world.pods.get(what, 1),
            fingerprint=looks,
            before=self._world.before.get(what, {}),
        )

    async def run(self, call: AnyCall, timeout: timedelta) -> Ran | Lost:
        """Do it."""
        del timeout
        return await self._world.happen(shown(call), changes=_changes(call))

    async def verify(self, call: AnyCall, timeout: timedelta) -> Ran | Lost:
        """Look."""
        del timeout
        return await self._world.happen(shown(call), changes=False, how="verify")

    async def undo(
        self, call: AnyCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Put back what a run changed."""
        del timeout
        back = ", ".join(f"{name}={value}" for name, value in sorted(changed.items()))
        return await self._world.happen(f"put back {shown(call)}: {back}", changes=True, how="undo")
