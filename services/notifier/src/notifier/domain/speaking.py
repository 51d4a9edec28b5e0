"""What each kind of channel is told at all."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin_contracts.incidents import Purpose

ONLY: Mapping[str, frozenset[Purpose]] = {
    "statuspage": frozenset({Purpose.OPENED, Purpose.UPDATE, Purpose.RESOLVED}),
    "voice": frozenset({Purpose.PAGE, Purpose.REMINDER, Purpose.APPROVAL}),
}
"""Customers read nothing that is for us; nobody is called to hear that it is over."""


def says(kind: str, purpose: Purpose) -> bool:
    """Whether a kind of channel says such a thing."""
    return kind not in ONLY or purpose in ONLY[kind]


def owes(kind: str, purpose: Purpose) -> bool:
    """Whether such a message is owed by a kind of channel.

    A page always is: one by a channel that says no page is refused, and stands in the log as
    refused, rather than being silently nothing.
    """
    return purpose is Purpose.PAGE or says(kind, purpose)
