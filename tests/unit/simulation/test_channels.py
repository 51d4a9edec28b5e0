"""Fake providers keep what they accepted, whatever the caller heard."""

from __future__ import annotations

import pytest

from notifier.domain.outcomes import Delivered, Outcome, Unknown, Unwell
from notifier.ports import Sending
from tocsin_contracts.incidents import Purpose
from tocsin_simulation import faults as fates
from tocsin_simulation.channels import Providers
from tocsin_simulation.clock import EPOCH, ManualClock
from tocsin_testkit.builders import AN_INCIDENT_ID, a_message, a_target


def _sending(key: str = "a key", attempt: int = 1) -> Sending:
    return Sending(
        notification="a notification",
        incident=AN_INCIDENT_ID,
        system="mpc-transformer",
        purpose=Purpose.PAGE,
        provider_key=key,
        attempt=attempt,
        severity="P0",
        severity_rank=0,
        opened_at=EPOCH,
        target=a_target(),
        address=None,
        message=a_message(),
    )


class _Fated(fates.NoFaults):
    def __init__(self, outcome: fates.Outcome) -> None:
        self._outcome = outcome

    def deliver(self) -> fates.Fate:
        return fates.Fate(self._outcome)


@pytest.mark.parametrize(
    ("fate", "heard", "accepted"),
    [
        (fates.Outcome.DONE, Delivered, 1),
        (fates.Outcome.REFUSED, Unwell, 0),
        (fates.Outcome.UNKNOWN, Unknown, 1),
    ],
)
async def test_what_is_heard_and_what_is_accepted_are_two_things(
    fate: fates.Outcome, heard: type[Outcome], accepted: int
) -> None:
    providers = Providers(ManualClock(), _Fated(fate))
    assert isinstance(await providers["pagerduty"].send(_sending()), heard)
    assert len(providers.arrivals) == accepted


async def test_the_same_key_again_is_the_same_page() -> None:
    providers = Providers(ManualClock())
    await providers["pagerduty"].send(_sending(attempt=1))
    await providers["pagerduty"].send(_sending(attempt=2))
    await providers["pagerduty"].send(_sending(key="another level"))
    assert [arrival.repeat for arrival in providers.arrivals] == [False, True, False]
    assert [arrival.sending.provider_key for arrival in providers.pages()] == [
        "a key",
        "another level",
    ]
