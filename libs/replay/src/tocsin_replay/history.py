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

import pickle
import statistics
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Cause, Event, Fact, Value, Writer
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState
from tocsin_policy import parse_policy, policy_document
from tocsin_replay.inputs import Inputs, Ranges
from tocsin_replay.keeping import Kept
from tocsin_replay.reading import (
    Progress,
    Recorded,
    Step,
    Version,
    by_incident,
    promised,
    read_policies,
    steps,
)
from tocsin_replay.shelving import Scratch, Shelf
from tocsin_replay.summing import Summing
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Record

T = TypeVar("T")

RAW = ("alerts.raw.urgent", "alerts.raw")
SEEN = ("alerts.urgent", "alerts")
SILENCES = "silences"

TAKES: tuple[type[Fact], ...] = (facts.Acknowledged, facts.Mitigated, facts.Resolved)
"""Answers by which somebody takes an incident: the first of an escalation is its response."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

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
    answers: tuple[tuple[timedelta, Fact], ...]

    @property
    def delivered(self) -> bool:
        """Whether a provider took the message."""
        return isinstance(self.answers[0][1], facts.NotificationDelivered)


class Answers:
    """How people and the world answered, to be looked up: on disk where it is much."""

    def __init__(self) -> None:
        self._stories = Shelf()
        self._holders = Shelf()
        self._calls = Shelf()

    def story(self, incident: str) -> Story | None:
        """What people did about a recorded incident, if they did something."""
        found: Story | None = _unpickled(self._stories.get(incident))
        return found

    def holders(self, key: str, alerts: Iterable[str]) -> list[str]:
        """Recorded incidents that held one of these episodes, and that people did something about.

        Args:
            key: The record key of the alerts.
        """
        found: dict[str, None] = {}
        for held in self._holders.find(f"{key} {alert}" for alert in alerts):
            found |= dict.fromkeys(held.decode().split())
        return list(found)

    def call(self, notification: str, attempt: int) -> Outcome | None:
        """How a call went."""
        found: Outcome | None = _unpickled(self._calls.get(f"{notification} {attempt}"))
        return found

    def tell(self, story: Story, alerts: Iterable[tuple[str, str]]) -> None:
        """Add a story and the alerts, by key and episode, that it is about."""
        self._stories.put(story.incident, pickle.dumps(story))
        for key, alert in alerts:
            name = f"{key} {alert}"
            held = self._holders.get(name)
            said = story.incident.encode()
            self._holders.put(name, said if held is None else held + b" " + said)

    def called(self, notification: str, attempt: int, outcome: Outcome) -> None:
        """Add how a call went."""
        self._calls.put(f"{notification} {attempt}", pickle.dumps(outcome))

    def settle(self) -> None:
        """There are no more: from now on they may be handed to another process."""
        for shelf in (self._stories, self._holders, self._calls):
            shelf.settle()


def _unpickled(held: bytes | None) -> Any:  # noqa: ANN401 - what was put there
    return None if held is None else pickle.loads(held)  # noqa: S301 - written by this process


@dataclass(slots=True)
class Calls:
    """The calls to a channel.

    Attributes:
        delivered: When those began that went well, in seconds since 1970.
        took: How many seconds each of these took.
        failed: When those began that failed, and which they were.
    """

    delivered: array[float] = field(default_factory=lambda: array("d"))
    took: array[float] = field(default_factory=lambda: array("d"))
    failed: list[tuple[float, str, int]] = field(default_factory=list)

    def add(self, notification: str, attempt: int, outcome: Outcome) -> None:
        """Add a call, whenever it was."""
        at = outcome.at.timestamp()
        if outcome.delivered:
            self.delivered.append(at)
            self.took.append(outcome.answers[0][0].total_seconds())
        else:
            self.failed.append((at, notification, attempt))

    def sort(self) -> None:
        """Put them in the order of time, once there are no more."""
        self.delivered = array("d", sorted(self.delivered))
        self.failed.sort()

    def failing(self, at: datetime, within: timedelta) -> tuple[str, int] | None:
        """The call nearest to an instant, if that is near and failed."""
        place = at.timestamp()
        around = _around(self.failed, (place,))
        nearest = min(around, key=lambda call: abs(call[0] - place), default=None)
        if nearest is None:
            return None
        off = abs(nearest[0] - place)
        well = min((abs(one - place) for one in _around(self.delivered, place)), default=off)
        return nearest[1:] if off <= min(well, within.total_seconds()) else None


def _around(held: Sequence[T], place: Any) -> Sequence[T]:  # noqa: ANN401 - comparable with T
    after = bisect_left(held, place)
    return held[max(0, after - 1) : after + 1]


@dataclass(slots=True)
class History:
    """A recording, as inputs.

    What grows with its length is on disk, but for what little is said of each incident and call.

    Attributes:
        inputs: Deliveries as they were received, in the order of the log.
        silences: What people did not want to hear about, as recorded.
        answers: How people and providers answered.
        recorded: What each incident that opened in the range came to.
        channels: Channel -> the calls to it.
        takes: Channel -> the median time a call to it took that went well.
        steps: (system, playbook, step) -> how its first run went.
        ends_at: When the recording ends.
        scratch: Where whatever comes of it may be put down.
    """

    scratch: Scratch = field(default_factory=Scratch)
    inputs: Inputs = field(default_factory=Inputs)
    silences: list[Record] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)
    recorded: Kept = field(default_factory=Kept)
    channels: dict[str, Calls] = field(default_factory=dict)
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
    oldest = history.inputs.first
    history.begins_at = None if oldest is None else oldest.recorded_at
    last = history.inputs.latest_at
    delays: dict[str, list[timedelta]] = {}
    async for incident, recorded in by_incident(reader, progress, until):
        newest = max(one.recorded_at for one in recorded)
        last = newest if last is None else max(last, newest)
        _take(history, incident, recorded, delays, keep=incident == about)
    history.answers.settle()
    history.recorded.settle()
    history.delays = {who: _median(held) for who, held in delays.items()}
    for channel, calls in history.channels.items():
        calls.sort()
        if calls.took:
            history.takes[channel] = timedelta(seconds=statistics.median(calls.took))
    every = [delay for held in delays.values() for delay in held]
    history.usual = _median(every) if every else USUAL_DELAY
    history.ends_at = until if until is not None else last
    return history


def _take(
    history: History,
    incident: str,
    recorded: Sequence[Recorded],
    delays: dict[str, list[timedelta]],
    *,
    keep: bool,
) -> None:
    """Take in what one incident tells, and what it came to."""
    taking = _Taking(history, incident, delays, keep=keep)
    summing: Summing | None = None
    for step in steps(recorded):
        if step.after is not None:
            summing = summing or Summing(promised(history.versions, step.after))
            summing.take(step)
            taking.add(step, step.after)
    if taking.touched:
        history.answers.tell(taking.story(), taking.alerts)
    came_to = None if summing is None else summing.summary()
    if came_to is not None and _opened_in(history, recorded):
        history.recorded.put(came_to)


def _opened_in(history: History, recorded: Sequence[Recorded]) -> bool:
    """Whether it is an incident, and opened when the recording had begun."""
    begins_at = history.begins_at or _LONG_AGO
    return any(
        isinstance(one.event.fact, facts.Opened) and one.event.occurred_at >= begins_at
        for one in recorded
    )


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
        self._responses: list[Response] = []
        self._followups: list[Followup] = []
        self._pages: dict[str, datetime] = {}
        self._number = 1
        self._taken = False
        self._attempts: dict[tuple[str, int], datetime] = {}
        self._called: set[tuple[str, int]] = set()
        self._started: dict[tuple[str, str], datetime] = {}
        self.alerts: dict[tuple[str, str], None] = {}
        self.touched = keep

    def story(self) -> Story:
        return Story(self._incident, tuple(self._responses), tuple(self._followups))

    def add(self, step: Step, after: IncidentState) -> None:
        """Add the next fact."""
        event, fact = step.recorded.event, step.recorded.event.fact
        if step.before is not None and step.before.generation != after.generation:
            self._number, self._taken = self._number + 1, False
            self._pages.clear()
        if self.touched:
            self._hold(event.key, fact)
        if isinstance(fact, facts.NotificationDelivered) and step.ignored is None:
            page = after.notifications[fact.notification]
            if page.purpose is Purpose.PAGE and page.target is not None:
                self._pages.setdefault(page.target.contact, event.occurred_at)
        self._world(step.recorded, after)
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
        self.alerts[key, episode(alert.fingerprint, alert.starts_at)] = None

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
                if began is not None and held is not None and place not in self._called:
                    self._called.add(place)
                    outcome = Outcome(began, ((event.occurred_at - began, fact),))
                    history.answers.called(*place, outcome)
                    history.channels.setdefault(held.channel, Calls()).add(*place, outcome)
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
                known = history.steps.get(key)
                if known is None or began < known.at:
                    known = Outcome(began, ())
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
