"""Steps run what the operator allows, as it is written, and no longer than they may."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from remediation.adapters.command_runner import SubprocessRunner
from remediation.adapters.http_runner import HttpxRunner
from remediation.domain.plan import Lost, Ran
from tocsin_policy import CommandCall, HttpCall
from tocsin_runtime.clock import SystemClock

PROGRAMS = {"echo": "/bin/echo", "env": "/usr/bin/env", "sh": "/bin/sh", "gone": "/no/such"}
LONG = timedelta(seconds=10)


async def ran(program: str, *args: str, timeout: timedelta = LONG) -> Ran | Lost:
    call = CommandCall.model_validate({"program": program, "args": args})
    return await SubprocessRunner(PROGRAMS, SystemClock()).run(call, timeout)


async def test_arguments_reach_the_program_as_they_are() -> None:
    outcome = await ran("echo", "$HOME; true", "*")
    assert isinstance(outcome, Ran)
    assert outcome.succeeded
    assert "$HOME; true *" in json.dumps(outcome.evidence, default=str)


async def test_nothing_of_our_environment_reaches_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOCSIN_API_TOKEN", "a-secret-of-ours")
    outcome = await ran("env")
    assert isinstance(outcome, Ran)
    assert "a-secret-of-ours" not in str(outcome.evidence)


@pytest.mark.parametrize(
    ("program", "reason"), [("rm", "program_not_allowed"), ("gone", "not_started")]
)
async def test_what_may_not_or_cannot_start_has_not_run(program: str, reason: str) -> None:
    outcome = await ran(program)
    assert isinstance(outcome, Ran)
    assert (outcome.succeeded, outcome.reason) == (False, reason)


async def test_an_exit_code_is_a_failure() -> None:
    outcome = await ran("sh", "-c", "exit 3")
    assert isinstance(outcome, Ran)
    assert (outcome.succeeded, outcome.reason) == (False, "exit_code")


async def test_a_program_that_overruns_is_stopped_and_its_outcome_unknown() -> None:
    outcome = await ran("sh", "-c", "sleep 60 & sleep 60", timeout=timedelta(seconds=0.2))
    assert outcome == Lost("timed_out")


async def test_an_endpoint_without_settings_is_not_called() -> None:
    call = HttpCall.model_validate({"endpoint": "x", "path": "/restart"})
    outcome = await HttpxRunner({}, SystemClock()).run(call, LONG)
    assert isinstance(outcome, Ran)
    assert (outcome.succeeded, outcome.reason) == (False, "endpoint_not_configured")
