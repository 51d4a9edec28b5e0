"""How bad an alert is, by which rule, and which rules it missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

from tocsin_policy.document import Policy, Rule, Threshold
from tocsin_policy.expressions import misses, values_of
from tocsin_policy.matchers import Matcher

DEFAULT_RULE = "default"
"""Name of the rule that decides where no other fits."""

THRESHOLD_LABEL = "threshold"
"""Label of alerts made by the generated Prometheus rules: the threshold that was broken."""

MOST_NEAR_MISSES = 5
"""Rules that an incident remembers as having come close."""

MOST_CLASSIFIED = 256
"""Alerts whose classification a policy remembers: what fires is said again and again."""

_TITLE = 500

_Missed = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]


@dataclass(frozen=True)
class Classification:
    """What a policy says of an alert.

    Why each rule before the one that decided did not fit is worked out when somebody asks: in a
    storm nobody does.

    Attributes:
        components: What else is affected.
    """

    severity: str
    rule: str
    service: str | None
    playbook: str | None
    customer_facing: bool
    urgent: bool
    title: str
    reason: str
    components: tuple[str, ...] = ()
    explained: Callable[[], _Missed] = field(default=lambda: ((), ()), compare=False, repr=False)

    @cached_property
    def _missed(self) -> _Missed:
        return self.explained()

    @property
    def considered(self) -> tuple[tuple[str, str], ...]:
        """Rules that came before the one that fitted, each with why it did not."""
        return self._missed[0]

    @property
    def near_misses(self) -> tuple[str, ...]:
        """Those of them that fitted but for one thing, at most `MOST_NEAR_MISSES`."""
        return self._missed[1]


def classify(
    policy: Policy, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Classification:
    """What the first rule that fits says; the default severity where none does."""
    said = (tuple(labels.items()), tuple(annotations.items()))
    known: Classification | None = policy.classified.get(said)
    if known is None:
        known = _decided(policy, labels, annotations)
        if len(policy.classified) >= MOST_CLASSIFIED:
            policy.classified.clear()
        policy.classified[said] = known
    return known


def _decided(
    policy: Policy, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Classification:
    values: Mapping[str, float] | None = None
    for rule, left in policy.fitting(labels.get("alertname", "")):
        for matcher in left:
            if not matcher.fits(labels):
                break
        else:
            if rule.when is not None or rule.threshold is not None:
                values = values_of(annotations) if values is None else values
                if not values and _wants_value(policy, rule, labels):
                    continue
                if _missed_value(policy, rule, labels, annotations, values) is not None:
                    continue
            return _classified(policy, rule, labels, annotations)
    service = labels.get("service")
    return Classification(
        severity=policy.classification.default,
        rule=DEFAULT_RULE,
        service=service,
        playbook=None,
        customer_facing=False,
        urgent=False,
        title=_title(None, labels, annotations),
        reason="no rule fits; the policy's default",
        components=policy.dependents(service),
        explained=partial(_explain, policy, dict(labels), dict(annotations), None),
    )


def is_urgent(policy: Policy, labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Whether the rule that fits is urgent; cheap where no rule for alerts of this name is."""
    fitting = policy.fitting(labels.get("alertname", ""))
    if not any(rule.urgent for rule, _ in fitting):
        return False
    return classify(policy, labels, annotations).urgent


def _explain(
    policy: Policy,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    decided: Rule | None,
) -> _Missed:
    """Why each rule before the one that decided did not fit."""
    considered: list[tuple[str, str]] = []
    near: list[str] = []
    values = values_of(annotations)
    for rule, named_otherwise, left in policy.candidates(labels.get("alertname", "")):
        if rule is decided:
            break
        missed = named_otherwise or next((m for m in left if not m.fits(labels)), None)
        if missed is not None:
            held = labels.get(missed.name)
            shown = "is absent" if held is None else f"is {held[:100]!r}"
            why = f"{missed} does not fit: {missed.name} {shown}"
            close = named_otherwise is None and _but_for(missed, left, labels)
        else:
            why = _missed_value(policy, rule, labels, annotations, values) or ""
            close = bool(rule.matchers) or _said_value(policy, rule, values)
        considered.append((rule.name, why))
        if close and len(near) < MOST_NEAR_MISSES:
            near.append(f"{rule.name}: {why}"[:_TITLE])
    return tuple(considered), tuple(near)


def _said_value(policy: Policy, rule: Rule, values: Mapping[str, float]) -> bool:
    """Whether the alert speaks of what the rule's threshold is about at all."""
    threshold = policy.thresholds.get(rule.threshold or "")
    return threshold is not None and threshold.value in values


def _but_for(missed: Matcher, left: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    return all(matcher is missed or matcher.fits(labels) for matcher in left)


def _wants_value(policy: Policy, rule: Rule, labels: Mapping[str, str]) -> bool:
    """Whether nothing but a value can break the rule's threshold: most alerts give none."""
    return rule.threshold in policy.thresholds and labels.get(THRESHOLD_LABEL) != rule.threshold


def _missed_value(
    policy: Policy,
    rule: Rule,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    values: Mapping[str, float],
) -> str | None:
    if rule.when is not None:
        missed = misses(rule.when, labels, annotations, values)
        if missed is not None:
            return f"{rule.when} does not hold: {missed}"
    threshold = policy.thresholds.get(rule.threshold or "")
    if threshold is None:
        return None
    return _unbroken(rule.threshold or "", threshold, labels, values)


def _unbroken(
    name: str, threshold: Threshold, labels: Mapping[str, str], values: Mapping[str, float]
) -> str | None:
    """Why an alert does not say that a threshold is broken, or `None` if it does.

    The generated rule says so by its label, having waited as long as the threshold wants. Anybody
    else says so by the value, and by `<value>_for` (seconds) if the threshold must have held.
    """
    if labels.get(THRESHOLD_LABEL) == name:
        return None
    value = values.get(threshold.value)
    if value is None:
        return f"threshold {name}: the alert has no value {threshold.value!r}"
    if not threshold.broken_by(value):
        return f"threshold {name}: {value:g} is not {threshold.comparison}"
    held = values.get(f"{threshold.value}_for")
    wanted = threshold.held_for.total_seconds()
    if held is not None and held < wanted:
        return f"threshold {name}: broken for {held:g} s, not for {wanted:g} s"
    return None


def _classified(
    policy: Policy,
    rule: Rule,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> Classification:
    service = rule.service or labels.get("service")
    return Classification(
        severity=rule.severity,
        rule=rule.name,
        service=service,
        playbook=rule.playbook,
        customer_facing=rule.customer_facing,
        urgent=rule.urgent,
        title=_title(rule.title, labels, annotations),
        reason=policy.reason_of(rule, _reason),
        components=rule.components or policy.dependents(service),
        explained=partial(_explain, policy, dict(labels), dict(annotations), rule),
    )


def _reason(policy: Policy, rule: Rule) -> str:
    asked = [str(matcher) for matcher in rule.matchers]
    if rule.when is not None:
        asked.append(rule.when)
    threshold = policy.thresholds.get(rule.threshold or "")
    if threshold is not None:
        asked.append(f"{threshold.title} {threshold.comparison}")
    return f"rule {rule.name!r}: " + ", ".join(asked)


def _title(title: str | None, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    found = title or annotations.get("summary") or labels.get("alertname") or "unnamed alert"
    return found[:_TITLE]
