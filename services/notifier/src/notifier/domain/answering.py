"""The links of a page by which its reader answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from tocsin_contracts.incidents import Purpose
from tocsin_contracts.links import ACTIONS, Link, sealed
from tocsin_incident.state import Notification

PERSONAL = frozenset({"email"})
"""Kinds of channel that only the target reads: whoever has a link answers in their name."""


@dataclass(frozen=True, slots=True)
class AnswerLink:
    """One of them.

    Attributes:
        title: What people read on it.
        url: Signed, for whom it is sent to; a secret, so it stands in no log.
    """

    title: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnswerLinks:
    """Makes the links of pages.

    Attributes:
        url: Where people reach the door.
        key: What links are signed with; the door has it too.
        good_for: From when the page was owed; the same over its attempts.
    """

    url: str
    key: str = field(repr=False)
    good_for: timedelta

    def __call__(self, incident: str, held: Notification) -> tuple[AnswerLink, ...]:
        """The links of a message; none where others may read it, or nothing is asked."""
        if held.purpose is not Purpose.PAGE or held.target is None or held.kind not in PERSONAL:
            return ()
        links = (
            Link(
                incident=incident,
                verb=verb,
                contact=held.target.contact,
                notification=held.notification,
                expires_at=held.requested_at + self.good_for,
            )
            for verb in ACTIONS
        )
        base = self.url.rstrip("/")
        return tuple(
            AnswerLink(ACTIONS[link.verb], f"{base}/v1/answers/{sealed(link, self.key)}")
            for link in links
        )
