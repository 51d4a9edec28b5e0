"""Scenarios and the rows of a runbook, as they stand in the files beside a policy.

A scenario is given happenings and wants what comes of them. Only what it names is checked; pages
alone are always complete, so a scenario that names none wants that nobody is paged.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from tocsin_contracts.incidents import Purpose
from tocsin_incident import Status
from tocsin_policy.durations import Duration
from tocsin_policy.parts import Line, Name, Part, Text

STARTS_AT = datetime(2026, 11, 18, 15, 0, tzinfo=UTC)
"""When a scenario begins unless it says otherwise: a Wednesday, 10:00 in New York, no holiday."""


def _instant(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    # YAML's own timestamps are a kind of datetime that counts in other ways.
    return value.isoformat() if isinstance(value, datetime) else value


def _never(value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    return "never" if value is False else value


_RowId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)]
_Labels = dict[Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")], str]
Never = Literal["never"]
_When = Annotated[Duration | Never, BeforeValidator(_never)]


class GivenAlert(Part):
    """An alert that fires."""

    labels: Annotated[_Labels, Field(min_length=1)]
    annotations: dict[str, str] = Field(default_factory=dict)


class Assigned(Part):
    """A role, and who has it from then on."""

    role: Name
    contact: Name


class AStep(Part):
    """A step of the incident's remediation."""

    step: Name


class Outage(Part):
    """A provider that answers 503 for so long.

    Attributes:
        refused: It answers 403 instead: a message it is sent will never work.
    """

    channel: Name
    lasts: Duration = Field(alias="for")
    refused: bool = False


_HAPPENINGS = (
    "alert",
    "resolve",
    "payload",
    "acknowledge",
    "update",
    "severity",
    "assign",
    "approve",
    "reject",
    "mitigate",
    "close",
    "reopen",
    "review",
    "note",
    "fail",
    "drill",
)
_WITH_BY = ("update", "severity", "assign", "approve", "reject", "note")


class Given(Part):
    """One happening.

    Attributes:
        at: Since the scenario's start.
        resolve: Labels of an alert that stops firing.
        payload: File beside the scenarios: a webhook's body as it was recorded.
        source: Of the payload.
        close: Who says that it is over.
        by: Who updates, changes severity, assigns, approves or rejects.
        text: What whoever mitigates, closes or reopens says.
        incident: Part of the incident's title, where there are several.
    """

    at: Duration
    alert: GivenAlert | None = None
    resolve: _Labels | None = None
    payload: Line | None = None
    source: Name = "alertmanager"
    acknowledge: Name | None = None
    update: Text | None = None
    audience: Literal["internal", "public"] = "internal"
    severity: Name | None = None
    reason: Text = ""
    assign: Assigned | None = None
    approve: AStep | None = None
    reject: AStep | None = None
    mitigate: Name | None = None
    close: Name | None = None
    reopen: Name | None = None
    review: Name | None = None
    note: Text | None = None
    fail: Outage | None = None
    drill: Name | None = None
    by: Name | None = None
    text: Text = ""
    incident: Line = ""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        named = [name for name in _HAPPENINGS if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"name exactly one of {', '.join(_HAPPENINGS)}")
        if (self.by is None) == (named[0] in _WITH_BY):
            raise ValueError(
                f"by belongs to {', '.join(_WITH_BY)}, which need it; not to {named[0]}"
                if self.by is not None
                else f"{named[0]} needs by: who does it"
            )
        return self

    @property
    def what(self) -> str:
        """Which happening it is."""
        return next(name for name in _HAPPENINGS if getattr(self, name) is not None)


class WantedPage(Part):
    """A page somebody gets.

    Attributes:
        to: Contact id.
        by: Channels it is delivered by, all of them; absent for whichever.
        level: Of the escalation; absent for whichever.
        contains: Each stands in its subject or body, by one of the channels.
    """

    at: Duration
    to: Name
    by: tuple[Name, ...] | None = None
    level: int | None = None
    contains: tuple[Line, ...] = ()


class WantedMessage(Part):
    """A message that is no page.

    Attributes:
        to: Contact id, where it goes to a person.
        contains: Each stands in its subject or body.
    """

    at: Duration | None = None
    channel: Name
    purpose: Purpose | None = None
    to: Name | None = None
    contains: tuple[Line, ...] = ()


class WantedOverdue(Part):
    """An update that is said to be overdue, and whom the reminder goes to."""

    at: Duration
    to: tuple[Name, ...] | None = None


class WantedProposal(Part):
    """A playbook that is proposed, and its steps."""

    playbook: Name
    steps: tuple[Name, ...] | None = None


class WantedStepOverdue(Part):
    """A step that is said to be overdue."""

    at: Duration
    step: Name
    to: tuple[Name, ...] | None = None


class Want(Part):
    """What comes of it. What is absent is not checked, but for pages.

    Attributes:
        pages: All of them, in order of time.
        silent: Channels that nothing at all is delivered by.
        overdue: All updates for people inside that are said to be overdue.
        public_overdue: All updates for everybody that are said to be overdue.
        steps_overdue: All steps that are said to be overdue.
        ran: Steps that were started, in order.
        near_misses: Rules that are among those that came close.
        channel: Name of the incident's chat channel.
        ticket: Title of its ticket.
    """

    severity: Name | None = None
    opened_severity: Name | None = None
    rule: Line | None = None
    service: Line | None = None
    components: tuple[Line, ...] | None = None
    playbook: Name | None = None
    customer_facing: bool | None = None
    status: Status | None = None
    incidents: Annotated[int, Field(ge=0)] | None = None
    drill: bool | None = None
    near_misses: tuple[Line, ...] | None = None
    channel: Line | None = None
    ticket: Line | None = None
    response_target_missed: _When | None = None
    resolved: _When | None = None
    review_due: _When | None = None
    pages: tuple[WantedPage, ...] = ()
    messages: tuple[WantedMessage, ...] = ()
    silent: tuple[Name, ...] = ()
    overdue: tuple[WantedOverdue, ...] | None = None
    public_overdue: tuple[WantedOverdue, ...] | None = None
    proposal: WantedProposal | None = None
    steps_overdue: tuple[WantedStepOverdue, ...] | None = None
    ran: tuple[Name, ...] | None = None


class Scenario(Part):
    """What happens, and what is to come of it.

    Attributes:
        proves: Rows of the runbook.
        starts: The instant from which `at` counts.
        until: How long it goes on.
    """

    name: Line
    proves: tuple[_RowId, ...] = ()
    starts: Annotated[AwareDatetime, BeforeValidator(_instant)] = STARTS_AT
    until: Duration
    given: Annotated[tuple[Given, ...], Field(min_length=1)]
    want: Want

    @model_validator(mode="after")
    def _happens_in_order(self) -> Self:
        before = timedelta()
        for given in self.given:
            if given.at < before:
                raise ValueError("given stands in order of time")
            before = given.at
        if before > self.until:
            raise ValueError("something is given after until")
        return self


class Row(Part):
    """What a runbook asks in one place, and where the policy says it.

    Attributes:
        section: The runbook's heading.
        says: In short, in words of our own.
        policy: Path in the policy: `severities[P0].response_target`.
    """

    id: _RowId
    section: Line
    says: Line
    policy: Line


class Runbook(Part):
    """What a runbook asks that a machine can do or check."""

    runbook: Line
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
