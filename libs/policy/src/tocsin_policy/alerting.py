"""A policy's thresholds as Prometheus alerting rules.

Prometheus measures and waits; the alert it sends names the threshold by a label, so that the policy
recognises it without measuring again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tocsin_policy.classification import THRESHOLD_LABEL
from tocsin_policy.document import Policy, Threshold
from tocsin_policy.durations import format_duration


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """One alerting rule, as Prometheus reads it.

    Attributes:
        held_for: How long `expr` must hold before the alert fires.
    """

    alert: str
    expr: str
    held_for: timedelta
    labels: dict[str, str]
    annotations: dict[str, str]

    def document(self) -> dict[str, Any]:
        """The rule as it stands in a rule file; `for` is absent where nothing is waited for."""
        waits = {"for": format_duration(self.held_for)} if self.held_for else {}
        return {
            "alert": self.alert,
            "expr": self.expr,
            **waits,
            "labels": self.labels,
            "annotations": self.annotations,
        }


def alerting_rules(policy: Policy) -> tuple[AlertingRule, ...]:
    """An alerting rule for each threshold, in the policy's order.

    The severity is that of the first rule that uses the threshold: it is the first that could fit
    the alert. A policy whose threshold nobody uses does not load.
    """
    return tuple(_rules(policy))


def rules_document(policy: Policy) -> dict[str, Any]:
    """The rule file Prometheus loads: one group, named for the system."""
    rules = [rule.document() for rule in alerting_rules(policy)]
    return {"groups": [{"name": policy.system, "rules": rules}]}


def alert_name(threshold: str) -> str:
    """The alert's name for a threshold's: `error-rate` is `ErrorRate`."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", threshold))


def _rules(policy: Policy) -> Iterator[AlertingRule]:
    severities: dict[str, str] = {}
    for rule in policy.classification.rules:
        if rule.threshold is not None:
            severities.setdefault(rule.threshold, rule.severity)
    for name, threshold in policy.thresholds.items():
        yield AlertingRule(
            alert=alert_name(name),
            expr=f"({threshold.query.strip()}) {_comparison(threshold)}",
            held_for=threshold.held_for,
            labels={
                **{label: _text(value) for label, value in threshold.labels.items()},
                "system": policy.system,
                "severity": severities[name],
                THRESHOLD_LABEL: name,
            },
            annotations={
                "summary": _text(f"{threshold.title} {_comparison(threshold)} {threshold.unit}"),
                threshold.value: "{{ $value }}",
            },
        )


def _comparison(threshold: Threshold) -> str:
    # Every digit: `:g`, which people read, rounds 0.9999999 to 1.
    sign, limit = (">", threshold.above) if threshold.above is not None else ("<", threshold.below)
    return f"{sign} {limit!r}".removesuffix(".0")


def _text(text: str) -> str:
    """A text that Prometheus' templates leave as it is."""
    return text.strip().replace("{{", '{{ "{{" }}')
