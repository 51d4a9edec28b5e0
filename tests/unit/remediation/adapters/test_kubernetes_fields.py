"""Fields of Kubernetes objects: set, put back, compared, and shown without secrets."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediation.adapters.kubernetes.failing import Refused
from remediation.adapters.kubernetes.fields import (
    difference,
    fingerprint,
    merge_patch,
    pointer,
    value_at,
    with_values,
)
from remediation.adapters.kubernetes.isolating import _parsed
from remediation.adapters.kubernetes.rollouts import rolled_out, turn_of
from remediation.adapters.kubernetes.workloads import readers, selector_text

Document = dict[str, Any]

VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4)
POD: Document = {
    "spec": {
        "containers": [
            {"name": "main", "env": [{"name": "LEVEL", "value": "info"}]},
            {"name": "sidecar"},
        ]
    }
}


def applied(document: Any, patch: Any) -> Any:
    """A JSON merge patch, as RFC 7386 has it."""
    if not isinstance(patch, dict):
        return patch
    held = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            held.pop(name, None)
        else:
            held[name] = applied(held.get(name), value)
    return held


@given(DOCUMENTS, DOCUMENTS)
def test_a_merge_patch_makes_the_one_the_other(before: Document, after: Document) -> None:
    assert applied(before, merge_patch(before, after)) == after


@given(DOCUMENTS)
def test_what_is_as_it_should_be_needs_no_patch(document: Document) -> None:
    assert merge_patch(document, copy.deepcopy(document)) == {}


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4), st.integers())
def test_a_field_set_is_a_field_read_and_removing_it_removes_it(
    parts: list[str], value: int
) -> None:
    path = pointer(*(f"f{part}" for part in parts))
    held = with_values({}, {path: value})
    assert value_at(held, path) == value
    assert value_at(with_values(held, {path: None}), path) is None


def test_an_element_of_a_list_is_found_by_its_name() -> None:
    path = pointer("spec", "containers", "name=sidecar", "env", "name=FLAG")
    held = with_values(POD, {path: {"name": "FLAG", "value": "on"}})
    assert held["spec"]["containers"][1]["env"] == [{"name": "FLAG", "value": "on"}]
    assert held["spec"]["containers"][0] == POD["spec"]["containers"][0]
    assert value_at(POD, path) is None


def test_a_status_and_a_version_are_no_difference() -> None:
    before: Document = {"metadata": {"name": "api", "uid": "1", "resourceVersion": "1"}, "spec": {}}
    after: Document = {**before, "status": {"replicas": 1}}
    after["metadata"] = {**before["metadata"], "resourceVersion": "2", "managedFields": []}
    assert fingerprint(before) == fingerprint(after)
    assert difference(before, after, "api") == ""
    another = {**before, "metadata": {**before["metadata"], "uid": "2"}}
    assert fingerprint(before) != fingerprint(another)


@pytest.mark.parametrize(
    "document",
    [
        {"data": {"api_key": "sesame"}},
        {"spec": {"env": [{"name": "DB_PASSWORD", "value": "sesame"}]}},
    ],
)
def test_a_value_that_may_be_a_secret_is_not_shown(document: Document) -> None:
    before = {"metadata": {"name": "a"}}
    shown = difference(before, {**before, **document}, "a")
    assert "(hidden)" in shown
    assert "sesame" not in shown


def test_a_selector_is_written_as_a_query_takes_it() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "NotIn", "values": ["yes"]},
        {"key": "app", "operator": "Exists"},
        {"key": "canary", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "api"}, "matchExpressions": expressions}
    assert selector_text(selector) == "app=api,tier in (a,b),old notin (yes),app,!canary"


@pytest.mark.parametrize("selector", ["tier in (a)", "app!=api", "=x", "app"])
def test_a_policy_of_our_own_takes_only_plain_selectors(selector: str) -> None:
    with pytest.raises(Refused):
        _parsed(selector)


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": [{"configMap": {"name": "app"}}]},
        {"volumes": [{"projected": {"sources": [{"configMap": {"name": "app"}}]}}]},
        {"containers": [{"envFrom": [{"configMapRef": {"name": "app"}}]}]},
        {"initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "app"}}}]}]},
    ],
)
def test_a_pod_reads_a_config_map_in_four_ways(spec: Document) -> None:
    pods = [{"metadata": {"name": "one"}, "spec": spec}, {"metadata": {"name": "two"}, "spec": {}}]
    assert readers(pods, "app") == ["one"]


THROUGH = {
    "observedGeneration": 2,
    "replicas": 3,
    "updatedReplicas": 3,
    "readyReplicas": 3,
    "availableReplicas": 3,
}
STUCK = {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}


@pytest.mark.parametrize(
    ("but", "settled"),
    [
        ({}, True),
        ({"observedGeneration": 1}, None),
        ({"updatedReplicas": 2}, None),
        ({"replicas": 4}, None),
        ({"availableReplicas": 2}, None),
        ({"readyReplicas": 2}, None),
        (STUCK, False),
    ],
)
def test_a_rollout_is_through_when_every_pod_is_new_and_available(
    but: Document,
    settled: bool | None,  # noqa: FBT001 - a parameter of the cases
) -> None:
    status = {**THROUGH, **but}
    document = {"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status}
    assert rolled_out("deployment", document).settled is settled


@pytest.mark.parametrize(
    ("kind", "strategy", "pods", "replaced", "away"),
    [
        # Of a Deployment a part is rounded down, and what may be more than wanted is rounded up.
        ("deployment", {}, 3, 3, 0),
        ("deployment", {}, 4, 4, 1),
        ("deployment", {}, 10, 10, 2),
        ("deployment", {"rollingUpdate": {"maxUnavailable": "7%"}}, 100, 100, 7),
        ("deployment", {"rollingUpdate": {"maxUnavailable": 5}}, 3, 3, 3),
        ("deployment", {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, 3, 3, 0),
        # Both come to nothing: the controller takes one away all the same.
        ("deployment", {"rollingUpdate": {"maxUnavailable": "10%", "maxSurge": "0%"}}, 3, 3, 1),
        ("deployment", {"type": "Recreate"}, 3, 3, 3),
        ("statefulset", {}, 3, 3, 1),
        ("statefulset", {"rollingUpdate": {"partition": 2}}, 3, 1, 1),
        ("statefulset", {"rollingUpdate": {"partition": 5}}, 3, 0, 0),
        ("statefulset", {"type": "OnDelete"}, 3, 0, 0),
        # Of a DaemonSet a part is rounded up.
        ("daemonset", {"rollingUpdate": {"maxUnavailable": "25%"}}, 3, 3, 1),
        ("daemonset", {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, 3, 3, 0),
    ],
)
def test_as_many_pods_are_away_at_one_time_as_the_controller_lets_go(
    kind: str, strategy: dict[str, Any], pods: int, replaced: int, away: int
) -> None:
    field = "strategy" if kind == "deployment" else "updateStrategy"
    turn = turn_of(kind, {"spec": {field: strategy}}, pods)
    assert (turn.pods, turn.at_once) == (replaced, away)
