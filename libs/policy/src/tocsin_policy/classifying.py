"""Which severity an alert has, by which rule, and why the rules before it did not decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tocsin_policy.document import Policy, Rule
from tocsin_policy.matchers import matches
from tocsin_policy.templates import TemplateFailed, render_text

MOST_TITLE = 300


@dataclass(frozen=True, slots=True)
class Classified:
    """What a policy makes of an alert.

    Attributes:
        rule: Name of the rule that decided; `default` if none did.
        reason: Why, in words.
    """

    severity: str
    rule: str
    reason: str
    title: str
    service: str | None
    playbook: str | None
    customer_facing: bool
    urgent: bool


@dataclass(frozen=True, slots=True)
class Considered:
    """A rule and the first of its matchers that did not fit, if one did not."""

    rule: str
    misfit: str | None


def classify(
    policy: Policy, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Classified:
    """The first rule that fits decides; the order of labels changes nothing."""
    for rule, left in policy.rules_for(labels.get("alertname", "")):
        if matches(left, labels):
            return _by_rule(rule, labels, annotations)
    return Classified(
        severity=policy.classification.default_severity,
        rule="default",
        reason="no rule fits",
        title=_plain_title(labels, annotations),
        service=labels.get("service"),
        playbook=None,
        customer_facing=False,
        urgent=False,
    )


def _by_rule(rule: Rule, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Classified:
    return Classified(
        severity=rule.severity,
        rule=rule.name,
        reason=" and ".join(str(matcher) for matcher in rule.match),
        title=_title(rule, labels, annotations),
        service=rule.service or labels.get("service"),
        playbook=rule.playbook,
        customer_facing=rule.customer_facing,
        urgent=rule.urgent,
    )


def _title(rule: Rule, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    if rule.title is None:
        return _plain_title(labels, annotations)
    try:
        text = render_text(rule.title, {"labels": labels, "annotations": annotations})
    except TemplateFailed:
        return _plain_title(labels, annotations)
    return text[:MOST_TITLE] or _plain_title(labels, annotations)


def _plain_title(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    title = annotations.get("summary") or labels.get("alertname") or "alert without a name"
    return title[:MOST_TITLE]


def consider(policy: Policy, labels: Mapping[str, str]) -> tuple[Considered, ...]:
    """Rule by rule, up to the one that decides: which matcher did not fit."""
    seen: list[Considered] = []
    for rule in policy.classification.rules:
        misfit = next((m for m in rule.match if not m.matches(labels)), None)
        seen.append(Considered(rule.name, None if misfit is None else str(misfit)))
        if misfit is None:
            break
    return tuple(seen)


def severity_rank(policy: Policy, name: str) -> int:
    """0 for the worst severity; one past the last for a name the policy does not have."""
    for rank, severity in enumerate(policy.severities):
        if severity.name == name:
            return rank
    return len(policy.severities)


def group_key(policy: Policy, labels: Mapping[str, str]) -> str:
    """What alerts must share to be one incident: the grouping labels' values, in their order."""
    return ",".join(f"{name}={labels.get(name, '')!r}" for name in policy.grouping.by)


@dataclass(frozen=True, slots=True)
class Claim:
    """Which system an alert belongs to, and why."""

    system: str | None
    reason: str


def claim(policies: Sequence[Policy], labels: Mapping[str, str]) -> Claim:
    """The system a label `system` names if it has a policy, else the first whose claims fit."""
    named = labels.get("system")
    for policy in policies:
        if policy.system == named:
            return Claim(named, "label system")
    for policy in policies:
        for index, matchers in enumerate(policy.claims):
            if matches(matchers, labels):
                return Claim(policy.system, f"claims.{index}")
    return Claim(None, "no policy claims it")
