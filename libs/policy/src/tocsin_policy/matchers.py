r"""Alertmanager's matchers: `name="value"`, `!=`, `=~`, `!~`.

Syntax of Alertmanager's classic parser (`pkg/labels/parse.go`): the value may be quoted, with
`\"`, `\n` and `\\` as escapes, or bare. Regular expressions are RE2 and anchored at both ends. A
label that is absent counts as the empty string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import re2

_NAME = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!=|!~|=)")
_BARE_REFUSED = set('"{},')


class Operator(StrEnum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCH = "=~"
    NOT_MATCH = "!~"


class BadMatcher(ValueError):
    """A text is no matcher.

    Attributes:
        column: Where it goes wrong, from 1.
    """

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class Matcher:
    """A test of one label."""

    name: str
    operator: Operator
    value: str
    pattern: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{escaped}"'

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the label is as the matcher wants it."""
        value = labels.get(self.name, "")
        match self.operator:
            case Operator.EQUAL:
                return value == self.value
            case Operator.NOT_EQUAL:
                return value != self.value
            case Operator.MATCH:
                return self.pattern.fullmatch(value) is not None
            case Operator.NOT_MATCH:
                return self.pattern.fullmatch(value) is None


@lru_cache(maxsize=10_000)
def parse_matcher(text: str) -> Matcher:
    """The matcher a text names.

    >>> str(parse_matcher("severity=~critical|warning"))
    'severity=~"critical|warning"'

    Raises:
        BadMatcher: It names none, or its regular expression is no RE2.
    """
    found = _NAME.match(text)
    if found is None:
        raise BadMatcher(f"bad matcher format: {text}", 1)
    name, operator = found[1], Operator(found[2])
    value = _value(text, found.end())
    pattern = None
    if operator in {Operator.MATCH, Operator.NOT_MATCH}:
        options = re2.Options()
        options.log_errors = False
        try:
            pattern = re2.compile(value, options)  # type: ignore[no-untyped-call]
        except re2.error as error:
            detail = error.args[0] if error.args else error
            detail = detail.decode(errors="replace") if isinstance(detail, bytes) else detail
            raise BadMatcher(
                f"{value!r} is no RE2 expression: {detail}", found.end() + 1
            ) from error
    return Matcher(name, operator, value, pattern)


def _value(text: str, start: int) -> str:
    raw = text[start:].strip()
    column = start + 1
    if not raw.startswith('"'):
        if any(character in _BARE_REFUSED for character in raw):
            raise BadMatcher(f"bad matcher format: {text}; quote the value", column)
        return raw
    value: list[str] = []
    index = 1
    while index < len(raw):
        character = raw[index]
        if character == "\\" and index + 1 < len(raw):
            following = raw[index + 1]
            value.append({"n": "\n", '"': '"', "\\": "\\"}.get(following, "\\" + following))
            index += 2
            continue
        if character == '"':
            if index != len(raw) - 1:
                raise BadMatcher(f"text after the closing quote: {text}", column + index + 1)
            return "".join(value)
        value.append(character)
        index += 1
    raise BadMatcher(f"no closing quote: {text}", column)


def matches(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher fits."""
    return all(matcher.matches(labels) for matcher in matchers)
