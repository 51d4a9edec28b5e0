"""Heartbeats of a policy: which are refused, and when beats are due."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from tocsin_policy import Policy, PolicyRefused, beat_due, heartbeat_alert
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.policies import a_policy


def with_a_heartbeat(kind: str = "pagerduty", **beat: object) -> Policy:
    return a_policy(
        channels={
            "pagerduty": {
                "kind": kind,
                "endpoint": "pagerduty",
                "heartbeat": {"every": "15m", **beat},
            },
            "slack": {"kind": "slack", "endpoint": "slack"},
        }
    )


@pytest.mark.parametrize(
    ("kind", "beat", "says"),
    [
        ("statuspage", {}, "a statuspage channel takes no synthetic pages"),
        ("pagerduty", {"contact": "alcie"}, "unknown contact 'alcie'.*alice"),
        ("sms", {}, "writes to a person"),
        ("pagerduty", {"every": "10s"}, "a minute at least"),
        ("pagerduty", {"within": "16m"}, "at most every"),
        (
            "pagerduty",
            {"labels": {"severity": "info"}},
            "'minor', of which nobody hears by another",
        ),
    ],
)
def test_a_heartbeat_that_cannot_beat_or_that_nobody_would_miss_is_refused(
    kind: str, beat: dict[str, object], says: str
) -> None:
    with pytest.raises(PolicyRefused, match=says):
        with_a_heartbeat(kind, **beat)


def test_a_heartbeat_of_the_only_way_to_people_is_refused() -> None:
    beat = {"kind": "pagerduty", "endpoint": "pagerduty", "heartbeat": {"every": "15m"}}
    contacts = {"alice": {"name": "Alice", "role": "on call", "channels": ["pagerduty"]}}
    with pytest.raises(PolicyRefused, match="nobody hears by another channel"):
        a_policy(
            contacts=contacts,
            schedules={},
            escalation={"critical": [{"number": 1, "after": "0m", "targets": ["contact:alice"]}]},
            channels={"pagerduty": beat},
        )


def test_the_alert_of_a_missing_heartbeat_names_the_channel() -> None:
    labels = heartbeat_alert(with_a_heartbeat(), "pagerduty")
    assert labels["alertname"] == "HeartbeatMissing"
    assert (labels["system"], labels["channel"]) == ("shop", "pagerduty")


def test_beats_are_due_on_a_grid_that_only_the_name_and_the_interval_decide() -> None:
    every = timedelta(minutes=15)
    looks = (EPOCH + timedelta(seconds=97 * number) for number in range(100))
    due = sorted({beat_due("shop", "slack", every, now) for now in looks})
    assert {later - earlier for earlier, later in itertools.pairwise(due)} == {every}
    assert beat_due("shop", "slack", every, EPOCH) != beat_due("shop", "pagerduty", every, EPOCH)
