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
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Cause, Event, Fact, Value, Writer
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState, fold
from tocsin_policy import parse_policy, policy_document
from tocsin_replay.inputs import Inputs, Ranges
from tocsin_replay.reading import (
    Progress,
    Recorded,
    Step,
    Version,
    each_fact,
    read_policies,
)
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Record

RAW = ("alerts.raw.urgent", "alerts.raw")
SEEN = ("alerts.urgent", "alerts")
SILENCES = "silences"

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
        silences: What people did not want to hear about, as recorded.
        stories: By recorded incident.
        holders: Alert episode -> recorded incidents that held it and that people did something
            about.
        calls: (notification, attempt) -> how it went.
        channels: Channel -> the calls to it, in the order of time.
        takes: Channel -> the median time a call to it took that went well.
        steps: (system, playbook, step) -> how its first run went.
        ends_at: When the recording ends.
    """

    inputs: Inputs = field(default_factory=Inputs)
    silences: list[Record] = field(default_factory=list)
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

    def __getstate__(self) -> dict[str, Any]:
        """For another process: a compiled policy does not travel, the document it came from does.

        >>> History.__getstate__(History())["versions"]
        []
        """
        held = {name: getattr(self, name) for name in self.__slots__}
        held["versions"] = [
            (policy_document(one.policy), one.hash, one.position, one.recorded_at)
            for one in self.versions
        ]
        return held

    def __setstate__(self, held: dict[str, Any]) -> None:
        """See `__getstate__`."""
        for name, value in held.items():
            setattr(self, name, value)
        self.versions = [
            Version(parse_policy(document), *rest) for document, *rest in held["versions"]
        ]


async def read_history(
    reader: Reader,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
    about: str | None = None,
) -> History:
    """The history of `[since, until)`, or of everything there is.

    Args:
        about: An incident to keep all of, whether anybody did something about it or not.
    """
    history = History(versions=list(await read_policies(reader)))
    history.inputs = await _inputs(reader, since, until, progress)
    history.silences = await _silences(reader, until)
    last = history.inputs.latest_at
    taking: dict[str, _Taking] = {}
    delays: dict[str, list[timedelta]] = {}
    async for one in each_fact(reader, progress):
        if until is None or one.recorded_at < until:
            incident = one.event.subject
            if incident not in taking:
                taking[incident] = _Taking(history, incident, delays, keep=incident == about)
            taking[incident].add(one)
            last = one.recorded_at if last is None else max(last, one.recorded_at)
    for incident, taken in taking.items():
        if taken.touched:
            history.stories[incident] = taken.story()
    history.delays = {who: _median(held) for who, held in delays.items()}
    for channel, calls in history.channels.items():
        calls.sort(key=lambda outcome: outcome.at)
        took = [call.answers[0][0] for call in calls if call.delivered]
        if took:
            history.takes[channel] = _median(took)
    every = [delay for held in delays.values() for delay in held]
    history.usual = _median(every) if every else USUAL_DELAY
    oldest = history.inputs.first
    history.begins_at = None if oldest is None else oldest.recorded_at
    history.ends_at = until if until is not None else last
    return history


def _median(lengths: Sequence[timedelta]) -> timedelta:
    seconds = statistics.median(length.total_seconds() for length in lengths)
    return timedelta(seconds=seconds)


async def _inputs(
    reader: Reader,
    since: datetime | None,
    until: datetime | None,
    progress: Progress | None,
) -> Inputs:
    """Deliveries as received; where those are gone, what was made of them."""
    found = Inputs()
    raw: dict[tuple[str, int], Ranges] = {}
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
                    raw.setdefault((topic, partition), Ranges()).add(record.position.offset)
                elif _made_of_any(record, raw):
                    continue
                found.append(record)
    return found


async def _silences(reader: Reader, until: datetime | None) -> list[Record]:
    """All of them: one of long ago may still have muted."""
    found: list[Record] = []
    try:
        width = await reader.partitions(SILENCES)
    except LookupError:
        return found
    for partition in range(width):
        start, end = await reader.bounds(SILENCES, partition)
        held = [record async for record in reader.read(SILENCES, partition, start, end)]
        found += [one for one in held if until is None or one.recorded_at < until]
    return sorted(found, key=lambda record: (record.recorded_at, record.position))


class _Caused(Value):
    """What of a record tells where it came from; the rest of it is not looked at."""

    cause: Cause | None = None


def _made_of_any(record: Record, raw: dict[tuple[str, int], Ranges]) -> bool:
    try:
        cause = _Caused.model_validate_json(record.value or b"").cause
    except ValueError:
        return False
    if cause is None or cause.topic is None or cause.offset is None:
        return False
    held = raw.get((cause.topic, cause.partition or 0))
    return held is not None and cause.offset in held


class _Taking:
    """What one incident tells, fact by fact.

    Of an incident nobody did anything about nothing is kept but how its calls went: most are.
    """

    def __init__(
        self, history: History, incident: str, delays: dict[str, list[timedelta]], *, keep: bool
    ) -> None:
        self._history = history
        self._incident = incident
        self._delays = delays
        self._state: IncidentState | None = None
        self._responses: list[Response] = []
        self._followups: list[Followup] = []
        self._pages: dict[str, datetime] = {}
        self._number = 1
        self._taken = False
        self._attempts: dict[tuple[str, int], datetime] = {}
        self._started: dict[tuple[str, str], datetime] = {}
        self.touched = keep

    def story(self) -> Story:
        return Story(self._incident, tuple(self._responses), tuple(self._followups))

    def add(self, one: Recorded) -> None:
        """Add the next fact."""
        folded = fold(self._state, one.event)
        step = Step(one, self._state, folded.state, folded.ignored)
        self._state = after = folded.state
        if after is None:
            return
        event, fact = one.event, one.event.fact
        if step.before is not None and step.before.generation != after.generation:
            self._number, self._taken = self._number + 1, False
            self._pages.clear()
        if self.touched:
            self._hold(event.key, fact)
        if isinstance(fact, facts.NotificationDelivered) and step.ignored is None:
            page = after.notifications[fact.notification]
            if page.purpose is Purpose.PAGE and page.target is not None:
                self._pages.setdefault(page.target.contact, event.occurred_at)
        self._world(one, after)
        if fact.WRITER is Writer.INGESTION:
            self._answered(step, after)

    def _answered(self, step: Step, after: IncidentState) -> None:
        event, fact = step.recorded.event, step.recorded.event.fact
        if not self.touched:
            self.touched = True
            for held in after.alerts.values():
                self._holds(event.key, held.alert)
        if isinstance(fact, TAKES) and step.ignored is None and not self._taken:
            self._taken = True
            self._responses.append(_response(self._number, event, self._pages, self._delays))
            return
        remediation = after.remediations.get(getattr(fact, "remediation", ""))
        playbook = remediation.playbook if remediation is not None else ""
        latest = self._responses[-1].number if self._responses else None
        self._followups.append(Followup(event, latest, playbook))

    def _hold(self, key: str, fact: Fact) -> None:
        for alert in getattr(fact, "alerts", ()):
            if isinstance(alert, facts.Alert):
                self._holds(key, alert)

    def _holds(self, key: str, alert: facts.Alert) -> None:
        place = (key, episode(alert.fingerprint, alert.starts_at))
        held = self._history.holders.setdefault(place, [])
        if self._incident not in held:
            held.append(self._incident)

    def _world(self, one: Recorded, state: IncidentState) -> None:
        """Add how a call to a provider or a step went."""
        history = self._history
        event, fact = one.event, one.event.fact
        match fact:
            case facts.NotificationAttempted():
                self._attempts.setdefault((fact.notification, fact.attempt), event.occurred_at)
            case (
                facts.NotificationDelivered()
                | facts.NotificationFailed()
                | facts.NotificationInDoubt()
            ):
                place = (fact.notification, fact.attempt)
                began, held = self._attempts.get(place), state.notifications.get(fact.notification)
                if began is not None and held is not None and place not in history.calls:
                    answer = (event.occurred_at - began, fact)
                    outcome = history.calls[place] = Outcome(began, held.channel, (answer,))
                    history.channels.setdefault(held.channel, []).append(outcome)
            case facts.RemediationStarted():
                self._started[fact.remediation, fact.step] = event.occurred_at
            case (
                facts.RemediationStepFinished()
                | facts.RemediationVerified()
                | facts.RemediationRolledBack()
                | facts.RemediationFailed()
            ):
                began = self._started.get((fact.remediation, fact.step))
                remediation = state.remediations.get(fact.remediation)
                if began is None or remediation is None:
                    return
                key = (state.system, remediation.playbook, fact.step)
                known = history.steps.get(key, Outcome(began, "", ()))
                if known.at == began:
                    waited = event.occurred_at - began
                    history.steps[key] = replace(known, answers=(*known.answers, (waited, fact)))
            case _:
                pass


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
