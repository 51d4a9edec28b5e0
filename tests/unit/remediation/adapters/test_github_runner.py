"""Workflows: the run that is waited for is the one that was started, or nobody's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from remediation.adapters.github_runner import GitHubRunner
from remediation.adapters.http_exchange import Endpoint, Exchange
from remediation.domain.plan import Lost, Planned, Ran
from tocsin_policy import GitHubCall
from tocsin_runtime.clock import SystemClock
from tocsin_testkit.providers.actions import GitHubActions

LONG = timedelta(seconds=20)
SHORT = timedelta(seconds=1)
TOKEN = "github-token-of-a-test"


@pytest.fixture
async def actions() -> AsyncIterator[GitHubActions]:
    double = GitHubActions("acme/shop", TOKEN)
    async with double.serving():
        yield double
    assert double.complaints == []


def a_runner(actions: GitHubActions, token: str = TOKEN) -> GitHubRunner:
    exchange = Exchange({"github": Endpoint(actions.url, token)})
    return GitHubRunner(exchange, SystemClock(), look_every=timedelta(milliseconds=20))


def a_call(**fields: object) -> GitHubCall:
    return GitHubCall.model_validate(
        {
            "repository": "acme/shop",
            "workflow": "rollback.yml",
            "inputs": {"environment": "production"},
            **fields,
        }
    )


def verdict(outcome: Ran | Lost | Planned) -> tuple[bool, str]:
    assert isinstance(outcome, Ran), outcome
    return outcome.succeeded, outcome.reason


@pytest.mark.parametrize("names_run", [True, False])
async def test_the_run_that_was_started_is_waited_for(
    actions: GitHubActions, *, names_run: bool
) -> None:
    actions._add({})
    actions.names_run = names_run
    outcome = await a_runner(actions).run(a_call(), LONG)
    assert verdict(outcome) == (True, "as_expected")
    assert isinstance(outcome, Ran)
    assert outcome.evidence.output.startswith("run 1002 completed success")
    assert [run["inputs"] for run in actions.runs] == [{}, {"environment": "production"}]


async def test_a_run_that_fails_is_a_failure(actions: GitHubActions) -> None:
    actions.conclusion = "failure"
    assert verdict(await a_runner(actions).run(a_call(), LONG)) == (False, "run_not_successful")


async def test_whose_run_it_is_when_two_began_nobody_says(actions: GitHubActions) -> None:
    actions.names_run = False
    actions.meanwhile = 1
    assert await a_runner(actions).run(a_call(), LONG) == Lost("run_not_known")


async def test_two_that_began_are_no_trouble_where_the_answer_names_ours(
    actions: GitHubActions,
) -> None:
    actions.meanwhile = 1
    assert verdict(await a_runner(actions).run(a_call(), LONG)) == (True, "as_expected")


@pytest.mark.parametrize(
    "fields", [{"ref": "gone"}, {"inputs": {"nobody": "knows"}}, {"workflow": "gone.yml"}]
)
async def test_what_github_refuses_started_nothing(
    actions: GitHubActions, fields: dict[str, object]
) -> None:
    outcome = await a_runner(actions).run(a_call(**fields), LONG)
    assert verdict(outcome) == (False, "unexpected_status")
    assert actions.runs == []


async def test_a_wrong_token_started_nothing(actions: GitHubActions) -> None:
    outcome = await a_runner(actions, "another").run(a_call(), LONG)
    assert verdict(outcome) == (False, "unexpected_status")
    assert actions.runs == []


async def test_a_plan_names_the_commit_and_refuses_a_workflow_that_is_off(
    actions: GitHubActions,
) -> None:
    planned = await a_runner(actions).plan(a_call(), LONG)
    assert isinstance(planned, Planned)
    assert "9d0d7b0e8f4c2a6b1e3d5f7a9c0b2d4e6f8a0c1e" in planned.state
    actions.state = "disabled_manually"
    off = await a_runner(actions).plan(a_call(), LONG)
    assert verdict(off) == (False, "workflow_disabled")


async def test_a_run_that_outlives_the_step_is_in_doubt(actions: GitHubActions) -> None:
    actions.ends = False
    assert await a_runner(actions).run(a_call(), SHORT) == Lost("still_running")
    assert len(actions.runs) == 1
