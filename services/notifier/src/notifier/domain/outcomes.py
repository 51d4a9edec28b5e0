"""What a provider's answer means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tocsin_contracts.incidents import Purpose
from tocsin_incident.state import Notification


class InDoubt(StrEnum):
    """What a channel does with an attempt whose outcome is not known."""

    SAME_KEY = "same_key"
    """Try again: the provider merges by the key, so it cannot happen twice."""
    AGAIN_IF_PAGE = "again_if_page"
    """Try again if it pages someone: twice is better than never. Leave anything else."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The provider took it."""

    ref: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider will never take it as it is.

    Attributes:
        reason: One `snake_case` word for counting.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unwell:
    """The provider did not take it now; it may later."""

    reason: str
    detail: str = ""
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether the provider took it."""

    reason: str


Outcome = Delivered | Refused | Unwell | Unknown

MOST_ATTEMPTS = 12
"""Attempts of one message at most; with the waits below they spread over about half an hour."""

_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=5)


def wait_after(attempt: int) -> timedelta:
    """How long to wait after this many attempts: 1 s, doubling, 5 minutes at most.

    >>> wait_after(1), wait_after(4)
    (datetime.timedelta(seconds=1), datetime.timedelta(seconds=8))
    """
    doublings = min(attempt - 1, 20)
    return min(_FIRST_WAIT * (1 << doublings), _LONGEST_WAIT)


def retry_at(
    outcome: Unwell | Unknown, held: Notification, policy: InDoubt, now: datetime
) -> datetime | None:
    """When to try again, or `None` for never."""
    if held.attempts >= MOST_ATTEMPTS:
        return None
    if isinstance(outcome, Unwell):
        wait = wait_after(held.attempts)
        return now + max(wait, outcome.retry_after or wait)
    if policy is InDoubt.SAME_KEY or held.purpose is Purpose.PAGE:
        return now + wait_after(held.attempts)
    return None
