"""What is known of an incident: a value, built only by folding its facts."""

from __future__ import annotations

import json
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from tocsin_contracts.event import Instant, Person, Value
from tocsin_contracts.incidents import Alert, Message, Muting, ProposedStep, Purpose, Target

FOLD_VERSION = "5"
"""Raised whenever the same log folds to another state; a snapshot of another version is unused."""


class Status(StrEnum):
    """Where an incident stands in its life.

    A `muted` one is none yet: it keeps alerts that nobody is to hear of.
    """

    MUTED = "muted"
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"
    REVIEWED = "reviewed"
    CLOSED = "closed"
    MERGED = "merged"

    @property
    def live(self) -> bool:
        """Whether the incident still goes on: it can be acknowledged, updated, remediated."""
        return self in _LIVE


_LIVE = frozenset({Status.OPEN, Status.ACKNOWLEDGED, Status.MITIGATED})


class HeldAlert(Value):
    """An alert episode of the incident, firing while `cleared_at` is absent.

    Attributes:
        joined_at: When the log first held it here.
        muting: Why it is not heard now.
        guest: It is only kept here until it is heard again, and counts for nothing.
    """

    alert: Alert
    joined_at: Instant | None = None
    muting: Muting | None = None
    guest: bool = False
    cleared_at: Instant | None = None
    cleared_because: str | None = None
    cleared_by: UUID | None = None

    @property
    def firing(self) -> bool:
        """Whether it still fires."""
        return self.cleared_at is None


class Level(Value):
    """A level that was reached."""

    level: int
    generation: int
    severity: str
    due_at: Instant
    reached_at: Instant
    targets: tuple[Target, ...]
    skipped: tuple[int, ...] = ()
    repeat: int = 0
    waited: timedelta | None = None
    reason: str = ""
    by: Person | None = None
    text: str = ""
    event: str


class NotificationStatus(StrEnum):
    """Where a message stands."""

    REQUESTED = "requested"
    ATTEMPTED = "attempted"
    DELIVERED = "delivered"
    WAITING = "waiting"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    SUPERSEDED = "superseded"

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to it."""
        return self in _SETTLED


_SETTLED = frozenset(
    {NotificationStatus.DELIVERED, NotificationStatus.FAILED, NotificationStatus.SUPERSEDED}
)


class Notification(Value):
    """A message to one target over one channel, and how far it got.

    Attributes:
        retry_at: When the next attempt is due, while `waiting` or `in_doubt`; an in-doubt
            message without it is not attempted again.
        due_at: When it was owed, where that was before it was requested.
        provider_ref: What the provider calls it, once it is delivered.
    """

    notification: str
    purpose: Purpose
    generation: int
    level: int | None = None
    target: Target | None = None
    channel: str
    kind: str
    provider_key: str
    message: Message
    status: NotificationStatus
    attempts: int = 0
    attempted_by: str = ""
    requested_at: Instant
    due_at: Instant | None = None
    attempted_at: Instant | None = None
    settled_at: Instant | None = None
    retry_at: Instant | None = None
    reason: str = ""
    provider_ref: str = ""


class StepStatus(StrEnum):
    """Where a remediation step stands."""

    PROPOSED = "proposed"
    STARTED = "started"
    FINISHED = "finished"
    VERIFIED = "verified"
    NOT_VERIFIED = "not_verified"
    UNDOING = "undoing"
    ROLLED_BACK = "rolled_back"
    UNDO_FAILED = "undo_failed"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


class StepPlan(Value):
    """What a step would do to the world, as it was found; see `RemediationStepPlanned`."""

    number: int
    planned_at: Instant
    targets: tuple[str, ...] = ()
    state: str = ""
    diff: str = ""
    pods: int | None = None
    share: float | None = None
    fingerprint: str = ""
    refused: str = ""
    detail: str = ""
    before: dict[str, str] = Field(default_factory=dict)


class Approval(Value):
    """Somebody let a step run."""

    by: Person
    at: Instant


class Hold(Value):
    """Why a step that was to run waits.

    Attributes:
        since: When it was first held for this reason.
    """

    reason: str
    detail: str = ""
    since: Instant
    retry_at: Instant | None = None
    released: bool = False


class Step(Value):
    """A remediation step and how far it got.

    Attributes:
        attempt: How often it was started.
        approvals: Those on its newest plan; `approved_by` names the same people.
        severity: The incident's when it was last started.
        changed: What an exact undo needs to know of the state before.
        undone_by: The process that undoes it, once one does.
        undos: How often an undo of it was begun.
        looked: What a look showed while it was in doubt.
    """

    proposed: ProposedStep
    status: StepStatus = StepStatus.PROPOSED
    attempt: int = 0
    plan: StepPlan | None = None
    approved_by: tuple[Person, ...] = ()
    approvals: tuple[Approval, ...] = ()
    hold: Hold | None = None
    severity: str = ""
    changed: dict[str, str] = Field(default_factory=dict)
    undone_by: str = ""
    undos: int = 0
    looked: str = ""
    started_by: str = ""
    started_at: Instant | None = None
    finished_at: Instant | None = None
    succeeded: bool | None = None
    reason: str = ""
    overdue_at: Instant | None = None
    overdue_targets: tuple[Target, ...] = ()


class RemediationStatus(StrEnum):
    """Where a remediation stands."""

    PROPOSED = "proposed"
    ROLLING_BACK = "rolling_back"
    REJECTED = "rejected"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"


class Remediation(Value):
    """A proposed playbook and its steps, in order.

    Attributes:
        because_of: The step because of which it is rolled back, failed or in doubt.
        tell: Who is told that it failed, or asked about what is in doubt.
    """

    remediation: str
    playbook: str
    generation: int
    status: RemediationStatus = RemediationStatus.PROPOSED
    steps: tuple[Step, ...]
    proposed_at: Instant
    expires_at: Instant | None = None
    reason: str = ""
    because_of: str = ""
    tell: tuple[Target, ...] = ()

    def step(self, step_id: str) -> Step | None:
        """The step of this id, if there is one."""
        return next((step for step in self.steps if step.proposed.step == step_id), None)


class Asked(Value):
    """What a person wants to happen before its time."""

    by: Person
    reason: str = ""
    at: Instant


class Anew(StrEnum):
    """Why an incident that was told of is told of anew."""

    REOPENED = "reopened"
    SEVERITY_RAISED = "severity_raised"
    ACKNOWLEDGEMENT_EXPIRED = "acknowledgement_expired"
    ESCALATED = "escalated"
    HANDED_OVER = "handed_over"
    MUTE_ENDED = "mute_ended"
    HEARD_AGAIN = "heard_again"


class Changed(Value):
    """What happened to an incident that everybody knew of.

    Attributes:
        was: The severity before, or who had it.
        rule: What decided the severity, if that is what changed.
    """

    what: Anew
    at: Instant
    by: Person | None = None
    reason: str = ""
    was: str = ""
    rule: str = ""


class MissedTarget(Value):
    """A response target that passed without an acknowledgement."""

    generation: int
    severity: str
    target: timedelta
    due_at: Instant


class IncidentState(Value):
    """Everything the fold knows of one incident.

    Attributes:
        generation: Counts escalations from the start: 1, one more with each reopening and each
            expired acknowledgement. Facts of another generation no longer apply.
        escalation_from: When the present escalation's clock started.
        again: Why the present generation is not the first.
        raised: How it came to its severity, if that was another before.
        level: Highest level reached in this generation at this severity; 0 before the first.
        raised_at: When its severity was last raised, and its levels began anew.
        acknowledged_at: Start of the acknowledgement in force, if one is.
        first_acknowledged_at: The first acknowledgement ever, for targets and the postmortem.
        handed_to: Contact whose it is, since somebody handed it over.
        handed: By whom, and when; absent once it was taken.
        escalation: Who wants the next level now.
        muted_until: When pages and reminders begin again.
        muted_by: Who wanted none.
        joined_at: When alerts last joined it after its opening.
        mutings: Alerts it holds that are muted, firing or not.
        clear_since: When the last firing alert cleared, while none fires.
        seen: Ids of every fact folded or ignored, so that a repeat changes nothing.
        last_offset: Offset of the newest fact folded, where the log gave one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    incident: str
    key: str
    system: str
    title: str
    status: Status
    severity: str
    opened_severity: str
    severity_raised_at: Instant | None = None
    rule: str
    reason: str
    group_key: str
    service: str | None = None
    playbook: str | None = None
    customer_facing: bool = False
    components: tuple[str, ...] = ()
    near_misses: tuple[str, ...] = ()
    urgent: bool = False
    drill: bool = False
    declared_by: Person | None = None
    policy: str | None = None

    opened_at: Instant
    generation: int = 1
    escalation_from: Instant
    again: Changed | None = None
    raised: Changed | None = None
    level: int = 0
    repeats: int = 0
    levels: tuple[Level, ...] = ()
    missed: tuple[MissedTarget, ...] = ()

    acknowledged_at: Instant | None = None
    acknowledged_by: Person | None = None
    first_acknowledged_at: Instant | None = None
    mitigated_at: Instant | None = None
    resolved_at: Instant | None = None
    resolved_by: Person | None = None
    resolution: str = ""
    reviewed_at: Instant | None = None
    closed_at: Instant | None = None
    merged_into: str | None = None
    review_reminded: bool = False

    handed_to: str | None = None
    handed: Asked | None = None
    escalation: Asked | None = None
    muted_until: Instant | None = None
    muted_by: Person | None = None

    raised_at: Instant | None = None
    severity_request: tuple[str, str, Person] | None = None
    reopen_request: tuple[str, Person] | None = None
    merge_request: tuple[str, Person] | None = None

    alerts: dict[str, HeldAlert] = Field(default_factory=dict)
    mutings: int = 0
    clear_since: Instant | None = None
    joined_at: Instant | None = None
    unattached: tuple[Alert, ...] = ()

    updates: int = 0
    updated_at: Instant | None = None
    update_text: str = ""
    overdue: int = 0
    overdue_at: Instant | None = None
    overdue_targets: tuple[Target, ...] = ()
    public_updates: int = 0
    public_updated_at: Instant | None = None
    public_text: str = ""
    public_overdue: int = 0
    public_overdue_at: Instant | None = None
    public_overdue_targets: tuple[Target, ...] = ()
    review_targets: tuple[Target, ...] = ()

    notes: int = 0
    roles: dict[str, str] = Field(default_factory=dict)
    notifications: dict[str, Notification] = Field(default_factory=dict)
    remediations: dict[str, Remediation] = Field(default_factory=dict)

    seen: frozenset[str] = frozenset()

    @property
    def firing(self) -> int:
        """How many of its alerts still fire."""
        return sum(1 for held in self.alerts.values() if held.firing and not held.guest)

    @property
    def quiet(self) -> bool:
        """Whether everything of its own that fires is muted: nobody is to be asked for."""
        if not self.mutings:
            return False
        own = [held for held in self.alerts.values() if held.firing and not held.guest]
        return bool(own) and all(held.muting is not None for held in own)


def state_document(state: IncidentState) -> dict[str, Any]:
    """The state as JSON values; the same for equal states on every machine."""
    document: dict[str, Any] = state.model_dump(mode="json", exclude_none=True)
    document["seen"] = sorted(state.seen)
    return document


def state_bytes(state: IncidentState) -> bytes:
    """The state as canonical JSON: sorted keys, no spaces, the same bytes for equal states."""
    return json.dumps(
        state_document(state), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
