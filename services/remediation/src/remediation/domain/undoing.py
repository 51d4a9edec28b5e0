"""Taking a step back exactly: what was there before is read with the plan, and put back.

What an undo has to know is in the log before the step has any effect (`RemediationStepPlanned`), so
that a step whose outcome nobody heard can be taken back as exactly as any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from remediation.domain.plan import MOST_REMEMBERED, Planned, Ran
from tocsin_policy import Before, Call, PlaybookStep
from tocsin_policy.places import placed
from tocsin_policy.redacting import MASK

MOST_SHOWN = 200
"""Characters of a value that are shown with the plan; all of it is kept."""


@dataclass(frozen=True, slots=True)
class NotKnown:
    """What was there before cannot be had, or not be put back.

    Attributes:
        reason: One `snake_case` word.
        detail: For people.
    """

    reason: str
    detail: str


def values_of(before: Before, answer: str) -> dict[str, str] | NotKnown:
    """What stands where the step says, each value as JSON.

    A value is kept in the log, so one that holds a secret is refused, and so is what is too much.
    """
    document = _read(answer)
    values: dict[str, str] = {}
    for name, pointer in before.values.items():
        try:
            found = _at(document, pointer)
        except LookupError:
            return NotKnown("before_not_found", f"nothing stands at {pointer or 'the top'}")
        values[name] = json.dumps(found, sort_keys=True, ensure_ascii=False)
        if MASK in values[name]:
            return NotKnown("before_is_secret", f"{name} would be kept in the log to be put back")
    if sum(map(len, values.values())) > MOST_REMEMBERED:
        return NotKnown("before_too_large", f"more than {MOST_REMEMBERED} characters stand there")
    return values


def _read(answer: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(answer)
    except ValueError:
        return answer.strip()


def _at(document: Any, pointer: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """What an RFC 6901 pointer leads to. Raises `LookupError` where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document[name]
        elif isinstance(document, list) and name.isdecimal():
            document = document[int(name)]
        else:
            raise LookupError(pointer)
    return document


def remembering(planned: Planned, values: Mapping[str, str]) -> Planned:
    """The plan with what its undo would put back; another value makes it another plan."""
    shown = "\n".join(f"before: {line}" for line in _lines(values))
    kept = json.dumps(dict(values), sort_keys=True)
    digest = hashlib.sha256(f"{planned.fingerprint}\0{kept}".encode()).hexdigest()[:16]
    state = "\n".join(filter(None, (planned.state, shown)))
    return replace(planned, state=state, before=dict(values), fingerprint=digest)


def _lines(values: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(values.items()):
        yield f"{name} is {value if len(value) <= MOST_SHOWN else value[:MOST_SHOWN] + '…'}"


def undo_of(
    step: PlaybookStep, parameters: Mapping[str, str], values: Mapping[str, str]
) -> Call | NotKnown:
    """The undo of a step that says what it needs, with what was there before in its places.

    Args:
        parameters: What the incident brought into the step's calls.
        values: As `values_of` gave them.
    """
    if step.undo is None or step.before is None or set(step.before.values) - set(values):
        return NotKnown("no_undo", "the log does not say what was there before")
    document = step.undo.model_dump(mode="json", exclude_none=True)
    known = {**parameters, **{name: json.loads(text) for name, text in values.items()}}
    try:
        calls = {name: placed(name, document[name], known) for name, _ in step.undo.calls()}
        return Call.model_validate({**document, **calls})
    except ValueError as error:
        return NotKnown("before_no_value", f"what stands there cannot be put back: {error}")


def kept_of(ran: Ran, before: Mapping[str, str]) -> Mapping[str, str]:
    """What an undo of a run that ended needs: what the runner says it changed, or what was there.

    A run that failed after it had begun may have changed something; putting back what was there
    changes nothing where it did not.
    """
    begun = ran.evidence.exit_code is not None or ran.evidence.http_status is not None
    if ran.changed or not (ran.succeeded or begun):
        return ran.changed
    return before
