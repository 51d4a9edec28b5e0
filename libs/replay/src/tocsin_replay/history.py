"""What a what-if takes from a recording: what came in, and how people and the world answered.

The model of people's answers, in full:

1. An answer belongs to the incident it was given to, and so to that incident's alerts. It is given
   again to every incident that holds one of these alerts.
2. The first answer of each escalation is a response: it came so long after the page to the person
   who gave it. Paged at another time, that person answers after the same delay.
3. Somebody who was paged then and did not answer does not answer now.
4. Somebody who was not paged then answers after their own median delay, or after everybody's.
5. Without a page to any of these nobody answers.
6. A response that no page led to comes when it came.
7. Everything else people did follows its response after the same time as then.

What follows from 4 is an assumption and is listed as one; 5 is listed too.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact, Writer
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState
from tocsin_replay.reading import (
    Progress,
    Recorded,
    Version,
    each_fact,
    read_policies,
    steps,
)
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record

RAW = ("alerts.raw.urgent", "alerts.raw")
SEEN = ("alerts.urgent", "alerts")

TAKES: tuple[type[Fact], ...] = (facts.Acknowledged, facts.Mitigated, facts.Resolved)
"""Answers by which somebody takes an incident: the first of an escalation is its response."""

USUAL_DELAY = timedelta(minutes=5)
"""Until an answer, where no recorded one tells."""


@dataclass(frozen=True, slots=True)
class Response:
    """The first answer of an escalation.

    Attributes:
        number: Which escalation of the incident, from 1.
        person: Who gave it, as the policy's contact where the log says so.
        delay: Since the page to that person, or to anybody if that person was not paged; absent
            where nobody had been paged.
        paged: Contacts who had been paged by then.
    """

    number: int
    person: str
    event: Event[Fact]
    delay: timedelta | None
    paged: frozenset[str]


@dataclass(frozen=True, slots=True)
class Followup:
    """Something else a person did, and the response it came after, if there was one."""

    event: Event[Fact]
    after: int | None
    playbook: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """What people did about one recorded incident."""

    incident: str
    responses: tuple[Response, ...]
    followups: tuple[Followup, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the world answered a call: with these facts, each so long after it."""

    at: datetime
    channel: str
    answers: tuple[tuple[timedelta, Fact], ...]

    @property
    def delivered(self) -> bool:
        """Whether a provider took the message."""
        return isinstance(self.answers[0][1], facts.NotificationDelivered)


@dataclass(slots=True)
class History:
    """A recording, as inputs.

    Attributes:
        inputs: Deliveries as they were received, in the order of the log.
        stories: By recorded incident.
        holders: Alert episode -> recorded incidents that held it.
        calls: (notification, attempt) -> how it went.
        channels: Channel -> the calls to it, in the order of time.
        takes: Channel -> the median time a call to it took that went well.
        steps: (system, playbook, step) -> how its first run went.
        ends_at: When the recording ends.
    """

    inputs: list[Record] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    stories: dict[str, Story] = field(default_factory=dict)
    holders: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    calls: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    channels: dict[str, list[Outcome]] = field(default_factory=dict)
    takes: dict[str, timedelta] = field(default_factory=dict)
    steps: dict[tuple[str, str, str], Outcome] = field(default_factory=dict)
    delays: dict[str, timedelta] = field(default_factory=dict)
    usual: timedelta = USUAL_DELAY
    begins_at: datetime | None = None
    ends_at: datetime | None = None

    def delay_of(self, contact: str) -> tuple[timedelta, str]:
        """After what time somebody answers who was not asked then, and how we know."""
        own = self.delays.get(contact)
        if own is not None:
            return own, "their own median"
        if self.delays:
            return self.usual, "everybody's median"
        return self.usual, "no recorded answer; a default"


async def read_history(
    reader: Reader,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> History:
    """The history of `[since, until)`, or of everything there is."""
    history = History(versions=list(await read_policies(reader)))
    history.inputs = await _inputs(reader, since, until, progress)
    stories: dict[str, list[Recorded]] = {}
    last: list[datetime] = [record.recorded_at for record in history.inputs[-1:]]
    async for one in each_fact(reader, progress):
        if until is None or one.recorded_at < until:
            stories.setdefault(one.event.subject, []).append(one)
            last.append(max(last[-1], one.recorded_at) if last else one.recorded_at)
            del last[:-1]
    delays: dict[str, list[timedelta]] = {}
    for incident, recorded in stories.items():
        _take(history, incident, recorded, delays)
    history.delays = {who: _median(held) for who, held in delays.items()}
    for channel, calls in history.channels.items():
        calls.sort(key=lambda outcome: outcome.at)
        took = [call.answers[0][0] for call in calls if call.delivered]
        if took:
            history.takes[channel] = _median(took)
    every = [delay for held in delays.values() for delay in held]
    history.usual = _median(every) if every else USUAL_DELAY
    if history.inputs:
        history.begins_at = history.inputs[0].recorded_at
    history.ends_at = until if until is not None else max(last, default=None)
    return history


def _median(lengths: Sequence[timedelta]) -> timedelta:
    seconds = statistics.median(length.total_seconds() for length in lengths)
    return timedelta(seconds=seconds)


async def _inputs(
    reader: Reader,
    since: datetime | None,
    until: datetime | None,
    progress: Progress | None,
) -> list[Record]:
    """Deliveries as received; where those are gone, what was made of them."""
    found: list[Record] = []
    raw: set[Position] = set()
    for topic in (*RAW, *SEEN):
        try:
            width = await reader.partitions(topic)
        except LookupError:
            continue
        for partition in range(width):
            start, end = await reader.bounds(topic, partition)
            async for record in reader.read(topic, partition, start, end):
                if progress is not None:
                    progress(1)
                if since is not None and record.recorded_at < since:
                    continue
                if until is not None and record.recorded_at >= until:
                    continue
                if topic in RAW:
                    raw.add(record.position)
                elif _made_of(record) in raw:
                    continue
                found.append(record)
    return sorted(found, key=lambda record: (record.recorded_at, record.position))


def _made_of(record: Record) -> Position | None:
    try:
        cause = decode(record).fact.cause
    except Poison:
        return None
    if cause is None or cause.topic is None or cause.offset is None:
        return None
    return Position(cause.topic, cause.partition or 0, cause.offset)


def _take(
    history: History,
    incident: str,
    recorded: Sequence[Recorded],
    delays: dict[str, list[timedelta]],
) -> None:
    """Add what one incident tells."""
    responses: list[Response] = []
    followups: list[Followup] = []
    pages: dict[str, datetime] = {}
    number = 1
    attempts: dict[tuple[str, int], Recorded] = {}
    started: dict[tuple[str, str], Recorded] = {}
    taken = False
    for step in steps(recorded):
        event, fact = step.recorded.event, step.recorded.event.fact
        after, before = step.after, step.before
        if after is None:
            continue
        if before is not None and before.generation != after.generation:
            number, taken = number + 1, False
            pages.clear()
        if isinstance(fact, facts.Opened | facts.AlertsAttached):
            for alert in fact.alerts:
                place = (event.key, episode(alert.fingerprint, alert.starts_at))
                held = history.holders.setdefault(place, [])
                if incident not in held:
                    held.append(incident)
        if isinstance(fact, facts.NotificationDelivered) and step.ignored is None:
            page = after.notifications[fact.notification]
            if page.purpose is Purpose.PAGE and page.target is not None:
                pages.setdefault(page.target.contact, event.occurred_at)
        _world(history, step.recorded, after, attempts, started)
        if fact.WRITER is not Writer.INGESTION:
            continue
        if isinstance(fact, TAKES) and step.ignored is None and not taken:
            taken = True
            responses.append(_response(number, event, pages, delays))
        else:
            chosen = getattr(fact, "remediation", "")
            remediation = after.remediations.get(chosen)
            playbook = remediation.playbook if remediation is not None else ""
            latest = responses[-1].number if responses else None
            followups.append(Followup(event, latest, playbook))
    history.stories[incident] = Story(incident, tuple(responses), tuple(followups))


def _response(
    number: int,
    event: Event[Fact],
    pages: dict[str, datetime],
    delays: dict[str, list[timedelta]],
) -> Response:
    by = getattr(event.fact, "by", None)
    person = by.name if by is not None else ""
    paged_at = pages.get(person, min(pages.values(), default=None))
    delay = None if paged_at is None else event.occurred_at - paged_at
    if delay is not None and person in pages:
        delays.setdefault(person, []).append(delay)
    return Response(number, person, event, delay, frozenset(pages))


def _world(
    history: History,
    one: Recorded,
    state: IncidentState,
    attempts: dict[tuple[str, int], Recorded],
    started: dict[tuple[str, str], Recorded],
) -> None:
    """Add how a call to a provider or a step went."""
    event, fact = one.event, one.event.fact
    match fact:
        case facts.NotificationAttempted():
            attempts.setdefault((fact.notification, fact.attempt), one)
        case (
            facts.NotificationDelivered() | facts.NotificationFailed() | facts.NotificationInDoubt()
        ):
            place = (fact.notification, fact.attempt)
            call, held = attempts.get(place), state.notifications.get(fact.notification)
            if call is not None and held is not None and place not in history.calls:
                began = call.event.occurred_at
                answer = (event.occurred_at - began, fact)
                outcome = history.calls[place] = Outcome(began, held.channel, (answer,))
                history.channels.setdefault(held.channel, []).append(outcome)
        case facts.RemediationStarted():
            started[fact.remediation, fact.step] = one
        case (
            facts.RemediationStepFinished()
            | facts.RemediationVerified()
            | facts.RemediationRolledBack()
            | facts.RemediationFailed()
        ):
            run = started.get((fact.remediation, fact.step))
            remediation = state.remediations.get(fact.remediation)
            if run is None or remediation is None:
                return
            began = run.event.occurred_at
            key = (state.system, remediation.playbook, fact.step)
            known = history.steps.get(key, Outcome(began, "", ()))
            if known.at == began:
                waited = event.occurred_at - began
                history.steps[key] = Outcome(began, "", (*known.answers, (waited, fact)))
        case _:
            pass
