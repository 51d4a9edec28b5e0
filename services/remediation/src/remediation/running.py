"""Asking runners: what a step would do, to do it, to look, to take it back.

Within its time, whatever a runner does; and with what an exact undo has to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import Any

from remediation.domain.plan import Lost, Planned, Ran, evidence
from remediation.domain.undoing import NotKnown, remembering, undo_of, values_of
from remediation.ports import Runner
from tocsin_policy import AnyCall, Before, Call, PlaybookStep

GRACE = timedelta(seconds=30)
"""What a runner may take beyond its own time limit before nobody waits for it any longer."""


class Runners:
    """The runners there are, by the name of what they run, asked for whole steps."""

    def __init__(self, each: Mapping[str, Runner[Any]]) -> None:
        self._each = each

    async def plan(self, step: PlaybookStep, parameters: Mapping[str, str]) -> Planned | Ran:
        """The runner's plan, with what the step's undo has to know; a failed `Ran` says why not.

        Args:
            parameters: What the incident brought into the step's calls.
        """
        made = await self._plan(step)
        if isinstance(made, Ran) or step.before is None:
            return made
        looked = await self.run(step.before, step.timeout)
        if isinstance(looked, Lost) or not looked.succeeded:
            told = looked.reason if isinstance(looked, Lost) else looked.evidence.output
            return failed("before_not_seen", f"{looked.reason}: {told}")
        values = values_of(step.before, looked.answer)
        if isinstance(values, NotKnown):
            return failed(values.reason, values.detail)
        undo = undo_of(step, parameters, values)
        if isinstance(undo, NotKnown):
            return failed(undo.reason, undo.detail)
        return remembering(made, values)

    async def _plan(self, step: PlaybookStep) -> Planned | Ran:
        found = self._found(step)
        if isinstance(found, Ran):
            return found
        runner, call = found
        try:
            async with asyncio.timeout((step.timeout + GRACE).total_seconds()):
                return await runner.plan(call, step.timeout)
        except TimeoutError:
            return failed("plan_timed_out", f"no plan within {step.timeout}")

    async def run(self, what: Call | Before | PlaybookStep, timeout: timedelta) -> Ran | Lost:
        """Do it."""
        found = self._found(what)
        if isinstance(found, Ran):
            return found
        runner, call = found
        return await _in_time(runner.run(call, timeout), timeout)

    async def look(self, what: Call, within: timedelta) -> Ran | Lost:
        """Look, until it is as the call expects or the time is over."""
        found = self._found(what)
        if isinstance(found, Ran):
            return found
        runner, call = found
        return await _in_time(runner.verify(call, within), within)

    async def undo(
        self, step: PlaybookStep, parameters: Mapping[str, str], changed: Mapping[str, str]
    ) -> Ran | Lost:
        """Take it back: exactly where that is known, else as the playbook says.

        Args:
            parameters: As for `plan`.
            changed: What the step changed, or what its plan saw.
        """
        outcome: Ran | Lost = failed("no_undo", "nobody says how")
        undo = step.undo
        if step.before is not None:
            whole = undo_of(step, parameters, changed)
            if isinstance(whole, NotKnown):
                return failed(whole.reason, whole.detail)
            undo = whole
        elif changed:
            outcome = await self._put_back(step, changed)
        if undo is None or isinstance(outcome, Lost) or outcome.reason != "no_undo":
            return outcome
        return await self.run(undo, step.timeout)

    async def _put_back(self, step: PlaybookStep, changed: Mapping[str, str]) -> Ran | Lost:
        found = self._found(step)
        if isinstance(found, Ran):
            return found
        runner, call = found
        return await _in_time(runner.undo(call, changed, step.timeout), step.timeout)

    def _found(self, what: Call | Before | PlaybookStep) -> tuple[Runner[Any], AnyCall] | Ran:
        """The one call that is named, and who runs it."""
        for name, call in what.calls():
            runner = self._each.get(name)
            if runner is None:
                return failed("runner_not_configured", f"nothing here runs {name} steps")
            return runner, call
        return failed("nothing_to_run", "it names no call")


def failed(reason: str, detail: str) -> Ran:
    """A run that did not begin."""
    return Ran(succeeded=False, reason=reason, evidence=evidence(detail, timedelta()))


async def _in_time(doing: Awaitable[Ran | Lost], timeout: timedelta) -> Ran | Lost:
    """What a runner says; one that outlives its own time limit by far says nothing any more."""
    try:
        async with asyncio.timeout((timeout + GRACE).total_seconds()):
            return await doing
    except TimeoutError:
        return Lost("runner_did_not_answer")
