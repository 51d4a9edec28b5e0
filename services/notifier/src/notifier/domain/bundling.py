"""Many messages to one person, made one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tocsin_contracts.ids import reply_code
from tocsin_contracts.incidents import Message

BUNDLED = frozenset({"sms", "voice", "email", "apprise"})
"""Kinds of channel that a person reads one message at a time.

The others show many at once by themselves, or need one for each incident: a key, a thread.
"""

MOST_BUNDLED = 50
"""Messages in one bundle; more make another."""

_MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a bundle.

    Attributes:
        late: By how much it is late; empty if it is not.
    """

    rank: int
    incident: str
    subject: str
    link: str | None
    late: str = ""


def bundle(parts: Sequence[Part]) -> Message:
    """One message that lists the incidents, worst first, each with what acknowledges it.

    >>> part = Part(0, "shop-0123456789", "[P0] Checkout is down", None)
    >>> bundle([part, part]).subject
    '2 messages, worst: [P0] Checkout is down'

    Args:
        parts: At least one.
    """
    worst_first = sorted(parts, key=lambda part: part.rank)
    lines = [
        f"{reply_code(part.incident)} {part.subject} ({part.link or part.incident})"
        + (f", {part.late} late" if part.late else "")
        for part in worst_first[:_MOST_LINES]
    ]
    if len(worst_first) > _MOST_LINES:
        lines.append(f"and {len(worst_first) - _MOST_LINES} more")
    subject = f"{len(parts)} messages, worst: {worst_first[0].subject}"
    return Message(subject=subject[:500], body="\n".join(lines)[:20_000])
