"""What every shipped policy promises, tried: scenarios pass, and prove the whole runbook."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_replay.scenarios import Suite, judge, load_suite, play, show, uncovered

POLICIES = Path(__file__).resolve().parents[2] / "deploy" / "policies"
RUNBOOKS = (
    "blockchain-dapp",
    "mcp-wasm-edge-gateway",
    "ml-platform",
    "mpc-transformer",
    "mpcstudy",
)
"""Systems whose policy is a runbook's; the others are policies of our own."""

LEAST = 25
"""Scenarios of a runbook."""

SUITES: dict[str, Suite] = {
    file.parent.name: load_suite(file) for file in sorted(POLICIES.glob("*/policy.yaml"))
}
SCENARIOS = {
    f"{system}/{held.file.stem}/{held.scenario.name}": (suite, held)
    for system, suite in SUITES.items()
    for held in suite.scenarios
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_comes_of_it_is_what_the_runbook_wants(name: str) -> None:
    suite, held = SCENARIOS[name]
    judged = judge(play(suite.policy, held.scenario, held.folder))
    assert judged.passed, show(judged)


@pytest.mark.parametrize("system", RUNBOOKS)
def test_every_row_of_the_runbook_is_in_the_policy_and_proved(system: str) -> None:
    assert [str(problem) for problem in uncovered(SUITES[system])] == []


@pytest.mark.parametrize("system", RUNBOOKS)
def test_a_runbook_has_many_scenarios(system: str) -> None:
    assert len(SUITES[system].scenarios) >= LEAST


@pytest.mark.parametrize("system", RUNBOOKS)
def test_every_severity_every_playbook_and_every_drill_is_tried(system: str) -> None:
    suite = SUITES[system]
    wants = [held.scenario.want for held in suite.scenarios]
    given = [each for held in suite.scenarios for each in held.scenario.given]
    severities = {want.severity for want in wants} | {want.opened_severity for want in wants}
    proposed = {want.proposal.playbook for want in wants if want.proposal is not None}
    proposed |= {want.playbook for want in wants if want.playbook is not None}
    assert {severity.name for severity in suite.policy.severities} <= severities
    assert set(suite.policy.playbooks) <= proposed
    assert set(suite.policy.drills) <= {each.drill for each in given}
