"""Every fact of an incident's life, in the order in which a life has them.

All go to the topic `incidents` under the incident's key, so Kafka gives them one order; the state
is a fold over that order (`tocsin_incident`). The incident is the event's subject.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from tocsin_contracts.alerts import Labels
from tocsin_contracts.event import Fact, Instant, Person, Value, Writer

_TOPIC = "incidents"

Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class IncidentFact(Fact):
    """A fact about one incident."""

    TOPIC: ClassVar[str] = _TOPIC


class Muting(Value):
    """Why an alert is not heard.

    Attributes:
        because: `silenced`, `maintenance`, `inhibited`, or `symptom` of another incident.
        by: The silence, the maintenance window, the inhibition rule, or the incident.
        severity: What the alert would have been.
    """

    because: str
    by: str
    severity: str


class Alert(Value):
    """One episode of one alert, as an incident holds it.

    Attributes:
        muted: Why it was not heard when it began; it stays with the alert.
        observation: The observation that brought it, so that the same one seen again is known.
        lease_until: When it counts as gone unless it is seen again; absent without a lease.
    """

    fingerprint: str
    starts_at: Instant
    name: str
    labels: Labels
    annotations: Labels = Field(default_factory=dict)
    generator_url: str = ""
    source: str = ""
    observation: UUID | None = None
    lease_until: Instant | None = None
    muted: Muting | None = None


class Opened(IncidentFact):
    """An incident began.

    Who reacts: the escalation-timer derives its deadlines, the remediation service proposes the
    playbook. How often: once an incident. Never sent: for an alert that is silenced or inhibited,
    or that an open incident of its group takes up.

    Attributes:
        rule: Name of the classification rule that decided.
        group_key: What alerts must share to join.
        components: What else is affected.
        near_misses: Rules that fitted but for one thing, each with that thing.
        declared_by: The person who declared it; absent when alerts opened it.
        drill: A rehearsal: pages are marked, remediation is proposed only.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.opened.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    system: str
    title: Text
    severity: str
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
    alerts: tuple[Alert, ...] = ()


class AlertsAttached(IncidentFact):
    """More alerts belong to the incident.

    Who reacts: nobody at once; views show them. How often: once for each delivery that brings
    news, however many alerts it brings. Never sent: for an episode the incident already holds.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.alerts_attached.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    alerts: Annotated[tuple[Alert, ...], Field(min_length=1)]


class Cleared(Value):
    """One episode that ended, and how we know.

    Attributes:
        observation: The observation that said so, so that the same one seen again is known.
    """

    fingerprint: str
    starts_at: Instant
    ended_at: Instant
    reason: str = "resolved"
    observation: UUID | None = None


class AlertsCleared(IncidentFact):
    """Alerts of the incident stopped firing.

    Who reacts: the classifier, which resolves the incident once all are clear and stay so. How
    often: once for each delivery that brings such news. Never sent: from absence, from a
    truncated payload or from a group's status alone.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.alerts_cleared.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    alerts: Annotated[tuple[Cleared, ...], Field(min_length=1)]


class AlertsMuted(IncidentFact):
    """Alerts that nobody is to hear of: kept, with what mutes them, until it ends.

    Who reacts: the classifier, which releases them when what mutes them ends; the
    escalation-timer and the notifier, which leave an incident alone while all its alerts are
    muted. How often: once for each delivery that brings such alerts, and when a silence or an
    inhibition comes over alerts an incident holds. Never sent: for an alert that is clear.

    The subject is the incident they belong to: their own, the one they are symptoms of, or one
    made to hold them, which is not open and of which nobody hears.

    Attributes:
        title: With the rest, what an incident of these alerts would have been.
        alerts: Each with `muted`.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.alerts_muted.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    system: str
    title: Text
    severity: str
    rule: str
    reason: str
    group_key: str
    service: str | None = None
    drill: bool = False
    alerts: Annotated[tuple[Alert, ...], Field(min_length=1)]


class Episode(Value):
    """Names one firing of one alert."""

    fingerprint: str
    starts_at: Instant


class AlertsReleased(IncidentFact):
    """What muted these alerts has ended.

    Who reacts: the escalation-timer, for an incident that was quiet. How often: once for each
    time they were muted. Never sent: before alerts that were only kept have another incident.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.alerts_released.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    alerts: Annotated[tuple[Episode, ...], Field(min_length=1)]
    reason: str


class Lease(Value):
    """Until when an alert counts as firing unless it is seen again."""

    fingerprint: str
    starts_at: Instant
    lease_until: Instant


class LeasesRenewed(IncidentFact):
    """Alerts with a lease were seen again.

    Who reacts: the classifier, which clears what is not. How often: when half of a lease is over,
    not with each repeat. Never sent: for an alert without a lease.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.leases_renewed.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    leases: Annotated[tuple[Lease, ...], Field(min_length=1)]


class SeverityRaised(IncidentFact):
    """The incident is worse than was thought.

    Who reacts: the escalation-timer catches up once with the levels of the new severity. How
    often: at most once for each step up. Never sent: by a later, milder alert.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.severity_raised.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    severity_from: str
    severity_to: str
    rule: str
    reason: str
    by: Person | None = None


class SeverityLowered(IncidentFact):
    """The incident is less bad than was thought; only a person says so.

    Who reacts: the escalation-timer drops deadlines the new severity does not have. How often:
    once for each request that lowers it. Never sent: because an alert cleared.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.severity_lowered.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    severity_from: str
    severity_to: str
    reason: str
    by: Person | None = None


class SeverityRequested(IncidentFact):
    """A person asked for another severity.

    Who reacts: the classifier raises or lowers it. How often: once a request. Never sent: by a
    machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.severity_requested.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    severity: str
    reason: str = ""
    by: Person


class Acknowledged(IncidentFact):
    """Someone took the incident.

    Who reacts: the escalation-timer stops, the notifier withdraws what is still queued. How
    often: once for each answer; the first in the log counts. Never sent: by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.acknowledged.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person


class EscalationRequested(IncidentFact):
    """A person wants the next level now, without waiting for its time.

    Who reacts: the escalation-timer reaches the next level at once; after the last, the last one
    again. How often: once a request. Never sent: by a machine.

    It ends a mute, and an acknowledgement: whoever asks for more people has not got it in hand.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.escalation_requested.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    reason: Annotated[str, Field(max_length=10_000)] = ""


class HandedOver(IncidentFact):
    """The incident is somebody else's from here on.

    Who reacts: the escalation begins again, as a new generation, with that person in place of the
    first level's; reminders that were for who had it are for them. How often: with each change.
    Never sent: to somebody the policy does not know.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.handed_over.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    contact: Annotated[str, Field(min_length=1, max_length=200)]
    by: Person
    reason: Annotated[str, Field(max_length=10_000)] = ""


class PagesMuted(IncidentFact):
    """Nobody is to be paged or reminded for this incident for a while.

    Who reacts: the escalation-timer withholds levels, repeats and reminders until it is over. How
    often: once a request; the newest counts. Never sent: without an end.

    Attributes:
        lasts: From the event's time on.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.pages_muted.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    lasts: Annotated[timedelta, Field(gt=timedelta(), le=timedelta(days=1))]
    reason: Annotated[str, Field(max_length=10_000)] = ""


class UnmuteRequested(IncidentFact):
    """A person wants to hear of the incident again before its mute is over.

    Who reacts: the escalation-timer ends the mute at once. How often: once a request. Never sent:
    by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.unmute_requested.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person


class MuteEnded(IncidentFact):
    """The time for which nobody was to be paged is over.

    Who reacts: while nobody has answered, the escalation starts again from its first level, as a
    new generation. How often: once a mute. Never sent: for one that something else ended.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.mute_ended.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    due_at: Instant


class AcknowledgementExpired(IncidentFact):
    """The one who took it let the policy's time pass without mitigating or resolving.

    Who reacts: the escalation starts again from its first level, as a new generation. How often:
    once for each acknowledgement. Never sent: after mitigation.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.acknowledgement_expired.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    generation: int
    due_at: Instant


class Target(Value):
    """Someone a level pages, resolved to a person at that instant.

    Attributes:
        contact: Contact id of the policy.
        role: What they are in this incident: `on-call engineer`, `team lead` …
        via: Why they: the schedule, team or role that named them.
        channels: Channels to use, in order of the person's preference.
        after: By channel, how long after the first it is used unless somebody has answered; what
            is not named is used at once.
    """

    contact: str
    name: str
    role: str
    via: str
    channels: tuple[str, ...]
    after: dict[str, timedelta] = Field(default_factory=dict)


class LevelReached(IncidentFact):
    """Nobody answered in time, so the next level is told.

    Who reacts: the notifier pages every target. How often: once for each level and generation;
    levels that passed together (an outage, a severity raised late) come as one, which tells
    everybody whom those it `skipped` would have told. Never sent: for an acknowledged incident (and
    if an acknowledgement came first in the log, it is ignored).

    Attributes:
        due_at: When it was due; the event's own time says when it was written.
        repeat: How often this level was told before.
        waited: How long it was held for somebody to be at work.
        reason: Why before its time: `every_means_failed` or `nobody_to_reach` of the level before;
            `last_resort` where that was the last; `escalated` or `handed_over` by a person. Empty
            for one whose time came.
        by: Who had it come before its time.
        text: What they said.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.level_reached.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    level: Annotated[int, Field(ge=1)]
    generation: int
    severity: str
    due_at: Instant
    targets: tuple[Target, ...]
    skipped: tuple[int, ...] = ()
    repeat: int = 0
    waited: timedelta | None = None
    reason: str = ""
    by: Person | None = None
    text: Annotated[str, Field(max_length=10_000)] = ""


class ResponseTargetMissed(IncidentFact):
    """Nobody acknowledged within the severity's response time.

    Who reacts: views and the postmortem. How often: once a generation. Never sent: for an
    incident acknowledged in time.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.response_target_missed.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    generation: int
    severity: str
    target: timedelta
    due_at: Instant


class UpdateOverdue(IncidentFact):
    """People were promised an update and did not get it.

    Who reacts: the notifier reminds the communications lead and, from the second in a row, the
    incident commander. How often: once for each update due. Never sent: once the incident is
    resolved.

    Attributes:
        number: Counts those of one audience.
        audience: `internal`, or `public` for what outsiders were promised.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.update_overdue.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    number: Annotated[int, Field(ge=1)]
    due_at: Instant
    audience: str = "internal"
    targets: tuple[Target, ...] = ()


class StepOverdue(IncidentFact):
    """A step of a playbook is not done within the runbook's time budget.

    Who reacts: the notifier reminds the incident commander. How often: once a step. Never sent:
    for a step that is done, or once the incident is resolved.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.step_overdue.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    remediation: str
    step: str
    due_at: Instant
    targets: tuple[Target, ...] = ()


class ReviewDue(IncidentFact):
    """The review of a resolved incident is due and has not been published.

    Who reacts: the notifier reminds those who attend, or the incident commander. How often: once
    an incident and resolution. Never sent: for a severity without review.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.review_due.v1"
    WRITER: ClassVar[Writer] = Writer.ESCALATION_TIMER

    due_at: Instant
    targets: tuple[Target, ...] = ()


class Purpose(StrEnum):
    """Why a message is sent."""

    PAGE = "page"
    OPENED = "opened"
    REMINDER = "reminder"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    UPDATE = "update"
    APPROVAL = "approval"


class Message(Value):
    """What people read."""

    subject: Annotated[str, Field(max_length=500)]
    body: Annotated[str, Field(max_length=20_000)]


class NotificationRequested(IncidentFact):
    """A message to one target over one channel is owed.

    Who reacts: the notifier attempts it. How often: once for each cause, target and channel.
    Never sent: for a level the fold ignored.

    Attributes:
        notification: Its id, derived from incident, purpose, level, target, channel, generation.
        provider_key: What the provider merges repeats by.
        reason: Why by this means now: `unanswered` for so long, or `means_failed` before it. Empty
            for what a target is told by first.
        due_at: When it was owed, where that is some time ago.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.notification_requested.v1"
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    notification: str
    purpose: Purpose
    generation: int
    level: int | None = None
    target: Target | None = None
    channel: str
    kind: str
    provider_key: str
    message: Message
    reason: str = ""
    due_at: Instant | None = None


class NotificationAttempted(IncidentFact):
    """The provider is about to be called.

    Who reacts: the notifier instance that wrote it calls, once it has read this back and the fold
    has applied it. How often: once an attempt. Never sent: after the call.

    Attributes:
        instance: The process that will call; to any other process the attempt is in doubt.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.notification_attempted.v1"
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    notification: str
    attempt: Annotated[int, Field(ge=1)]
    instance: str


class NotificationDelivered(IncidentFact):
    """The provider took the message.

    Who reacts: views. How often: once a notification. Never sent: on a provider's promise to
    look at it later with an error in the body.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.notification_delivered.v1"
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    notification: str
    attempt: int
    provider_ref: str = ""
    late_by: timedelta | None = None


class NotificationFailed(IncidentFact):
    """An attempt failed.

    Who reacts: the notifier tries again at `retry_at`, or gives up when it is absent. How often:
    once an attempt. Never sent: when the outcome is unknown.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.notification_failed.v1"
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    notification: str
    attempt: int
    reason: str
    detail: str = ""
    retry_at: Instant | None = None


class NotificationInDoubt(IncidentFact):
    """Whether the provider took an attempt is not known.

    Who reacts: the notifier does what the channel says: retry under the same key, look first, or
    leave it. How often: at most once an attempt. Never sent: for an attempt with an outcome.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.notification_in_doubt.v1"
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    notification: str
    attempt: int
    reason: str
    retry_at: Instant | None = None


class NotificationSuperseded(IncidentFact):
    """A message is no longer wanted and will not be sent.

    Who reacts: the audit counts it as accounted for. How often: once a notification. Never sent:
    for a message already delivered.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.notification_superseded.v1"
    WRITER: ClassVar[Writer] = Writer.NOTIFIER

    notification: str
    reason: str


class NoteAdded(IncidentFact):
    """A person wrote something down.

    Who reacts: nobody; the timeline shows it. How often: as people like. Never sent: by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.note_added.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    text: Text


class RoleAssigned(IncidentFact):
    """A person has a role in the incident from here on.

    Who reacts: reminders go to whoever holds the role. How often: with each change. Never sent:
    for a role the policy does not have.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.role_assigned.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    role: Annotated[str, Field(min_length=1, max_length=100)]
    contact: Annotated[str, Field(min_length=1, max_length=200)]
    by: Person


class UpdatePosted(IncidentFact):
    """People were told how it stands.

    Who reacts: the escalation-timer sets the next update's deadline; the notifier passes it on.
    How often: as people like, at least at the policy's cadence. Never sent: by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.update_posted.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    text: Text
    audience: str = "internal"


class ProposedStep(Value):
    """A step as it would be run.

    Attributes:
        call: What exactly would be done, for people to read.
        risk: `read`, `safe`, `disruptive` or `destructive`.
        approval: `automatic`, `one`, `two` or `never`; what the policy asks at this severity.
        parameters: What the incident brought into the call, by the parameter's name.
        planned: It is approved, and run, only on a plan in the log (`RemediationStepPlanned`).
        digest: Of the step as it was proposed; a step that a policy has changed since is not run.
        verification: How it is seen that it worked; empty where nobody looks.
        undo: What takes it back; empty where nothing does.
        by_hand: Why a person does it and no machine; empty where a machine does.
    """

    step: str
    title: str
    runner: str
    risk: str
    approval: str
    call: str
    parameters: dict[str, str] = Field(default_factory=dict)
    planned: bool = False
    digest: str = ""
    verification: str = ""
    undo: str = ""
    by_hand: str = ""


class RemediationProposed(IncidentFact):
    """A playbook fits; this is what it would do.

    Who reacts: people approve or reject; steps that need nobody are started. How often: once for
    each playbook and generation. Never sent: for a resolved incident.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_proposed.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    playbook: str
    generation: int
    steps: tuple[ProposedStep, ...]
    reason: str
    expires_at: Instant | None = None


class RemediationStepPlanned(IncidentFact):
    """What a step would do to the world as it is; nothing was changed to find out.

    Who reacts: people approve on it; a plan that differs from the one before takes the approvals
    with it. How often: once a step, and again when the world no longer looks as it was planned
    upon. Never sent: for a step that only reads.

    Attributes:
        plan: Counts the plans of the step.
        targets: Everything it would act on, as `kind:place/name`; one action a target at a time.
        state: The targets as they are.
        diff: What would change.
        pods: Pods, rows, keys or hosts it would touch, where that can be said.
        share: Part of all there are of the kind, from 0 to 1, where that can be said.
        fingerprint: Differs once the world no longer looks as it was planned upon.
        refused: Why no machine can do it, as one `snake_case` word; a person then does.
        before: What an exact undo needs to know of the world as it is.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_step_planned.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    plan: Annotated[int, Field(ge=1)]
    targets: Annotated[tuple[str, ...], Field(max_length=200)] = ()
    state: Annotated[str, Field(max_length=20_000)] = ""
    diff: Annotated[str, Field(max_length=20_000)] = ""
    pods: int | None = None
    share: float | None = None
    fingerprint: str = ""
    refused: str = ""
    detail: Annotated[str, Field(max_length=20_000)] = ""
    before: dict[str, str] = Field(default_factory=dict)


class RemediationApproved(IncidentFact):
    """A person let a step run.

    Who reacts: the remediation service starts it when approvals suffice. How often: once an
    answer. Never sent: by a machine.

    Attributes:
        plan: The plan that person saw; an approval of another than the newest is void.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_approved.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    remediation: str
    step: str
    by: Person
    plan: int | None = None


class RemediationRejected(IncidentFact):
    """A person said no to a remediation.

    Who reacts: no further step of it starts. How often: once an answer. Never sent: by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_rejected.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    remediation: str
    by: Person
    reason: str = ""


class RemediationAborted(IncidentFact):
    """A person stopped a remediation that is under way.

    Who reacts: no further step of it starts; once a step under way has ended, what was done is
    undone in reverse order. How often: once an answer. Never sent: by a machine.

    Attributes:
        undo: Whether what was done is to be undone.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_aborted.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    remediation: str
    by: Person
    reason: str = ""
    undo: bool = True


class RemediationSettled(IncidentFact):
    """A person looked at a step in doubt and says how it is.

    Who reacts: the remediation goes on: after the step if it was done, else with a new plan of it
    that needs new approvals. How often: once a step in doubt. Never sent: by a machine.

    Attributes:
        done: Whether it took effect; of an undo in doubt, whether it is undone.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_settled.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    remediation: str
    step: str
    by: Person
    done: bool
    text: str = ""


class RemediationStarted(IncidentFact):
    """A step is about to have its effect; the intent is in the log first.

    Who reacts: the instance that wrote it runs the step, once it has read this back and the fold
    has applied it. How often: once a step; again only after it was held before it had an effect,
    or a person said that it had none. Never sent: for a step that may have had its effect.

    Attributes:
        instance: The process that will run it; to any other process the step is in doubt.
        attempt: Counts the starts of the step.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_started.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    instance: str
    attempt: Annotated[int, Field(ge=1)] = 1


class RemediationStepHeld(IncidentFact):
    """A step that was to run did not: something no longer held at that moment. It had no effect.

    Who reacts: the step waits: until `retry_at`, or until it is released, or for a new plan and
    new approvals. How often: at most once a start. Never sent: once the step was begun.

    Attributes:
        attempt: The start that came to nothing.
        undo: Which undo of the step was to run; 0 where it was the step itself.
        reason: `frozen`, `target_taken`, `budget_spent`, `world_changed`, `resolved` …
        retry_at: When it may be tried again, where time alone decides.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_step_held.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    attempt: Annotated[int, Field(ge=1)]
    undo: int = 0
    reason: str
    detail: str = ""
    retry_at: Instant | None = None


class RemediationStepReleased(IncidentFact):
    """What held a step is over.

    Who reacts: the step may start again, if everything else still allows it. How often: at most
    once for each time it was held. Never sent: for a step that waits for people or for time.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_step_released.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    attempt: Annotated[int, Field(ge=1)]
    undo: int = 0
    reason: str


class Evidence(Value):
    """What a step showed: bounded, secrets removed."""

    output: Annotated[str, Field(max_length=20_000)] = ""
    exit_code: int | None = None
    http_status: int | None = None
    took: timedelta


class RemediationStepFinished(IncidentFact):
    """A step ran to an end, good or bad.

    Who reacts: the remediation service verifies it. How often: at most once a start. Never sent:
    when the outcome is unknown.

    Attributes:
        changed: What an exact undo needs to know of the state before.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_step_finished.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    succeeded: bool
    reason: str
    evidence: Evidence
    attempt: Annotated[int, Field(ge=1)] = 1
    changed: dict[str, str] = Field(default_factory=dict)


class RemediationVerified(IncidentFact):
    """A look at the world after a step showed what the playbook expects.

    Who reacts: the next step may start. How often: at most once a run of a step. Never sent:
    without a look.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_verified.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    evidence: Evidence
    attempt: Annotated[int, Field(ge=1)] = 1


class RemediationNotVerified(IncidentFact):
    """A look at the world after a step did not show, in time, what the playbook expects.

    Who reacts: what was done is undone, in reverse order; where nobody could look, a person has to
    before the next step. How often: at most once a run of a step. Never sent: without having
    tried.

    Attributes:
        reason: `not_as_expected`, `alerts_still_firing`, or why nobody could look.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_not_verified.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    attempt: Annotated[int, Field(ge=1)]
    reason: str
    evidence: Evidence


class RemediationRollbackBegun(IncidentFact):
    """What a remediation did will be undone, step by step, the last first.

    Who reacts: the remediation service undoes. How often: at most once a remediation. Never sent:
    for one that changed nothing, or whose incident is over.

    Attributes:
        step: The step because of which.
        reason: `not_verified`, `step_failed`, `severity_rose`.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_rollback_begun.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    reason: str
    detail: str = ""


class RemediationUndoStarted(IncidentFact):
    """A step's change is about to be undone; the intent is in the log first.

    Who reacts: the instance that wrote it, once it has read this back and the fold has applied
    it. How often: once a run of a step; again only after it was held
    before it had an effect. Never sent: for a step that changed nothing.

    Attributes:
        instance: The process that will undo it; to any other process the undo is in doubt.
        undo: Counts the undos of the step that were begun, held ones included.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_undo_started.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    instance: str
    attempt: Annotated[int, Field(ge=1)] = 1
    undo: Annotated[int, Field(ge=1)] = 1


class RemediationRolledBack(IncidentFact):
    """A step's change was undone.

    Who reacts: the step before it is undone. How often: at most once a run of a step. Never sent:
    for a step without an undo.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_rolled_back.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    reason: str
    evidence: Evidence
    attempt: Annotated[int, Field(ge=1)] = 1


class RemediationUndoFailed(IncidentFact):
    """A step's change could not be undone; a person has to.

    Who reacts: the steps before it are undone all the same. How often: at most once a run of a
    step. Never sent: when the outcome is unknown.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_undo_failed.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    attempt: Annotated[int, Field(ge=1)]
    reason: str
    evidence: Evidence


class RemediationFailed(IncidentFact):
    """A remediation ended without success; people have to go on.

    Who reacts: the notifier says so. How often: at most once a remediation. Never sent: while a
    step still runs.

    Attributes:
        targets: Who is told.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_failed.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    reason: str
    detail: str = ""
    targets: tuple[Target, ...] = ()


class RemediationInDoubt(IncidentFact):
    """A step started and nobody knows whether it took effect; it is never run again by itself.

    Who reacts: the remediation service looks, and a person decides. How often: at most once a
    start. Never sent: for a step with an outcome.

    Attributes:
        targets: Who is asked.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_in_doubt.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    reason: str
    attempt: Annotated[int, Field(ge=1)] = 1
    targets: tuple[Target, ...] = ()


class RemediationLooked(IncidentFact):
    """What the world shows after a step in doubt.

    Who reacts: the person who was asked decides on it (`RemediationSettled`). How often: once for
    each time a step is in doubt. Never sent: as a verdict on whether it ran.

    Attributes:
        as_expected: Whether the world is as if the step had worked; absent where nobody could look.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.remediation_looked.v1"
    WRITER: ClassVar[Writer] = Writer.REMEDIATION

    remediation: str
    step: str
    attempt: Annotated[int, Field(ge=1)]
    as_expected: bool | None = None
    reason: str
    evidence: Evidence


class Mitigated(IncidentFact):
    """The effect on users is over, the cause may not be.

    Who reacts: acknowledgements no longer expire. How often: once a person says so. Never sent:
    by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.mitigated.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    text: str = ""


class Resolved(IncidentFact):
    """A person says it is over.

    Who reacts: everything pending stops; the review clock starts. How often: once an answer.
    Never sent: by a machine (see `AutoResolved`).
    """

    TYPE: ClassVar[str] = "tocsin.incidents.resolved.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    text: str = ""


class AutoResolved(IncidentFact):
    """Every alert cleared and stayed clear for the policy's time.

    Who reacts: as for `Resolved`. How often: once a generation. Never sent: for an incident
    that a person declared.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.auto_resolved.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    generation: int
    reason: str
    due_at: Instant


class ReopenRequested(IncidentFact):
    """A person says it is not over.

    Who reacts: the classifier reopens it. How often: once a request. Never sent: by a machine.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.reopen_requested.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    reason: str = ""


class Reopened(IncidentFact):
    """The incident is back, as a new generation: it escalates again from its first level.

    Who reacts: as for `Opened`. How often: once for each return within the policy's window. Never
    sent: for a merged or closed incident.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.reopened.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    generation: Annotated[int, Field(ge=2)]
    reason: str
    by: Person | None = None


class MergeRequested(IncidentFact):
    """A person says two incidents are one.

    Who reacts: the classifier merges this one into the other. How often: once a request. Never
    sent: across systems.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.merge_requested.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    into: str
    by: Person


class Merged(IncidentFact):
    """This incident goes on as part of another.

    Who reacts: everything pending for this one stops. How often: once an incident. Never sent:
    into one that is not open.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.merged.v1"
    WRITER: ClassVar[Writer] = Writer.CLASSIFIER

    into: str
    by: Person | None = None


class Reviewed(IncidentFact):
    """The review was published.

    Who reacts: the review clock stops. How often: once. Never sent: before resolution.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.reviewed.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
    url: str = ""


class Closed(IncidentFact):
    """Nothing more will happen to it.

    Who reacts: nobody; a month after it opened its snapshot is dropped. How often: once. Never
    sent: before resolution.
    """

    TYPE: ClassVar[str] = "tocsin.incidents.closed.v1"
    WRITER: ClassVar[Writer] = Writer.INGESTION

    by: Person
