"""The story of an incident in words, one entry a fact, from the log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tocsin_contracts import incidents as facts
from tocsin_contracts.incidents import IncidentFact, Target
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification
from tocsin_replay.reading import Recorded, Step, steps


class Entry(BaseModel):
    """One line of a timeline.

    Attributes:
        at: When it happened, by the clock of whoever wrote it.
        recorded_at: When the log had it.
        offset: Where it stands in the incident's partition.
        ignored: Why the fold let it pass without effect, if it did.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    recorded_at: datetime
    offset: int
    type: str
    what: str
    who: str = ""
    why: str = ""
    ignored: str | None = None


def timeline(recorded: Iterable[Recorded]) -> tuple[Entry, ...]:
    """The entries of one incident, in the order that decided."""
    return tuple(entry_of(step) for step in steps(recorded))


def entry_of(step: Step) -> Entry:
    """The line of one fact."""
    fact = step.recorded.event.fact
    what, who, why = type(fact).__name__, "", ""
    if isinstance(fact, IncidentFact):
        say = _SAY.get(type(fact))
        if say is not None:
            what, who, why = say(fact, step.after)
    ignored = None if step.ignored is None else str(step.ignored)
    if ignored is not None:
        why = f"no effect: {ignored}"
    return Entry(
        at=step.recorded.event.occurred_at,
        recorded_at=step.recorded.recorded_at,
        offset=step.recorded.position.offset,
        type=step.recorded.event.type,
        what=what,
        who=who,
        why=why,
        ignored=ignored,
    )


_Said = tuple[str, str, str]
_Say = Callable[[Any, IncidentState | None], _Said]


def _names(targets: tuple[Target, ...]) -> str:
    return ", ".join(f"{target.name} ({target.role})" for target in targets)


def _why(level: facts.LevelReached) -> str:
    """Why a level was told before its time, if it was."""
    if not level.reason:
        return ""
    reason = level.reason.replace("_", " ")
    if level.by is None:
        return f", early: {reason}"
    return f", {reason} by {level.by.name} {level.text}".rstrip()


def _about(
    verb: str, detail: Callable[[Any], str] = lambda _: ""
) -> Callable[[Any, IncidentState | None], _Said]:
    def say(fact: Any, state: IncidentState | None) -> _Said:  # noqa: ANN401 - any notification fact
        held: Notification | None = None
        if state is not None:
            held = state.notifications.get(fact.notification)
        if held is None:
            return f"{verb} a notification", "", detail(fact)
        who = held.target.name if held.target is not None else held.channel
        return f"{verb} {held.purpose} by {held.channel}", who, detail(fact)

    return say


def _of_step(verb: str, detail: Callable[[Any], str] = lambda _: "") -> _Say:
    def say(fact: Any, state: IncidentState | None) -> _Said:  # noqa: ANN401 - any remediation fact
        title = fact.step
        held = state.remediations.get(fact.remediation) if state is not None else None
        step = held.step(fact.step) if held is not None else None
        if step is not None:
            title = step.proposed.title
        by = getattr(fact, "by", None)
        return f"{verb}: {title}", by.name if by is not None else "remediation", detail(fact)

    return say


_SEEN = {True: "as expected", False: "not as expected", None: "nobody could look"}


def _person(verb: str, detail: Callable[[Any], str] = lambda _: "") -> _Say:
    return lambda fact, _: (verb, f"{fact.by.name} via {fact.by.via}", detail(fact))


def _outcome(fact: Any) -> str:  # noqa: ANN401 - a notification fact
    return f"attempt {fact.attempt}: {fact.reason} {getattr(fact, 'detail', '')}".strip()


def _mutings(fact: facts.AlertsMuted) -> str:
    mutings = {f"{one.muted.because} by {one.muted.by}" for one in fact.alerts if one.muted}
    return ", ".join(sorted(mutings))


_SAY: dict[type[IncidentFact], _Say] = {
    facts.Opened: lambda f, _: (
        f"{f.severity} opened: {f.title}",
        f.declared_by.name if f.declared_by else "classifier",
        f.reason,
    ),
    facts.AlertsAttached: lambda f, _: (f"{len(f.alerts)} alerts attached", "classifier", ""),
    facts.AlertsCleared: lambda f, s: (
        f"{len(f.alerts)} alerts cleared",
        "classifier",
        f"{s.firing} still fire" if s is not None else "",
    ),
    facts.AlertsMuted: lambda f, _: (
        f"{len(f.alerts)} alerts nobody is to hear of",
        "classifier",
        _mutings(f),
    ),
    facts.AlertsReleased: lambda f, _: (
        f"{len(f.alerts)} alerts heard again",
        "classifier",
        f.reason,
    ),
    facts.LeasesRenewed: lambda f, _: (f"{len(f.leases)} alerts still fire", "classifier", ""),
    facts.SeverityRaised: lambda f, _: (
        f"severity raised from {f.severity_from} to {f.severity_to}",
        f.by.name if f.by else "classifier",
        f.reason,
    ),
    facts.SeverityLowered: lambda f, _: (
        f"severity lowered from {f.severity_from} to {f.severity_to}",
        f.by.name if f.by else "classifier",
        f.reason,
    ),
    facts.SeverityRequested: _person("asked for another severity", lambda f: f.severity),
    facts.Acknowledged: _person("acknowledged"),
    facts.AcknowledgementExpired: lambda f, _: (
        "acknowledgement expired",
        "escalation-timer",
        f"due {f.due_at:%H:%M:%S}",
    ),
    facts.LevelReached: lambda f, _: (
        f"level {f.level} reached",
        _names(f.targets),
        f"due {f.due_at:%H:%M:%S}"
        + (f", skipped {', '.join(map(str, f.skipped))}" if f.skipped else "")
        + (f", held {f.waited} for office hours" if f.waited else "")
        + _why(f),
    ),
    facts.EscalationRequested: _person("asked for the next level", lambda f: f.reason),
    facts.HandedOver: _person("handed over", lambda f: f"to {f.contact} {f.reason}".strip()),
    facts.PagesMuted: _person("muted", lambda f: f"for {f.lasts} {f.reason}".strip()),
    facts.UnmuteRequested: _person("unmuted"),
    facts.MuteEnded: lambda f, _: ("mute ended", "escalation-timer", f"due {f.due_at:%H:%M:%S}"),
    facts.ResponseTargetMissed: lambda f, _: (
        "response target missed",
        "",
        f"nobody acknowledged within {f.target}",
    ),
    facts.UpdateOverdue: lambda f, _: (
        f"{'public ' if f.audience == 'public' else ''}update {f.number} overdue",
        _names(f.targets),
        f"due {f.due_at:%H:%M:%S}",
    ),
    facts.StepOverdue: lambda f, _: (
        f"step overdue: {f.step}",
        _names(f.targets),
        f"due {f.due_at:%H:%M:%S}",
    ),
    facts.ReviewDue: lambda f, _: ("review due", _names(f.targets), f"due {f.due_at:%H:%M:%S}"),
    facts.NotificationRequested: _about("owed", lambda f: f.reason.replace("_", " ")),
    facts.NotificationAttempted: _about("attempting", lambda f: f"attempt {f.attempt}"),
    facts.NotificationDelivered: _about("delivered", lambda f: f"attempt {f.attempt}"),
    facts.NotificationFailed: _about("failed", _outcome),
    facts.NotificationInDoubt: _about("in doubt", _outcome),
    facts.NotificationSuperseded: _about("superseded", lambda f: f.reason),
    facts.NoteAdded: _person("note", lambda f: f.text),
    facts.RoleAssigned: _person("role assigned", lambda f: f"{f.role}: {f.contact}"),
    facts.UpdatePosted: _person("update posted", lambda f: f.text),
    facts.RemediationProposed: lambda f, _: (
        f"playbook proposed: {f.playbook}",
        "remediation",
        f.reason,
    ),
    facts.RemediationStepPlanned: _of_step(
        "planned", lambda f: (f.refused and f"by hand: {f.refused}") or ", ".join(f.targets[:3])
    ),
    facts.RemediationApproved: _of_step("approved"),
    facts.RemediationAborted: _person("remediation aborted", lambda f: f.reason),
    facts.RemediationSettled: _of_step(
        "settled", lambda f: f"{'done' if f.done else 'not done'} {f.text}".strip()
    ),
    facts.RemediationStepHeld: _of_step("held", lambda f: f"{f.reason}: {f.detail}"),
    facts.RemediationStepReleased: _of_step("released", lambda f: f.reason),
    facts.RemediationNotVerified: _of_step("not verified", lambda f: f.reason),
    facts.RemediationRollbackBegun: _of_step("rolling back", lambda f: f.reason),
    facts.RemediationUndoStarted: _of_step("undoing"),
    facts.RemediationUndoFailed: _of_step("not undone", lambda f: f.reason),
    facts.RemediationLooked: _of_step("looked at", lambda f: _SEEN[f.as_expected]),
    facts.RemediationRejected: _person("remediation rejected", lambda f: f.reason),
    facts.RemediationStarted: _of_step("started"),
    facts.RemediationStepFinished: _of_step(
        "finished", lambda f: f"{'good' if f.succeeded else 'bad'}: {f.reason}"
    ),
    facts.RemediationVerified: _of_step("verified"),
    facts.RemediationRolledBack: _of_step("rolled back", lambda f: f.reason),
    facts.RemediationFailed: _of_step("remediation failed", lambda f: f.reason),
    facts.RemediationInDoubt: _of_step("in doubt", lambda f: f.reason),
    facts.Mitigated: _person("mitigated", lambda f: f.text),
    facts.Resolved: _person("resolved", lambda f: f.text),
    facts.AutoResolved: lambda f, _: ("resolved", "its alerts", f.reason),
    facts.ReopenRequested: _person("asked to reopen", lambda f: f.reason),
    facts.Reopened: lambda f, _: (
        f"reopened, generation {f.generation}",
        f.by.name if f.by else "classifier",
        f.reason,
    ),
    facts.MergeRequested: _person("asked to merge", lambda f: f"into {f.into}"),
    facts.Merged: lambda f, _: (f"merged into {f.into}", f.by.name if f.by else "", ""),
    facts.Reviewed: _person("reviewed", lambda f: f.url),
    facts.Closed: _person("closed"),
}


def says(kind: type[IncidentFact]) -> bool:
    """Whether a kind of fact is told in words of its own, and not by its name."""
    return kind in _SAY
