"""What changes between two policies, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tocsin_policy.document import Policy
from tocsin_policy.loader import policy_document

_NAMES = ("name", "id", "number", "title")
"""What tells the items of a list apart, where one of these does."""

_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that changes.

    Attributes:
        part: Part of the policy: `severities`, `escalation` …
        what: Which of it, in words: `P0, response target`.
        change: `added`, `removed`, `moved`, or `5m → 10m`.
    """

    part: str
    what: str
    change: str


def differences(old: Policy, new: Policy) -> tuple[Difference, ...]:
    """What changes from one policy to the other, in the order of the policy's parts."""
    before, after = policy_document(old), policy_document(new)
    return tuple(
        difference
        for part in dict.fromkeys((*before, *after))
        for difference in _part(part, before.get(part), after.get(part))
    )


def _part(part: str, old: Any, new: Any) -> Iterator[Difference]:  # noqa: ANN401 - JSON values
    for path, change in _changes(old, new):
        yield Difference(part, ", ".join(path) or part, change)


def _changes(old: Any, new: Any) -> Iterator[tuple[tuple[str, ...], str]]:  # noqa: ANN401
    if old == new:
        return
    if old is None or new is None:
        yield (), f"added: {_shown(new)}" if old is None else f"removed: {_shown(old)}"
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            for path, change in _changes(old.get(key), new.get(key)):
                yield (key.replace("_", " "), *path), change
        return
    name = _telling(old, new)
    if name is None:
        yield (), f"{_shown(old)} → {_shown(new)}"
        return
    olds, news = ({str(item[name]): item for item in items} for items in (old, new))
    for key in dict.fromkeys((*olds, *news)):
        for path, change in _changes(olds.get(key), news.get(key)):
            label = f"level {key}" if name == "number" else key
            yield (label, *path), change
    yield from _moves(list(olds), list(news))


def _telling(old: Any, new: Any) -> str | None:  # noqa: ANN401
    """The key whose values tell the items of both lists apart, if one does."""
    if not isinstance(old, list) or not isinstance(new, list):
        return None
    for name in _NAMES:
        if all(isinstance(item, dict) and name in item for item in (*old, *new)) and all(
            len({str(item[name]) for item in items}) == len(items) for items in (old, new)
        ):
            return name
    return None


def _moves(old: list[str], new: list[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    kept_old = [key for key in old if key in new]
    kept_new = [key for key in new if key in old]
    while kept_old != kept_new:
        # The one that went furthest moved; the others only made room.
        moved = max(kept_new, key=lambda key: abs(kept_old.index(key) - kept_new.index(key)))
        place = kept_new.index(moved)
        where = f"before {kept_new[place + 1]}" if place + 1 < len(kept_new) else "to the end"
        yield (moved,), f"moved {where}"
        kept_old.remove(moved)
        kept_new.remove(moved)


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, list):
        text = ", ".join(map(_shown, value)) or "nothing"
    elif isinstance(value, dict):
        text = ", ".join(f"{key} {_shown(held)}" for key, held in value.items())
    else:
        text = str(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
