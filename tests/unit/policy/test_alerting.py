"""Every threshold is an alerting rule, and the alert it sends is as bad as the policy says."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tocsin_policy import Policy, classify, load_policy, read_policy
from tocsin_policy.alerting import alert_name, alerting_rules, rules_document

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "deploy" / "policies").glob("*/policy.yaml"))

POLICY = """
system: shop
owner: shop team
severities: [{ name: P0, definition: bad }, { name: P1, definition: less so }]
thresholds:
  error-rate:
    title: "Errors {{ of }} requests"
    query: sum(rate(errors[5m]))
    above: 0.05
    held_for: 5m
    value: error_rate
    unit: per request
    labels: { service: checkout }
  availability:
    title: Availability
    query: up
    below: 0.9999999
    value: availability
classification:
  default: P1
  rules:
    - { name: errors, threshold: error-rate, severity: P0 }
    - { name: later errors, threshold: error-rate, severity: P1 }
    - { name: availability, threshold: availability, severity: P1 }
grouping: { reopen_within: 30m, auto_resolve_after: 15m }
"""


def test_a_threshold_becomes_an_alerting_rule() -> None:
    errors, availability = rules_document(read_policy(POLICY))["groups"][0]["rules"]

    assert errors == {
        "alert": "ErrorRate",
        "expr": "(sum(rate(errors[5m]))) > 0.05",
        "for": "5m",
        "labels": {
            "service": "checkout",
            "system": "shop",
            "severity": "P0",
            "threshold": "error-rate",
        },
        "annotations": {
            "summary": 'Errors {{ "{{" }} of }} requests > 0.05 per request',
            "error_rate": "{{ $value }}",
        },
    }
    assert "for" not in availability


def test_no_digit_of_a_limit_is_rounded_away() -> None:
    _, availability = alerting_rules(read_policy(POLICY))

    assert availability.expr == "(up) < 0.9999999"
    assert availability.held_for == timedelta()


def test_an_alert_is_named_for_its_threshold() -> None:
    assert alert_name("api-errors_over.half") == "ApiErrorsOverHalf"


def cases() -> list[tuple[Policy, str]]:
    return [(policy, name) for policy in map(load_policy, SHIPPED) for name in policy.thresholds]


@pytest.mark.parametrize(
    ("policy", "name"), cases(), ids=lambda part: getattr(part, "system", part)
)
def test_a_fired_alert_is_as_bad_as_its_rule_says(policy: Policy, name: str) -> None:
    [rule] = [rule for rule in alerting_rules(policy) if rule.labels["threshold"] == name]

    said = classify(policy, {**rule.labels, "alertname": rule.alert}, {})

    by = next(one for one in policy.classification.rules if one.threshold == name)
    assert (said.rule, said.severity) == (by.name, rule.labels["severity"])
