"""The runbook of MPC Transformer, read back from its policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_policy import (
    Policy,
    claim,
    classify,
    group_key,
    levels_for,
    load_policy,
    render,
    resolve,
    resolve_targets,
    scaled,
    severity_rank,
)

ROOT = Path(__file__).parents[3]
POLICY = load_policy(ROOT / "deploy" / "policies" / "mpc-transformer" / "policy.yaml")
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def matrix(policy: Policy, severity: str) -> list[tuple[timedelta, list[str]]]:
    return [
        (level.after, [target.contact for target in resolve_targets(policy, level, NOON)])
        for level in levels_for(policy, severity)
    ]


@pytest.mark.parametrize(
    ("alert", "severity", "playbook"),
    [
        ("GlobalServiceUnavailable", "P0", "global-service-outage"),
        ("MultipleRegionsDown", "P0", "global-service-outage"),
        ("SecurityBreachDetected", "P0", "security-incident"),
        ("DataLossDetected", "P0", "maintenance-mode"),
        ("DataCorruption", "P0", "maintenance-mode"),
        ("SLABreach", "P0", "traffic-routing"),
        ("RegionOutage", "P1", "single-region-outage"),
        ("HighErrorRate", "P1", "high-error-rate"),
        ("PerformanceDegradation", "P1", "scaling"),
        ("GPUResourceExhaustion", "P1", "gpu-resource-exhaustion"),
        ("MPCProtocolFailures", "P1", "rollback"),
        ("FeatureDegraded", "P2", None),
        ("SSLCertificateExpiring", "P2", None),
        ("CapacityPlanning", "P3", None),
        ("DocumentationUpdate", "P3", None),
        ("SomethingNobodyThoughtOf", "P2", None),
    ],
)
def test_each_example_of_the_runbook_has_its_severity_and_playbook(
    alert: str, severity: str, playbook: str | None
) -> None:
    classified = classify(POLICY, {"alertname": alert}, {})

    assert (classified.severity, classified.playbook) == (severity, playbook)
    assert classified.urgent == (severity == "P0")


def test_a_p0_reaches_everybody_within_two_hours() -> None:
    assert matrix(POLICY, "P0") == [
        (timedelta(0), ["oncall-primary"]),
        (timedelta(minutes=30), ["alice", "bob"]),
        (timedelta(hours=1), ["carol", "ceo"]),
        (timedelta(hours=2), ["oncall-primary", "alice", "bob", "carol", "ceo"]),
    ]


def test_a_p1_climbs_one_person_at_a_time() -> None:
    assert matrix(POLICY, "P1") == [
        (timedelta(0), ["oncall-primary"]),
        (timedelta(minutes=30), ["alice"]),
        (timedelta(hours=1), ["bob"]),
        (timedelta(hours=2), ["carol"]),
    ]


def test_a_p2_stops_at_the_team_lead_and_a_p3_at_its_assignee() -> None:
    assert matrix(POLICY, "P2") == [
        (timedelta(0), ["oncall-primary"]),
        (timedelta(minutes=30), ["alice"]),
    ]
    assert matrix(POLICY, "P3") == [(timedelta(0), ["oncall-primary"])]
    (level,) = levels_for(POLICY, "P3")
    (assigned,) = resolve_targets(POLICY, level, NOON, {"assignee": "alice"})
    assert assigned.contact == "alice"


def test_a_role_nobody_was_assigned_falls_to_its_default_and_says_via_what() -> None:
    (target,) = resolve(POLICY, ("role:incident_commander",), NOON, {})

    assert (target.contact, target.role) == ("oncall-primary", "incident commander")
    assert target.via == "role:incident_commander, schedule:primary"


def test_somebody_the_policy_cannot_reach_does_not_silence_a_role() -> None:
    (target,) = resolve(POLICY, ("role:technical_lead",), NOON, {"technical_lead": "a stranger"})

    assert target.contact == "alice"


def test_a_conditional_target_is_told_only_when_its_condition_holds() -> None:
    targets = ("contact:ceo if customer_facing", "contact:carol if not customer_facing")

    facing = resolve(POLICY, targets, NOON, {}, {"customer_facing": "true"})
    hidden = resolve(POLICY, targets, NOON, {}, {"customer_facing": "false"})

    assert [target.contact for target in facing] == ["ceo"]
    assert [target.contact for target in hidden] == ["carol"]


def test_via_keeps_only_the_channels_it_names() -> None:
    (target,) = resolve(POLICY, ("contact:alice via email",), NOON)

    assert target.channels == ("email",)


def test_a_rule_that_was_passed_over_says_why() -> None:
    classified = classify(POLICY, {"alertname": "MultipleRegionsDown"}, {})

    ((rule, why),) = classified.considered
    assert rule == "global service unavailable"
    assert why.startswith('alertname="GlobalServiceUnavailable" does not fit')
    assert why.endswith("alertname is 'MultipleRegionsDown'")


def test_the_first_step_of_a_global_outage_only_looks_and_asks_nobody() -> None:
    first, *rest = POLICY.playbooks["global-service-outage"].steps

    assert first.command is not None
    assert first.command.program == "check-global-health.sh"
    assert (first.risk, first.approval) == ("read", "automatic")
    assert "one" in {step.approval for step in rest}


def test_severities_rank_from_worst_to_least_and_unknown_last() -> None:
    assert [severity_rank(POLICY, name) for name in ("P0", "P1", "P2", "P3", "P9")] == [*range(5)]


def test_what_people_wait_for_is_scaled_and_what_machines_take_is_not() -> None:
    fast = scaled(POLICY, 60)

    assert [after for after, _ in matrix(fast, "P0")] == [
        timedelta(seconds=seconds) for seconds in (0, 30, 60, 120)
    ]
    p0 = fast.severity("P0")
    assert p0 is not None
    assert p0.response_target == timedelta(seconds=5)
    assert p0.updates is not None
    assert p0.updates.every == timedelta(seconds=15)
    assert fast.playbooks == POLICY.playbooks
    assert [after for after, _ in matrix(POLICY, "P0")][1] == timedelta(minutes=30)


def test_a_label_that_names_a_system_wins_over_claims() -> None:
    assert claim([POLICY], {"system": "mpc-transformer"}).reason == "label system='mpc-transformer'"
    assert claim([POLICY], {"app": "mpc-transformer"}).system == "mpc-transformer"
    assert claim([POLICY], {"app": "other"}).system is None


@given(
    st.permutations([("alertname", "HighErrorRate"), ("cluster", "us"), ("pod", "x"), ("b", "")])
)
def test_the_order_of_labels_changes_nothing(labels: list[tuple[str, str]]) -> None:
    shuffled, sorted_ = dict(labels), dict(sorted(labels))

    assert classify(POLICY, shuffled, {}) == classify(POLICY, sorted_, {})
    assert group_key(POLICY, shuffled) == group_key(POLICY, sorted_)
    assert claim([POLICY], shuffled) == claim([POLICY], sorted_)


@given(st.text(), st.text())
def test_no_label_value_can_pass_for_two(one: str, other: str) -> None:
    here = group_key(POLICY, {"alertname": one, "cluster": other})
    there = group_key(POLICY, {"alertname": f'{one}","{other}', "cluster": ""})

    assert here != there or not other


@pytest.mark.parametrize("name", sorted(POLICY.templates))
def test_every_template_renders_with_values_and_without(name: str) -> None:
    alerts = [{"name": "RegionOutage", "labels": {"region": "us-east"}, "annotations": {}}]

    assert render(POLICY, name, {}).body
    message = render(POLICY, name, {"title": "Region is down", "alerts": alerts})
    assert "Region is down" in message.subject + message.body or name == "approval"


def test_a_message_is_cut_at_its_maximum() -> None:
    message = render(POLICY, "update", {"text": "x" * 100_000, "title": "y\n" * 1_000})

    assert len(message.body) == 20_000
    assert len(message.subject) <= 500
    assert "\n" not in message.subject
