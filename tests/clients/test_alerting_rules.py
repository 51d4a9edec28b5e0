"""Debian's promtool reads every generated rule file, and each threshold fires when it should.

The rules that are checked are the generated ones. For the unit tests each query is replaced by one
series of its own, because no series can be guessed for any PromQL there is: what is tried is the
limit, the waiting, the labels and the annotations.
"""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from escalation_timer.handlers import LEVELS_REACHED
from tocsin_cli.delivery_rules import delivery_rules
from tocsin_policy import Policy, Threshold, load_policy
from tocsin_policy.alerting import AlertingRule, alerting_rules

ROOT = Path(__file__).resolve().parents[2]
PROMTOOL = ROOT / ".local" / "debian" / "usr" / "bin" / "promtool"
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
OURS = sorted((ROOT / "deploy" / "prometheus").glob("*.yaml"))
POLICIES = [
    policy
    for policy in map(load_policy, sorted((ROOT / "deploy" / "policies").glob("*/policy.yaml")))
    if policy.thresholds
]
STEP = timedelta(minutes=1)
SERIES = "measured"


def promtool(*arguments: str) -> None:
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_rule_file_for_every_policy_with_thresholds() -> None:
    assert [file.stem for file in RULES] == [policy.system for policy in POLICIES]


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_promtool_finds_nothing_wrong_with_the_generated_rules(file: Path) -> None:
    promtool("check", "rules", "--lint-fatal", str(file))


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.stem)
def test_promtool_finds_nothing_wrong_with_the_rules_about_tocsin(file: Path) -> None:
    promtool("check", "rules", "--lint-fatal", str(file))


@pytest.mark.parametrize(
    ("reason", "alertname"),
    [
        ("last_resort", "TocsinNobodyReached"),
        ("every_means_failed", "TocsinLevelUnreachable"),
        ("nobody_to_reach", "TocsinLevelUnreachable"),
        ("in_time", None),
    ],
)
def test_a_page_that_reached_nobody_is_alerted_on_though_it_is_the_first(
    reason: str, alertname: str | None, tmp_path: Path
) -> None:
    rules = delivery_rules()
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    series = f'{LEVELS_REACHED}_total{{reason="{reason}",instance="a"}}'
    held = [rule for group in rules["groups"] for rule in group["rules"]]
    asked = [
        {
            "eval_time": "5m",
            "alertname": rule["alert"],
            "exp_alerts": [{"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}]
            if rule["alert"] == alertname
            else [],
        }
        for rule in held
    ]
    trial = {
        "interval": "1m",
        "input_series": [{"series": series, "values": "0 0 0 1 1 1"}],
        "alert_rule_test": asked,
    }
    (tmp_path / "tests.yaml").write_text(
        json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [trial]})
    )

    promtool("test", "rules", str(tmp_path / "tests.yaml"))


def on_a_series(rule: AlertingRule) -> dict[str, Any]:
    """The rule, its query replaced by a series that carries the threshold's name."""
    _, closing, comparison = rule.expr.rpartition(") ")
    series = f"{SERIES}{{of={json.dumps(rule.labels['threshold'])}"
    return {**rule.document(), "expr": f"{series}}} {closing.strip(') ')}{comparison}"}


def just_beyond(threshold: Threshold) -> tuple[float, float, float]:
    """A value on the right side, the limit itself, and a value that breaks it."""
    limit = threshold.above if threshold.above is not None else threshold.below
    assert limit is not None
    apart = max(abs(limit), 1.0) / 1000
    sign = 1 if threshold.above is not None else -1
    return limit - sign * apart, limit, limit + sign * apart


def trial(
    rule: AlertingRule,
    value: float,
    asked_at: timedelta,
    fires: bool,  # noqa: FBT001 - read beside its value
) -> dict[str, Any]:
    name = rule.labels["threshold"]
    alert = {
        "exp_labels": {**rule.labels, "of": name},
        "exp_annotations": {
            key: f"{value!r}".removesuffix(".0") if key != "summary" else text
            for key, text in rule.annotations.items()
        },
    }
    return {
        "interval": "1m",
        "input_series": [{"series": f'{SERIES}{{of="{name}"}}', "values": f"{value!r}x600"}],
        "alert_rule_test": [
            {
                "eval_time": f"{int(asked_at.total_seconds())}s",
                "alertname": rule.alert,
                "exp_alerts": [alert] if fires else [],
            }
        ],
    }


def trials(policy: Policy) -> list[dict[str, Any]]:
    found = []
    for rule in alerting_rules(policy):
        threshold = policy.thresholds[rule.labels["threshold"]]
        below, limit, beyond = just_beyond(threshold)
        long_after = rule.held_for + 10 * STEP
        found += [trial(rule, below, long_after, fires=False)]
        found += [trial(rule, limit, long_after, fires=False)]
        found += [trial(rule, beyond, rule.held_for, fires=True)]
        if rule.held_for:
            found += [trial(rule, beyond, rule.held_for - STEP, fires=False)]
    return found


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.system)
def test_every_threshold_fires_beyond_its_limit_and_not_before_its_time(
    policy: Policy, tmp_path: Path
) -> None:
    rules = [on_a_series(rule) for rule in alerting_rules(policy)]
    (tmp_path / "rules.yaml").write_text(
        json.dumps({"groups": [{"name": policy.system, "rules": rules}]})
    )
    (tmp_path / "tests.yaml").write_text(
        json.dumps(
            {
                "rule_files": ["rules.yaml"],
                "evaluation_interval": "1m",
                "tests": trials(policy),
            }
        )
    )

    promtool("test", "rules", str(tmp_path / "tests.yaml"))
