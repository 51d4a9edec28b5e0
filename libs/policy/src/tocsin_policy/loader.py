"""Policies from YAML files: whole or not at all, each problem with its line and column."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from tocsin_policy.document import Look, PlaybookStep, Policy
from tocsin_policy.templates import VARIABLES, TemplateFailed, check_text

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a policy.

    Attributes:
        line: From 1.
        column: From 1.
        path: Where in the document, dotted.
        hint: What would be right, if that can be said.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.message}{hint}"


class PolicyRefused(ValueError):
    """A policy is refused whole.

    Attributes:
        problems: Everything found wrong, in the order of the file.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def load_policy(path: Path) -> Policy:
    """The policy of a file.

    Raises:
        PolicyRefused: It is no policy; every problem has its line and column.
        OSError: It cannot be read.
    """
    return parse_yaml(path.read_text(encoding="utf-8"), str(path))


def parse_yaml(text: str, file: str) -> Policy:
    """The policy of a YAML text; `file` is what problems call it. Raises like `load_policy`."""
    yaml = YAML(typ="rt")
    try:
        document = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        problem = Problem(file, line, column, "document", str(error.problem or error))
        raise PolicyRefused((problem,)) from error
    if not isinstance(document, CommentedMap):
        raise PolicyRefused((Problem(file, 1, 1, "document", "a policy is a mapping"),))
    try:
        policy = Policy.model_validate(_plain(document))
    except ValidationError as error:
        raise PolicyRefused(_of_validation(error, document, file)) from error
    problems = tuple(
        Problem(file, *_place(document, path), ".".join(map(str, path)), message, hint)
        for path, message, hint in _check(policy)
    )
    if problems:
        raise PolicyRefused(tuple(sorted(problems, key=lambda p: (p.line, p.column))))
    return policy


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    if isinstance(value, CommentedMap):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, CommentedSeq):
        return [_plain(item) for item in value]
    # Scalars that remember how they were written are their plain kinds to pydantic.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _place(document: Any, path: Path_) -> tuple[int, int]:  # noqa: ANN401 - whatever YAML holds
    """Line and column, from 1, of the deepest part of a path that is in the document."""
    line, column = 1, 1
    here = document
    for part in path:
        if isinstance(here, CommentedMap) and part in here:
            line, column = (n + 1 for n in here.lc.key(part))
            here = here[part]
        elif isinstance(here, CommentedSeq) and isinstance(part, int) and part < len(here):
            line, column = (n + 1 for n in here.lc.item(part))
            here = here[part]
        else:
            break
    return line, column


def _of_validation(
    error: ValidationError, document: CommentedMap, file: str
) -> tuple[Problem, ...]:
    problems = []
    for found in error.errors(include_url=False):
        path = tuple(part for part in found["loc"] if part != "[key]")
        message, hint = found["msg"].removeprefix("Value error, "), ""
        if found["type"] == "extra_forbidden":
            message = f"unknown key {path[-1]!r}"
            hint = _nearest(str(path[-1]), _fields(path[:-1]))
        elif found["type"] == "missing":
            message = f"{path[-1]!r} is missing"
        problems.append(
            Problem(file, *_place(document, path), ".".join(map(str, path)), message, hint)
        )
    return tuple(sorted(problems, key=lambda p: (p.line, p.column)))


def _fields(path: Path_) -> list[str]:
    """Keys the schema knows where a path leads."""
    schema = Policy.model_json_schema()
    definitions = schema.get("$defs", {})
    here: Mapping[str, Any] = schema
    for part in path:
        here = _resolve(here, definitions)
        if isinstance(part, int):
            here = here.get("items", here.get("prefixItems", [{}])[0])
        elif part in here.get("properties", {}):
            here = here["properties"][part]
        else:
            extra = here.get("additionalProperties", {})
            here = extra if isinstance(extra, dict) else {}
    return list(_resolve(here, definitions).get("properties", {}))


def _resolve(here: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(5):
        if "$ref" in here:
            here = definitions[here["$ref"].rpartition("/")[2]]
        elif "anyOf" in here:
            here = here["anyOf"][0]
        elif "allOf" in here:
            here = here["allOf"][0]
        else:
            break
    return here


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted(known))}" if known else ""


Found = tuple[Path_, str, str]


def _check(policy: Policy) -> Iterator[Found]:
    """References that lead nowhere and templates that do not fit."""
    severities = [severity.name for severity in policy.severities]
    yield from _check_classification(policy, severities)
    yield from _check_people(policy)
    for severity, levels in policy.escalation.items():
        if severity not in severities:
            yield _unknown(("escalation", severity), "severity", severity, severities)
        for index, level in enumerate(levels):
            for position, target in enumerate(level.targets):
                yield from _check_target(
                    policy, ("escalation", severity, index, "targets", position), target
                )
            if index and level.after < levels[index - 1].after:
                yield (
                    ("escalation", severity, index, "after"),
                    "a level comes no earlier than the one before it",
                    "",
                )
    for severity, channels in policy.communication.announcements.items():
        path = ("communication", "announcements", severity)
        if severity not in severities:
            yield _unknown(path, "severity", severity, severities)
        for position, channel in enumerate(channels):
            if channel not in policy.channels:
                known = list(policy.channels)
                yield _unknown((*path, position), "channel", channel, known)
    yield from _check_templates(policy)
    yield from _check_playbooks(policy)


def _unknown(path: Path_, what: str, name: str, known: list[str]) -> Found:
    return path, f"no {what} named {name!r}", _nearest(name, known)


def _check_classification(policy: Policy, severities: list[str]) -> Iterator[Found]:
    default = policy.classification.default_severity
    if default not in severities:
        path: Path_ = ("classification", "default_severity")
        yield _unknown(path, "severity", default, severities)
    for index, rule in enumerate(policy.classification.rules):
        path = ("classification", "rules", index)
        if rule.severity not in severities:
            yield _unknown((*path, "severity"), "severity", rule.severity, severities)
        if rule.playbook is not None and rule.playbook not in policy.playbooks:
            known = list(policy.playbooks)
            yield _unknown((*path, "playbook"), "playbook", rule.playbook, known)
        if rule.title is not None:
            yield from _check_text(
                (*path, "title"), rule.title, frozenset({"labels", "annotations"})
            )


def _check_people(policy: Policy) -> Iterator[Found]:
    contacts = list(policy.contacts)
    for name, contact in policy.contacts.items():
        for position, channel in enumerate(contact.channels):
            if channel not in policy.channels:
                where: Path_ = ("contacts", name, "channels", position)
                yield _unknown(where, "channel", channel, list(policy.channels))
    for name, members in policy.teams.items():
        for position, member in enumerate(members):
            if member not in contacts:
                yield _unknown(("teams", name, position), "contact", member, contacts)
    for name, schedule in policy.schedules.items():
        for position, member in enumerate(schedule.participants):
            if member not in contacts:
                where = ("schedules", name, "participants", position)
                yield _unknown(where, "contact", member, contacts)
    for name, target in policy.roles.items():
        yield from _check_target(policy, ("roles", name), target)


def _check_target(policy: Policy, path: Path_, text: str) -> Iterator[Found]:
    target, _, condition = text.partition(" if ")
    if condition and condition.strip() != "customer_facing":
        yield path, f"no condition named {condition.strip()!r}", "known: customer_facing"
    kind, _, name = target.strip().partition(":")
    known = {
        "contact": list(policy.contacts),
        "team": list(policy.teams),
        "schedule": list(policy.schedules),
        "role": list(policy.roles),
    }
    if kind == "everyone" and not name:
        return
    if kind not in known:
        yield path, f"no kind of target {kind!r}", _nearest(kind, [*known, "everyone"])
    elif name not in known[kind]:
        yield _unknown(path, kind, name, known[kind])


def _check_templates(policy: Policy) -> Iterator[Found]:
    for name, template in policy.templates.items():
        variables = VARIABLES.get(name, VARIABLES["page"])
        yield from _check_text(("templates", name, "subject"), template.subject, variables)
        yield from _check_text(("templates", name, "body"), template.body, variables)


def _check_text(path: Path_, text: str, variables: frozenset[str]) -> Iterator[Found]:
    try:
        check_text(text, variables)
    except TemplateFailed as error:
        message = str(error)
        name = message.removeprefix("unknown variable ").strip("'")
        known = sorted(variables) if message.startswith("unknown variable") else []
        yield path, message, _nearest(name, known) if known else ""


def _check_playbooks(policy: Policy) -> Iterator[Found]:
    for name, playbook in policy.playbooks.items():
        for index, step in enumerate(playbook.steps):
            path: Path_ = ("playbooks", name, "steps", index)
            for kind, call in (("http", step.http), ("command", step.command)):
                if (step.runner == kind) != (call is not None):
                    yield path, f"runner {step.runner} and key {kind!r} do not agree", ""
            looks: list[PlaybookStep | Look] = [step]
            looks.extend(look for look in (step.verify, step.undo) if look is not None)
            for look in looks:
                if look.http is not None and look.http.endpoint not in policy.endpoints:
                    known = list(policy.endpoints)
                    yield _unknown(path, "endpoint", look.http.endpoint, known)
                if look.command is not None and look.command.program not in policy.programs:
                    known = list(policy.programs)
                    yield _unknown(path, "program", look.command.program, known)


def policy_document(policy: Policy) -> dict[str, Any]:
    """The policy as JSON values, for the event that publishes it."""
    document: dict[str, Any] = policy.model_dump(mode="json", exclude_none=True)
    return document


def parse_policy(document: Mapping[str, Any]) -> Policy:
    """The policy of `policy_document`. Raises `ValueError` for anything else."""
    return Policy.model_validate(document)


def policy_hash(policy: Policy) -> str:
    """SHA-256, in hex, of the policy as canonical JSON: equal content, equal hash."""
    text = json.dumps(
        policy_document(policy), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON Schema of a policy file, for editors."""
    return Policy.model_json_schema()
