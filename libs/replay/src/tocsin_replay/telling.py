"""The story of an incident in words, one entry a fact, from the log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tocsin_contracts import incidents as facts
from tocsin_contracts.incidents import IncidentFact, Target
from tocsin_incident import IncidentState
from tocsin_incident.state import Notification
from tocsin_policy import Policy
from tocsin_replay.reading import Recorded, Step, steps
from tocsin_replay.wording import contact, duration, named, role, some, words


class Entry(BaseModel):
    """One line of a timeline.

    Attributes:
        at: When it happened, by the clock of whoever wrote it.
        recorded_at: When the log had it.
        offset: Where it stands in the incident's partition.
        about: The notification it is about, if it is about one.
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
    about: str = ""
    ignored: str | None = None


def timeline(recorded: Iterable[Recorded], policy: Policy | None = None) -> tuple[Entry, ...]:
    """The entries of one incident, in the order that decided.

    Args:
        policy: Says what people and roles are called; without it they go by their ids.
    """
    return tuple(entry_of(step, policy) for step in steps(recorded))


def entry_of(step: Step, policy: Policy | None = None) -> Entry:
    """The line of one fact."""
    fact = step.recorded.event.fact
    what, who, why = type(fact).__name__, "", ""
    if isinstance(fact, IncidentFact):
        say = _SAY.get(type(fact))
        if say is not None:
            what, who, why = say(fact, step.after, policy)
    ignored = None if step.ignored is None else str(step.ignored)
    if ignored is not None:
        why = f"no effect: {words(ignored)}"
    return Entry(
        at=step.recorded.event.occurred_at,
        recorded_at=step.recorded.recorded_at,
        offset=step.recorded.position.offset,
        type=step.recorded.event.type,
        what=what,
        who=who,
        why=why,
        about=str(getattr(fact, "notification", "")),
        ignored=ignored,
    )


_Said = tuple[str, str, str]
_Say = Callable[[Any, IncidentState | None, Policy | None], _Said]
_Detail = Callable[[Any, Policy | None], str]


def _nothing(_: object, __: Policy | None) -> str:
    return ""


def _names(targets: tuple[Target, ...]) -> str:
    return ", ".join(f"{target.name} ({target.role})" for target in targets)


_MOST_ALERTS = 5
"""Names of alerts in one line; of more, the rest are counted."""


def _alerts(names: Sequence[str]) -> str:
    told = ", ".join(dict.fromkeys(names[:_MOST_ALERTS]))
    return told + (f" and {len(names) - _MOST_ALERTS} more" if len(names) > _MOST_ALERTS else "")


def _cleared(fact: facts.AlertsCleared, state: IncidentState | None) -> str:
    if state is None:
        return ""
    known = {(one.alert.fingerprint, one.alert.starts_at): one for one in state.alerts.values()}
    held = [known.get((one.fingerprint, one.starts_at)) for one in fact.alerts]
    names = _alerts([one.alert.name for one in held if one is not None])
    return f"{names}; {state.firing} still firing".removeprefix("; ")


def _why(level: facts.LevelReached, policy: Policy | None) -> str:
    """Why a level was told before its time, if it was."""
    if not level.reason:
        return ""
    reason = words(level.reason)
    if level.by is None:
        return f", early: {reason}"
    return f", {reason} by {named(level.by, policy)} {level.text}".rstrip()


def _about(verb: str, detail: _Detail = _nothing) -> _Say:
    def say(fact: Any, state: IncidentState | None, policy: Policy | None) -> _Said:  # noqa: ANN401 - any notification fact
        held: Notification | None = None
        if state is not None:
            held = state.notifications.get(fact.notification)
        if held is None:
            return f"{verb} a notification", "", detail(fact, policy)
        who = held.target.name if held.target is not None else ""
        return f"{verb} {held.purpose} by {held.channel}", who, detail(fact, policy)

    return say


def _of_step(verb: str, detail: _Detail = _nothing) -> _Say:
    def say(fact: Any, state: IncidentState | None, policy: Policy | None) -> _Said:  # noqa: ANN401 - any remediation fact
        by = named(getattr(fact, "by", None), policy) or "remediation"
        return f"{verb}: {_step(fact, state)}", by, detail(fact, policy)

    return say


def _step(fact: Any, state: IncidentState | None) -> str:  # noqa: ANN401 - a fact about a step
    held = state.remediations.get(fact.remediation) if state is not None else None
    step = held.step(fact.step) if held is not None else None
    return step.proposed.title if step is not None else str(fact.step)


_SEEN = {True: "as expected", False: "not as expected", None: "nobody could look"}


def _person(verb: str, detail: _Detail = _nothing) -> _Say:
    return lambda fact, _, policy: (
        verb,
        f"{named(fact.by, policy)} via {fact.by.via}",
        detail(fact, policy),
    )


def _reason(fact: Any, _: Policy | None) -> str:  # noqa: ANN401 - any fact with a reason
    return words(fact.reason)


def _said(fact: Any, _: Policy | None) -> str:  # noqa: ANN401 - any fact with a text
    return str(fact.text)


def _outcome(fact: Any, _: Policy | None) -> str:  # noqa: ANN401 - a notification fact
    why = (words(fact.reason), getattr(fact, "detail", ""))
    return f"attempt {fact.attempt}: {': '.join(part for part in why if part)}"


def _attempt(fact: Any, _: Policy | None) -> str:  # noqa: ANN401 - a notification fact
    late = getattr(fact, "late_by", None)
    return f"attempt {fact.attempt}" + (f", {duration(late)} late" if late else "")


def _mutings(fact: facts.AlertsMuted) -> str:
    mutings = {f"{one.muted.because} by {one.muted.by}" for one in fact.alerts if one.muted}
    return ", ".join(sorted(mutings))


def _due(fact: Any) -> str:  # noqa: ANN401 - any fact about a deadline
    return f"due {fact.due_at:%H:%M:%S}"


def _posted(fact: facts.UpdatePosted, _: IncidentState | None, policy: Policy | None) -> _Said:
    by = f"{named(fact.by, policy)} via {fact.by.via}"
    return f"update posted, {fact.audience}", by, fact.text


_SAY: dict[type[IncidentFact], _Say] = {
    facts.Opened: lambda f, _, p: (
        f"{f.severity} opened: {f.title}",
        named(f.declared_by, p) or "classifier",
        f.reason,
    ),
    facts.AlertsAttached: lambda f, _, __: (
        f"{some(len(f.alerts), 'alert')} attached",
        "classifier",
        _alerts([one.name for one in f.alerts]),
    ),
    facts.AlertsCleared: lambda f, s, _: (
        f"{some(len(f.alerts), 'alert')} cleared",
        "classifier",
        _cleared(f, s),
    ),
    facts.AlertsMuted: lambda f, _, __: (
        f"{some(len(f.alerts), 'alert')} nobody is to hear of",
        "classifier",
        _mutings(f),
    ),
    facts.AlertsReleased: lambda f, _, __: (
        f"{some(len(f.alerts), 'alert')} heard again",
        "classifier",
        words(f.reason),
    ),
    facts.LeasesRenewed: lambda f, _, __: (
        f"{some(len(f.leases), 'alert')} still firing",
        "classifier",
        "",
    ),
    facts.SeverityRaised: lambda f, _, p: (
        f"severity raised from {f.severity_from} to {f.severity_to}",
        named(f.by, p) or "classifier",
        f.reason,
    ),
    facts.SeverityLowered: lambda f, _, p: (
        f"severity lowered from {f.severity_from} to {f.severity_to}",
        named(f.by, p) or "classifier",
        f.reason,
    ),
    facts.SeverityRequested: _person("asked for another severity", lambda f, _: f.severity),
    facts.Acknowledged: _person("acknowledged"),
    facts.AcknowledgementExpired: lambda f, _, __: (
        "acknowledgement expired",
        "escalation-timer",
        _due(f),
    ),
    facts.LevelReached: lambda f, _, p: (
        f"level {f.level} reached",
        _names(f.targets),
        _due(f)
        + (f", skipped {', '.join(map(str, f.skipped))}" if f.skipped else "")
        + (f", held {duration(f.waited)} for office hours" if f.waited else "")
        + _why(f, p),
    ),
    facts.EscalationRequested: _person("asked for the next level", _reason),
    facts.HandedOver: _person(
        "handed over", lambda f, p: f"to {contact(f.contact, p)} {f.reason}".strip()
    ),
    facts.PagesMuted: _person("muted", lambda f, _: f"for {duration(f.lasts)} {f.reason}".strip()),
    facts.UnmuteRequested: _person("unmuted"),
    facts.MuteEnded: lambda f, _, __: ("mute ended", "escalation-timer", _due(f)),
    facts.ResponseTargetMissed: lambda f, _, __: (
        "response target missed",
        "escalation-timer",
        f"nobody acknowledged within {duration(f.target)}",
    ),
    facts.UpdateOverdue: lambda f, _, __: (
        f"{'public ' if f.audience == 'public' else ''}update {f.number} overdue",
        _names(f.targets),
        _due(f),
    ),
    facts.StepOverdue: lambda f, s, _: (
        f"step overdue: {_step(f, s)}",
        _names(f.targets),
        _due(f),
    ),
    facts.ReviewDue: lambda f, _, __: ("review due", _names(f.targets), _due(f)),
    facts.NotificationRequested: _about("owed", _reason),
    facts.NotificationAttempted: _about("attempting", _attempt),
    facts.NotificationDelivered: _about("delivered", _attempt),
    facts.NotificationFailed: _about("failed", _outcome),
    facts.NotificationInDoubt: _about("in doubt", _outcome),
    facts.NotificationSuperseded: _about("superseded", _reason),
    facts.NoteAdded: _person("note", _said),
    facts.RoleAssigned: _person(
        "role assigned", lambda f, p: f"{role(f.role, p)}: {contact(f.contact, p)}"
    ),
    facts.UpdatePosted: _posted,
    facts.RemediationProposed: lambda f, _, __: (
        f"playbook proposed: {f.playbook}",
        "remediation",
        f.reason,
    ),
    facts.RemediationStepPlanned: _of_step(
        "planned",
        lambda f, _: (f.refused and f"by hand: {words(f.refused)}") or ", ".join(f.targets[:3]),
    ),
    facts.RemediationApproved: _of_step("approved"),
    facts.RemediationAborted: _person("remediation aborted", _reason),
    facts.RemediationSettled: _of_step(
        "settled", lambda f, _: f"{'done' if f.done else 'not done'} {f.text}".strip()
    ),
    facts.RemediationStepHeld: _of_step("held", lambda f, _: f"{words(f.reason)}: {f.detail}"),
    facts.RemediationStepReleased: _of_step("released", _reason),
    facts.RemediationNotVerified: _of_step("not verified", _reason),
    facts.RemediationRollbackBegun: _of_step("rolling back", _reason),
    facts.RemediationUndoStarted: _of_step("undoing"),
    facts.RemediationUndoFailed: _of_step("not undone", _reason),
    facts.RemediationLooked: _of_step("looked at", lambda f, _: _SEEN[f.as_expected]),
    facts.RemediationRejected: _person("remediation rejected", _reason),
    facts.RemediationStarted: _of_step("started"),
    facts.RemediationStepFinished: _of_step(
        "finished", lambda f, _: f"{'good' if f.succeeded else 'bad'}: {words(f.reason)}"
    ),
    facts.RemediationVerified: _of_step("verified"),
    facts.RemediationRolledBack: _of_step("rolled back", _reason),
    facts.RemediationFailed: _of_step("remediation failed", _reason),
    facts.RemediationInDoubt: _of_step("in doubt", _reason),
    facts.Mitigated: _person("mitigated", _said),
    facts.Resolved: _person("resolved", _said),
    facts.AutoResolved: lambda f, _, __: ("resolved", "its alerts", words(f.reason)),
    facts.ReopenRequested: _person("asked to reopen", _reason),
    facts.Reopened: lambda f, _, p: (
        f"reopened, generation {f.generation}",
        named(f.by, p) or "classifier",
        words(f.reason),
    ),
    facts.MergeRequested: _person("asked to merge", lambda f, _: f"into {f.into}"),
    facts.Merged: lambda f, _, p: (f"merged into {f.into}", named(f.by, p) or "classifier", ""),
    facts.Reviewed: _person("review published", lambda f, _: f.url),
    facts.Closed: _person("closed"),
}


def says(kind: type[IncidentFact]) -> bool:
    """Whether a kind of fact is told in words of its own, and not by its name."""
    return kind in _SAY
