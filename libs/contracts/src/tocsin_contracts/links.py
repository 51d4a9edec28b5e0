"""Links by which a person answers from a mail: signed, for one answer, for a limited time.

The notifier makes them and the door reads them; both have the key. A link names the incident, what
it does, who may do it and until when, so that the door needs to remember nothing: what a link does
is a fact whose id comes from the link, and a fact counts once (`answer_id`).

Format: `<base64url of JSON>.<base64url of HMAC-SHA256>`, without padding.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, ValidationError

from tocsin_contracts.event import Instant, Value
from tocsin_contracts.ids import derive

LEAST_KEY = 32
"""Characters of a key at least."""

LONGEST = 2_000
"""Characters of a link's token at most; a longer one is none of ours."""

ACTIONS: Mapping[str, str] = {
    "acknowledge": "Acknowledge",
    "escalate": "Escalate now",
    "mute": "Mute for an hour",
    "handover": "Hand over",
    "notes": "Add a note",
    "resolve": "Resolve",
}
"""What a link can do, and what people read on it."""

_PURPOSE = b"tocsin answer link 1\0"
"""Signed with the rest, so that a signature under the same key for another purpose is none here."""


class BadLink(ValueError):
    """The link does nothing.

    Attributes:
        reason: `forged` or `expired`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Link(Value):
    """What a link lets somebody do, once.

    Attributes:
        verb: One of `ACTIONS`.
        contact: Contact id of whom it was sent to; the answer is theirs.
        notification: The message it stands in.
    """

    incident: str
    verb: str
    contact: Annotated[str, Field(min_length=1, max_length=200)]
    notification: str
    expires_at: Instant

    @property
    def answer_id(self) -> UUID:
        """Id of the fact that the answer is: the same however often the link is used."""
        return derive("link", self.incident, self.verb, self.contact, self.notification)


def sealed(link: Link, key: str) -> str:
    """The token of a link, signed.

    >>> from datetime import UTC, datetime
    >>> link = Link(incident="shop-0123456789", verb="acknowledge", contact="alice",
    ...             notification="n", expires_at=datetime(2026, 11, 21, 12, tzinfo=UTC))
    >>> opened(sealed(link, "k" * 32), ["k" * 32], datetime(2026, 11, 21, 11, tzinfo=UTC)) == link
    True
    """
    said = urlsafe_b64encode(link.model_dump_json().encode()).rstrip(b"=")
    return f"{said.decode()}.{_signature(said, key).decode()}"


def opened(token: str, keys: Iterable[str], now: datetime) -> Link:
    """What a token says, if it was signed with one of the keys and is still good.

    The signature is compared, in constant time, before anything is made of the rest.

    Raises:
        BadLink: It was not, or is not any more.
    """
    said, _, signature = token.partition(".")
    given = signature.encode(errors="replace")
    # Every key is tried, so that the time says nothing of which one fits.
    signed = [hmac.compare_digest(_signature(said.encode(), key), given) for key in keys]
    if len(token) > LONGEST or not any(signed):
        raise BadLink("forged", "this link is none of ours, or was changed on its way")
    try:
        link = Link.model_validate_json(urlsafe_b64decode(said + "=" * (-len(said) % 4)))
    except (ValidationError, binascii.Error) as error:
        raise BadLink("forged", "this link says nothing") from error
    if link.verb not in ACTIONS:
        raise BadLink("forged", "this link does nothing that we know")
    if now >= link.expires_at:
        raise BadLink("expired", "this link has expired")
    return link


def _signature(said: bytes, key: str) -> bytes:
    made = hmac.new(key.encode(), _PURPOSE + said, hashlib.sha256).digest()
    return urlsafe_b64encode(made).rstrip(b"=")
