"""How people say what the log holds: durations, counts, reasons, persons."""

from __future__ import annotations

import re
from datetime import timedelta

from tocsin_contracts.event import Person
from tocsin_policy import Policy

_TENTHS_BELOW = 10.0


def duration(length: timedelta | None) -> str:
    """A duration as people say it: `1 h 04 min`, `3 min 20 s`, `0.4 s`.

    >>> duration(timedelta(minutes=3, seconds=20))
    '3 min 20 s'
    """
    if length is None:
        return "never"
    seconds = length.total_seconds()
    if seconds < 0:
        return f"-{duration(-length)}"
    if seconds < _TENTHS_BELOW:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {left:02} s" if left else f"{minutes} min"
    return f"{left} s"


def some(count: int, one: str, many: str = "") -> str:
    """How many of what.

    >>> some(1, "alert"), some(2, "alert"), some(0, "person", "people")
    ('1 alert', '2 alerts', '0 people')
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


_NAME = re.compile(r"[a-z]+(?:_[a-z]+)*")


def words(said: str) -> str:
    """A name of the wire as words; a sentence that somebody wrote as it is.

    >>> words("not_as_expected"), words("rule 'db_down'")
    ('not as expected', "rule 'db_down'")
    """
    return said.replace("_", " ") if _NAME.fullmatch(said) else said


def named(by: Person | None, policy: Policy | None) -> str | None:
    """What people call whoever answered; the log has what they said they were."""
    return None if by is None else contact(by.name, policy)


def contact(name: str, policy: Policy | None) -> str:
    """What people call a contact of the policy; the id itself where it knows none."""
    found = policy.contacts.get(name) if policy is not None else None
    return found.name if found is not None else name


def role(name: str, policy: Policy | None) -> str:
    """What people call a role."""
    found = policy.roles.get(name) if policy is not None else None
    return found.name if found is not None else words(name)
