"""Parameters: what an incident brings into a call, as a value, and never as anything else.

A label comes from outside. It fills a place that the policy names, in one pass, if the parameter
allows it (`one_of`, or a `pattern`) and it is made of characters that mean nothing to a shell, a
URL, YAML, SQL, PromQL, a JSON path or a template. Anything else is as if the label were absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin_policy import Parameter, PlaybookStep
from tocsin_policy.matchers import compile_pattern
from tocsin_policy.places import PLACEHOLDER, placed

LONGEST = 253
"""Characters of a value that a pattern lets through; a DNS name has no more."""

_PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._:@+-]{{0,{LONGEST - 1}}}", re.ASCII)
_MEANS_MORE = ("..", "--", "://")
"""Plain characters that together mean a way up, a comment, an option or a host."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A step with every place filled, and with what."""

    step: PlaybookStep
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A step whose places the incident does not fill; a person does it.

    Attributes:
        reason: For people: which label is missing, or not allowed.
    """

    reason: str


def fill(step: PlaybookStep, alerts: Iterable[Mapping[str, str]]) -> Filled | Refused:
    """The step with what the incident's alerts bring, or why it cannot be filled.

    Args:
        alerts: The labels of each alert, in the order in which the incident got them; of each
            parameter the first alert that has its label counts.
    """
    values: dict[str, str] = {}
    held = list(alerts)
    for name, parameter in step.parameters.items():
        brought = next(
            (labels[parameter.label] for labels in held if parameter.label in labels), None
        )
        value = brought if brought is not None and allowed(parameter, brought) else None
        value = parameter.default if value is None else value
        if value is None:
            missing = f"no alert of the incident has a label {parameter.label!r}"
            refused = f"the label {parameter.label!r} holds what the step does not take"
            return Refused(missing if brought is None else refused)
        values[name] = value
    try:
        return Filled(filled(step, values), values)
    except ValueError:
        held_by = ", ".join(repr(parameter.label) for parameter in step.parameters.values())
        return Refused(f"what the incident brings in {held_by} is more than a value there")


def allowed(parameter: Parameter, value: str) -> bool:
    """Whether a label's value may stand in a call."""
    if parameter.one_of:
        return value in parameter.one_of
    if _PLAIN.fullmatch(value) is None or any(part in value for part in _MEANS_MORE):
        return False
    return compile_pattern(parameter.pattern or "").fits(value)


def filled(step: PlaybookStep, values: Mapping[str, str]) -> PlaybookStep:
    """The step with these values in their places, quoted as each place needs it.

    An undo that waits for what was there before stays as it is: every place is filled at one time,
    so that nothing that was put in is looked at again (`undoing.undo_of`).

    Raises:
        ValueError: A value that would be more than a value where it stands.
    """
    if not values:
        return step
    document = step.model_dump(mode="json", exclude_none=True)
    waits = json.dumps(document["undo"]) if step.before is not None else ""
    for_undo = set(PLACEHOLDER.findall(waits))
    held = {name: one for name, one in document["parameters"].items() if name in for_undo}
    changed: dict[str, Any] = {"parameters": held}
    for runner, _ in step.calls():
        changed[runner] = placed(runner, document[runner], values)
    undo = None if waits else step.undo
    for name, part in (("verify", step.verify), ("undo", undo), ("before", step.before)):
        for runner, _ in () if part is None else part.calls():
            whole = document[name]
            changed[name] = whole | {runner: placed(runner, whole[runner], values)}
    return PlaybookStep.model_validate(document | changed)
