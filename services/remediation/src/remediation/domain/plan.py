"""What a step would do, in words and as a value; labels are never part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from tocsin_contracts.incidents import Evidence
from tocsin_policy import (
    AnyCall,
    AwsCall,
    CommandCall,
    GitHubCall,
    HttpCall,
    KubernetesCall,
    PlaybookStep,
    PrometheusCall,
    RedisCall,
    SqlCall,
)

MOST_OUTPUT = 16_000
"""Characters of output kept as evidence."""

MOST_REMEMBERED = 16_000
"""Characters of earlier values that an undo may need; they are kept in the log."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run, or a look, showed.

    Attributes:
        succeeded: Whether it is as the playbook expects.
        reason: One `snake_case` word.
        changed: What an exact undo needs to know of the state before, by the runner's own names;
            empty where nothing changed or nothing can be taken back.
        answer: What a look was told, whole, for an undo to take values of; it is not kept.
    """

    succeeded: bool
    reason: str
    evidence: Evidence
    changed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a call would do to the world as it is now; nothing was changed to find out.

    Attributes:
        targets: Everything it would act on, as `kind:place/name`; one action a target at a time.
            Empty for a call that only reads.
        state: The targets as they are, for people.
        diff: What would change, as a unified diff or a sentence; empty if nothing would.
        pods: Pods, rows, keys or hosts it would touch; `None` where nobody can say.
        share: Part of all there are of the kind, from 0 to 1; `None` where nobody can say.
        fingerprint: Differs once the world no longer looks as it was planned upon.
        before: What an exact undo needs to know of the world as it is, where that can be known
            before the call has run: the same as `Ran.changed`, should that never be heard.
    """

    targets: tuple[str, ...] = ()
    state: str = ""
    diff: str = ""
    pods: int | None = None
    share: float | None = None
    fingerprint: str = ""
    before: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Lost:
    """A run whose outcome nobody knows."""

    reason: str


def call_text(step: PlaybookStep) -> str:
    """What exactly would be done, for people to read before they agree."""
    for _, call in step.calls():
        return shown(call)
    return step.title


def shown(call: AnyCall) -> str:
    """A call as people read it: everything that matters, nothing that is default."""
    match call:
        case HttpCall():
            return f"{call.method} {call.endpoint}{call.path}" + _with(body=call.body)
        case CommandCall():
            return " ".join((call.program, *call.args))
        case KubernetesCall():
            what = call.resource or f"pods of {call.selector}"
            values = [f"{name}={value}" for name, value in call.values.items()]
            where = f"in {call.cluster}/{call.namespace}"
            scale = _with(replicas=call.replicas, revision=call.revision)
            action = call.action.replace("_", " ")
            return " ".join((action, what, *values, where)) + scale
        case GitHubCall():
            inputs = "".join(f" {name}={value}" for name, value in call.inputs.items())
            return f"run workflow {call.workflow} of {call.repository} at {call.ref}{inputs}"
        case SqlCall():
            bound = "".join(f" ${n}={value!r}" for n, value in enumerate(call.bound, start=1))
            writes = " (writes)" if call.writes else ""
            return f"{call.endpoint}: {call.statement}{bound}{writes}"
        case RedisCall():
            return f"{call.endpoint}: {call.action.replace('_', ' ')}" + _with(pattern=call.pattern)
        case AwsCall():
            return " ".join(("aws", *call.args))
        case PrometheusCall():
            return f"{call.endpoint}: {call.query}" + (f" {call.expect}" if call.expect else "")


def _with(**said: object) -> str:
    return "".join(f" {name}={value}" for name, value in said.items() if value is not None)


def evidence(
    output: str, took: timedelta, *, exit_code: int | None = None, http_status: int | None = None
) -> Evidence:
    """Evidence with its output cut to `MOST_OUTPUT`."""
    cut = output if len(output) <= MOST_OUTPUT else output[:MOST_OUTPUT] + "… (cut)"
    return Evidence(output=cut, took=took, exit_code=exit_code, http_status=http_status)
