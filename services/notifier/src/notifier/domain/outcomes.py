"""What a provider's answer means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.domain.doubt import in_doubt, tried_again
from tocsin_incident.state import Notification


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


def retry_at(outcome: Unwell | Unknown, held: Notification, now: datetime) -> datetime | None:
    """When to try again, or `None` for never."""
    if held.attempts >= MOST_ATTEMPTS:
        return None
    wait = wait_after(held.attempts)
    if isinstance(outcome, Unwell):
        return now + max(wait, outcome.retry_after or wait)
    if tried_again(in_doubt(held.kind, held.purpose), held.purpose):
        return now + wait
    return None
