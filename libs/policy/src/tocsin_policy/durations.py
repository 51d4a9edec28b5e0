"""Durations as people write them: `30m`, `2h`, `1h30m`, `7d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_PATTERN = re.compile(
    r"(?:(?P<d>\d{1,4})d)?(?:(?P<h>\d{1,5})h)?(?:(?P<m>\d{1,7})m(?!s))?"
    r"(?:(?P<s>\d{1,9})s)?(?:(?P<ms>\d{1,12})ms)?",
    re.ASCII,
)
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SCHEMA = {
    "type": "string",
    "pattern": r"^(?=\d)(\d+d)?(\d+h)?(\d+m(?!s))?(\d+s)?(\d+ms)?$",
    "examples": ["30m", "1h30m", "2h", "7d"],
}


def parse_duration(text: object) -> timedelta:
    """The duration a text names: days, hours, minutes, seconds, milliseconds, largest first.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)

    Raises:
        ValueError: It is nonsense, or a number without a unit.
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no duration; write a unit, as in 30m or 1h30m")  # noqa: TRY004 - pydantic turns ValueErrors into findings
    found = _PATTERN.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"{text!r} is no duration; write it as in 30m, 2h, 1h30m or 7d")
    total = sum(
        int(count) * _MILLISECONDS[unit]
        for unit, count in found.groupdict().items()
        if count is not None
    )
    return timedelta(milliseconds=total)


def format_duration(duration: timedelta) -> str:
    """The one way to write a duration: largest units first, nothing that is zero.

    >>> format_duration(timedelta(minutes=90))
    '1h30m'
    """
    rest = duration // timedelta(milliseconds=1)
    parts = []
    for unit, size in _MILLISECONDS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_SCHEMA),
]
"""A `timedelta` in the model, a text in the file and in the published document."""
