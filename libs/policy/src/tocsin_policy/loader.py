"""Policies from files and from the log: whole, or refused with the place and the fix."""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

from tocsin_policy.document import Policy
from tocsin_policy.references import (
    Finding,
    Location,
    findings,
    nearest,
    reach_findings,
    undo_findings,
)

T = TypeVar("T")
_Marks = CommentedMap | CommentedSeq

MOST_CHARACTERS = 1_000_000
"""Of a policy file."""

MOST_VALUES = 100_000
"""In a policy file, aliases counted each time they are used."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a policy.

    Attributes:
        line: From 1; 0 where the document has no lines.
        column: From 1; 0 where the document has no lines.
        path: Where in the document: `escalation.P0[1].targets[0]`.
        hint: The nearest right thing, if one is near.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {path}{self.message}{hint}"


class PolicyRefused(ValueError):
    """A policy that does not validate; whatever was in force stays in force.

    Attributes:
        problems: All that was found, in the order of the file.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load_policy(path: Path) -> Policy:
    """The policy of a YAML file.

    Raises:
        PolicyRefused: Every problem with its line and column.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        message = f"no UTF-8: byte {content[error.start]:#04x}; save the file as UTF-8"
        raise PolicyRefused((Problem(str(path), line, column, "", message),)) from error
    return read_policy(text, str(path))


def read_policy(text: str, file: str = "policy.yaml") -> Policy:
    """The policy of a YAML text; `file` is what its problems are said to be in."""
    document, plain = _parsed(text, file)
    if not isinstance(document, CommentedMap):
        raise PolicyRefused((Problem(file, 1, 1, "", "a policy is a mapping"),))
    return _checked(plain, document, file)


def read_as(kind: type[T], text: str, file: str) -> T:
    """What a file beside a policy holds, as `kind`: its scenarios, its runbook.

    Raises:
        PolicyRefused: Every problem with its line and column.
    """
    document, plain = _parsed(text, file)
    marks = document if isinstance(document, CommentedMap | CommentedSeq) else None
    try:
        return TypeAdapter(kind).validate_python(plain)
    except ValidationError as error:
        raise PolicyRefused(_problems(_details(error, kind), marks, file)) from error


def lines_of(text: str, locations: Iterable[Location]) -> tuple[tuple[int, int], ...]:
    """Line and column of each place in a YAML text, or of the deepest part of it there is."""
    document, _ = _parsed(text, "")
    return tuple(_place(document, Finding(location, "")) for location in locations)


def _parsed(text: str, file: str) -> tuple[Any, Any]:
    """The document with its marks, and as plain values."""
    if len(text) > MOST_CHARACTERS:
        raise PolicyRefused((Problem(file, 1, 1, "", f"longer than {MOST_CHARACTERS} characters"),))
    try:
        document = YAML(typ="rt").load(text)
    except RecursionError as error:
        raise PolicyRefused((Problem(file, 1, 1, "", "nested too deeply"),)) from error
    except DuplicateKeyError as error:
        raise PolicyRefused((_duplicate(file, error),)) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        message = f"no YAML: {error.problem or error.context}"
        raise PolicyRefused((Problem(file, line, column, "", message),)) from error
    except YAMLError as error:
        raise PolicyRefused((Problem(file, 1, 1, "", f"no YAML: {error}"),)) from error
    try:
        return document, _plain(document, [MOST_VALUES])
    except OverflowError as error:
        raise PolicyRefused((Problem(file, 1, 1, "", str(error)),)) from error


def parse_policy(document: Mapping[str, Any]) -> Policy:
    """The policy of a document, as `policy_document` gives it.

    Raises:
        PolicyRefused: Every problem with its path.
    """
    return _checked(dict(document), None, "policy")


def policy_document(policy: Policy) -> dict[str, Any]:
    """The policy as JSON values, defaults included; `parse_policy` brings it back."""
    return policy.model_dump(mode="json", exclude_none=True)


def policy_hash(policy: Policy) -> str:
    """SHA-256 of the policy's canonical JSON, in hex; equal content, equal hash."""
    canonical = json.dumps(
        policy_document(policy), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file, for editors."""
    schema = Policy.model_json_schema(mode="validation")
    playbook = schema["$defs"]["Playbook"]
    playbook["required"] = [name for name in playbook["required"] if name != "id"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tocsin policy",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _checked(plain: dict[str, Any], marks: CommentedMap | None, file: str) -> Policy:
    try:
        policy = Policy.model_validate(plain)
    except ValidationError as error:
        raise PolicyRefused(_problems(_details(error, Policy), marks, file)) from error
    found = list(findings(policy))
    if marks is not None:
        found.extend(reach_findings(policy))
        found.extend(undo_findings(policy))
    if found:
        raise PolicyRefused(_problems(found, marks, file))
    return policy


def _details(error: ValidationError, kind: Any) -> list[Finding]:  # noqa: ANN401 - an annotation
    details = error.errors(include_url=False)
    return [_finding(detail, kind) for detail in details if not _follows(detail, details)]


def _problems(found: list[Finding], marks: _Marks | None, file: str) -> tuple[Problem, ...]:
    problems = []
    for finding in found:
        line, column = (0, 0) if marks is None else _place(marks, finding)
        problems.append(
            Problem(file, line, column, _path(finding.location), finding.message, finding.hint)
        )
    # Sorting is stable: without lines they stay in document order.
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def _plain(value: Any, left: list[int]) -> Any:  # noqa: ANN401 - whatever YAML holds
    left[0] -= 1
    if left[0] < 0:
        raise OverflowError(f"more than {MOST_VALUES} values")
    if isinstance(value, Mapping):
        return {str(key): _plain(held, left) for key, held in value.items()}
    if isinstance(value, list):
        return [_plain(held, left) for held in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    return value


def _duplicate(file: str, error: DuplicateKeyError) -> Problem:
    mark = error.problem_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    said = (error.problem or "").split('"')
    name = said[1] if len(said) > 1 else "?"
    return Problem(file, line, column, "", f"the key {name!r} stands here a second time")


def _follows(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether it is only because of an item's own problem that a list is said to be short."""
    here = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(other["loc"]) > len(here) and other["loc"][: len(here)] == here for other in details
    )


def _finding(detail: ErrorDetails, kind: Any) -> Finding:  # noqa: ANN401 - an annotation
    # A dict key that is no name carries the marker `[key]`; the place is the key's.
    location = tuple(part for part in detail["loc"] if part != "[key]")
    hint = ""
    match detail["type"]:
        case "extra_forbidden":
            name = str(location[-1])
            message = f"unknown key {name!r}"
            hint = nearest(name, _keys_at(kind, location[:-1]))
        case "missing":
            message = f"the key {str(location[-1])!r} is missing"
            location = location[:-1]
        case "value_error":
            message = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
        case "literal_error":
            shown = detail["input"]
            message = f"{shown!r} is not one of {detail['ctx']['expected']}"
        case "string_pattern_mismatch":
            message = f"{detail['input']!r} does not have the right form"
            hint = f"it must match {detail['ctx']['pattern']}"
        case _:
            said = detail["msg"]
            message = said[:1].lower() + said[1:]
    return Finding(location, message, hint)


def _keys_at(kind: Any, location: Location) -> tuple[str, ...]:  # noqa: ANN401 - an annotation
    """The keys the language knows at a place."""
    for part in location:
        kind = _bare(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = None if field is None else field.annotation
        else:
            arguments = typing.get_args(kind)
            kind = arguments[1 if typing.get_origin(kind) is dict else 0] if arguments else None
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return tuple(kind.model_fields)
    return ()


def _bare(kind: Any) -> Any:  # noqa: ANN401 - an annotation has no type
    while True:
        origin = typing.get_origin(kind)
        if origin is Annotated:
            kind = typing.get_args(kind)[0]
        elif origin in {typing.Union, types.UnionType}:
            kind = next(a for a in typing.get_args(kind) if a is not type(None))
        else:
            return kind


def _steps(marks: _Marks, location: Location) -> Iterator[tuple[Any, str | int]]:
    held: Any = marks
    for part in location:
        if (isinstance(held, CommentedMap) and part in held) or (
            isinstance(held, CommentedSeq) and isinstance(part, int) and part < len(held)
        ):
            yield held, part
            held = held[part]
        else:
            return


def _place(marks: _Marks, finding: Finding) -> tuple[int, int]:
    """Line and column of the deepest part of a location that the file holds.

    A key is where a mapping's problem is; a list's item is where the item is.
    """
    steps = list(_steps(marks, finding.location))
    if not steps:
        return 1, 1
    parent, part = steps[-1]
    if isinstance(parent, CommentedMap):
        whole = len(steps) == len(finding.location)
        value = parent[part]
        scalar = not isinstance(value, CommentedMap | CommentedSeq)
        block = isinstance(value, LiteralScalarString | FoldedScalarString)
        if block and finding.line_in_value:
            line, column = _key_place(parent, part)
            return line + 1 + finding.line_in_value, column + 3
        unknown = finding.message.startswith("unknown key")
        line, column = (
            parent.lc.value(part)
            if whole and scalar and not unknown and part in (parent.lc.data or {})
            else _key_place(parent, part)
        )
    else:
        line, column = parent.lc.item(part)
    return line + 1, column + 1


def _key_place(parent: CommentedMap, part: str | int) -> tuple[int, int]:
    """Where a key stands; a key that came with `<<` stands where the mapping does."""
    place: tuple[int, int] = (
        parent.lc.key(part) if part in (parent.lc.data or {}) else (parent.lc.line, parent.lc.col)
    )
    return place


def _path(location: Location) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
