"""How bad an alert is, by which rule, and which rules it missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tocsin_policy.document import Policy, Rule

DEFAULT_RULE = "default"
"""Name of the rule that decides where no other fits."""

_TITLE = 500


@dataclass(frozen=True, slots=True)
class Classification:
    """What a policy says of an alert.

    Attributes:
        considered: Rules that came before the one that fitted, each with why it did not.
    """

    severity: str
    rule: str
    service: str | None
    playbook: str | None
    customer_facing: bool
    urgent: bool
    title: str
    reason: str
    considered: tuple[tuple[str, str], ...]


def classify(
    policy: Policy, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Classification:
    """What the first rule that fits says; the default severity where none does."""
    considered: list[tuple[str, str]] = []
    for rule, named_otherwise, left in policy.candidates(labels.get("alertname", "")):
        missed = named_otherwise or next((m for m in left if not m.fits(labels)), None)
        if missed is None:
            return _classified(rule, labels, annotations, tuple(considered))
        held = labels.get(missed.name)
        shown = "is absent" if held is None else f"is {held[:100]!r}"
        considered.append((rule.name, f"{missed} does not fit: {missed.name} {shown}"))
    return Classification(
        severity=policy.classification.default,
        rule=DEFAULT_RULE,
        service=labels.get("service"),
        playbook=None,
        customer_facing=False,
        urgent=False,
        title=_title(None, labels, annotations),
        reason="no rule fits; the policy's default",
        considered=tuple(considered),
    )


def _classified(
    rule: Rule,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    considered: tuple[tuple[str, str], ...],
) -> Classification:
    return Classification(
        severity=rule.severity,
        rule=rule.name,
        service=rule.service or labels.get("service"),
        playbook=rule.playbook,
        customer_facing=rule.customer_facing,
        urgent=rule.urgent,
        title=_title(rule.title, labels, annotations),
        reason=f"rule {rule.name!r}: " + ", ".join(str(matcher) for matcher in rule.matchers),
        considered=considered,
    )


def _title(title: str | None, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    found = title or annotations.get("summary") or labels.get("alertname") or "unnamed alert"
    return found[:_TITLE]
