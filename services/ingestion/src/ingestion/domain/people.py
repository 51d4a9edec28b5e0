"""Who somebody is: the contact of a policy behind an id, a telephone number or a mail address."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ingestion.domain.delivery import Given
from tocsin_policy import Policy
from tocsin_policy.document import Contact

_NOT_DIALLED = re.compile(r"\(0\)|[^0-9+]")
_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|[^>]*)?>")


def is_ours(answer: Given, people: Mapping[str, str]) -> bool:
    """Whether the settings say that this is nobody: the notifier, in a user's name."""
    return people.get(f"{answer.via}:{answer.handle or answer.by}") == ""


def contact_of(policy: Policy, answer: Given, people: Mapping[str, str]) -> str | None:
    """Id of the contact who answers, if the policy or the settings know the handle.

    Args:
        people: Contacts by what sources call them (`pagerduty:PUSER01`).
    """
    named = people.get(f"{answer.via}:{answer.handle or answer.by}")
    if named is not None and (named in policy.contacts or not answer.only_contacts):
        return named
    if not answer.handle:
        return None
    if answer.via == "phone":
        return answer.handle if answer.handle in policy.contacts else None
    number = dialled(answer.handle)
    for name, contact in policy.contacts.items():
        if answer.via == "slack" and contact.slack == answer.handle:
            return name
        if answer.via == "sms" and number and dialled(contact.phone or "") == number:
            return name
    return None


def person_meant(policy: Policy, said: str, via: str, people: Mapping[str, str]) -> str | None:
    """Id of the contact somebody names: by id, name, mention, number or address.

    A name that fits two contacts names neither.
    """
    text = said.strip()
    mentioned = _MENTION.fullmatch(text)
    plain = mentioned[1] if mentioned is not None else text.removeprefix("@")
    named = people.get(f"{via}:{plain}", plain)
    if named in policy.contacts:
        return named
    found = [key for key, contact in policy.contacts.items() if _is(contact, plain)]
    return found[0] if len(found) == 1 else None


def _is(contact: Contact, said: str) -> bool:
    lowered = said.casefold()
    if lowered in {contact.name.casefold(), (contact.email or "").casefold()} - {""}:
        return True
    number = dialled(said)
    return contact.slack == said or bool(number and dialled(contact.phone or "") == number)


def unknown(answer: Given) -> str:
    """Why an answer of somebody nobody knows is not taken, said to them."""
    what = {"slack": "Slack user id", "sms": "number", "phone": "contact"}.get(answer.via, "name")
    return f"no policy has a contact with the {what} {answer.handle or answer.by}"


def dialled(phone: str) -> str:
    """A number without what people put between its digits; nothing unless it has a country.

    >>> dialled("+44 (0)20 7946-0100"), dialled("the desk")
    ('+442079460100', '')
    """
    number = _NOT_DIALLED.sub("", phone)
    return number if number.startswith("+") and number[1:].isdigit() else ""
