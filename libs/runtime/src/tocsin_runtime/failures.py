"""The two failures a consume loop knows; anything else is a bug and ends the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class Poison(Exception):
    """The record can never be handled: it is dead-lettered, acknowledged and counted.

    Args:
        reason: A constant `snake_case` word: the metric label and the log field.
        detail: What exactly is wrong, naming the field; shown to people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Transient(Exception):
    """The world is briefly unwell: nothing is committed, the same records come again.

    Args:
        reason: A constant `snake_case` word: the metric label and the log field.
        retry_after: How long to wait at least; `None` leaves it to the back-off.
    """

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
