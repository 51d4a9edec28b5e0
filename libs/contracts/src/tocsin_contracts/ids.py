"""Ids that are derived, never drawn: the same cause gives the same id on every machine.

UUIDv5 under one fixed namespace. Writing the same fact twice therefore gives the same id, and
whoever folds the log can tell a repeat from news without a ledger.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from datetime import datetime

NAMESPACE = UUID("6f3a1c52-0f0e-5d0b-9d3a-7c1b5a2e4f10")
"""Root of every derived id. Changing it would make every repeat look like news."""

_ROOT = NAMESPACE.bytes
_VERSION_BITS = 0xF000 << 64
_VERSION = 5 << 76
_VARIANT_BITS = 0xC000 << 48
_VARIANT = 0x8000 << 48

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_SUFFIX_LENGTH = 10
_SYSTEM = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SHARD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_INCIDENT = re.compile(
    rf"(?P<system>{_SYSTEM.pattern})(?:\.(?P<shard>{_SHARD.pattern}))?"
    rf"-[{_CROCKFORD}]{{{_SUFFIX_LENGTH}}}"
)


_REMEMBERED = 10_000
"""Answers that are kept: the same is asked again and again while an incident is looked at."""


def derive(*parts: str) -> UUID:
    """The id of what these parts, in this order, caused.

    Parts are joined by NUL, so `("ab", "c")` and `("a", "bc")` differ.

    >>> derive("a", "b") == derive("a", "b")
    True
    >>> derive("ab", "c") == derive("a", "bc")
    False
    """
    # What `uuid5` does, in less than half of its time: an id is derived for each alert at each hop.
    named = sha1(_ROOT + "\0".join(parts).encode(), usedforsecurity=False)
    number = int.from_bytes(named.digest()[:16], "big")
    return UUID(int=number & ~(_VERSION_BITS | _VARIANT_BITS) | _VERSION | _VARIANT)


@lru_cache(_REMEMBERED)
def derived(*parts: str) -> str:
    """What `derive` says, as text: for an id that is derived again at each look."""
    return str(derive(*parts))


def incident_id(key: str, *parts: str) -> str:
    """An incident id: its key (`system` or `system/shard`), then ten Crockford base32 digits.

    Fifty bits: with a hundred thousand incidents of one system, the chance that any two share an
    id is below one in a hundred thousand.

    >>> incident_id("mpc-transformer", "group", "2026-11-21T00:00:00Z")
    'mpc-transformer-d41596t3d5'
    >>> key_of(incident_id("gateway/eu", "x"))
    'gateway/eu'
    """
    number = derive("incident", key, *parts).int >> (128 - 5 * _SUFFIX_LENGTH)
    digits = []
    for _ in range(_SUFFIX_LENGTH):
        number, digit = divmod(number, 32)
        digits.append(_CROCKFORD[digit])
    return f"{key.replace('/', '.')}-{''.join(reversed(digits))}"


@lru_cache(_REMEMBERED)
def key_of(incident: str) -> str:
    """The Kafka key of an incident's facts (`system` or `system/shard`), from its id alone.

    Raises:
        ValueError: This is no incident id.
    """
    match = _INCIDENT.fullmatch(incident)
    if match is None:
        raise ValueError(f"not an incident id: {incident[:100]!r}")
    return f"{match['system']}/{match['shard']}" if match["shard"] else match["system"]


def system_of(incident: str) -> str:
    """The system an incident belongs to, from its id alone. Raises like `key_of`."""
    return key_of(incident).partition("/")[0]


def reply_code(incident: str) -> str:
    """Six digits by which a person names an incident where nothing longer can be typed.

    One of a million: whoever reads it looks among the incidents that this person was paged for.

    >>> reply_code("mpc-transformer-d41596t3d5")
    '281979'
    """
    return f"{derive('reply', incident).int % 1_000_000:06d}"


def is_system(name: str) -> bool:
    """Whether this can name a system: a DNS label, as ids, keys and topics need."""
    return _SYSTEM.fullmatch(name) is not None


@lru_cache(_REMEMBERED)
def episode(fingerprint: str, starts_at: datetime) -> str:
    """One firing of one alert: its label fingerprint and when it began, to the microsecond.

    Alertmanager re-fires with the same fingerprint and a new `startsAt`; that is a new episode.

    Args:
        starts_at: In UTC, as every instant of a fact is.
    """
    return f"{fingerprint}@{starts_at.isoformat()}"
