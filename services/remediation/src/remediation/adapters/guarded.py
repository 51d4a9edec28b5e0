"""A runner that tells no secret: not in a plan, not in evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Generic

from remediation.domain.plan import MOST_OUTPUT, Lost, Planned, Ran
from remediation.ports import C_contra, Runner
from tocsin_policy.redacting import Redactor

_CUT = "… (cut)"


class Guarded(Generic[C_contra]):
    """Redacts what a runner says, and cuts it after that. A `Runner`.

    `changed` and a plan's `before` are left as they are: an undo from a masked value would not be
    exact. Runners keep secrets out of them. An `answer` is masked and not cut; a value that was
    masked is refused where it would be kept.
    """

    def __init__(self, runner: Runner[C_contra], redact: Redactor) -> None:
        self._runner = runner
        self._redact = redact

    async def plan(self, call: C_contra, timeout: timedelta) -> Planned | Ran:
        """The runner's plan, without secrets."""
        planned = await self._runner.plan(call, timeout)
        if isinstance(planned, Ran):
            return self._ran(planned)
        return replace(planned, state=self._text(planned.state), diff=self._text(planned.diff))

    async def run(self, call: C_contra, timeout: timedelta) -> Ran | Lost:
        """What the runner did, without secrets."""
        return self._outcome(await self._runner.run(call, timeout))

    async def verify(self, call: C_contra, timeout: timedelta) -> Ran | Lost:
        """What the runner saw, without secrets."""
        return self._outcome(await self._runner.verify(call, timeout))

    async def undo(
        self, call: C_contra, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """What the runner put back, without secrets."""
        return self._outcome(await self._runner.undo(call, changed, timeout))

    def _outcome(self, outcome: Ran | Lost) -> Ran | Lost:
        return self._ran(outcome) if isinstance(outcome, Ran) else outcome

    def _ran(self, ran: Ran) -> Ran:
        told = ran.evidence.model_copy(update={"output": self._text(ran.evidence.output)})
        return replace(ran, evidence=told, answer=self._redact(ran.answer))

    def _text(self, text: str) -> str:
        told = self._redact(text)
        return told if len(told) <= MOST_OUTPUT + len(_CUT) else told[:MOST_OUTPUT] + _CUT
