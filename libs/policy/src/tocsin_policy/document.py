"""The policy language: one frozen model, one YAML file a system.

Names refer to names (a rule to a severity, a level to a schedule); `references` finds those that
lead nowhere. Nothing secret and no address stands in a policy: channels and endpoints are names
that the operator's settings give a meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from tocsin_policy.durations import Duration
from tocsin_policy.expressions import Expression
from tocsin_policy.heartbeats import Heartbeat
from tocsin_policy.matchers import Matcher, parse_matchers
from tocsin_policy.opening import LOOK_AHEAD, Opening
from tocsin_policy.parts import (
    WEEKDAYS,
    Line,
    MatcherText,
    Name,
    Names,
    Part,
    System,
    TargetText,
    Text,
    TimeZone,
    Weekday,
    no_duplicates,
)
from tocsin_policy.playbooks import Envelope, Playbook

__all__ = ["WEEKDAYS", "Part"]

_LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]


class Hours(StrEnum):
    """When a severity may ask for people."""

    ALWAYS = "always"
    BUSINESS_HOURS = "business_hours"
    NEXT_BUSINESS_DAY = "next_business_day"


class Calendar(Part):
    """When somebody is at work, in local time.

    Attributes:
        hours: OpenStreetMap's opening hours: `Mo-Fr 09:00-17:00; PH off`.
        country: Whose public holidays `PH` means: two letters, or with a subdivision `DE-BE`.
        days_off: Further days on which nobody is at work.
    """

    time_zone: TimeZone
    hours: Annotated[str, Field(min_length=1, max_length=1000)] = "Mo-Fr 09:00-17:00; PH off"
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    days_off: tuple[date, ...] = ()

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not self.opening.ever_opens():
            raise ValueError(f"{self.hours!r} never opens")
        return self

    @cached_property
    def opening(self) -> Opening:
        """What the calendar says, compiled once."""
        return Opening(self.time_zone, self.hours, self.country, self.days_off)


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
    """The review after an incident: when it is due, in which form, who comes.

    Attributes:
        due_within: Time from the resolution.
        business_days: Or days on which the calendar opens, after the day of the resolution; the
            review is due when that day's hours end.
        attendees: Who is told when it is due; the incident commander if nobody is named.
        template: Name of the template of the document; the policy's `review`, or the default.
    """

    due_within: Duration | None = None
    business_days: Annotated[int, Field(ge=1, le=60)] | None = None
    attendees: tuple[TargetText, ...] = ()
    template: Name = "review"

    @model_validator(mode="after")
    def _is_due_once(self) -> Self:
        if (self.due_within is None) == (self.business_days is None):
            raise ValueError("say exactly one of due_within and business_days")
        return self


class Watch(Part):
    """How long an incident whose alerts have cleared is watched before it resolves by itself.

    Attributes:
        normal: What is usual.
        times: How many times that; a runbook may ask for twice the usual.
    """

    normal: Duration
    times: Annotated[int, Field(ge=1, le=10)] = 1

    @property
    def duration(self) -> timedelta:
        """How long, in all."""
        return self.normal * self.times


class Severity(Part):
    """How bad it is, and what that asks of people.

    Attributes:
        impact: Who feels it.
        response_target: Somebody acknowledges within this time.
        pages: Whether levels may wake people; a severity that does not page only tells the
            channels its levels name with `via`.
        hours: When its levels may ask for people; a level may say otherwise.
        public_updates: What outsiders are promised, on the status page.
        acknowledge_timeout: An acknowledgement without resolution lapses after this time.
        watch: Before it resolves by itself; absent means the policy's `auto_resolve_after`.
        review: Absent for a severity nobody reviews.
    """

    name: Name
    definition: Line
    impact: Line | None = None
    examples: tuple[Line, ...] = ()
    response_target: Duration | None = None
    pages: bool = True
    hours: Hours = Hours.ALWAYS
    calendar: Name = "business"
    updates: Cadence | None = None
    public_updates: Cadence | None = None
    acknowledge_timeout: Duration | None = None
    watch: Watch | None = None
    review: Review | None = None


class Threshold(Part):
    """A limit that holds twice: for values that arrive, and as a Prometheus alerting rule.

    Attributes:
        query: PromQL of what is measured.
        above: It is broken by more than this,
        below: or by less than this.
        held_for: How long it must have been broken.
        value: Name of the value by which it arrives in an alert's annotations.
        unit: For people: `s`, `%`, `items`.
        labels: Of the generated alert, beside `system`, `severity` and `threshold`.
    """

    title: Line
    query: Annotated[str, Field(min_length=1, max_length=2000)]
    above: float | None = None
    below: float | None = None
    held_for: Duration = timedelta()
    value: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    unit: Annotated[str, Field(max_length=20)] = ""
    labels: dict[_LabelName, Line] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("say exactly one of above and below")
        return self

    def broken_by(self, value: float) -> bool:
        """Whether a value breaks it."""
        if self.above is not None:
            return value > self.above
        return self.below is not None and value < self.below

    @property
    def comparison(self) -> str:
        """As PromQL and people write it: `> 0.05`."""
        return f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"


class Rule(Part):
    """Alerts that pass every matcher of `match`, and `when`, and break `threshold`, are this bad.

    Attributes:
        when: CEL on `labels`, `annotations` and `values` (annotations that are numbers).
        threshold: A threshold of the policy that the alert says is broken.
        components: What else is affected; absent means what depends on the service.
        urgent: It skips the queue: decided at the door by `match` alone.
    """

    name: Line
    match: tuple[MatcherText, ...] = ()
    when: Expression | None = None
    threshold: Name | None = None
    severity: Name
    service: Line | None = None
    playbook: Name | None = None
    customer_facing: bool = False
    components: tuple[Line, ...] = ()
    title: Line | None = None
    urgent: bool = False

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.match and self.when is None and self.threshold is None:
            raise ValueError("say at least one of match, when and threshold")
        if self.urgent and not self.match:
            raise ValueError("urgent is decided at the door, by match; say match")
        return self

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


class Flapping(Part):
    """An alert that begins or ends this often within this time is flapping.

    It keeps its incident: nobody is paged anew, and the incident does not resolve by itself until
    the alert has been quiet that long.
    """

    changes: Annotated[int, Field(ge=2, le=1000)] = 6
    within: Duration = timedelta(minutes=30)


class Storm(Part):
    """A source that sends more than `alerts` new alerts within this time is in a storm.

    What would open incidents of its own then joins one incident of the storm, unless it is more
    severe than that is.
    """

    alerts: Annotated[int, Field(ge=2, le=1_000_000)]
    within: Duration = timedelta(minutes=1)
    severity: Name

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if not timedelta() < self.within <= timedelta(hours=1):
            raise ValueError("within must be longer than nothing, and an hour at most")
        return self


class Grouping(Part):
    """Which alerts become one incident, and when it ends by itself.

    Attributes:
        wait: Levels are counted from this long after the opening, so that a page knows more.
        interval: News of alerts that joined is told where updates are, at most this often;
            absent means never.
        correlate_within: What another source says of a service joins the live incident of that
            service, if something happened there within this time; absent means never.
        leases: By source, how long an alert counts as firing that nobody mentions any more;
            longer than the source's repeat interval. A lease the alert itself has comes first.
    """

    by: tuple[_LabelName, ...] = ("alertname",)
    wait: Duration = timedelta()
    interval: Duration | None = None
    reopen_within: Duration
    auto_resolve_after: Duration
    flapping: Flapping | None = None
    storm: Storm | None = None
    correlate_within: Duration | None = None
    leases: dict[Name, Duration] = Field(default_factory=dict)


class InhibitionRule(Part):
    """While an alert of `source` fires, nobody hears of those of `target` that equal it.

    Alertmanager's rule, with its edge: what is source and target both is not inhibited by what is
    both too.
    """

    source: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    target: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    equal: tuple[_LabelName, ...] = ()

    @cached_property
    def source_matchers(self) -> tuple[Matcher, ...]:
        """What `source` says, compiled once."""
        return tuple(matcher for text in self.source for matcher in parse_matchers(text))

    @cached_property
    def target_matchers(self) -> tuple[Matcher, ...]:
        """What `target` says, compiled once."""
        return tuple(matcher for text in self.target for matcher in parse_matchers(text))


class Inhibition(Part):
    """What need not be heard while something else is.

    Attributes:
        rules: By name.
        along_dependencies: While what a service depends on has an incident that is as severe, the
            service's own alerts are symptoms: they are kept there and page nobody.
    """

    rules: dict[Name, InhibitionRule] = Field(default_factory=dict)
    along_dependencies: bool = False


class Maintenance(Part):
    """A window in which nobody hears of alerts that match; it comes again as `on` says.

    Attributes:
        match: Which alerts.
        on: When, in OpenStreetMap's opening hours: `Su[1] 02:00-04:00`.
    """

    title: Line
    match: Annotated[tuple[MatcherText, ...], Field(min_length=1)]
    on: Annotated[str, Field(min_length=1, max_length=500)]
    time_zone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not self.opening.ever_opens():
            raise ValueError(f"{self.on!r} never comes")
        if all(matcher.fits({}) for matcher in self.matchers):
            raise ValueError("at least one matcher must not match the empty string")
        return self

    @cached_property
    def opening(self) -> Opening:
        """When it is, compiled once."""
        return Opening(self.time_zone, self.on, None, ())

    def edge(self, at: datetime) -> tuple[bool, datetime]:
        """Whether it is at this instant, and when that changes; a year on where it never does."""
        held = self._edges.get("")
        if held is not None and held[0] <= at < held[2]:
            return held[1:]
        is_open = self.opening.is_open(at)
        try:
            until = self.opening.closes_after(at) if is_open else self.opening.opens_after(at)
        except ValueError:
            until = at + LOOK_AHEAD
        self._edges[""] = (at, is_open, until)
        return is_open, until

    @cached_property
    def _edges(self) -> dict[str, tuple[datetime, bool, datetime]]:
        return {}

    @cached_property
    def matchers(self) -> tuple[Matcher, ...]:
        """What `match` says, compiled once."""
        return tuple(matcher for text in self.match for matcher in parse_matchers(text))


class Service(Part):
    """A service of the system, and what it needs to work."""

    title: Line
    depends_on: Names = ()


class Means(Part):
    """A channel by which a contact is told, and when; a name alone is one that is used at once.

    Attributes:
        after: How long after the first of the contact's means, unless somebody has answered. One
            that fails for good is followed by the next at once.
    """

    channel: Name
    after: Duration = timedelta()

    @model_serializer(mode="wrap")
    def _as_written(self, document: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401 - a text or a mapping
        return document(self) if self.after else self.channel


def _means(written: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return {"channel": written} if isinstance(written, str) else written


class Contact(Part):
    """A person, or a number behind which one answers.

    Attributes:
        phone: As the runbook gives it; text, for people.
        channels: Channels to use, in order of the person's preference: all that are names alone
            at once, the others after their time.
    """

    name: Line
    role: Line
    phone: Line | None = None
    email: Line | None = None
    slack: Line | None = None
    notes: Line | None = None
    channels: tuple[
        Annotated[Means, BeforeValidator(_means, json_schema_input_type=Name | Means)], ...
    ] = ()

    @field_validator("channels")
    @classmethod
    def _each_is_named_once(cls, channels: tuple[Means, ...]) -> tuple[Means, ...]:
        no_duplicates(tuple(means.channel for means in channels))
        return channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, in order."""
        return tuple(means.channel for means in self.channels)


class Team(Part):
    """People who are told together, or one of whom is told.

    Attributes:
        page: `in_turn` pages one member: incidents are spread over them, and each repeat and each
            new generation of an incident goes to the next.
    """

    name: Line
    members: Annotated[Names, Field(min_length=1)]
    page: Literal["all", "in_turn"] = "all"


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
    """People who take turns from the first handover at or after `start`.

    Attributes:
        ends: First day on which it holds no more.
        calendar: It holds only while this calendar is open.
    """

    participants: Annotated[tuple[Name, ...], Field(min_length=1)]
    start: date
    ends: date | None = None
    calendar: Name | None = None
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
    """Who is told next, and when.

    Attributes:
        after: Time since `counted_from`.
        counted_from: The escalation's beginning, or the moment the level before was reached.
        hours: When it may ask for people; absent means the severity's.
        repeat: How often it is told again while nobody answers, each `repeat_every` later.
    """

    number: Annotated[int, Field(ge=1, le=50)]
    after: Duration
    counted_from: Literal["opening", "last_level"] = "opening"
    targets: Annotated[tuple[TargetText, ...], Field(min_length=1)]
    hours: Hours | None = None
    repeat: Annotated[int, Field(ge=0, le=20)] = 0
    repeat_every: Duration = timedelta(minutes=15)


class Channel(Part):
    """A way to reach people.

    Attributes:
        endpoint: Name of the operator's setting that holds the address and the secret.
        templates: Template by purpose, where this channel's readers need other words: a status
            page, customers. A purpose is `opened`, `update`, `resolved` …
        heartbeat: A synthetic page every so often, and an alert if it does not arrive.
    """

    kind: Literal[
        "slack",
        "slack-app",
        "pagerduty",
        "webhook",
        "email",
        "statuspage",
        "sms",
        "voice",
        "github",
        "jira",
        "teams",
        "apprise",
    ]
    endpoint: Name
    templates: dict[Name, Name] = Field(default_factory=dict)
    heartbeat: Heartbeat | None = None


class Prolonged(Part):
    """Channels that hear of the end only of what took long.

    Attributes:
        after: Time from the opening to the resolution, at least.
    """

    after: Duration
    resolved: Annotated[Names, Field(min_length=1)]


class Announcements(Part):
    """Channels that hear of an incident, whoever is paged.

    Attributes:
        updates: Hear updates meant for people inside.
        public: Hear updates meant for everybody: the status page, customers.
        prolonged: Who hears of the end beside `resolved`, if the incident took long.
    """

    opened: Names = ()
    updates: Names = ()
    public: Names = ()
    resolved: Names = ()
    prolonged: Prolonged | None = None


class Naming(Part):
    """How things made for an incident are called; templates of one line.

    Attributes:
        channel: Of its chat channel: `incident-{{ opened_date }}-{{ opened_time }}`.
        ticket: Title of its ticket: `[{{ severity }}] {{ title }}`.
        ticket_labels: Of its ticket.
    """

    channel: Line = "incident-{{ opened_date }}-{{ opened_time }}"
    ticket: Line = "[{{ severity }}] {{ title }}"
    ticket_labels: tuple[Line, ...] = ("incident",)


class Link(Part):
    """A page that helps: a dashboard, a status page, a bridge to dial."""

    title: Line
    url: Annotated[str, Field(pattern=r"^(https?://|tel:|#)", max_length=2000)]


class Drill(Part):
    """A rehearsal: a made-up alert, marked, that runs end to end and changes nothing.

    Attributes:
        on: When, in OpenStreetMap's opening hours; it starts when they open: `Fr[1] 10:00-11:00`.
        labels: Of the alert; the rules decide on them as on any other.
    """

    title: Line
    on: Annotated[str, Field(min_length=1, max_length=500)]
    time_zone: TimeZone = "UTC"
    labels: Annotated[dict[_LabelName, Line], Field(min_length=1)]

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not self.opening.ever_opens():
            raise ValueError(f"{self.on!r} never comes")
        return self

    @cached_property
    def opening(self) -> Opening:
        """When it runs, compiled once."""
        return Opening(self.time_zone, self.on, None, ())


class Success(Part):
    """What the runbook calls success; computed and reported, not acted on.

    Attributes:
        time_to_resolve: Mean, by severity, stays below this.
        time_to_detect: Mean, from the alert's start to the opening, stays below this.
        fewer_a_month: Fewer incidents than this open in a month.
        reviewed_within: Every review due is published within this time of the resolution.
    """

    time_to_resolve: dict[Name, Duration] = Field(default_factory=dict)
    time_to_detect: Duration | None = None
    fewer_a_month: Annotated[int, Field(ge=1)] | None = None
    reviewed_within: Duration | None = None


class Template(Part):
    """What people read; Jinja2 with a small, safe part of its language."""

    subject: Line
    body: Text


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

Said = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
"""Labels and annotations of an alert."""


class Policy(Part):
    """How one system's incidents are handled.

    Attributes:
        claims: Lists of matchers, any of which decides that an alert belongs to this system.
        severities: Most severe first.
        escalation: Levels by the name of the severity.
        last_resort: Who is told, as of the worst, when the last level reached nobody at all; by
            other channels than those that failed.
        announcements: By the name of the severity.
    """

    version: Literal[1] = 1
    system: System
    owner: Line
    description: Text = ""
    claims: tuple[Annotated[tuple[MatcherText, ...], Field(min_length=1)], ...] = ()
    links: tuple[Link, ...] = ()
    calendars: dict[Name, Calendar] = Field(default_factory=dict)
    services: dict[Name, Service] = Field(default_factory=dict)
    thresholds: dict[Name, Threshold] = Field(default_factory=dict)
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)]
    classification: ClassificationRules
    grouping: Grouping
    inhibition: Inhibition = Inhibition()
    maintenance: dict[Name, Maintenance] = Field(default_factory=dict)
    contacts: dict[Name, Contact] = Field(default_factory=dict)
    teams: dict[Name, Team] = Field(default_factory=dict)
    roles: dict[Name, Role] = Field(default_factory=dict)
    schedules: dict[Name, Schedule] = Field(default_factory=dict)
    escalation: dict[Name, tuple[Level, ...]] = Field(default_factory=dict)
    last_resort: Annotated[tuple[TargetText, ...], Field(min_length=1)] | None = None
    channels: dict[Name, Channel] = Field(default_factory=dict)
    announcements: dict[Name, Announcements] = Field(default_factory=dict)
    naming: Naming = Naming()
    templates: dict[Name, Template] = Field(default_factory=dict)
    drills: dict[Name, Drill] = Field(default_factory=dict)
    success: Success | None = None
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    remediation: Envelope = Envelope()
    playbooks: Annotated[dict[Name, Playbook], BeforeValidator(_with_ids)] = Field(
        default_factory=dict
    )

    @field_validator("severities")
    @classmethod
    def _severities_are_named_once(cls, severities: tuple[Severity, ...]) -> tuple[Severity, ...]:
        no_duplicates(tuple(severity.name for severity in severities))
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

    @cached_property
    def _fitting(self) -> dict[str, tuple[tuple[Rule, tuple[Matcher, ...]], ...]]:
        return {}

    @cached_property
    def classified(self) -> dict[Said, Any]:
        """What `classify` remembers; it keeps it small."""
        return {}

    def fitting(self, alertname: str) -> tuple[tuple[Rule, tuple[Matcher, ...]], ...]:
        """The rules that alerts of this name may fit, in order, with what is left to try."""
        known = self._fitting.get(alertname)
        if known is None:
            known = tuple(
                (rule, left) for rule, missed, left in self.candidates(alertname) if missed is None
            )
            if len(self._fitting) >= MOST_NAMES:
                self._fitting.clear()
            self._fitting[alertname] = known
        return known

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

    def dependencies(self, service: str | None) -> frozenset[str]:
        """Services that this one needs to work, directly or not."""
        known = self._dependencies.get(service or "")
        if known is None:
            found: set[str] = set()
            left = [service or ""]
            while left:
                held = self.services.get(left.pop())
                more = set(held.depends_on) - found if held is not None else set()
                found |= more
                left.extend(sorted(more))
            known = self._dependencies[service or ""] = frozenset(found - {service})
        return known

    @cached_property
    def _dependencies(self) -> dict[str, frozenset[str]]:
        return {}

    def dependents(self, service: str | None) -> tuple[str, ...]:
        """Services that need this one to work, directly or not, in the policy's order."""
        if service not in self.services:
            return ()
        known = self._dependents.get(service or "")
        if known is None:
            known = self._dependents[service or ""] = self._grown(service or "")
        return known

    @cached_property
    def _dependents(self) -> dict[str, tuple[str, ...]]:
        return {}

    def _grown(self, service: str) -> tuple[str, ...]:
        found = {service}
        grown = True
        while grown:
            more = {
                name
                for name, held in self.services.items()
                if name not in found and found.intersection(held.depends_on)
            }
            found |= more
            grown = bool(more)
        return tuple(name for name in self.services if name in found and name != service)

    @cached_property
    def _reasons(self) -> dict[int, str]:
        return {}

    def reason_of(self, rule: Rule, worded: Callable[[Policy, Rule], str]) -> str:
        """Why a rule of this policy decides, in words; worded once."""
        known = self._reasons.get(id(rule))
        if known is None:
            known = self._reasons[id(rule)] = worded(self, rule)
        return known

    def severity(self, name: str) -> Severity | None:
        """The severity of this name, or `None`."""
        rank = self.ranks.get(name)
        return None if rank is None else self.severities[rank]

    def announcement_channels(
        self, severity: str, about: Literal["opened", "updates", "public", "resolved"] = "updates"
    ) -> tuple[str, ...]:
        """Names of the channels that hear of it, in the policy's order."""
        held = self.announcements.get(severity)
        if held is None:
            return ()
        return {
            "opened": held.opened,
            "updates": held.updates,
            "public": held.public,
            "resolved": held.resolved,
        }[about]
