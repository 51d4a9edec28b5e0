"""What each kind of channel does with an attempt of which nobody knows whether it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from tocsin_contracts.incidents import Purpose


class InDoubt(StrEnum):
    """What becomes of a message in doubt."""

    SAME_KEY = "same_key"
    """Try again: the provider, or whoever reads it, merges by the key."""
    LOOK_FIRST = "look_first"
    """Try again, and look first whether the message is there already."""
    AGAIN_MARKED = "again_marked"
    """Try again if it pages someone, marked "may be a repeat": twice is better than never. Leave
    anything else."""
    NEVER = "never"
    """Leave it: what customers read, and are mailed, is never said twice."""


KINDS: Mapping[str, InDoubt] = {
    "slack": InDoubt.AGAIN_MARKED,
    "slack-app": InDoubt.LOOK_FIRST,
    "pagerduty": InDoubt.SAME_KEY,
    "webhook": InDoubt.SAME_KEY,
    "email": InDoubt.SAME_KEY,
    "statuspage": InDoubt.NEVER,
    "sms": InDoubt.AGAIN_MARKED,
    "voice": InDoubt.AGAIN_MARKED,
    "github": InDoubt.LOOK_FIRST,
    "jira": InDoubt.LOOK_FIRST,
    "teams": InDoubt.AGAIN_MARKED,
    "apprise": InDoubt.AGAIN_MARKED,
}
"""By kind of channel. Mail goes again under the same Message-ID, which mail programs merge."""

_EXCEPT: Mapping[tuple[str, Purpose], InDoubt] = {
    ("pagerduty", Purpose.UPDATE): InDoubt.LOOK_FIRST,
    ("email", Purpose.APPROVAL): InDoubt.NEVER,
}
"""A note has no key; it is looked for. A remediation notice is never sent twice: by mail it would
be, whatever its reader's program makes of the second."""


def in_doubt(kind: str, purpose: Purpose) -> InDoubt:
    """What becomes of a message of this purpose; of an unknown kind, what forgets no page."""
    return _EXCEPT.get((kind, purpose), KINDS.get(kind, InDoubt.AGAIN_MARKED))


def tried_again(doubt: InDoubt, purpose: Purpose) -> bool:
    """Whether a message in doubt is attempted again.

    >>> tried_again(InDoubt.AGAIN_MARKED, Purpose.PAGE)
    True
    >>> tried_again(InDoubt.AGAIN_MARKED, Purpose.UPDATE)
    False
    """
    match doubt:
        case InDoubt.SAME_KEY | InDoubt.LOOK_FIRST:
            return True
        case InDoubt.AGAIN_MARKED:
            return purpose is Purpose.PAGE
        case InDoubt.NEVER:
            return False
