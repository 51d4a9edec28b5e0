"""What changes between two policies, in words."""

from __future__ import annotations

from typing import Any

from tocsin_policy.differing import Difference, differences
from tocsin_testkit.policies import a_policy


def rules(*names: str) -> dict[str, Any]:
    return {
        "default": "minor",
        "rules": [
            {"name": name, "match": [f'alertname="{name}"'], "severity": "critical"}
            for name in names
        ],
    }


def test_a_policy_does_not_differ_from_itself() -> None:
    assert differences(a_policy(), a_policy()) == ()


def test_a_changed_value_is_told_with_what_it_was() -> None:
    document = a_policy().model_dump(mode="json", exclude_none=True)
    document["severities"][0]["response_target"] = "9m"
    changed = a_policy(severities=document["severities"])
    assert differences(a_policy(), changed) == (
        Difference("severities", "critical, response target", "3m → 9m"),
    )


def test_a_level_that_comes_later_and_one_that_is_new_are_told_by_number() -> None:
    levels = [
        {"number": 1, "after": "0m", "targets": ["schedule:primary"]},
        {"number": 2, "after": "8m", "targets": ["contact:bob"]},
    ]
    found = differences(a_policy(), a_policy(escalation={"critical": levels}))
    assert found[0] == Difference("escalation", "critical, level 2, after", "5m → 8m")
    assert found[1].what == "critical, level 3"
    assert found[1].change.startswith("removed: number 3, after 10m")


def test_a_rule_that_moved_is_told_once_and_not_as_removed_and_added() -> None:
    old = a_policy(classification=rules("a", "b", "c"))
    new = a_policy(classification=rules("c", "a", "b"))
    assert differences(old, new) == (Difference("classification", "rules, c", "moved before a"),)


def test_a_rule_that_is_new_does_not_move_the_others() -> None:
    old = a_policy(classification=rules("a", "b"))
    new = a_policy(classification=rules("a", "new", "b"))
    [only] = differences(old, new)
    assert (only.what, only.change[:6]) == ("rules, new", "added:")
