"""The life of an incident as a table: which fact leads from where to where.

One table decides which facts apply. `fold` consults it first, so no sequence of events can leave
it; the diagram in the docs is drawn from it.
"""

from __future__ import annotations

from enum import StrEnum

from tocsin_contracts import incidents as facts
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident.state import Status


class Reason(StrEnum):
    """Why a fact was ignored. A closed list: log field and metric label alike."""

    REPEAT = "repeat"
    UNKNOWN_INCIDENT = "unknown_incident"
    ALREADY_OPEN = "already_open"
    ACKNOWLEDGED = "acknowledged"
    MITIGATED = "mitigated"
    NOT_ACKNOWLEDGED = "not_acknowledged"
    NOT_RESOLVED = "not_resolved"
    RESOLVED = "resolved"
    REVIEWED = "reviewed"
    CLOSED = "closed"
    MERGED = "merged"
    MUTED = "muted"
    OTHER_GENERATION = "other_generation"
    OTHER_SEVERITY = "other_severity"
    LEVEL_PASSED = "level_passed"
    NOTHING_NEW = "nothing_new"
    ALERTS_FIRING = "alerts_firing"
    UNKNOWN_NOTIFICATION = "unknown_notification"
    SETTLED = "settled"
    OTHER_ATTEMPT = "other_attempt"
    UNKNOWN_REMEDIATION = "unknown_remediation"
    UNKNOWN_STEP = "unknown_step"
    STEP_PASSED = "step_passed"
    REJECTED = "rejected"
    PAGES_MUTED = "pages_muted"
    NOT_MUTED = "not_muted"
    NOT_PLANNED = "not_planned"
    OTHER_PLAN = "other_plan"


_S = Status
_LIVE = (_S.OPEN, _S.ACKNOWLEDGED, _S.MITIGATED)
_DONE = (_S.RESOLVED, _S.REVIEWED)
_BEGUN = (*_LIVE, *_DONE, _S.CLOSED, _S.MERGED)
_ALL = tuple(Status)

_STAYS: tuple[tuple[type[IncidentFact], tuple[Status, ...]], ...] = (
    (facts.AlertsAttached, _LIVE),
    (facts.AlertsCleared, (_S.MUTED, *_LIVE, *_DONE)),
    (facts.AlertsMuted, _ALL),
    (facts.AlertsReleased, _ALL),
    (facts.LeasesRenewed, (_S.MUTED, *_LIVE, *_DONE)),
    (facts.SeverityRaised, _LIVE),
    (facts.SeverityLowered, _LIVE),
    (facts.SeverityRequested, _LIVE),
    (facts.LevelReached, (_S.OPEN,)),
    (facts.PagesMuted, _LIVE),
    (facts.UnmuteRequested, _LIVE),
    (facts.MuteEnded, _LIVE),
    (facts.ResponseTargetMissed, (_S.OPEN,)),
    (facts.UpdateOverdue, _LIVE),
    (facts.StepOverdue, _LIVE),
    (facts.ReviewDue, (_S.RESOLVED,)),
    (facts.NotificationRequested, _BEGUN),
    (facts.NotificationAttempted, _BEGUN),
    (facts.NotificationDelivered, _BEGUN),
    (facts.NotificationFailed, _BEGUN),
    (facts.NotificationInDoubt, _BEGUN),
    (facts.NotificationSuperseded, _BEGUN),
    (facts.NoteAdded, _BEGUN),
    (facts.RoleAssigned, (*_LIVE, *_DONE)),
    (facts.UpdatePosted, (*_LIVE, *_DONE)),
    (facts.RemediationProposed, _LIVE),
    (facts.RemediationStepPlanned, _LIVE),
    (facts.RemediationApproved, _LIVE),
    (facts.RemediationRejected, _BEGUN),
    (facts.RemediationAborted, _BEGUN),
    (facts.RemediationSettled, _BEGUN),
    (facts.RemediationStarted, _LIVE),
    (facts.RemediationStepHeld, _BEGUN),
    (facts.RemediationStepReleased, _BEGUN),
    (facts.RemediationStepFinished, _BEGUN),
    (facts.RemediationVerified, _BEGUN),
    (facts.RemediationNotVerified, _BEGUN),
    (facts.RemediationRollbackBegun, _LIVE),
    (facts.RemediationUndoStarted, _LIVE),
    (facts.RemediationRolledBack, _BEGUN),
    (facts.RemediationUndoFailed, _BEGUN),
    (facts.RemediationFailed, _BEGUN),
    (facts.RemediationInDoubt, _BEGUN),
    (facts.RemediationLooked, _BEGUN),
    (facts.ReopenRequested, _DONE),
    (facts.MergeRequested, _LIVE),
)

_MOVES: tuple[tuple[type[IncidentFact], tuple[Status, ...], Status], ...] = (
    (facts.Acknowledged, (_S.OPEN,), _S.ACKNOWLEDGED),
    (facts.AcknowledgementExpired, (_S.ACKNOWLEDGED,), _S.OPEN),
    (facts.EscalationRequested, (_S.OPEN, _S.ACKNOWLEDGED), _S.OPEN),
    (facts.HandedOver, (_S.OPEN, _S.ACKNOWLEDGED), _S.OPEN),
    (facts.Mitigated, (_S.OPEN, _S.ACKNOWLEDGED), _S.MITIGATED),
    (facts.Resolved, _LIVE, _S.RESOLVED),
    (facts.AutoResolved, _LIVE, _S.RESOLVED),
    (facts.Reopened, _DONE, _S.OPEN),
    (facts.Reviewed, (_S.RESOLVED,), _S.REVIEWED),
    (facts.Closed, _DONE, _S.CLOSED),
    (facts.Merged, _LIVE, _S.MERGED),
)

TABLE: dict[tuple[Status, type[IncidentFact]], Status] = {
    (status, fact): status for fact, statuses in _STAYS for status in statuses
} | {(status, fact): to for fact, statuses, to in _MOVES for status in statuses}
"""(status, kind of fact) -> status after. What is not here is ignored, for the reason below."""

_REASONS: dict[Status, Reason] = {
    Status.MUTED: Reason.MUTED,
    Status.OPEN: Reason.NOT_ACKNOWLEDGED,
    Status.ACKNOWLEDGED: Reason.ACKNOWLEDGED,
    Status.MITIGATED: Reason.MITIGATED,
    Status.RESOLVED: Reason.RESOLVED,
    Status.REVIEWED: Reason.REVIEWED,
    Status.CLOSED: Reason.CLOSED,
    Status.MERGED: Reason.MERGED,
}


def step(status: Status, fact: type[IncidentFact]) -> Status | Reason:
    """The status after such a fact, or the reason why it does not apply here."""
    after = TABLE.get((status, fact))
    if after is not None:
        return after
    needs_end = status.live and fact in {
        facts.Reopened,
        facts.ReopenRequested,
        facts.Reviewed,
        facts.Closed,
        facts.ReviewDue,
    }
    return Reason.NOT_RESOLVED if needs_end else _REASONS[status]


def diagram() -> str:
    """The table as a Mermaid state diagram (moves only), for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> open: Opened", "    [*] --> muted: AlertsMuted"]
    lines.extend(
        f"    {status} --> {to}: {fact.__name__}"
        for fact, statuses, to in _MOVES
        for status in statuses
    )
    lines.append("    closed --> [*]")
    lines.append("    merged --> [*]")
    return "\n".join(lines) + "\n"
