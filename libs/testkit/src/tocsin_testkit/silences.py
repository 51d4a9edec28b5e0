"""What people do not want to hear, as the log has it."""

from __future__ import annotations

from datetime import datetime, timedelta

from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, Person, event_id
from tocsin_contracts.silences import SilenceCreated, SilenceExpired
from tocsin_testkit.builders import a_person

NAME = "a silence"
"""The silence of whoever has no other."""


def a_silence(
    *matchers: str,
    starts_at: datetime,
    lasts: timedelta,
    by: Person | None = None,
    comment: str = "",
) -> SilenceCreated:
    """Somebody does not want to hear of what matches."""
    return SilenceCreated(
        matchers=matchers,
        starts_at=starts_at,
        ends_at=starts_at + lasts,
        created_by=by or a_person(),
        comment=comment,
    )


def of_silence(
    fact: SilenceCreated | SilenceExpired, *, at: datetime, name: str = NAME
) -> Event[Fact]:
    """What somebody decided about a silence, as ingestion writes it."""
    return Event(
        id=event_id(fact.TYPE, name, rfc3339(at)),
        source="tocsin/ingestion",
        subject=name,
        key=name,
        occurred_at=at,
        fact=fact,
    )
