"""What is left in doubt is named to whoever looks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tocsin_contracts.incidents import (
    NotificationAttempted,
    NotificationInDoubt,
    NotificationRequested,
    Purpose,
)
from tocsin_incident import explain
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_message, an_incident

REQUESTED = NotificationRequested(
    notification="n-1",
    purpose=Purpose.RESOLVED,
    generation=1,
    channel="status-page",
    kind="statuspage",
    provider_key="n-1",
    message=a_message(),
)
ATTEMPTED = NotificationAttempted(notification="n-1", attempt=1, instance="one")


@pytest.mark.parametrize(("retried", "named"), [(None, True), (timedelta(minutes=9), False)])
def test_a_post_that_nobody_sends_again_is_named(retried: timedelta | None, *, named: bool) -> None:
    lost = NotificationInDoubt(
        notification="n-1",
        attempt=1,
        reason="lost",
        retry_at=None if retried is None else EPOCH + retried,
    )
    said = "\n".join(explain(an_incident(REQUESTED, ATTEMPTED, lost)))
    assert ("Whether resolved by status-page arrived is not known" in said) is named
    assert ("1 notifications are not settled yet" in said) is not named
