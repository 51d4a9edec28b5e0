"""What every part of a policy is made of: frozen models, names, lines, durations, targets."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tocsin_policy.matchers import parse_matchers


class Part(BaseModel):
    """A frozen part of a policy; a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def no_duplicates(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if none stands there twice. Raises `ValueError` naming those that do."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
    return names


def _matcher(text: str) -> str:
    if not parse_matchers(text):
        raise ValueError('an empty matcher; write name="value"')
    return text


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write it as in Europe/Berlin") from error
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
System = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Line = Annotated[str, Field(min_length=1, max_length=500)]
Text = Annotated[str, Field(max_length=20_000)]
Names = Annotated[tuple[Name, ...], AfterValidator(no_duplicates)]
MatcherText = Annotated[str, AfterValidator(_matcher)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
TargetText = Annotated[
    str,
    Field(
        pattern=r"^(everyone|(schedule|contact|team|role):[A-Za-z0-9][A-Za-z0-9_.-]*)"
        r"( via [A-Za-z0-9_.-]+(, ?[A-Za-z0-9_.-]+)*)?( if (not )?[a-z_]+)?$",
        description="`everyone`, or schedule:, contact:, team: or role: and a name; then "
        "`via CHANNEL, …` to use only these of the person's channels; then `if customer_facing`.",
    ),
]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
