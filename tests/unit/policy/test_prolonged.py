"""Channels that hear of the end only of what took long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tocsin_policy import Policy, PolicyRefused, parse_policy, scaled


def a_policy(channel: str) -> Policy:
    return parse_policy(
        {
            "system": "shop",
            "owner": "shop team",
            "severities": [{"name": "P0", "definition": "bad"}],
            "classification": {"default": "P0"},
            "grouping": {"reopen_within": "30m", "auto_resolve_after": "15m"},
            "channels": {"customers": {"kind": "email", "endpoint": "mail"}},
            "announcements": {"P0": {"prolonged": {"after": "30m", "resolved": [channel]}}},
        }
    )


def test_what_is_prolonged_is_scaled_like_everything_people_wait_for() -> None:
    prolonged = scaled(a_policy("customers"), 60).announcements["P0"].prolonged

    assert prolonged is not None
    assert prolonged.after == timedelta(seconds=30)


def test_a_channel_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(PolicyRefused, match=r"unknown channel 'customer' .*'customers'"):
        a_policy("customer")
