"""509 real alerting rules under the policy for any cluster: each has a rule, none is missed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tocsin_policy import DEFAULT_RULE, classify
from tocsin_testkit.policies import shipped

POLICY = shipped("generic-kubernetes")
CORPUS = [
    json.loads(line)
    for line in (Path(__file__).parent / "corpus" / "alerts.jsonl").read_text().splitlines()
]


def labels_of(rule: dict[str, Any]) -> dict[str, str]:
    """The labels such an alert comes with; those of its series hold something."""
    held = dict.fromkeys(rule.get("template_label_names", ()), "something")
    return held | rule.get("rule_labels", {}) | {"alertname": rule["alert"]}


def test_the_corpus_is_whole() -> None:
    assert len(CORPUS) == 509


@pytest.mark.parametrize("number", range(len(CORPUS)), ids=lambda n: CORPUS[n]["alert"])
def test_a_real_alert_has_a_severity_by_a_rule_of_the_policy(number: int) -> None:
    rule = CORPUS[number]
    found = classify(POLICY, labels_of(rule), {"summary": rule.get("summary", "")})
    assert found.rule != DEFAULT_RULE
    wanted = {"critical": {"P1", "P2"}, "warning": {"P2", "P3"}, "info": {"P4"}}
    assert found.severity in wanted[rule["severity"]]


def test_what_is_down_is_worse_than_what_is_slow() -> None:
    def severity(alertname: str) -> str:
        return classify(POLICY, {"alertname": alertname, "severity": "critical"}, {}).severity

    assert severity("KubeAPIDown") == severity("MySQLDown") == severity("etcdNoLeader") == "P1"
    assert severity("etcdGRPCRequestsSlow") == severity("GitLabHigh5xxResponses") == "P2"


def test_every_rule_but_the_watchdogs_decides_something_real() -> None:
    decided = Counter(classify(POLICY, labels_of(rule), {}).rule for rule in CORPUS)
    unused = {rule.name for rule in POLICY.classification.rules} - set(decided)
    assert unused <= {"watchdog"}
    assert decided["anything else critical"] < 40
