"""How a call to a cluster ends, other than as asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Done:
    """It was done, or seen.

    Attributes:
        reason: One `snake_case` word.
        text: For the evidence.
        changed: What `undo` needs.
    """

    reason: str
    text: str
    changed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Refused(Exception):
    """It is known not to be as asked: refused, not found, or not so in time.

    Attributes:
        changed: What was done before it ended, for `undo`.
    """

    def __init__(
        self, reason: str, text: str = "", changed: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.text = text
        self.changed = changed


class Unanswered(Exception):
    """A request that changes something got no answer: it may have taken effect."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
