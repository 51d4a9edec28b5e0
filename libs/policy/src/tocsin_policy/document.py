"""The policy language: one frozen model, one YAML file a system.

Names refer to names (a rule to a severity, a level to a schedule); `references` finds those that
lead nowhere. Nothing secret and no address stands in a policy: channels and endpoints are names
that the operator's settings give a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from tocsin_policy.durations import Duration
from tocsin_policy.matchers import Matcher, parse_matchers


class Part(BaseModel):
    """A frozen part of a policy; a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _no_duplicates(names: tuple[str, ...]) -> tuple[str, ...]:
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
Names = Annotated[tuple[Name, ...], AfterValidator(_no_duplicates)]
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


class Hours(StrEnum):
    """When a severity may ask for people."""

    ALWAYS = "always"
    BUSINESS_HOURS = "business_hours"
    NEXT_BUSINESS_DAY = "next_business_day"


class Calendar(Part):
    """When somebody is at work, in local time: on its weekdays, holidays excepted."""

    time_zone: TimeZone
    weekdays: tuple[Weekday, ...] = WEEKDAYS[:5]
    opens: time = time(9)
    closes: time = time(17)
    holidays: tuple[date, ...] = ()

    @model_validator(mode="after")
    def _opens_before_it_closes(self) -> Self:
        if self.opens >= self.closes:
            raise ValueError("opens must come before closes, within one day")
        if not self.weekdays:
            raise ValueError("weekdays must name a day, or it never opens")
        return self


class Cadence(Part):
    """How often people are promised news."""

    first_within: Duration
    every: Duration

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.every.total_seconds() <= 0:
            raise ValueError("every must be longer than nothing")
        return self


class Review(Part):
    """The review after an incident: when it is due, in which form."""

    due_within: Duration
    template: Text = ""


class Severity(Part):
    """How bad it is, and what that asks of people.

    Attributes:
        response_target: Somebody acknowledges within this time.
        acknowledge_timeout: An acknowledgement without resolution lapses after this time.
        review: Absent for a severity nobody reviews.
    """

    name: Name
    definition: Line
    examples: tuple[Line, ...] = ()
    response_target: Duration | None = None
    pages: bool = False
    hours: Hours = Hours.ALWAYS
    calendar: Name = "business"
    updates: Cadence | None = None
    acknowledge_timeout: Duration | None = None
    review: Review | None = None


class Rule(Part):
    """Alerts that pass every matcher of `match` have this severity."""

    name: Line
    match: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    severity: Name
    service: Line | None = None
    playbook: Name | None = None
    customer_facing: bool = False
    title: Line | None = None
    urgent: bool = False

    @cached_property
    def matchers(self) -> tuple[Matcher, ...]:
        """What `match` says, compiled once."""
        return tuple(matcher for text in self.match for matcher in parse_matchers(text))


class Candidate(NamedTuple):
    """A rule as it looks to alerts of one name.

    Attributes:
        missed: The matcher of the name that does not fit, if one does not.
        left: Matchers of other labels.
    """

    rule: Rule
    missed: Matcher | None
    left: tuple[Matcher, ...]


def _candidate(rule: Rule, named: Mapping[str, str]) -> Candidate:
    by_name = (matcher for matcher in rule.matchers if matcher.name in named)
    return Candidate(
        rule,
        next((matcher for matcher in by_name if not matcher.fits(named)), None),
        tuple(matcher for matcher in rule.matchers if matcher.name not in named),
    )


class ClassificationRules(Part):
    """Ordered rules; the first that fits decides."""

    rules: tuple[Rule, ...] = ()
    default: Name


class Grouping(Part):
    """Which alerts become one incident, and when it ends by itself."""

    by: tuple[Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")], ...] = ("alertname",)
    reopen_within: Duration
    auto_resolve_after: Duration


class Contact(Part):
    """A person, or a number behind which one answers.

    Attributes:
        phone: As the runbook gives it; text, for people.
        channels: Channels to use, in order of the person's preference.
    """

    name: Line
    role: Line
    phone: Line | None = None
    email: Line | None = None
    slack: Line | None = None
    notes: Line | None = None
    channels: Names = ()


class Team(Part):
    """People who are told together."""

    name: Line
    members: Annotated[Names, Field(min_length=1)]


class Role(Part):
    """A role in an incident; who has it until somebody is assigned."""

    name: Line
    default: TargetText | None = None


class Handover(Part):
    """When the shift changes, in the schedule's local time."""

    every: Literal["day", "week"] = "week"
    weekday: Weekday = "monday"
    at: time = time(9)


class Layer(Part):
    """People who take turns from the first handover at or after `start`."""

    participants: Annotated[tuple[Name, ...], Field(min_length=1)]
    start: date
    handover: Handover = Handover()


class Override(Part):
    """Somebody stands in."""

    contact: Name
    begins_at: AwareDatetime
    ends_at: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.begins_at >= self.ends_at:
            raise ValueError("begins_at must come before ends_at")
        return self


class Schedule(Part):
    """Who is on call: the last override that covers an instant, else the last layer in force."""

    name: Line
    time_zone: TimeZone
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    overrides: tuple[Override, ...] = ()


class Level(Part):
    """Who is told next, and how long after the escalation began."""

    number: Annotated[int, Field(ge=1, le=50)]
    after: Duration
    targets: Annotated[tuple[TargetText, ...], Field(min_length=1)]
    repeat: Annotated[int, Field(ge=0, le=20)] = 0


class Channel(Part):
    """A way to reach people.

    Attributes:
        endpoint: Name of the operator's setting that holds the address and the secret.
    """

    kind: Literal["slack", "pagerduty", "webhook", "email"]
    endpoint: Name


class Announcements(Part):
    """Channels that hear of an incident, whoever is paged."""

    opened: Names = ()
    updates: Names = ()
    resolved: Names = ()


class Template(Part):
    """What people read; Jinja2 with a small, safe part of its language."""

    subject: Line
    body: Text


class HttpCall(Part):
    """A call to an endpoint the operator named."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    endpoint: Name
    path: Annotated[str, Field(pattern=r"^/", max_length=2000)] = "/"
    expect_status: Annotated[int, Field(ge=100, le=599)] = 200
    expect_body_contains: Line | None = None


class CommandCall(Part):
    """A program the operator allows, with arguments; no shell reads them."""

    program: Name
    args: tuple[Annotated[str, Field(max_length=2000)], ...] = ()


class Call(Part):
    """Exactly one thing to do or look at."""

    http: HttpCall | None = None
    command: CommandCall | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.http is None) == (self.command is None):
            raise ValueError("name exactly one of http and command")
        return self


class PlaybookStep(Part):
    """One step: what it runs, how dangerous it is, who lets it run.

    Attributes:
        timeout: Time the step itself may take.
        within: The runbook's time budget, since the incident opened.
        verify: How to see that it worked.
        undo: What takes it back.
        detail: For the person who does it, or agrees to it.
    """

    id: Name
    title: Line
    runner: Literal["http", "command", "manual"]
    http: HttpCall | None = None
    command: CommandCall | None = None
    risk: Literal["read", "safe", "disruptive", "destructive"]
    approval: Literal["automatic", "one", "two", "never"]
    timeout: Duration
    within: Duration | None = None
    verify: Call | None = None
    undo: Call | None = None
    detail: Text = ""

    @model_validator(mode="after")
    def _runs_what_it_says(self) -> Self:
        for runner, call in (("http", self.http), ("command", self.command)):
            if (self.runner == runner) != (call is not None):
                raise ValueError(
                    f"a step with runner {self.runner} "
                    + (f"needs {runner}:" if call is None else f"has no {runner}:")
                )
        if self.approval == "automatic" and self.risk in {"disruptive", "destructive"}:
            raise ValueError(f"a {self.risk} step is never automatic; let one or two people agree")
        return self


class Playbook(Part):
    """What to do about a kind of incident, step by step."""

    id: Name
    title: Line
    steps: Annotated[tuple[PlaybookStep, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _steps_are_named_once(self) -> Self:
        _no_duplicates(tuple(step.id for step in self.steps))
        return self


class Endpoint(Part):
    """A host that steps may call; the operator's settings say where it is."""

    description: Line


def _with_ids(playbooks: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    if not isinstance(playbooks, Mapping):
        return playbooks
    return {
        key: {"id": key, **value} if isinstance(value, Mapping) else value
        for key, value in playbooks.items()
    }


MOST_NAMES = 10_000
"""Alert names whose rules are kept at hand."""


class Policy(Part):
    """How one system's incidents are handled.

    Attributes:
        claims: Lists of matchers, any of which decides that an alert belongs to this system.
        severities: Most severe first.
        escalation: Levels by the name of the severity.
        announcements: By the name of the severity.
    """

    version: Literal[1] = 1
    system: System
    owner: Line
    description: Text = ""
    claims: tuple[Annotated[tuple[MatcherText, ...], Field(min_length=1)], ...] = ()
    calendars: dict[Name, Calendar] = Field(default_factory=dict)
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)]
    classification: ClassificationRules
    grouping: Grouping
    contacts: dict[Name, Contact] = Field(default_factory=dict)
    teams: dict[Name, Team] = Field(default_factory=dict)
    roles: dict[Name, Role] = Field(default_factory=dict)
    schedules: dict[Name, Schedule] = Field(default_factory=dict)
    escalation: dict[Name, tuple[Level, ...]] = Field(default_factory=dict)
    channels: dict[Name, Channel] = Field(default_factory=dict)
    announcements: dict[Name, Announcements] = Field(default_factory=dict)
    templates: dict[Name, Template] = Field(default_factory=dict)
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    playbooks: Annotated[dict[Name, Playbook], BeforeValidator(_with_ids)] = Field(
        default_factory=dict
    )

    @field_validator("severities")
    @classmethod
    def _severities_are_named_once(cls, severities: tuple[Severity, ...]) -> tuple[Severity, ...]:
        _no_duplicates(tuple(severity.name for severity in severities))
        return severities

    @cached_property
    def claim_matchers(self) -> tuple[tuple[Matcher, ...], ...]:
        """What `claims` says, compiled once."""
        return tuple(
            tuple(matcher for text in claim for matcher in parse_matchers(text))
            for claim in self.claims
        )

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Place of each severity, 0 for the most severe."""
        return {severity.name: rank for rank, severity in enumerate(self.severities)}

    @cached_property
    def _by_alertname(self) -> dict[str, tuple[Candidate, ...]]:
        return {}

    def candidates(self, alertname: str) -> tuple[Candidate, ...]:
        """The rules as they look to alerts of this name, in order.

        Most rules go by the alert's name, and regular expressions are what classifying costs: so
        they are tried once a name, not once an alert.
        """
        known = self._by_alertname.get(alertname)
        if known is None:
            named = {"alertname": alertname}
            known = tuple(_candidate(rule, named) for rule in self.classification.rules)
            if len(self._by_alertname) >= MOST_NAMES:
                self._by_alertname.clear()
            self._by_alertname[alertname] = known
        return known

    def severity(self, name: str) -> Severity | None:
        """The severity of this name, or `None`."""
        rank = self.ranks.get(name)
        return None if rank is None else self.severities[rank]

    def announcement_channels(
        self, severity: str, about: Literal["opened", "updates", "resolved"] = "updates"
    ) -> tuple[str, ...]:
        """Names of the channels that hear of it, in the policy's order."""
        held = self.announcements.get(severity)
        if held is None:
            return ()
        return {"opened": held.opened, "updates": held.updates, "resolved": held.resolved}[about]
