"""The state of an incident at an instant, and the fact that made each part of it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from escalation_timer.domain.deadlines import Kind, deadlines
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState, state_document
from tocsin_incident.state import Notification
from tocsin_policy import Policy, on_call
from tocsin_replay.hashing import chain_of
from tocsin_replay.reading import Recorded, Step, Version, in_force, known_at, state_of, steps

NOT_TOLD_APART = frozenset({"seen", "notifications", "alerts", "remediations"})
"""Parts of a state for which a single fact says little: they change with every one."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Cited(_Part):
    """A fact of the log, named."""

    offset: int
    event: str
    type: str
    by: str
    at: datetime
    recorded_at: datetime


class Pending(_Part):
    """A deadline that had not passed.

    Attributes:
        because: The fact since which it was due then.
    """

    kind: str
    level: int | None
    due_at: datetime
    left: timedelta
    because: Cited | None


class Message(_Part):
    """A message and how far it had come.

    Attributes:
        out: Whether its outcome was not known yet.
        because: The fact that brought it this far.
    """

    notification: str
    purpose: str
    level: int | None
    name: str
    channel: str
    status: str
    out: bool
    attempts: int
    because: Cited | None


class Duty(_Part):
    """Who was on call, or had a role, and by what."""

    what: str
    contact: str | None
    name: str
    why: str


class Moment(_Part):
    """An incident as it was at one instant.

    Attributes:
        at: The instant; of an offset, when its fact was recorded.
        offset: Of the last fact the log held.
        known: The state by what was recorded.
        happened: The state by what had happened, recorded or not.
        unheard: What had happened and the log did not hold yet.
        ahead: What the log held and whose writer's clock stood later.
        chain: Hash over every state up to here; see `hashing`.
        because: For each part of the state that is not as it began, the fact that made it so.
    """

    incident: str
    at: datetime
    offset: int | None
    known: dict[str, Any] | None
    happened: dict[str, Any] | None
    unheard: tuple[Cited, ...] = ()
    ahead: tuple[Cited, ...] = ()
    chain: str = ""
    policy: str | None = None
    because: dict[str, Cited]
    deadlines: tuple[Pending, ...] = ()
    messages: tuple[Message, ...] = ()
    on_call: tuple[Duty, ...] = ()


def moment_at(
    recorded: Sequence[Recorded], versions: Sequence[Version], incident: str, at: datetime
) -> Moment:
    """An incident as it was at an instant.

    Args:
        recorded: All facts of the incident, in log order.
        versions: Of the policies, in log order.
    """
    return _moment(incident, recorded, known_at(recorded, at), versions, at)


def moment_after(
    recorded: Sequence[Recorded], versions: Sequence[Version], incident: str, offset: int
) -> Moment:
    """An incident as it was once the fact at an offset was in the log.

    Raises:
        LookupError: No fact of the incident stands at or before that offset.
    """
    known = [one for one in recorded if one.position.offset <= offset]
    if not known:
        raise LookupError(f"{incident} has no fact at or before offset {offset}")
    return _moment(incident, recorded, known, versions, known[-1].recorded_at)


def _moment(
    incident: str,
    recorded: Sequence[Recorded],
    known: Sequence[Recorded],
    versions: Sequence[Version],
    at: datetime,
) -> Moment:
    made = tuple(steps(known))
    state = made[-1].after if made else None
    held = {one.event.id for one in known}
    had_happened = [one for one in recorded if one.event.occurred_at <= at]
    happened = state_of(had_happened)
    version = None if state is None else in_force(versions, state.system, at)
    links = chain_of(made)
    return Moment(
        incident=incident,
        at=at,
        offset=known[-1].position.offset if known else None,
        known=None if state is None else state_document(state),
        happened=None if happened is None else state_document(happened),
        unheard=tuple(cite(one) for one in had_happened if one.event.id not in held),
        ahead=tuple(cite(one) for one in known if one.event.occurred_at > at),
        chain=links[-1].chain if links else "",
        policy=None if version is None else version.hash,
        because={} if state is None else _because(made),
        deadlines=() if version is None else _pending(made, version.policy, at),
        messages=() if state is None else _messages(made, state),
        on_call=() if state is None or version is None else _on_call(state, version.policy, at),
    )


def cite(recorded: Recorded) -> Cited:
    """A fact, named."""
    return Cited(
        offset=recorded.position.offset,
        event=str(recorded.event.id),
        type=recorded.event.type,
        by=recorded.event.source.removeprefix("tocsin/"),
        at=recorded.event.occurred_at,
        recorded_at=recorded.recorded_at,
    )


def _because(made: Sequence[Step]) -> dict[str, Cited]:
    """For each field, the last fact that changed it; the opening is not repeated for each."""
    found: dict[str, Cited] = {}
    for step in made:
        if step.after is None or step.after is step.before:
            continue
        if step.before is None:
            found["status"] = cite(step.recorded)
            found["severity"] = found["status"]
            continue
        for name in IncidentState.model_fields:
            if name in NOT_TOLD_APART:
                continue
            if getattr(step.before, name) != getattr(step.after, name):
                found[name] = cite(step.recorded)
    return dict(sorted(found.items()))


def _pending(made: Sequence[Step], policy: Policy, at: datetime) -> tuple[Pending, ...]:
    """The deadlines that stood, each with the fact since which it stood as it did."""
    since: dict[tuple[Kind, int | None], tuple[datetime, Recorded]] = {}
    for step in made:
        if step.after is None:
            continue
        now: dict[tuple[Kind, int | None], tuple[datetime, Recorded]] = {}
        for deadline in deadlines(step.after, policy):
            key = (deadline.kind, deadline.level.number if deadline.level is not None else None)
            before = since.get(key)
            stood = before is not None and before[0] == deadline.due_at
            now[key] = before if before is not None and stood else (deadline.due_at, step.recorded)
        since = now
    return tuple(
        Pending(kind=kind, level=level, due_at=due_at, left=due_at - at, because=cite(fact))
        for (kind, level), (due_at, fact) in sorted(since.items(), key=lambda item: item[1][0])
    )


def _messages(made: Sequence[Step], state: IncidentState) -> tuple[Message, ...]:
    """Every page, and every other message that was still out."""
    since: dict[str, Recorded] = {}
    before: Mapping[str, Notification] = {}
    for step in made:
        if step.after is None or step.after.notifications is before:
            continue
        for name, held in step.after.notifications.items():
            if before.get(name) is not held:
                since[name] = step.recorded
        before = step.after.notifications
    return tuple(
        Message(
            notification=held.notification,
            purpose=held.purpose,
            level=held.level,
            name=held.target.name if held.target is not None else held.channel,
            channel=held.channel,
            status=held.status,
            out=not held.status.settled,
            attempts=held.attempts,
            because=cite(since[name]) if name in since else None,
        )
        for name, held in state.notifications.items()
        if held.purpose is Purpose.PAGE or not held.status.settled
    )


def _on_call(state: IncidentState, policy: Policy, at: datetime) -> tuple[Duty, ...]:
    found = []
    for name, schedule in policy.schedules.items():
        turn = on_call(schedule, at)
        found.append(_duty(policy, f"schedule {name}", turn.contact, turn.reason))
    for role, contact in sorted(state.roles.items()):
        found.append(_duty(policy, f"role {role}", contact, "assigned in this incident"))
    return tuple(found)


def _duty(policy: Policy, what: str, contact: str | None, why: str) -> Duty:
    person = None if contact is None else policy.contacts.get(contact)
    name = person.name if person is not None else contact or "nobody"
    return Duty(what=what, contact=contact, name=name, why=why)


def differences(moment: Moment) -> tuple[str, ...]:
    """Parts of the state in which what had happened was not what was known."""
    known, happened = moment.known or {}, moment.happened or {}
    names = sorted((known.keys() | happened.keys()) - {"seen"})
    return tuple(name for name in names if known.get(name) != happened.get(name))
