"""People's answers: what a request means as a fact of the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from tocsin_contracts import incidents as facts
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Person, event_id
from tocsin_contracts.ids import key_of
from tocsin_contracts.incidents import IncidentFact

SOURCE = "tocsin/ingestion"

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class Answer(BaseModel):
    """What every answer has: who gives it.

    Attributes:
        by: Contact id of the policy, or a name.
        via: What the answer came through; the default is this API.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: _Name
    via: Annotated[str, Field(min_length=1, max_length=50)] = "api"

    @property
    def person(self) -> Person:
        """Who answered, and through what."""
        return Person(name=self.by, via=self.via)


class WithText(Answer):
    """An answer that may say something."""

    text: Annotated[str, Field(max_length=10_000)] = ""


class Note(Answer):
    """Something to remember."""

    text: _Text


class Handover(WithText):
    """Whose it is from here on."""

    contact: _Name


class Mute(WithText):
    """For how long nobody is to be paged."""

    minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 60


class Update(Answer):
    """How it stands."""

    text: _Text
    audience: Annotated[str, Field(min_length=1, max_length=50)] = "internal"


class Assignment(Answer):
    """Who has a role from here on."""

    role: Annotated[str, Field(min_length=1, max_length=100)]
    contact: _Name


class Approval(Answer):
    """Leave to run a step.

    Attributes:
        plan: The plan that was seen; an approval of another than the newest is void.
    """

    remediation: _Name
    step: _Name
    plan: Annotated[int, Field(ge=1)] | None = None


class Abortion(Answer):
    """A remediation under way is stopped.

    Attributes:
        undo: Whether what was done is to be undone.
    """

    remediation: _Name
    reason: Annotated[str, Field(max_length=10_000)] = ""
    undo: bool = True


class Settlement(Answer):
    """What a person saw of a step in doubt.

    Attributes:
        done: Whether it took effect; of an undo, whether it is undone.
    """

    remediation: _Name
    step: _Name
    done: bool
    text: Annotated[str, Field(max_length=10_000)] = ""


class Rejection(Answer):
    """A no to a remediation."""

    remediation: _Name
    reason: Annotated[str, Field(max_length=10_000)] = ""


class SeverityChange(Answer):
    """Another severity."""

    severity: _Name
    reason: Annotated[str, Field(max_length=10_000)] = ""


class Merge(Answer):
    """Two incidents are one."""

    into: _Name


class Review(Answer):
    """The review is published."""

    url: Annotated[str, Field(max_length=2_000)] = ""


def _resolved(answer: WithText) -> IncidentFact:
    return facts.Resolved(by=answer.person, text=answer.text)


def _mitigated(answer: WithText) -> IncidentFact:
    return facts.Mitigated(by=answer.person, text=answer.text)


def _reopen(answer: WithText) -> IncidentFact:
    return facts.ReopenRequested(by=answer.person, reason=answer.text)


def _note(answer: Note) -> IncidentFact:
    return facts.NoteAdded(by=answer.person, text=answer.text)


def _escalate(answer: WithText) -> IncidentFact:
    return facts.EscalationRequested(by=answer.person, reason=answer.text)


def _hand_over(answer: Handover) -> IncidentFact:
    return facts.HandedOver(by=answer.person, contact=answer.contact, reason=answer.text)


def _mute(answer: Mute) -> IncidentFact:
    lasts = timedelta(minutes=answer.minutes)
    return facts.PagesMuted(by=answer.person, lasts=lasts, reason=answer.text)


def _update(answer: Update) -> IncidentFact:
    return facts.UpdatePosted(by=answer.person, text=answer.text, audience=answer.audience)


def _assign(answer: Assignment) -> IncidentFact:
    return facts.RoleAssigned(by=answer.person, role=answer.role, contact=answer.contact)


def _approve(answer: Approval) -> IncidentFact:
    return facts.RemediationApproved(
        by=answer.person, remediation=answer.remediation, step=answer.step, plan=answer.plan
    )


def _abort(answer: Abortion) -> IncidentFact:
    return facts.RemediationAborted(
        by=answer.person,
        remediation=answer.remediation,
        reason=answer.reason,
        undo=answer.undo,
    )


def _settle(answer: Settlement) -> IncidentFact:
    return facts.RemediationSettled(
        by=answer.person,
        remediation=answer.remediation,
        step=answer.step,
        done=answer.done,
        text=answer.text,
    )


def _reject(answer: Rejection) -> IncidentFact:
    return facts.RemediationRejected(
        by=answer.person, remediation=answer.remediation, reason=answer.reason
    )


def _severity(answer: SeverityChange) -> IncidentFact:
    return facts.SeverityRequested(by=answer.person, severity=answer.severity, reason=answer.reason)


def _merge(answer: Merge) -> IncidentFact:
    return facts.MergeRequested(by=answer.person, into=answer.into)


@dataclass(frozen=True, slots=True)
class Verb:
    """An answer people can give.

    Attributes:
        name: Last part of its path.
        body: What it takes.
        fact: What it means.
    """

    name: str
    body: type[Answer]
    fact: Callable[..., IncidentFact]


VERBS: tuple[Verb, ...] = (
    Verb("acknowledge", Answer, lambda answer: facts.Acknowledged(by=answer.person)),
    Verb("escalate", WithText, _escalate),
    Verb("handover", Handover, _hand_over),
    Verb("mute", Mute, _mute),
    Verb("unmute", Answer, lambda answer: facts.UnmuteRequested(by=answer.person)),
    Verb("mitigate", WithText, _mitigated),
    Verb("resolve", WithText, _resolved),
    Verb("reopen", WithText, _reopen),
    Verb("notes", Note, _note),
    Verb("updates", Update, _update),
    Verb("roles", Assignment, _assign),
    Verb("approve", Approval, _approve),
    Verb("reject", Rejection, _reject),
    Verb("abort", Abortion, _abort),
    Verb("settle", Settlement, _settle),
    Verb("severity", SeverityChange, _severity),
    Verb("merge", Merge, _merge),
    Verb("review", Review, lambda answer: facts.Reviewed(by=answer.person, url=answer.url)),
    Verb("close", Answer, lambda answer: facts.Closed(by=answer.person)),
)


def answer_event(
    incident: str,
    fact: IncidentFact,
    *,
    now: datetime,
    idempotency_key: str | None,
    traceparent: str | None,
    identity: UUID | None = None,
) -> Event[IncidentFact]:
    """The event of an answer.

    Args:
        idempotency_key: What the caller repeats with a retry; without one, every request is an
            answer of its own (and the fold ignores a second acknowledgement).
        identity: The event's id, for an answer that counts once whatever it says.

    Raises:
        ValueError: `incident` is no incident id.
    """
    once = idempotency_key if idempotency_key is not None else rfc3339(now)
    return Event(
        id=identity or event_id(fact.TYPE, incident, once, fact.model_dump_json()),
        source=SOURCE,
        subject=incident,
        key=key_of(incident),
        occurred_at=now,
        fact=fact,
        traceparent=traceparent,
    )
