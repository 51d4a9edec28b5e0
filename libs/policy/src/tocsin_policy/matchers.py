"""Alertmanager's label matchers: its syntax, its escapes, its anchored RE2.

The rules are those of `labels.ParseMatchers` (Alertmanager 0.25); amtool is the oracle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import re2

_HEAD = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*", re.ASCII)
_SPACE = " \t\n\r\f"


class MatcherError(ValueError):
    """A matcher nobody can read.

    Attributes:
        column: Where in the text, from 1.
    """

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"{message} (column {column} of the matcher)")
        self.column = column


class Operator(StrEnum):
    """How a label is compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"


MOST_ANSWERS = 4_096
"""Values whose answer a pattern remembers; labels that patterns ask about have few."""


class Pattern:
    """A compiled RE2 pattern, anchored at both ends."""

    __slots__ = ("_answers", "_compiled")

    def __init__(self, compiled: Any) -> None:  # noqa: ANN401 - re2 has no types
        self._compiled = compiled
        self._answers: dict[str, bool] = {}

    def fits(self, value: str) -> bool:
        """Whether the whole value matches."""
        known = self._answers.get(value)
        if known is None:
            known = self._compiled.fullmatch(value) is not None
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            self._answers[value] = known
        return known


@dataclass(frozen=True, slots=True)
class Matcher:
    """One comparison. A label that is absent has the value `""`."""

    name: str
    operator: Operator
    value: str
    pattern: Pattern | None = field(default=None, compare=False, repr=False)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels pass."""
        held = labels.get(self.name, "")
        match self.operator:
            case Operator.EQUAL:
                return held == self.value
            case Operator.NOT_EQUAL:
                return held != self.value
            case Operator.MATCHES:
                return self.pattern is not None and self.pattern.fits(held)
            case Operator.NOT_MATCHES:
                return self.pattern is not None and not self.pattern.fits(held)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{escaped}"'


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers of a comma-separated list, in braces or not.

    Raises:
        MatcherError: What is wrong, and in which column.
    """
    start = 1 if text.startswith("{") else 0
    end = len(text) - 1 if text[start:].endswith("}") else len(text)
    tokens: list[tuple[int, str]] = []
    quoted = escaped = False
    begin = start
    for index in range(start, end):
        character = text[index]
        if character == "," and not quoted:
            tokens.append((begin, text[begin:index]))
            begin = index + 1
            escaped = False
        elif character == '"' and not escaped:
            quoted = not quoted
        elif character == "\\":
            escaped = not escaped
            continue
        escaped = False
    if begin < end:
        tokens.append((begin, text[begin:end]))
    return tuple(_parse(token, offset) for offset, token in tokens)


def _parse(text: str, offset: int) -> Matcher:
    head = _HEAD.match(text)
    if head is None:
        raise MatcherError(
            f'{text.strip()!r} is no matcher; write name="value", with =, !=, =~ or !~',
            offset + len(text) - len(text.lstrip(_SPACE)) + 1,
        )
    name, operator = head.group(1), Operator(head.group(2))
    at = offset + head.end() + 1
    value = _unescape(text[head.end() :].rstrip(_SPACE), at)
    if operator not in {Operator.MATCHES, Operator.NOT_MATCHES}:
        return Matcher(name, operator, value)
    return Matcher(name, operator, value, compile_pattern(value, at))


def _unescape(raw: str, column: int) -> str:
    quoted = raw.startswith('"')
    body = raw[1:] if quoted else raw
    shift = column + (1 if quoted else 0)
    value: list[str] = []
    closed = escaped = False
    for index, character in enumerate(body):
        last = index == len(body) - 1
        if escaped:
            escaped = False
            spurious = character not in '"\\n'
            value.append("\\" + character if spurious else {"n": "\n"}.get(character, character))
        elif character == "\\" and not last:
            escaped = True
        elif character == '"':
            if not quoted or not last:
                raise MatcherError("the value holds a double quote that needs a \\", shift + index)
            closed = True
        else:
            value.append(character)
    if quoted and not closed:
        raise MatcherError("the value's double quote is never closed", column)
    return "".join(value)


def compile_pattern(pattern: str, column: int = 1) -> Pattern:
    """The compiled RE2 pattern, anchored at both ends.

    Raises:
        MatcherError: RE2 refuses it; back-references and look-around do not exist there.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return Pattern(re2.compile(f"(?:{pattern})", options))  # type: ignore[no-untyped-call]
    except re2.error as error:
        detail = error.args[0]
        shown = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise MatcherError(f"RE2 refuses {pattern!r}: {shown}", column) from error


def matches(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether the labels pass every matcher; no matchers at all let everything pass."""
    return all(matcher.fits(labels) for matcher in matchers)
