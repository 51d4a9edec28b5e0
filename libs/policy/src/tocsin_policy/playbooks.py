"""Playbooks: what to do about a kind of incident, step by step, and what each step runs.

A call is exact and whole: hosts, programs, resources and statements stand in the policy. What an
incident brings (a label) can only fill a `parameter`, which is typed and bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tocsin_policy.durations import Duration
from tocsin_policy.matchers import compile_pattern
from tocsin_policy.parts import Line, Name, Part, TargetText, Text, no_duplicates
from tocsin_policy.places import PLACEHOLDER, structure

_Value = Annotated[str, Field(max_length=2000)]
_Kubernetes = Annotated[str, Field(pattern=r"^[a-z0-9$][a-zA-Z0-9${}_.-]{0,252}$")]


class HttpCall(Part):
    """A call to an endpoint the operator named."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    endpoint: Name
    path: Annotated[str, Field(pattern=r"^/", max_length=2000)] = "/"
    body: Annotated[str, Field(max_length=20_000)] | None = None
    expect_status: Annotated[int, Field(ge=100, le=599)] = 200
    expect_body_contains: Line | None = None


class CommandCall(Part):
    """A program the operator allows, with arguments; no shell reads them."""

    program: Name
    args: tuple[_Value, ...] = ()


class KubernetesCall(Part):
    """One thing to do to, or see of, a cluster the operator named.

    Attributes:
        cluster: Name of the operator's setting that holds address and credentials.
        resource: `deployment/api`, `configmap/app-config`, `node/n1`; absent where `selector` says.
        replicas: For `scale`.
        revision: For `rollout_undo`; absent means the one before.
        values: Annotations, data of a ConfigMap, environment variables, or resources (`memory`,
            `cpu`), by `action`.
        container: For `set_env`, `set_resources` and `logs`; absent means the first.
    """

    action: Literal[
        "rollout_restart",
        "rollout_undo",
        "rollout_status",
        "scale",
        "annotate",
        "patch_config_map",
        "set_env",
        "set_resources",
        "isolate",
        "restore_network",
        "cordon",
        "drain",
        "delete_pod",
        "logs",
        "state",
    ]
    cluster: Name = "default"
    namespace: _Kubernetes = "default"
    resource: Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9${}_.-]{1,253}$")] | None = None
    selector: Annotated[str, Field(max_length=500)] = ""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    revision: Annotated[int, Field(ge=1)] | None = None
    values: dict[Line, _Value] = Field(default_factory=dict)
    container: _Kubernetes | None = None
    since: Duration | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.action == "scale") != (self.replicas is not None):
            raise ValueError("replicas belongs to scale, and scale needs it")
        valued = {"annotate", "patch_config_map", "set_env", "set_resources"}
        if (self.action in valued) != bool(self.values):
            raise ValueError(f"values belongs to {', '.join(sorted(valued))}, which need it")
        if self.resource is None and not self.selector and self.action != "state":
            raise ValueError("name a resource, as in deployment/api, or a selector")
        return self


class GitHubCall(Part):
    """A workflow to start, and to wait for."""

    endpoint: Name = "github"
    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    workflow: Annotated[str, Field(pattern=r"^[\w.-]+\.ya?ml$")]
    ref: Line = "main"
    inputs: dict[Name, _Value] = Field(default_factory=dict)


_OUTSIDE = re.compile(r"\bpg_(terminate|cancel)_backend\b", re.IGNORECASE)


class SqlCall(Part):
    """A statement for a database the operator named; read-only unless it says that it writes.

    Attributes:
        bound: Values of `$1`, `$2` and so on, as text. A parameter's place in the statement
            becomes one of them (`${region}` is `$1::text` then), so it can never be SQL.
        count: A SELECT of one number: how many rows or sessions it would touch now. Without it a
            plan has the planner's guess.
    """

    endpoint: Name
    statement: Annotated[str, Field(min_length=1, max_length=10_000)]
    bound: tuple[_Value, ...] = ()
    writes: bool = False
    count: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    expect_rows: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _says_that_it_writes(self) -> Self:
        if not self.writes and _OUTSIDE.search(self.statement):
            raise ValueError("ending sessions changes something; say writes: true")
        return self


class RedisCall(Part):
    """What to do to a Redis the operator named.

    Attributes:
        pattern: For `delete_matching`: keys as SCAN's MATCH finds them.
    """

    endpoint: Name
    action: Literal["ping", "info", "database_size", "delete_matching", "flush_database"]
    pattern: Line | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.action == "delete_matching") != (self.pattern is not None):
            raise ValueError("pattern belongs to delete_matching, and delete_matching needs it")
        return self


_AWS_LOOKS = ("describe-", "get-", "head-", "list-", "lookup-", "ls", "tail", "wait", "search-")


class AwsCall(Part):
    """Arguments for the AWS command line: service, operation, options."""

    profile: Name = "default"
    args: Annotated[tuple[_Value, ...], Field(min_length=2)]

    @property
    def looks(self) -> bool:
        """Whether the operation only reads, by how AWS names operations."""
        return self.args[1].startswith(_AWS_LOOKS)


class PrometheusCall(Part):
    """A query whose answer must hold: `expect` is a comparison every returned sample passes."""

    endpoint: Name = "prometheus"
    query: Annotated[str, Field(min_length=1, max_length=2000)]
    expect: Annotated[str, Field(pattern=r"^(<|<=|==|!=|>=|>) -?\d+(\.\d+)?$")] | None = None


class AlertCleared(Part):
    """The incident's own alerts stop firing."""

    within: Duration


RUNNERS = ("http", "command", "kubernetes", "github", "sql", "redis", "aws", "prometheus")
"""Fields that hold a call, each named for the runner that runs it."""

Runner = Literal[
    "http", "command", "kubernetes", "github", "sql", "redis", "aws", "prometheus", "manual"
]
AnyCall = (
    HttpCall
    | CommandCall
    | KubernetesCall
    | GitHubCall
    | SqlCall
    | RedisCall
    | AwsCall
    | PrometheusCall
)


class _Calls(Part):
    http: HttpCall | None = None
    command: CommandCall | None = None
    kubernetes: KubernetesCall | None = None
    github: GitHubCall | None = None
    sql: SqlCall | None = None
    redis: RedisCall | None = None
    aws: AwsCall | None = None
    prometheus: PrometheusCall | None = None

    def calls(self) -> tuple[tuple[str, AnyCall], ...]:
        """Runner and call of everything that is named; at most one in a policy that loaded."""
        named = ((runner, getattr(self, runner)) for runner in RUNNERS)
        return tuple((runner, call) for runner, call in named if call is not None)


class Call(_Calls):
    """Exactly one thing to do or look at.

    Attributes:
        alert_cleared: For `verify`: nothing is called, the log is watched.
    """

    alert_cleared: AlertCleared | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.calls()) + (self.alert_cleared is not None) != 1:
            raise ValueError(f"name exactly one of {', '.join(RUNNERS)} and alert_cleared")
        return self


ValueName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""Name of a place in a call: of a parameter, or of a value that was there before."""

_Pointer = Annotated[str, Field(pattern=r"^(/.*)?$", max_length=500)]


class Before(_Calls):
    """What an undo has to know, looked up when the step is planned and kept in the log.

    One look by `http`, `command`, `sql` or `aws`. Its answer is read as JSON, that of SQL is a list
    of rows; an answer that is no JSON is one text.

    Attributes:
        values: Name of a place in `undo` -> where its value stands in the answer, as a JSON
            pointer (RFC 6901); an empty one is all of it.
    """

    values: Annotated[dict[ValueName, _Pointer], Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _is_one_look(self) -> Self:
        named = [runner for runner, _ in self.calls()]
        if len(named) != 1 or named[0] not in _TELLING:
            raise ValueError(f"name exactly one of {', '.join(_TELLING)}")
        changes = (
            (self.http is not None and self.http.method != "GET")
            or (self.sql is not None and self.sql.writes)
            or (self.aws is not None and not self.aws.looks)
        )
        if changes:
            raise ValueError("what was there before is looked up by what changes nothing")
        return self


_TELLING = ("http", "command", "sql", "aws")
"""Runners whose answer to a look has values in it."""

EXACT = frozenset(
    {
        *("rollout_restart", "rollout_undo", "scale", "annotate", "patch_config_map", "set_env"),
        *("set_resources", "isolate", "restore_network", "cordon", "drain"),
    }
)
"""Actions on Kubernetes that remember what they changed, and put exactly that back."""


class Parameter(Part):
    """A value an incident brings into a step's call.

    Attributes:
        label: Label of the incident's first alert that holds it.
        one_of: All it may be; else `pattern` (RE2, anchored) bounds it.
        default: Where the label is absent or not allowed; without one the step is a person's.
    """

    label: Line
    one_of: tuple[_Value, ...] = ()
    pattern: Line | None = None
    default: _Value | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if bool(self.one_of) == (self.pattern is not None):
            raise ValueError("bound it with exactly one of one_of and pattern")
        if self.pattern is not None:
            compile_pattern(self.pattern)
        return self


Risk = Literal["read", "safe", "disruptive", "destructive"]
Approval = Literal["automatic", "one", "two", "never"]

DEFAULT = "default"
"""Where approval goes by severity: what holds for every severity that is not named."""


class Budget(Part):
    """How much a step may touch, and how often a service may be acted on.

    Attributes:
        pods: Pods, rows, keys or hosts one step may touch.
        share: Part of all there are of the kind that one step may touch, from 0 to 1.
        actions_an_hour: Steps that change something, in an hour, for incidents of one service.
    """

    pods: Annotated[int, Field(ge=0)] | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    actions_an_hour: Annotated[int, Field(ge=1, le=1000)] | None = None

    def within(self, inner: Budget | None) -> Budget:
        """This budget with what an inner one says instead."""
        if inner is None:
            return self
        return self.model_copy(update=inner.model_dump(exclude_none=True))


class Envelope(Part):
    """What every step of the system is held to.

    Attributes:
        approvers: Who may approve steps of a risk; anyone, for a risk that is not named.
        approvals_expire_after: An approval counts for this long.
        waits_for_target: How long a step waits for a target that another step acts on.
        worse_within: What was done is undone if the severity rises this soon after a step;
            absent means never.
        budget: Of each step; a playbook's and a step's own come before it.
        tell: Who is told that a remediation failed, and asked about a step in doubt.
    """

    approvers: dict[Risk, Annotated[tuple[TargetText, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    approvals_expire_after: Duration = timedelta(hours=1)
    waits_for_target: Duration = timedelta(minutes=10)
    worse_within: Duration | None = timedelta(minutes=15)
    budget: Budget = Budget()
    tell: tuple[TargetText, ...] = ("role:incident_commander",)


class PlaybookStep(_Calls):
    """One step: what it runs, how dangerous it is, who lets it run.

    Attributes:
        parameters: What an incident may bring into the call, by the name of its placeholder.
        timeout: Time the step itself may take.
        within: The runbook's time budget, since the incident opened; a step that is not done by
            then is said to be overdue.
        approval: Who lets it run; by severity where that matters, `default` for the rest.
        approvers: Who may approve it; absent means whom the envelope names for its risk.
        budget: How much it may touch.
        verify: How to see that it worked.
        verify_within: Time until that shows; absent means `timeout`.
        undo: What takes it back, where the runner cannot put back exactly what it changed.
        before: What `undo` has to know of the world before the step.
        irreversible: Nothing takes it back, and whoever approves it knows.
        detail: For the person who does it, or agrees to it.
    """

    id: Name
    title: Line
    runner: Runner
    parameters: dict[ValueName, Parameter] = Field(default_factory=dict)
    risk: Risk
    approval: Approval | dict[Name, Approval]
    approvers: tuple[TargetText, ...] = ()
    budget: Budget | None = None
    timeout: Duration
    within: Duration | None = None
    verify: Call | None = None
    verify_within: Duration | None = None
    undo: Call | None = None
    before: Before | None = None
    irreversible: Literal[True] | None = None
    detail: Text = ""

    @model_validator(mode="after")
    def _runs_what_it_says(self) -> Self:
        for runner in RUNNERS:
            call = getattr(self, runner)
            if (self.runner == runner) != (call is not None):
                raise ValueError(
                    f"a step with runner {self.runner} "
                    + (f"needs {runner}:" if call is None else f"has no {runner}:")
                )
        asked = self.approval.values() if isinstance(self.approval, Mapping) else (self.approval,)
        if "automatic" in asked and self.risk in {"disruptive", "destructive"}:
            raise ValueError(f"a {self.risk} step is never automatic; let one or two people agree")
        if isinstance(self.approval, Mapping) and DEFAULT not in self.approval:
            raise ValueError(f"an approval by severity says what holds for the rest: {DEFAULT}:")
        return self

    def approval_at(self, severity: str) -> Approval:
        """What it takes to let the step run in an incident of this severity."""
        if isinstance(self.approval, Mapping):
            return self.approval.get(severity, self.approval[DEFAULT])
        return self.approval

    @model_validator(mode="after")
    def _is_taken_back_by_one_means(self) -> Self:
        if self.irreversible and self.undo is not None:
            raise ValueError("a step with an undo is not irreversible")
        if self.before is None:
            return self
        if self.runner in {"kubernetes", "manual"}:
            raise ValueError(f"a {self.runner} step has no before: it remembers by itself")
        twice = sorted(set(self.before.values) & set(self.parameters))
        if twice:
            raise ValueError(f"both a parameter and a value before: {', '.join(twice)}")
        unused = sorted(set(self.before.values) - set(_places_of(self.undo)))
        if unused:
            raise ValueError(f"no undo uses what was there before: {', '.join(unused)}")
        return self

    @model_validator(mode="after")
    def _fills_what_it_names(self) -> Self:
        known_to_undo = set(self.before.values) if self.before is not None else set()
        asked = {name for part in (self, self.verify, self.before) for name in _places_of(part)}
        asked |= set(_places_of(self.undo)) - known_to_undo
        unknown = sorted(asked - set(self.parameters))
        if unknown:
            raise ValueError(f"no parameter is named {', '.join(unknown)}")
        unused = sorted(set(self.parameters) - asked)
        if unused:
            raise ValueError(f"no call uses the parameter {', '.join(unused)}")
        return self

    @model_validator(mode="after")
    def _takes_values_only_as_values(self) -> Self:
        for part in (self, self.verify, self.undo, self.before):
            for runner, call in () if part is None else part.calls():
                structure(runner, call.model_dump(mode="json", exclude_none=True))
        return self

    @property
    def takes_itself_back(self) -> bool:
        """Whether its runner knows what it changed, and puts exactly that back."""
        return self.kubernetes is not None and self.kubernetes.action in EXACT


def _places_of(part: _Calls | None) -> list[str]:
    calls = part.calls() if part is not None else ()
    return [name for _, call in calls for name in PLACEHOLDER.findall(call.model_dump_json())]


class Playbook(Part):
    """What to do about a kind of incident, step by step.

    Attributes:
        symptoms: How to recognise it, for people.
        causes: What it usually is, for people.
        budget: How much each of its steps may touch.
    """

    id: Name
    title: Line
    symptoms: tuple[Line, ...] = ()
    causes: tuple[Line, ...] = ()
    budget: Budget | None = None
    steps: Annotated[tuple[PlaybookStep, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _steps_are_named_once(self) -> Self:
        no_duplicates(tuple(step.id for step in self.steps))
        return self
