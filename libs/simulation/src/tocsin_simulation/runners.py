"""What remediation steps run on, in memory: an effect happens or not, its answer may be lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from remediation.domain.plan import Lost, Ran, evidence
from tocsin_policy import CommandCall, HttpCall
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock
from tocsin_simulation.faults import Faults, NoFaults, Outcome
from tocsin_simulation.memory_log import call


@dataclass(frozen=True, slots=True)
class Effect:
    """Something a step did in the world.

    Attributes:
        what: `POST ops/restart`, or a program and its arguments.
        changes: Whether it is more than a look.
    """

    at: datetime
    what: str
    changes: bool


class World:
    """An `HttpRunner` and, through `command`, a `CommandRunner`; everything they do succeeds.

    Attributes:
        effects: What happened, in order, whoever heard of it.
    """

    def __init__(self, clock: Clock, faults: Faults | None = None) -> None:
        self.effects: list[Effect] = []
        self._clock = clock
        self._faults = faults or NoFaults()
        self.command = _Commands(self)

    async def run(self, call: HttpCall, timeout: timedelta) -> Ran | Lost:
        """Make the call."""
        del timeout
        return await self.happen(
            f"{call.method} {call.endpoint}{call.path}", changes=call.method not in {"GET", "HEAD"}
        )

    async def happen(self, what: str, *, changes: bool) -> Ran | Lost:
        """Let something happen, or not."""
        fate = self._faults.deliver()

        def effect() -> None:
            if fate.outcome is Outcome.REFUSED:
                raise Transient("unreachable")
            self.effects.append(Effect(self._clock.now(), what, changes))
            if fate.outcome is Outcome.UNKNOWN:
                raise Transient("timed_out")

        try:
            await call(effect, fate)
        except Transient as error:
            if fate.outcome is Outcome.UNKNOWN:
                return Lost(error.reason)
            return Ran(
                succeeded=False, reason=error.reason, evidence=evidence("refused", timedelta())
            )
        return Ran(succeeded=True, reason="as_expected", evidence=evidence("ok", timedelta()))


class _Commands:
    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self, call: CommandCall, timeout: timedelta) -> Ran | Lost:
        """Run the program."""
        del timeout
        return await self._world.happen(" ".join((call.program, *call.args)), changes=True)
