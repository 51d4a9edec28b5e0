"""What each kind of channel does in doubt, and that every kind says so."""

from __future__ import annotations

import typing
from datetime import timedelta

import pytest

from notifier.domain.doubt import KINDS, InDoubt, in_doubt
from notifier.domain.outcomes import MOST_ATTEMPTS, Unknown, Unwell, retry_at
from notifier.domain.pacing import RATES
from notifier.domain.speaking import ONLY, owes
from notifier.settings import ChannelSettings
from tocsin_contracts.incidents import Purpose
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_policy.document import Channel
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_message


def a_notification(kind: str, purpose: Purpose, attempts: int = 1) -> Notification:
    return Notification(
        notification="n-1",
        purpose=purpose,
        generation=1,
        channel="a channel",
        kind=kind,
        provider_key="key",
        message=a_message(),
        status=NotificationStatus.ATTEMPTED,
        attempts=attempts,
        requested_at=EPOCH,
    )


def test_policies_settings_doubt_and_rates_know_the_same_kinds() -> None:
    in_policies = set(typing.get_args(Channel.model_fields["kind"].annotation))
    union = typing.get_args(typing.get_args(ChannelSettings)[0])
    in_settings = {typing.get_args(one.model_fields["kind"].annotation)[0] for one in union}
    assert in_policies == in_settings == set(KINDS) == set(RATES)
    assert set(ONLY) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_in_doubt_is_tried_again_by_every_kind_that_pages(kind: str) -> None:
    again = retry_at(Unknown("lost"), a_notification(kind, Purpose.PAGE), EPOCH)
    assert (again is None) == (in_doubt(kind, Purpose.PAGE) is InDoubt.NEVER)


@pytest.mark.parametrize("purpose", Purpose)
def test_what_customers_read_is_never_tried_again_in_doubt(purpose: Purpose) -> None:
    assert retry_at(Unknown("lost"), a_notification("statuspage", purpose), EPOCH) is None


def test_what_customers_read_is_tried_again_if_it_was_surely_not_taken() -> None:
    refused = Unwell("rate_limited", retry_after=timedelta(minutes=1))
    held = a_notification("statuspage", Purpose.UPDATE)
    assert retry_at(refused, held, EPOCH) == EPOCH + timedelta(minutes=1)


@pytest.mark.parametrize("kind", ["slack", "sms", "voice", "teams", "apprise"])
def test_news_in_doubt_is_left_where_it_could_be_told_twice(kind: str) -> None:
    assert retry_at(Unknown("lost"), a_notification(kind, Purpose.APPROVAL), EPOCH) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_trying_ends(kind: str) -> None:
    held = a_notification(kind, Purpose.PAGE, attempts=MOST_ATTEMPTS)
    assert retry_at(Unwell("provider_error"), held, EPOCH) is None


def test_a_kind_nobody_knows_forgets_no_page() -> None:
    assert in_doubt("carrier pigeon", Purpose.PAGE) is InDoubt.AGAIN_MARKED


def test_customers_and_sleepers_are_not_told_what_is_not_for_them() -> None:
    assert not owes("statuspage", Purpose.APPROVAL)
    assert not owes("voice", Purpose.RESOLVED)
    assert owes("statuspage", Purpose.PAGE)
    assert owes("slack", Purpose.RESOLVED)
