"""GitHub steps: start a workflow, and wait for the run that this start made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from remediation.adapters.http_exchange import Answer, Exchange, NotSent, Request, Unanswered
from remediation.adapters.outcomes import (
    LONGEST_LOOK,
    LOOK_EVERY,
    Timer,
    failed,
    fingerprint,
    no_undo,
    until,
)
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import GitHubCall
from tocsin_runtime.ports import Clock

API_VERSION = "2022-11-28"
_OK = 200
_ACCEPTED = 204
_WAITING = frozenset({"queued", "in_progress", "waiting", "requested", "pending"})


_Shape = TypeVar("_Shape", bound=BaseModel)


class _Workflow(BaseModel):
    name: str
    path: str
    state: str


class _Commit(BaseModel):
    sha: str


class _Dispatched(BaseModel):
    workflow_run_id: int


class _Run(BaseModel):
    id: int
    status: str
    conclusion: str | None = None
    html_url: str = ""
    head_sha: str = ""


class _Runs(BaseModel):
    workflow_runs: list[_Run]


class GitHubRunner:
    """Dispatches a workflow with `return_run_details`, which names the run. A `Runner`.

    A server that does not know that field answers 204 without a run: the run is then the only
    dispatched one of this workflow and ref that was not there before. Where there are two, nobody
    can say which is ours, and the outcome is lost.
    """

    def __init__(
        self, exchange: Exchange, clock: Clock, *, look_every: timedelta = LOOK_EVERY
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: GitHubCall, timeout: timedelta) -> Planned | Ran:
        """The workflow and the commit it would run at; nothing is started."""
        timer = Timer(self._clock)
        ref = f"/repos/{call.repository}/commits/{quote(call.ref, safe='')}"
        workflow = await self._get(_Workflow, call, _workflow(call), timeout)
        if isinstance(workflow, Ran):
            return workflow
        commit = await self._get(_Commit, call, ref, timer.left(timeout))
        if isinstance(commit, Ran):
            return commit
        if workflow.state != "active":
            return failed("workflow_disabled", f"{workflow.path} is {workflow.state}")
        inputs = json.dumps(dict(call.inputs), indent=2, ensure_ascii=False)
        return Planned(
            targets=(f"github:{call.repository}/{call.workflow}",),
            state=f"{workflow.name} ({workflow.path}) is active; {call.ref} is {commit.sha}",
            diff=f"run {call.workflow} of {call.repository} at {call.ref} with {inputs}",
            pods=1,
            fingerprint=fingerprint(workflow.path, commit.sha, inputs),
        )

    async def run(self, call: GitHubCall, timeout: timedelta) -> Ran | Lost:
        """Start it, and say how its run ended.

        The run goes on when the time is over: that it was started is known, how it ends is not.
        """
        timer = Timer(self._clock)
        before = await self._get(_Runs, call, _runs(call), timeout)
        if isinstance(before, Ran):
            return before
        known = frozenset(run.id for run in before.workflow_runs)
        body = {"ref": call.ref, "inputs": dict(call.inputs), "return_run_details": True}
        answer = await self._send(
            call, "POST", _workflow(call) + "/dispatches", timer.left(timeout), json.dumps(body)
        )
        match answer:
            case NotSent(reason, detail):
                return failed(reason, detail, timer.took())
            case Unanswered(reason):
                return Lost(reason)
            case Answer() if answer.status >= 500:  # noqa: PLR2004 - their side's trouble
                return Lost(f"http_{answer.status}")
            case Answer() if answer.status not in {_OK, _ACCEPTED}:
                return _refused(answer, timer.took())
        started = await self._started(call, answer, known, timer, timeout)
        if isinstance(started, Lost):
            return started
        return await self._finished(call, started, timer, timeout)

    async def verify(self, call: GitHubCall, timeout: timedelta) -> Ran | Lost:
        """Look whether the last dispatched run of the workflow at its ref succeeded."""

        async def look(left: timedelta) -> Ran | Lost:
            timer = Timer(self._clock)
            runs = await self._get(_Runs, call, _runs(call), left)
            if isinstance(runs, Ran):
                return runs
            last = max(runs.workflow_runs, key=lambda run: run.id, default=None)
            return failed("no_run", "it never ran") if last is None else _ended(last, timer.took())

        return await until(look, timeout, self._clock, self._look_every)

    async def undo(
        self, call: GitHubCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: what a workflow did only another one, which the playbook names, undoes."""
        del call, changed, timeout
        return no_undo("only another workflow takes a workflow back")

    async def _started(
        self,
        call: GitHubCall,
        answer: Answer,
        known: frozenset[int],
        timer: Timer,
        timeout: timedelta,
    ) -> int | Lost:
        if answer.status == _OK:
            try:
                return _Dispatched.model_validate_json(answer.body).workflow_run_id
            except ValidationError:
                return Lost("run_not_named")
        while timer.left(timeout):
            runs = await self._get(_Runs, call, _runs(call), min(timer.left(timeout), LONGEST_LOOK))
            if isinstance(runs, _Runs):
                new = [run.id for run in runs.workflow_runs if run.id not in known]
                if len(new) == 1:
                    return new[0]
                if new:
                    return Lost("run_not_known")
            await self._clock.sleep(min(self._look_every, timer.left(timeout)))
        return Lost("run_not_seen")

    async def _finished(
        self, call: GitHubCall, run: int, timer: Timer, timeout: timedelta
    ) -> Ran | Lost:
        where = f"/repos/{call.repository}/actions/runs/{run}"
        while timer.left(timeout):
            seen = await self._get(_Run, call, where, min(timer.left(timeout), LONGEST_LOOK))
            if isinstance(seen, _Run) and seen.status not in _WAITING:
                return _ended(seen, timer.took())
            await self._clock.sleep(min(self._look_every, timer.left(timeout)))
        return Lost("still_running")

    async def _get(
        self, shape: type[_Shape], call: GitHubCall, path: str, timeout: timedelta
    ) -> _Shape | Ran:
        timer = Timer(self._clock)
        answer = await self._send(call, "GET", path, timeout)
        match answer:
            case NotSent(reason, detail):
                return failed(reason, detail, timer.took())
            case Unanswered(reason):
                return failed(reason, "no answer", timer.took())
            case Answer() if answer.status != _OK:
                return _refused(answer, timer.took())
        try:
            return shape.model_validate_json(answer.body)
        except ValidationError:
            return failed("unexpected_answer", answer.text, timer.took())

    async def _send(
        self,
        call: GitHubCall,
        method: str,
        path: str,
        timeout: timedelta,
        body: str | None = None,
    ) -> Answer | NotSent | Unanswered:
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": API_VERSION,
            "Content-Type": "application/json",
        }
        sent = None if body is None else body.encode()
        return await self._exchange.send(
            call.endpoint, Request(method, path, sent, headers), timeout
        )


def _workflow(call: GitHubCall) -> str:
    return f"/repos/{call.repository}/actions/workflows/{quote(call.workflow, safe='')}"


def _runs(call: GitHubCall) -> str:
    asked = f"event=workflow_dispatch&branch={quote(call.ref, safe='')}&per_page=20"
    return f"{_workflow(call)}/runs?{asked}"


def _ended(run: _Run, took: timedelta) -> Ran:
    shown = evidence(f"run {run.id} {run.status} {run.conclusion or ''} {run.html_url}", took)
    if run.status in _WAITING:
        return Ran(succeeded=False, reason="still_running", evidence=shown)
    good = run.conclusion == "success"
    return Ran(
        succeeded=good, reason="as_expected" if good else "run_not_successful", evidence=shown
    )


def _refused(answer: Answer, took: timedelta) -> Ran:
    shown = evidence(answer.text, took, http_status=answer.status)
    return Ran(succeeded=False, reason="unexpected_status", evidence=shown)
