"""Who somebody is: the contact of a policy behind an id or a telephone number."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingestion.domain.delivery import Given
from tocsin_policy import Policy

_NOT_DIALLED = re.compile(r"\(0\)|[^0-9+]")


def contact_of(policies: Iterable[Policy], answer: Given) -> str | None:
    """Id of the contact who answers, if a policy knows the handle; the first one by system."""
    if not answer.handle:
        return None
    number = dialled(answer.handle)
    for policy in policies:
        if answer.via == "phone" and answer.handle in policy.contacts:
            return answer.handle
        for name, contact in policy.contacts.items():
            if answer.via == "slack" and contact.slack == answer.handle:
                return name
            if answer.via == "sms" and number and dialled(contact.phone or "") == number:
                return name
    return None


def dialled(phone: str) -> str:
    """A number without what people put between its digits; nothing unless it has a country.

    >>> dialled("+44 (0)20 7946-0100"), dialled("the desk")
    ('+442079460100', '')
    """
    number = _NOT_DIALLED.sub("", phone)
    return number if number.startswith("+") and number[1:].isdigit() else ""
