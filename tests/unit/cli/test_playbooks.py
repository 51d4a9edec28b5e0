"""`tocsin playbook`, as far as it needs no running system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tocsin_cli.__main__ import app
from tocsin_cli.playbooks import refusal
from tocsin_contracts.ids import incident_id
from tocsin_contracts.incidents import ProposedStep, RemediationProposed
from tocsin_policy import load_policy, policy_document
from tocsin_testkit.builders import an_incident
from tocsin_testkit.policies import a_policy

ROOT = Path(__file__).resolve().parents[3]
MPCSTUDY = str(ROOT / "deploy" / "policies" / "mpcstudy" / "policy.yaml")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["playbook", *arguments])
    return result.exit_code, result.stdout


def test_every_playbook_is_listed_with_its_worst_risk() -> None:
    code, said = run("list", "--policy", MPCSTUDY, "--json")
    risks = {row["playbook"]: row["risk"] for row in json.loads(said)}
    assert code == 0
    assert risks["investigation"] == "read"
    assert risks["database-issues"] == "destructive"


def test_a_playbook_shows_what_each_step_does_and_what_it_takes() -> None:
    code, said = run("show", "service-down", "--policy", MPCSTUDY, "--json")
    (found,) = json.loads(said)
    steps = {step["step"]: step for step in found["steps"]}
    assert code == 0
    assert steps["roll-back"]["approval"] == "one"
    assert steps["roll-back"]["verification"] == "GET site/__ok"


def test_a_dry_run_says_of_each_step_what_it_would_do_or_why_it_cannot() -> None:
    code, said = run("run", "service-down", "--dry-run", "--policy", MPCSTUDY, "--json")
    verdicts = {row["step"]: row["verdict"] for row in json.loads(said)}
    assert code == 0
    assert verdicts["check-ok"] == "cannot be planned: endpoint_not_configured"


def test_a_dry_run_shows_what_the_undo_would_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = {
        "id": "limit",
        "title": "Lower the limit",
        "runner": "command",
        "risk": "disruptive",
        "timeout": "10s",
        "approval": "one",
        "command": {"program": "limits", "args": ["set", "10"]},
        "before": {
            "command": {"program": "limits", "args": ["show"]},
            "values": {"was": "/rps"},
        },
        "undo": {"command": {"program": "limits", "args": ["set", "${was}"]}},
    }
    policy = tmp_path / "policy.yaml"
    document = policy_document(
        a_policy("shop", playbooks={"limit": {"title": "Limit", "steps": [step]}})
    )
    policy.write_text(yaml.safe_dump(document))
    program = tmp_path / "limits"
    program.write_text("#!/bin/sh\ntest $1 = show && echo '{\"rps\": 250}'\n")
    program.chmod(0o700)
    monkeypatch.setenv("TOCSIN_PROGRAMS", json.dumps({"limits": str(program)}))
    _, said = run("run", "limit", "--dry-run", "--policy", str(policy), "--json")
    (row,) = json.loads(said)
    assert row["verdict"] == "planned"
    assert row["before"] == {"was": "250"}
    assert "now | before: was is 250" in row["lines"]
    assert row["lines"][-1].startswith("taken back by: limits set ${was}, with what")


def test_a_label_that_no_step_takes_leaves_it_to_a_person() -> None:
    policy = str(ROOT / "deploy" / "policies" / "blockchain-dapp" / "policy.yaml")
    _, said = run("list", "--policy", policy, "--json")
    names = [row["playbook"] for row in json.loads(said)]
    for name in names:
        _, said = run(
            "run", name, "--dry-run", "--policy", policy, "--label", "pod=$(id)", "--json"
        )
        assert "$(id)" not in said


def test_nothing_runs_without_its_incident() -> None:
    result = CliRunner().invoke(app, ["playbook", "run", "service-down", "--policy", MPCSTUDY])
    assert isinstance(result.exception, ValueError)
    assert "--dry-run" in str(result.exception)


def an_approval(by: str) -> str:
    """What is said to somebody who would let the blockchain's cache be emptied."""
    policy = load_policy(ROOT / "deploy" / "policies" / "blockchain-dapp" / "policy.yaml")
    definition = next(one for one in policy.playbooks["clear-cache"].steps if one.id == "flush")
    proposed = ProposedStep(
        step="flush", title="Empty it", runner="redis", risk="destructive", approval="two", call=""
    )
    incident = incident_id("blockchain-dapp", "a test")
    fact = RemediationProposed(
        remediation="r", playbook="clear-cache", generation=1, steps=(proposed,), reason="a rule"
    )
    state = an_incident(fact, incident=incident, severity="SEV3")
    step = state.remediations["r"].steps[0]
    return refusal(state, policy, step, definition, by)


def test_who_may_not_approve_is_told_who_may() -> None:
    assert an_approval("mallory") == (
        "mallory may not approve flush, which is destructive; "
        "who may: incident commander, technical lead, Engineering Manager, CTO"
    )


def test_who_may_approve_is_not_held_up() -> None:
    assert an_approval("cto") == ""


def test_an_unknown_playbook_is_answered_with_where_all_are() -> None:
    result = CliRunner().invoke(app, ["playbook", "show", "nothing", "--policy", MPCSTUDY])
    assert "tocsin playbook list" in str(result.exception)
