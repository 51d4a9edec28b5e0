"""What one incident came to: when, who, what was promised and kept. One pass over its facts.

Pictures, postmortems and reports all start from this, so that they cannot disagree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from escalation_timer.domain.deadlines import Kind, deadlines
from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Person
from tocsin_incident import IncidentState, Status
from tocsin_incident.folding import PUBLIC
from tocsin_incident.state import Remediation
from tocsin_incident.state import Step as RemediationStep
from tocsin_policy import Policy
from tocsin_replay.reading import Recorded, Step, Version, promised, steps
from tocsin_replay.reporting import Paged, pages_of
from tocsin_replay.targets import ResponseTarget, Targets
from tocsin_replay.wording import contact, named, role

_ACTION = re.compile(
    r"^\s*(?:[-*]\s*)?(?:\[ ?\]\s*)?(?:action(?: item)?|follow[- ]?up)\s*:\s*(?P<what>.+)$",
    re.IGNORECASE | re.MULTILINE,
)


class Told(BaseModel):
    """A frozen part of a summary."""

    model_config = ConfigDict(frozen=True)


class Change(Told):
    """The severity or the status from an instant on."""

    at: datetime
    to: str
    by: str
    why: str


class Reached(Told):
    """A level that was reached."""

    at: datetime
    due_at: datetime
    level: int
    generation: int
    severity: str
    names: tuple[str, ...]
    skipped: tuple[int, ...]


class Answer(Told):
    """Something a person did."""

    at: datetime
    who: str
    via: str
    what: str
    text: str = ""


class Sent(Told):
    """Messages of one purpose over one channel that came as far."""

    purpose: str
    channel: str
    status: str
    count: int


class Update(Told):
    """An update that was promised, made, or both.

    Attributes:
        outcome: `in time`, `late`, `missed`; `made` where nothing was promised.
    """

    due_at: datetime | None
    made_at: datetime | None
    outcome: str
    by: str = ""
    audience: str = ""
    text: str = ""


class StepRun(Told):
    """A step of a playbook, as far as it came.

    Attributes:
        before: What it would act on as it was, by the plan that people agreed to.
        diff: What the plan said would change.
        showed: What it said when it ran.
        after: What a look afterwards saw.
    """

    playbook: str
    title: str
    risk: str
    call: str
    status: str
    approved_by: tuple[str, ...]
    started_at: datetime | None
    ended_at: datetime | None
    reason: str
    before: str = ""
    diff: str = ""
    showed: str = ""
    after: str = ""


class Episode(Told):
    """One firing of one alert."""

    name: str
    labels: dict[str, str]
    summary: str
    fingerprint: str
    starts_at: datetime
    cleared_at: datetime | None
    source: str
    generator_url: str = ""


class ActionItem(Told):
    """What somebody wrote down to be done."""

    what: str
    who: str
    at: datetime


class Summary(Told):
    """One incident.

    Attributes:
        began_at: When its first alert began to fire, by its source.
        worst: The most severe severity it had.
        answered_at: The first acknowledgement or mitigation.
        resolved_at: The last resolution; absent while it is not resolved.
        ends_at: Its resolution, or the newest fact of one that goes on.
    """

    incident: str
    system: str
    service: str | None
    title: str
    status: str
    severity: str
    worst: str
    rule: str
    reason: str
    drill: bool
    customer_facing: bool
    generations: int
    merged_into: str | None
    policy: str | None
    playbook: str | None
    began_at: datetime
    opened_at: datetime
    answered_at: datetime | None
    answered_by: str | None
    mitigated_at: datetime | None
    resolved_at: datetime | None
    resolved_by: str | None
    resolution: str
    review_due_at: datetime | None
    reviewed_at: datetime | None
    ends_at: datetime
    time_to_detect: timedelta
    time_to_acknowledge: timedelta | None
    time_to_mitigate: timedelta | None
    time_to_resolve: timedelta | None
    severities: tuple[Change, ...]
    statuses: tuple[Change, ...]
    levels: tuple[Reached, ...]
    response_targets: tuple[ResponseTarget, ...]
    pages: tuple[Paged, ...]
    messages: dict[str, int]
    sent: tuple[Sent, ...]
    updates: tuple[Update, ...]
    answers: tuple[Answer, ...]
    roles: dict[str, str]
    steps: tuple[StepRun, ...]
    alerts: tuple[Episode, ...]
    actions: tuple[ActionItem, ...]
    ignored: int


@dataclass(slots=True)
class _Gathering:
    policy: Policy | None
    targets: Targets = field(default_factory=Targets)
    severities: list[Change] = field(default_factory=list)
    statuses: list[Change] = field(default_factory=list)
    levels: list[Reached] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    actions: list[ActionItem] = field(default_factory=list)
    evidence: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    mitigated_at: datetime | None = None
    review_due_at: datetime | None = None
    ignored: int = 0


def summarise(recorded: Sequence[Recorded], policy: Policy | None) -> Summary:
    """What an incident came to.

    Args:
        policy: What was promised; without it there are no targets but those recorded as missed,
            and no update is late.

    Raises:
        LookupError: The facts open no incident.
    """
    summing = Summing(policy)
    for step in steps(recorded):
        summing.take(step)
    return summing.summary()


def summed_up(recorded: Iterable[Recorded], versions: Sequence[Version]) -> Summary | None:
    """What an incident came to by the policy that decided how it opened.

    Returns:
        Nothing if the facts open no incident.
    """
    summing: Summing | None = None
    for step in steps(recorded):
        if step.after is not None:
            summing = summing or Summing(promised(versions, step.after))
            summing.take(step)
    return None if summing is None else summing.summary()


class Summing:
    """What an incident comes to, fact by fact: what is held is what came of them, not they.

    Args:
        policy: See `summarise`.
    """

    def __init__(self, policy: Policy | None) -> None:
        self._found = _Gathering(policy)
        self._state: IncidentState | None = None
        self._last_at: datetime | None = None

    def take(self, step: Step) -> None:
        """Take in the next fact."""
        self._state = step.after
        self._last_at = step.recorded.event.occurred_at
        self._found.targets.take(step)
        if step.ignored is not None:
            self._found.ignored += 1
        elif step.after is not None:
            _take(self._found, step, step.after)

    def summary(self) -> Summary:
        """What it has come to by now.

        Raises:
            LookupError: The facts open no incident.
        """
        if self._state is None or self._last_at is None:
            raise LookupError("the log does not know this incident")
        return _summary(self._state, self._found, self._last_at)


def _summary(state: IncidentState, found: _Gathering, last_at: datetime) -> Summary:
    policy = found.policy
    alerts = _episodes(state)
    began_at = min((alert.starts_at for alert in alerts), default=state.opened_at)
    began_at = min(began_at, state.opened_at)
    answered_at = state.first_acknowledged_at
    ranks = policy.ranks if policy is not None else {}
    had = [change.to for change in found.severities]
    messages: dict[str, int] = {}
    for held in state.notifications.values():
        messages[str(held.status)] = messages.get(str(held.status), 0) + 1
    return Summary(
        incident=state.incident,
        system=state.system,
        service=state.service,
        title=state.title,
        status=str(state.status),
        severity=state.severity,
        worst=min(had, key=lambda name: ranks.get(name, len(ranks))),
        rule=state.rule,
        reason=state.reason,
        drill=state.drill,
        customer_facing=state.customer_facing,
        generations=state.generation,
        merged_into=state.merged_into,
        policy=state.policy,
        playbook=state.playbook,
        began_at=began_at,
        opened_at=state.opened_at,
        answered_at=answered_at,
        answered_by=_first_answer(found.answers),
        mitigated_at=found.mitigated_at,
        resolved_at=state.resolved_at,
        resolved_by=named(state.resolved_by, policy),
        resolution=state.resolution,
        review_due_at=found.review_due_at,
        reviewed_at=state.reviewed_at,
        ends_at=state.resolved_at or last_at,
        time_to_detect=state.opened_at - began_at,
        time_to_acknowledge=_since(state.opened_at, answered_at),
        time_to_mitigate=_since(state.opened_at, found.mitigated_at or state.resolved_at),
        time_to_resolve=_since(state.opened_at, state.resolved_at),
        severities=tuple(found.severities),
        statuses=tuple(found.statuses),
        levels=tuple(found.levels),
        response_targets=found.targets.judged(policy),
        pages=pages_of(state),
        messages=dict(sorted(messages.items())),
        sent=_sent(state),
        updates=tuple(found.updates),
        answers=tuple(found.answers),
        roles=_roles(state, policy),
        steps=tuple(_steps(state, found)),
        alerts=alerts,
        actions=tuple(found.actions),
        ignored=found.ignored,
    )


def _since(begin: datetime, end: datetime | None) -> timedelta | None:
    return None if end is None else end - begin


def _first_answer(answers: Sequence[Answer]) -> str | None:
    taken = ("acknowledged", "mitigated")
    return next((answer.who for answer in answers if answer.what in taken), None)


def _sent(state: IncidentState) -> tuple[Sent, ...]:
    counted = Counter(
        (str(held.purpose), held.channel, str(held.status)) for held in state.notifications.values()
    )
    return tuple(
        Sent(purpose=purpose, channel=channel, status=status, count=count)
        for (purpose, channel, status), count in sorted(counted.items())
    )


def _roles(state: IncidentState, policy: Policy | None) -> dict[str, str]:
    return {
        role(name, policy): contact(person, policy) for name, person in sorted(state.roles.items())
    }


def _episodes(state: IncidentState) -> tuple[Episode, ...]:
    held = sorted(state.alerts.values(), key=lambda one: (one.alert.starts_at, one.alert.name))
    return tuple(
        Episode(
            name=one.alert.name,
            labels=one.alert.labels,
            summary=one.alert.annotations.get("summary", ""),
            fingerprint=one.alert.fingerprint,
            starts_at=one.alert.starts_at,
            cleared_at=one.cleared_at,
            source=one.alert.source,
            generator_url=one.alert.generator_url,
        )
        for one in held
    )


def _steps(state: IncidentState, found: _Gathering) -> list[StepRun]:
    return [
        _step_run(remediation, step, found.evidence, found.policy)
        for remediation in state.remediations.values()
        for step in remediation.steps
    ]


def _step_run(
    remediation: Remediation,
    step: RemediationStep,
    evidence: dict[tuple[str, str], dict[str, str]],
    policy: Policy | None,
) -> StepRun:
    shown = evidence.get((remediation.remediation, step.proposed.step), {})
    return StepRun(
        playbook=remediation.playbook,
        title=step.proposed.title,
        risk=step.proposed.risk,
        call=step.proposed.call,
        status=str(step.status),
        approved_by=tuple(named(by, policy) or by.name for by in step.approved_by),
        started_at=step.started_at,
        ended_at=step.finished_at,
        reason=step.reason or remediation.reason,
        before=shown.get("stood", ""),
        diff=shown.get("diff", ""),
        showed=shown.get("ran", ""),
        after=shown.get("looked", ""),
    )


def _take(found: _Gathering, step: Step, after: IncidentState) -> None:
    event = step.recorded.event
    fact = event.fact
    before = step.before
    if before is None or before.severity != after.severity:
        by = getattr(fact, "by", None) or getattr(fact, "declared_by", None)
        found.severities.append(
            Change(
                at=event.occurred_at,
                to=after.severity,
                by=named(by, found.policy) or f"rule {getattr(fact, 'rule', '')}".strip(),
                why=getattr(fact, "reason", ""),
            )
        )
    if before is None or before.status != after.status:
        by = getattr(fact, "by", None)
        found.statuses.append(
            Change(
                at=event.occurred_at,
                to=str(after.status),
                by=named(by, found.policy) or event.source.removeprefix("tocsin/"),
                why=getattr(fact, "text", "") or getattr(fact, "reason", ""),
            )
        )
    if after.status is Status.RESOLVED and after.status != getattr(before, "status", None):
        found.review_due_at = _pending(found, after, Kind.REVIEW)
    if after.mitigated_at is not None and found.mitigated_at is None:
        found.mitigated_at = after.mitigated_at
    handle = _HANDLE.get(type(fact))
    if handle is not None:
        handle(found, step, fact)
    _answered(found, step)


def _answered(found: _Gathering, step: Step) -> None:
    fact = step.recorded.event.fact
    what = _ANSWERS.get(type(fact))
    if what is None:
        return
    by: Person | None = getattr(fact, "by", None)
    if by is None:
        return
    text = next(
        (
            str(getattr(fact, name))
            for name in ("text", "reason", "url", "severity", "into")
            if getattr(fact, name, "")
        ),
        "",
    )
    if isinstance(fact, facts.RoleAssigned):
        text = f"{role(fact.role, found.policy)}: {contact(fact.contact, found.policy)}"
    if isinstance(fact, facts.HandedOver):
        text = f"to {contact(fact.contact, found.policy)} {fact.reason}".strip()
    at = step.recorded.event.occurred_at
    who = named(by, found.policy) or by.name
    found.answers.append(Answer(at=at, who=who, via=by.via, what=what, text=text))


_ANSWERS: dict[type[Any], str] = {
    facts.Acknowledged: "acknowledged",
    facts.Mitigated: "mitigated",
    facts.Resolved: "resolved",
    facts.ReopenRequested: "asked to reopen",
    facts.SeverityRequested: "asked for another severity",
    facts.MergeRequested: "asked to merge",
    facts.NoteAdded: "noted",
    facts.RoleAssigned: "assigned a role",
    facts.EscalationRequested: "asked for the next level",
    facts.HandedOver: "handed it over",
    facts.PagesMuted: "muted it",
    facts.UnmuteRequested: "unmuted it",
    facts.UpdatePosted: "posted an update",
    facts.RemediationApproved: "approved a step",
    facts.RemediationRejected: "rejected a playbook",
    facts.Reviewed: "published the review",
    facts.Closed: "closed",
}


def _level(found: _Gathering, step: Step, fact: facts.LevelReached) -> None:
    found.levels.append(
        Reached(
            at=step.recorded.event.occurred_at,
            due_at=fact.due_at,
            level=fact.level,
            generation=fact.generation,
            severity=fact.severity,
            names=tuple(f"{target.name} ({target.role})" for target in fact.targets),
            skipped=fact.skipped,
        )
    )


def _overdue(found: _Gathering, _: Step, fact: facts.UpdateOverdue) -> None:
    found.updates.append(
        Update(due_at=fact.due_at, made_at=None, outcome="missed", audience=fact.audience)
    )


def _posted(found: _Gathering, step: Step, fact: facts.UpdatePosted) -> None:
    at = step.recorded.event.occurred_at
    due_at = None if step.before is None else _promised(found, step.before, fact.audience)
    outcome = "made" if due_at is None else "in time" if at <= due_at else "late"
    found.updates.append(
        Update(
            due_at=due_at,
            made_at=at,
            outcome=outcome,
            by=named(fact.by, found.policy) or fact.by.name,
            audience=fact.audience,
            text=fact.text,
        )
    )


def _promised(found: _Gathering, state: IncidentState, audience: str) -> datetime | None:
    """When this audience was to hear of it; whoever is outside hears what people inside do not."""
    if audience == PUBLIC:
        due_at = _pending(found, state, Kind.PUBLIC_UPDATE)
        if due_at is not None:
            return due_at
    return _pending(found, state, Kind.UPDATE)


def _pending(found: _Gathering, state: IncidentState, kind: Kind) -> datetime | None:
    """When something of this kind is due, by the rules that the escalation-timer keeps."""
    if found.policy is None:
        return None
    pending = deadlines(state, found.policy)
    return next((due.due_at for due in pending if due.kind is kind), None)


def _noted(found: _Gathering, step: Step, fact: facts.NoteAdded) -> None:
    at = step.recorded.event.occurred_at
    who = named(fact.by, found.policy) or fact.by.name
    found.actions.extend(
        ActionItem(what=match["what"].strip(), who=who, at=at)
        for match in _ACTION.finditer(fact.text)
    )


def _planned(found: _Gathering, _: Step, fact: facts.RemediationStepPlanned) -> None:
    shown = found.evidence.setdefault((fact.remediation, fact.step), {})
    shown |= {"stood": fact.state, "diff": fact.diff}


def _ran(found: _Gathering, _: Step, fact: facts.RemediationStepFinished) -> None:
    place = (fact.remediation, fact.step)
    found.evidence.setdefault(place, {})["ran"] = _showed(fact.evidence)


def _looked(found: _Gathering, _: Step, fact: facts.RemediationVerified) -> None:
    place = (fact.remediation, fact.step)
    found.evidence.setdefault(place, {})["looked"] = _showed(fact.evidence)


def _showed(evidence: facts.Evidence) -> str:
    codes = (("exit code", evidence.exit_code), ("HTTP", evidence.http_status))
    said = [f"{name} {code}" for name, code in codes if code is not None]
    return ": ".join(part for part in (", ".join(said), evidence.output) if part)


_HANDLE: dict[type[Any], Callable[[_Gathering, Step, Any], None]] = {
    facts.LevelReached: _level,
    facts.UpdateOverdue: _overdue,
    facts.UpdatePosted: _posted,
    facts.NoteAdded: _noted,
    facts.RemediationStepPlanned: _planned,
    facts.RemediationStepFinished: _ran,
    facts.RemediationVerified: _looked,
}
