"""What a step would do, in words and as a value; labels are never part of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin_contracts.incidents import Evidence
from tocsin_policy import PlaybookStep

MOST_OUTPUT = 16_000
"""Characters of output kept as evidence."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run, or a look, showed.

    Attributes:
        succeeded: Whether it is as the playbook expects.
        reason: One `snake_case` word.
    """

    succeeded: bool
    reason: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Lost:
    """A run whose outcome nobody knows."""

    reason: str


def call_text(step: PlaybookStep) -> str:
    """What exactly would be done, for people to read before they agree."""
    if step.http is not None:
        return f"{step.http.method} {step.http.endpoint}{step.http.path}"
    if step.command is not None:
        return " ".join((step.command.program, *step.command.args))
    return step.title


def evidence(
    output: str, took: timedelta, *, exit_code: int | None = None, http_status: int | None = None
) -> Evidence:
    """Evidence with its output cut to `MOST_OUTPUT`."""
    cut = output if len(output) <= MOST_OUTPUT else output[:MOST_OUTPUT] + "… (cut)"
    return Evidence(output=cut, took=took, exit_code=exit_code, http_status=http_status)
