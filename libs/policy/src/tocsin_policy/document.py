"""A policy as a value: what a system's runbook says, where a machine can act on it.

Field names are the keys of the YAML file. Nothing here refers to a URL or a secret: channels and
endpoints are names, and only an operator's settings say where they lead.
"""

from __future__ import annotations

from datetime import date, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, PrivateAttr

from tocsin_contracts.event import Instant
from tocsin_policy.durations import Duration
from tocsin_policy.matchers import Matcher, parse_matcher


class Part(BaseModel):
    """A frozen part of a policy; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _matcher(value: Any) -> Matcher:  # noqa: ANN401 - whatever YAML holds
    if isinstance(value, Matcher):
        return value
    if not isinstance(value, str):
        raise ValueError('a matcher is a text such as severity="critical"')  # noqa: TRY004 - pydantic wants a ValueError
    return parse_matcher(value)


MatcherText = Annotated[
    Matcher,
    PlainValidator(_matcher, json_schema_input_type=str),
    PlainSerializer(str, return_type=str),
]

Name = Annotated[str, Field(min_length=1, max_length=200)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class Hours(StrEnum):
    """When people are told."""

    ALWAYS = "always"
    BUSINESS_HOURS = "business_hours"
    NEXT_BUSINESS_DAY = "next_business_day"


class Cadence(Part):
    """When people are owed an update: the first within, then every."""

    first_within: Duration
    every: Duration


class Review(Part):
    """When the review is due after resolution, and in which template."""

    due_within: Duration
    template: Name = "review"


class Severity(Part):
    """One severity under the runbook's own name.

    Attributes:
        response_target: Time to acknowledgement.
        pages: Whether it wakes people.
        acknowledge_timeout: Time after which an acknowledgement without mitigation expires.
    """

    name: Identifier
    definition: str
    examples: tuple[str, ...] = ()
    response_target: Duration | None = None
    pages: bool = True
    hours: Hours = Hours.ALWAYS
    updates: Cadence | None = None
    acknowledge_timeout: Duration | None = None
    review: Review | None = None


class Rule(Part):
    """A classification rule: the first whose matchers all fit decides.

    Attributes:
        urgent: A fast rule: what it fits takes the urgent lane.
        title: Jinja2 over `labels` and `annotations`; the alert's summary or name without it.
    """

    name: Name
    match: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    severity: Identifier
    service: str | None = None
    playbook: Identifier | None = None
    customer_facing: bool = False
    urgent: bool = False
    title: str | None = None


class Classification(Part):
    """Rules in order, and the severity of what none of them fits."""

    rules: tuple[Rule, ...] = ()
    default_severity: Identifier


class Grouping(Part):
    """Which alerts make one incident, when it comes back, when it ends by itself."""

    by: tuple[Name, ...] = ("alertname",)
    reopen_within: Duration = timedelta(minutes=30)
    auto_resolve_after: Duration = timedelta(minutes=5)


class Contact(Part):
    """Someone who can be told.

    Attributes:
        phone: As the runbook writes it.
        channels: Names of channels, in order of preference.
    """

    name: Name
    role: Name
    phone: str | None = None
    email: str | None = None
    slack: str | None = None
    channels: tuple[Identifier, ...]


class Override(Part):
    """Someone stands in, from one instant to another."""

    contact: Identifier
    starts_at: Instant
    ends_at: Instant


class Rotation(StrEnum):
    """How often the on-call changes."""

    DAILY = "daily"
    WEEKLY = "weekly"


class Schedule(Part):
    """Who is on call when: people in turn, changing at a local time of day.

    Attributes:
        start: First day of the first participant.
        handover: Local time of the change.
    """

    time_zone: Name
    rotation: Rotation = Rotation.WEEKLY
    start: date
    handover: time
    participants: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    overrides: tuple[Override, ...] = ()


class Calendar(Part):
    """Business hours: local times on weekdays (0 is Monday), without holidays."""

    time_zone: Name
    opens: time
    closes: time
    weekdays: tuple[Annotated[int, Field(ge=0, le=6)], ...] = (0, 1, 2, 3, 4)
    holidays: tuple[date, ...] = ()


class Level(Part):
    """Who is told when nobody has answered for so long.

    Attributes:
        targets: `schedule:x`, `contact:x`, `team:x`, `role:x` or `everyone`; a target may end in
            ` if customer_facing`.
    """

    number: Annotated[int, Field(ge=1, le=50)]
    after: Duration
    targets: Annotated[tuple[str, ...], Field(min_length=1)]


class ChannelKind(StrEnum):
    """What a channel speaks."""

    SLACK = "slack"
    PAGERDUTY = "pagerduty"
    WEBHOOK = "webhook"
    EMAIL = "email"


class Channel(Part):
    """A way to reach people; the operator's settings say where it leads."""

    kind: ChannelKind
    description: str = ""


class Template(Part):
    """Jinja2 texts of a message."""

    subject: Annotated[str, Field(max_length=2_000)]
    body: Annotated[str, Field(max_length=10_000)]


class HttpCall(Part):
    """A call to a named endpoint, and what it must answer."""

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    endpoint: Identifier
    path: Annotated[str, Field(pattern=r"^/[^\s]*$", max_length=2_000)]
    expect_status: Annotated[int, Field(ge=100, le=599)] = 200
    expect_body_contains: str | None = None


class CommandCall(Part):
    """A program the operator allows, and its arguments."""

    program: Identifier
    args: tuple[Annotated[str, Field(max_length=4_000)], ...] = ()


class Look(Part):
    """A way to see, or to undo: one call or one command."""

    http: HttpCall | None = None
    command: CommandCall | None = None


class Runner(StrEnum):
    """What carries a step out."""

    HTTP = "http"
    COMMAND = "command"
    MANUAL = "manual"


class Risk(StrEnum):
    """What a step can do to the system."""

    READ = "read"
    SAFE = "safe"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


class Approval(StrEnum):
    """Who must agree before a step runs."""

    AUTOMATIC = "automatic"
    ONE = "one"
    TWO = "two"
    NEVER = "never"


class PlaybookStep(Part):
    """One step of a playbook.

    Attributes:
        within: The runbook's time budget, from the incident's opening.
        timeout: Time the step itself may take; never scaled.
    """

    id: Identifier
    title: Name
    runner: Runner
    http: HttpCall | None = None
    command: CommandCall | None = None
    risk: Risk
    approval: Approval = Approval.ONE
    within: Duration | None = None
    timeout: Duration = timedelta(seconds=30)
    verify: Look | None = None
    undo: Look | None = None


class Playbook(Part):
    """What may be tried for a kind of incident."""

    title: Name
    steps: Annotated[tuple[PlaybookStep, ...], Field(min_length=1)]
    id: Identifier = "unnamed"


class Communication(Part):
    """Where news goes.

    Attributes:
        announcements: Severity -> channels that hear of updates and proposals.
        status_page: Address people are pointed to.
    """

    announcements: dict[Identifier, tuple[Identifier, ...]] = Field(default_factory=dict)
    status_page: str = ""


MOST_NAMES = 10_000
"""Alert names whose rules are kept at hand."""


class Policy(Part):
    """A runbook that runs.

    Attributes:
        claims: Lists of matchers; an alert that fits all of any list is this system's.
        severities: Worst first.
        roles: Role -> who has it unless a person assigns it, as a target.
    """

    version: Literal[1] = 1
    system: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    owner: str = ""
    description: str = ""
    claims: Annotated[tuple[tuple[MatcherText, ...], ...], Field(min_length=1)]
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)]
    classification: Classification
    grouping: Grouping = Grouping()
    contacts: dict[Identifier, Contact]
    teams: dict[Identifier, tuple[Identifier, ...]] = Field(default_factory=dict)
    roles: dict[Identifier, str] = Field(default_factory=dict)
    schedules: dict[Identifier, Schedule] = Field(default_factory=dict)
    calendar: Calendar | None = None
    escalation: dict[Identifier, tuple[Level, ...]]
    channels: dict[Identifier, Channel]
    communication: Communication = Communication()
    templates: dict[Identifier, Template] = Field(default_factory=dict)
    endpoints: dict[Identifier, str] = Field(default_factory=dict)
    programs: dict[Identifier, str] = Field(default_factory=dict)
    playbooks: dict[Identifier, Playbook] = Field(default_factory=dict)

    _by_alertname: dict[str, tuple[tuple[Rule, tuple[Matcher, ...]], ...]] = PrivateAttr(
        default_factory=dict
    )

    def rules_for(self, alertname: str) -> tuple[tuple[Rule, tuple[Matcher, ...]], ...]:
        """Rules that an alert of this name can still fit, with the matchers left to test.

        Most rules go by the alert's name, and regular expressions are what classifying costs: so
        they are tried once a name, not once an alert.
        """
        known = self._by_alertname.get(alertname)
        if known is None:
            named = {"alertname": alertname}
            known = tuple(
                (rule, tuple(m for m in rule.match if m.name != "alertname"))
                for rule in self.classification.rules
                if all(m.matches(named) for m in rule.match if m.name == "alertname")
            )
            if len(self._by_alertname) >= MOST_NAMES:
                self._by_alertname.clear()
            self._by_alertname[alertname] = known
        return known

    def severity(self, name: str) -> Severity | None:
        """The severity of this name, or `None`."""
        return next((severity for severity in self.severities if severity.name == name), None)

    def announcement_channels(self, severity: str) -> tuple[str, ...]:
        """Channels that hear news of incidents of this severity."""
        return self.communication.announcements.get(severity, ())

    def model_post_init(self, _: Any, /) -> None:  # noqa: ANN401 - pydantic's signature
        """Playbooks know their own id."""
        named = {
            name: book.model_copy(update={"id": name}) for name, book in self.playbooks.items()
        }
        object.__setattr__(self, "playbooks", named)
