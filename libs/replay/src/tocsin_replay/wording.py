"""How people say what the log holds: durations, counts, reasons, persons."""

from __future__ import annotations

import re

from tocsin_contracts.event import Person
from tocsin_incident import duration
from tocsin_policy import Policy

__all__ = ["contact", "duration", "named", "role", "some", "words"]


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
