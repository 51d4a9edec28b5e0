"""Scenarios: what is not as wanted is said, with the timeline; what cannot be read has a place."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tocsin_cli.__main__ import app
from tocsin_policy import PolicyRefused, load_policy, policy_document
from tocsin_replay.scenarios import judge, load_suite, location_of, play, show, uncovered

SHIPPED = Path(__file__).resolve().parents[3] / "deploy" / "policies" / "mpc-transformer"

RUNBOOK = """\
runbook: A test
rows:
  - { id: p0-response, section: S, says: Soon., policy: "severities[P0].response_target" }
  - { id: p9-response, section: S, says: Never., policy: "severities[P9].response_target" }
"""

GIVEN = """\
- name: A region is out
  until: 6m
  given:
    - at: 0m
      alert: { labels: { alertname: GlobalServiceUnavailable, app: mpc-transformer } }
"""

RIGHT = f"""{GIVEN}  proves: [p0-response]
  want:
    severity: P0
    response_target_missed: 5m
    pages: [{{ at: 0m, to: oncall-primary }}, {{ at: 4m, to: oncall-primary, by: [phone] }}]
"""

WRONG = f"""{GIVEN}  want:
    severity: P1
    response_target_missed: never
    silent: [slack-incidents]
    messages: [{{ at: 0m, channel: slack-incidents, purpose: opened, contains: [nowhere] }}]
    pages: [{{ at: 1m, to: alice }}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenarios").mkdir()
    shutil.copy(SHIPPED / "policy.yaml", tmp_path)
    (tmp_path / "runbook.yaml").write_text(RUNBOOK)
    return tmp_path


def has(folder: Path, scenarios: str) -> Path:
    (folder / "scenarios" / "all.yaml").write_text(scenarios)
    return folder / "policy.yaml"


def test_each_thing_that_is_not_as_wanted_is_said_with_the_timeline(folder: Path) -> None:
    suite = load_suite(has(folder, WRONG))
    (held,) = suite.scenarios
    judged = judge(play(suite.policy, held.scenario, held.folder))
    assert [miss.about for miss in judged.misses] == [
        "severity",
        "pages",
        "pages",
        "pages",
        "messages",
        "silent",
        "response_target_missed",
    ]
    shown = show(judged)
    assert "✗ pages: wanted page alice; got -" in shown
    assert "wanted -; got page oncall-primary by" in shown
    assert "level 1 reached" in shown


def test_a_page_nobody_wants_is_a_miss_though_no_page_is_named(folder: Path) -> None:
    suite = load_suite(has(folder, f"{GIVEN}  want: {{ severity: P0 }}\n"))
    (held,) = suite.scenarios
    judged = judge(play(suite.policy, held.scenario, held.folder))
    assert [miss.about for miss in judged.misses] == ["pages", "pages"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("until: 6m", "until: six"), "all.yaml:2:10: [0].until: 'six' is no duration"),
        (("severity: P0", "serverity: P0"), "unknown key 'serverity' (did you mean 'severity'?)"),
        (("[p0-response]", "[p0-respnse]"), "the runbook has no row 'p0-respnse' (did you mean"),
        (("alert:", "by: bob\n      alert:"), "by belongs to update, severity"),
        (("- at: 0m\n", "- at: 7m\n"), "something is given after until"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(
    folder: Path, change: tuple[str, str], said: str
) -> None:
    assert change[0] in RIGHT
    broken = RIGHT.replace(*change)
    with pytest.raises(PolicyRefused) as refused:
        load_suite(has(folder, broken))
    assert said in str(refused.value)


def test_a_row_needs_a_place_in_the_policy_and_a_scenario(folder: Path) -> None:
    problems = [str(problem) for problem in uncovered(load_suite(has(folder, RIGHT)))]
    assert [problem.partition("runbook.yaml:")[2] for problem in problems] == [
        "4:5: p9-response: the policy has no 'severities[P9].response_target'",
        "4:5: p9-response: no scenario proves it",
    ]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("severities[P0].response_target", True),
        ("escalation.P0[2].targets", True),
        ("classification.rules[global service unavailable]", True),
        ("playbooks.security-incident.steps[isolate].approval", True),
        ("severities[P0].examples[Data loss or corruption]", True),
        ("escalation.P0[9]", False),
        ("playbooks.nothing", False),
    ],
)
def test_a_path_goes_by_names_numbers_and_ids(path: str, *, found: bool) -> None:
    document = policy_document(load_policy(SHIPPED / "policy.yaml"))
    assert (location_of(document, path) is not None) is found


def test_the_command_says_by_its_exit_code_how_it_went(folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    report = tmp_path / "report.xml"
    assert run(app, ["policy", "test", str(has(folder, RIGHT))]).exit_code == 0
    assert run(app, ["policy", "test", str(folder), "--junit", str(report)]).exit_code == 0
    assert ET.parse(report).getroot()[0].attrib["failures"] == "0"  # noqa: S314 - we wrote it
    failed = run(app, ["policy", "test", str(has(folder, WRONG)), "--json"])
    assert failed.exit_code == 1
    (told,) = json.loads(failed.stdout)
    assert told["misses"][0] == {"about": "severity", "at": None, "wanted": "P1", "got": "P0"}
