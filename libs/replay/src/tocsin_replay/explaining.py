"""The story of one alert: received, normalised, matched, grouped, muted by what, whom it paged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from ingestion.domain.delivery import Malformed
from ingestion.domain.sources import alertmanager_events
from tocsin_contracts import incidents as facts
from tocsin_contracts.alerts import Observation, ObservationStatus, Observed
from tocsin_contracts.dead_letters import DeadLettered
from tocsin_contracts.dispositions import Disposed, Disposition, Outcome
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import Muting, Purpose
from tocsin_incident import IncidentState, Status
from tocsin_incident.state import Notification, NotificationStatus
from tocsin_policy import (
    Matcher,
    Operator,
    Policy,
    Silence,
    SilenceBook,
    claim,
    classify,
    group_key,
    matches,
    parse_matchers,
)
from tocsin_replay.gathering import DISPOSITIONS, SILENCES, records_at
from tocsin_replay.history import RAW, SEEN
from tocsin_replay.ranging import span
from tocsin_replay.reading import (
    INCIDENTS,
    Progress,
    Recorded,
    Step,
    Version,
    in_force,
    read_incident,
    read_policies,
    steps,
)
from tocsin_replay.wording import words
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader
from tocsin_runtime.records import Position, Record

MOST_ALERTS = 5
"""Alerts that are told of; the newest, and the others are named."""

MOST_NAMED = 100

_HOLDING = (facts.Opened, facts.AlertsAttached, facts.AlertsMuted)
"""What an incident comes to hold alerts by."""

MOST_SEEN = 200
"""Observations of one alert that are told one by one: the first and the latest. Between them they
are counted."""

_FINGERPRINT_DIGITS = 16
_SAID_NOTHING_NEW = frozenset({Outcome.REPEATED})


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Line(_Part):
    """One thing that happened to an alert.

    Attributes:
        stage: `received`, `normalised`, `matched`, `grouped`, `muted`, `incident`, `paged` …
        where: The record or incident that says so.
    """

    at: datetime
    stage: str
    what: str
    why: str = ""
    where: str = ""


class AlertStory(_Part):
    """What became of one alert.

    Attributes:
        verdict: Whom it paged, or why nobody, one sentence each.
    """

    fingerprint: str
    key: str
    name: str
    labels: dict[str, str]
    incidents: tuple[str, ...]
    verdict: tuple[str, ...]
    lines: tuple[Line, ...]


class Explained(_Part):
    """What was found.

    Attributes:
        others: Alerts that fit as well and are not told of, by name and fingerprint.
        set_aside: Dead letters that hold what was asked for, where no alert does.
    """

    stories: tuple[AlertStory, ...]
    others: tuple[str, ...] = ()
    set_aside: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """Which alerts are meant: by observation, by fingerprint, or by labels."""

    observation: UUID | None = None
    fingerprint: str = ""
    matchers: tuple[Matcher, ...] = ()

    def fits(self, seen: Observation) -> bool:
        """Whether this observation is meant."""
        if self.observation is not None:
            return seen.id == self.observation
        if self.fingerprint:
            return seen.fingerprint == self.fingerprint
        return matches(self.matchers, seen.labels)

    def needles(self) -> tuple[bytes, ...]:
        """What the bytes of a record must hold: to decode those of others would cost the most."""
        if self.observation is not None:
            return (str(self.observation).encode(),)
        if self.fingerprint:
            return (self.fingerprint.encode(),)
        values = (m.value for m in self.matchers if m.operator == "=" and m.value)
        return tuple(json.dumps(value, ensure_ascii=False)[1:-1].encode() for value in values)


def query_of(words: Sequence[str]) -> Query:
    """The alerts somebody means: an observation's id, a fingerprint, a name, or matchers.

    >>> query_of(["0d4b8e0c6b1f4a3e"]).fingerprint
    '0d4b8e0c6b1f4a3e'
    >>> [str(m) for m in query_of(["alertname=Down", "instance=~web.*"]).matchers]
    ['alertname="Down"', 'instance=~"web.*"']
    >>> [str(m) for m in query_of(["Down"]).matchers]
    ['alertname="Down"']

    Raises:
        ValueError: It is no matcher.
    """
    if len(words) == 1 and not any(sign in words[0] for sign in "=~!"):
        word = words[0].lower()
        if len(word) == _FINGERPRINT_DIGITS and set(word) <= set("0123456789abcdef"):
            return Query(fingerprint=word)
        try:
            return Query(observation=UUID(word))
        except ValueError:
            return Query(matchers=(Matcher("alertname", Operator.EQUAL, words[0]),))
    return Query(matchers=tuple(m for word in words for m in parse_matchers(word)))


@dataclass(slots=True)
class _Alert:
    """One alert as the lanes show it."""

    key: str
    fingerprint: str
    labels: dict[str, str]
    first: list[_Seen] = field(default_factory=list)
    latest: list[_Seen] = field(default_factory=list)
    left_out: int = 0

    def add(self, seen: _Seen) -> None:
        self.labels = seen.observation.labels or self.labels
        half = MOST_SEEN // 2
        if len(self.first) < half:
            self.first.append(seen)
            return
        self.latest.append(seen)
        if len(self.latest) > half:
            self.latest.pop(0)
            self.left_out += 1

    @property
    def seen(self) -> list[_Seen]:
        return [*self.first, *self.latest]


@dataclass(slots=True)
class _Seen:
    record: Record
    event: Event[Fact]
    fact: Observed
    observation: Observation
    disposition: Disposition | None = None
    disposed_at: datetime | None = None


async def explain_alert(
    reader: Reader,
    query: Query,
    since: datetime | None = None,
    progress: Progress | None = None,
) -> Explained:
    """The stories of the alerts that are meant and were seen since an instant, newest first.

    What is read: the lanes, dispositions and incidents of that time in the alerts' partitions, and
    of `alerts.raw` the records that were the cause and what Alertmanager told of itself.
    """
    found = await _lanes(reader, query, since, progress)
    ordered = sorted(found, key=lambda alert: alert.seen[-1].record.recorded_at, reverse=True)
    chosen = ordered[:MOST_ALERTS]
    if not chosen:
        return Explained(stories=(), set_aside=await _set_aside(reader, query, since))
    await _dispositions(reader, chosen, since, progress)
    telling = _Telling(
        versions=await read_policies(reader),
        silences=await _silences(reader),
        raw=await records_at(reader, _causes(chosen)),
        evidence=await _evidence(reader, chosen, since, progress),
    )
    stories = []
    for alert in chosen:
        names = dict.fromkeys(
            one.disposition.incident
            for one in alert.seen
            if one.disposition is not None and one.disposition.incident is not None
        )
        names |= await _holders(reader, alert, since, progress)
        recorded = {name: await read_incident(reader, name, progress) for name in names}
        stories.append(telling.story(alert, recorded))
    others = tuple(
        f"{alert.labels.get('alertname', '?')} {alert.fingerprint}"
        for alert in ordered[MOST_ALERTS:]
    )
    return Explained(stories=tuple(stories), others=others[:MOST_NAMED])


async def _records(
    reader: Reader,
    topic: str,
    since: datetime | None,
    needles: Iterable[bytes],
    progress: Progress | None,
) -> list[Record]:
    """Records of a topic since an instant whose bytes hold all of these."""
    wanted = tuple(needles)
    found = []
    try:
        width = await reader.partitions(topic)
    except LookupError:
        return []  # an archive need not hold every topic
    for number in range(width):
        start, end = await span(reader, topic, number, since)
        async for record in reader.read(topic, number, start, end):
            if progress is not None:
                progress(1)
            value = record.value
            if value is None or (since is not None and record.recorded_at < since):
                continue
            if all(needle in value for needle in wanted):
                found.append(record)
    return found


async def _lanes(
    reader: Reader, query: Query, since: datetime | None, progress: Progress | None
) -> list[_Alert]:
    alerts: dict[tuple[str, str], _Alert] = {}
    records = [
        record
        for topic in SEEN
        for record in await _records(reader, topic, since, query.needles(), progress)
    ]
    for record in sorted(records, key=lambda one: (one.recorded_at, one.position)):
        event = _event(record)
        if event is None or not isinstance(event.fact, Observed):
            continue
        for one in event.fact.observations:
            if query.fits(one):
                place = (event.key, one.fingerprint)
                alert = alerts.setdefault(place, _Alert(*place, labels={}))
                alert.add(_Seen(record, event, event.fact, one))
    return list(alerts.values())


def _event(record: Record) -> Event[Fact] | None:
    try:
        return decode(record)
    except Poison:
        return None  # its consumer has dead-lettered it


async def _dispositions(
    reader: Reader, alerts: Iterable[_Alert], since: datetime | None, progress: Progress | None
) -> None:
    wanted: dict[UUID, list[_Seen]] = {}
    partitions = set()
    for alert in alerts:
        for seen in alert.seen:
            wanted.setdefault(seen.observation.id, []).append(seen)
            partitions.add(seen.record.position.partition)
    for number in sorted(partitions):
        start, end = await span(reader, DISPOSITIONS, number, since)
        async for record in reader.read(DISPOSITIONS, number, start, end):
            if progress is not None:
                progress(1)
            event = _event(record)
            if event is None or not isinstance(event.fact, Disposed):
                continue
            for one in event.fact.dispositions:
                for seen in wanted.get(one.observation, ()):
                    if seen.disposition is None:  # what was said first is what was said
                        seen.disposition, seen.disposed_at = one, event.occurred_at


async def _holders(
    reader: Reader, alert: _Alert, since: datetime | None, progress: Progress | None
) -> dict[str, None]:
    """Incidents that ever held it, in the order of the log.

    A disposition is written once. What keeps an alert of which nobody hears is not named by it, nor
    where the alert goes when it is heard again.
    """
    named: dict[str, None] = {}
    needle = alert.fingerprint.encode()
    episodes = {episode(s.observation.fingerprint, s.observation.starts_at) for s in alert.seen}
    for number in sorted({seen.record.position.partition for seen in alert.seen}):
        start, end = await span(reader, INCIDENTS, number, since)
        async for record in reader.read(INCIDENTS, number, start, end):
            if progress is not None:
                progress(1)
            event = _event(record) if needle in (record.value or b"") else None
            if event is None or not isinstance(event.fact, _HOLDING):
                continue
            held = (episode(one.fingerprint, one.starts_at) for one in event.fact.alerts)
            if not episodes.isdisjoint(held):
                named[event.subject] = None
    return named


async def _silences(reader: Reader) -> SilenceBook:
    book = SilenceBook()
    for record in await _records(reader, SILENCES, None, (), None):
        event = _event(record)
        if event is not None:
            book.apply(event)
    return book


def _causes(alerts: Iterable[_Alert]) -> list[Position]:
    found = []
    for alert in alerts:
        for seen in alert.seen:
            cause = seen.fact.cause
            if cause is not None and cause.topic is not None and cause.offset is not None:
                found.append(Position(cause.topic, cause.partition or 0, cause.offset))
    return found


async def _evidence(
    reader: Reader, alerts: Sequence[_Alert], since: datetime | None, progress: Progress | None
) -> dict[str, list[tuple[Position, alertmanager_events.Evidence]]]:
    """What Alertmanager's event recorder told of these alerts, by fingerprint."""
    found: dict[str, list[tuple[Position, alertmanager_events.Evidence]]] = {}
    wanted = {alert.fingerprint for alert in alerts}
    labels = {frozenset(alert.labels.items()): alert.fingerprint for alert in alerts}
    for topic in RAW:
        for record in await _records(reader, topic, since, (b'"@timestamp"',), progress):
            try:
                told = alertmanager_events.evidence(record.value or b"")
            except Malformed:
                continue
            for one in told:
                # A key's labels are added at the door; then only the labels it sent are alike.
                meant = one.fingerprint if one.fingerprint in wanted else None
                meant = meant or labels.get(frozenset(one.labels.items()))
                if meant is not None:
                    found.setdefault(meant, []).append((record.position, one))
    return found


async def _set_aside(reader: Reader, query: Query, since: datetime | None) -> tuple[Line, ...]:
    """Dead letters whose record holds what was asked for."""
    found = []
    for record in await _records(reader, "dead-letters", since, (), None):
        event = _event(record)
        if event is None or not isinstance(event.fact, DeadLettered):
            continue
        fact = event.fact
        if fact.value is not None and all(needle in fact.value for needle in query.needles()):
            found.append(
                Line(
                    at=event.occurred_at,
                    stage="set aside",
                    what=f"{fact.service} could not handle it: {fact.reason}",
                    why=fact.detail,
                    where=event.subject,
                )
            )
    return tuple(found[-MOST_NAMED:])


@dataclass(frozen=True, slots=True)
class _Telling:
    versions: tuple[Version, ...]
    silences: SilenceBook
    raw: dict[Position, Record]
    evidence: dict[str, list[tuple[Position, alertmanager_events.Evidence]]]

    def story(self, alert: _Alert, recorded: dict[str, tuple[Recorded, ...]]) -> AlertStory:
        lines = [*self._seen(alert), *self._alertmanager(alert.fingerprint)]
        episodes = {episode(s.observation.fingerprint, s.observation.starts_at) for s in alert.seen}
        verdict: list[str] = []
        for name, held in recorded.items():
            told = _Incident(name, tuple(steps(held)), episodes, self.silences)
            lines += told.lines()
            verdict += told.verdict()
        lines.sort(key=lambda line: line.at)
        return AlertStory(
            fingerprint=alert.fingerprint,
            key=alert.key,
            name=alert.labels.get("alertname", ""),
            labels=alert.labels,
            incidents=tuple(recorded),
            verdict=tuple(verdict) or tuple(_without_incident(alert)),
            lines=tuple(lines),
        )

    def _alertmanager(self, fingerprint: str) -> Iterator[Line]:
        for position, one in self.evidence.get(fingerprint, ()):
            yield Line(
                at=one.at,
                stage="Alertmanager",
                what=f"{one.instance} {one.did} it".strip(),
                why=one.by,
                where=_place(position),
            )

    def _seen(self, alert: _Alert) -> Iterator[Line]:
        told: tuple[object, ...] | None = None
        again = 0
        for number, seen in enumerate(alert.seen):
            one, said = seen.observation, seen.disposition
            if number == len(alert.first) and alert.left_out:
                yield Line(
                    at=seen.fact.received_at,
                    stage="received",
                    what=f"{alert.left_out} more times before this",
                )
            repeats = said is not None and said.outcome in _SAID_NOTHING_NEW
            now = (one.status, one.starts_at, said.reason if said is not None else "")
            if repeats and told == now:
                again += 1
                continue
            if again:
                yield self._repeated(seen, again)
                again = 0
            told = now if repeats else None
            yield from self._one(seen)
        if again:
            yield self._repeated(alert.seen[-1], again)

    def _repeated(self, seen: _Seen, again: int) -> Line:
        return Line(
            at=seen.fact.received_at,
            stage="received",
            what=f"the same, {again} more times until then",
            where=_place(seen.record.position),
        )

    def _one(self, seen: _Seen) -> Iterator[Line]:
        fact, one = seen.fact, seen.observation
        yield self._received(seen)
        policy = self._policy(seen)
        told_system = claim([version.policy for version in self._latest(seen)], one.labels)
        lane = "urgent lane" if one.urgent else "lane"
        yield Line(
            at=fact.received_at,
            stage="normalised",
            what=f"observation {one.id}: {one.status} since {one.starts_at:%Y-%m-%d %H:%M:%S},"
            f" to {seen.event.key} by the {lane}",
            why=told_system.reason,
            where=_place(seen.record.position),
        )
        if policy is not None and one.status is ObservationStatus.FIRING:
            yield from self._matched(seen, policy)
        yield self._disposed(seen)

    def _received(self, seen: _Seen) -> Line:
        cause = seen.fact.cause
        where, why = "", "the bytes are no longer in the log"
        if cause is not None and cause.topic is not None and cause.offset is not None:
            position = Position(cause.topic, cause.partition or 0, cause.offset)
            where = _place(position)
            raw = self.raw.get(position)
            if raw is not None:
                path = (raw.header("path") or b"").decode(errors="replace")
                why = f"{len(raw.value or b'')} bytes{f' at {path}' if path else ' by Kafka'}"
        truncated = f", {seen.fact.truncated} alerts cut off" if seen.fact.truncated else ""
        return Line(
            at=seen.fact.received_at,
            stage="received",
            what=f"from {seen.fact.source}, among {len(seen.fact.observations)}{truncated}",
            why=why,
            where=where,
        )

    def _policy(self, seen: _Seen) -> Policy | None:
        system = seen.event.key.partition("/")[0]
        version = in_force(self.versions, system, seen.disposed_at or seen.record.recorded_at)
        return None if version is None else version.policy

    def _latest(self, seen: _Seen) -> list[Version]:
        systems = {version.policy.system for version in self.versions}
        found = (in_force(self.versions, name, seen.record.recorded_at) for name in systems)
        return [version for version in found if version is not None]

    def _matched(self, seen: _Seen, policy: Policy) -> Iterator[Line]:
        one = seen.observation
        said = classify(policy, one.labels, one.annotations)
        where = f"policy of {policy.system}"
        at = seen.disposed_at or seen.record.recorded_at
        yield Line(
            at=at,
            stage="matched",
            what=f"{said.severity} by rule {said.rule!r}{', urgent' if said.urgent else ''}",
            why=said.reason,
            where=where,
        )
        for miss in said.near_misses:
            yield Line(at=at, stage="near miss", what=miss, where=where)
        shared = ", ".join(
            f'{name}="{value}"' for name, value in json.loads(group_key(policy, one.labels))
        )
        yield Line(at=at, stage="grouped", what=f"with all that share {shared or 'nothing'}")

    def _disposed(self, seen: _Seen) -> Line:
        said = seen.disposition
        if said is None or seen.disposed_at is None:
            return Line(
                at=seen.record.recorded_at,
                stage="disposition",
                what="none: nothing says what became of it",
            )
        by = f" by {said.by}" if said.by else ""
        return Line(
            at=seen.disposed_at,
            stage="disposition",
            what=f"{said.outcome}{by}",
            why=words(said.reason),
            where=said.incident or "",
        )


def _without_incident(alert: _Alert) -> Iterator[str]:
    said = alert.seen[-1].disposition
    if said is None:
        yield "Nothing says what became of it: it is on its way, or lost (`tocsin audit` knows)."
        return
    because = words(said.reason)
    yield f"It paged nobody: {said.outcome} ({because}), and it is in no incident."


@dataclass(frozen=True, slots=True)
class _Incident:
    """What one incident says of an alert it holds."""

    name: str
    steps: tuple[Step, ...]
    episodes: set[str]
    silences: SilenceBook

    @property
    def state(self) -> IncidentState | None:
        return self.steps[-1].after if self.steps else None

    def lines(self) -> Iterator[Line]:
        for step in self.steps:
            event = step.recorded.event
            what, why = self._said(event.fact, step)
            if what:
                ignored = f"no effect: {step.ignored}" if step.ignored is not None else why
                stage, _, rest = what.partition(": ")
                yield Line(
                    at=event.occurred_at, stage=stage, what=rest, why=ignored, where=self.name
                )

    def _said(self, fact: Fact, step: Step) -> tuple[str, str]:
        state = step.after
        match fact:
            case facts.Opened():
                return f"incident: {fact.severity} opened: {fact.title}", fact.reason
            case facts.AlertsMuted() if self._about(fact.alerts):
                muted = next(a.muted for a in fact.alerts if self._ours(a) and a.muted is not None)
                return f"muted: {muted.because} by {muted.by}", self._muting(muted)
            case facts.AlertsReleased() if self._about(fact.alerts):
                return "muted: no longer", fact.reason
            case facts.AlertsAttached() | facts.AlertsCleared() if self._about(fact.alerts):
                did = "joined" if isinstance(fact, facts.AlertsAttached) else "cleared"
                return f"incident: it {did}", f"{len(fact.alerts)} alerts at once"
            case facts.SeverityRaised() | facts.SeverityLowered():
                return f"incident: {fact.severity_from} became {fact.severity_to}", fact.reason
            case facts.LevelReached():
                names = ", ".join(target.name for target in fact.targets) or "nobody"
                return f"paged: level {fact.level} tells {names}", f"due {fact.due_at:%H:%M:%S}"
            case (
                facts.NotificationDelivered()
                | facts.NotificationFailed()
                | facts.NotificationInDoubt()
                | facts.NotificationSuperseded()
            ):
                return self._notified(fact.notification, state)
            case facts.Acknowledged() | facts.Mitigated() | facts.Resolved():
                verb = type(fact).__name__.lower()
                return f"answered: {fact.by.name} {verb} it via {fact.by.via}", ""
            case facts.AutoResolved() | facts.Reopened():
                return f"incident: {type(fact).__name__.lower()}", fact.reason
            case facts.Merged():
                return f"incident: merged into {fact.into}", ""
            case _:
                return "", ""

    def _about(self, alerts: Iterable[object]) -> bool:
        return any(self._ours(one) for one in alerts)

    def _ours(self, one: object) -> bool:
        named = getattr(one, "fingerprint", None), getattr(one, "starts_at", None)
        fingerprint, starts_at = named
        if not isinstance(fingerprint, str) or not isinstance(starts_at, datetime):
            return False
        return episode(fingerprint, starts_at) in self.episodes

    def _muting(self, muted: Muting) -> str:
        silence = self.silences.get(muted.by)
        return f"it would have been {muted.severity}" + (_told(silence) if silence else "")

    def _notified(self, name: str, state: IncidentState | None) -> tuple[str, str]:
        held = state.notifications.get(name) if state is not None else None
        if held is None or held.purpose is not Purpose.PAGE:
            return "", ""
        who = held.target.name if held.target is not None else held.channel
        return f"paged: {who} by {held.channel}: {words(held.status)}", words(held.reason)

    def verdict(self) -> Iterator[str]:
        state = self.state
        if state is None:
            yield f"{self.name} is named and the log does not hold it."
            return
        if state.status is Status.MUTED and not self.episodes & state.alerts.keys():
            return  # it was kept there, and has gone home
        if state.status is Status.MUTED or state.quiet:
            yield from self._unheard(state)
            return
        pages = [n for n in state.notifications.values() if n.purpose is Purpose.PAGE]
        yield f"In {state.incident}, {state.severity} {state.status}: {state.title}."
        for held in pages:
            yield _page(held)
        if not pages:
            yield self._nobody(state)

    def _unheard(self, state: IncidentState) -> Iterator[str]:
        for key, held in state.alerts.items():
            if key in self.episodes and held.muting is not None:
                detail = self._muting(held.muting)
                yield (f"It paged nobody: {held.muting.because} by {held.muting.by}; {detail}.")
                return
        yield f"It paged nobody: everything that fires in {state.incident} is muted."

    def _nobody(self, state: IncidentState) -> str:
        if state.first_acknowledged_at is not None:
            return "Nobody was paged: somebody answered before the first level was due."
        if not state.levels:
            return f"Nobody was paged yet: no level of {state.severity} has come, or there is none."
        return "Nobody was paged: the levels that came name nobody who can be reached."


def _page(held: Notification) -> str:
    who = held.target.name if held.target is not None else held.channel
    level = f"level {held.level}" if held.level is not None else "a level"
    about = f"{who} by {held.channel} ({level})"
    because = f": {words(held.reason)}" if held.reason else ""
    at = "" if held.settled_at is None else f" at {held.settled_at:%Y-%m-%d %H:%M:%S}"
    match held.status:
        case NotificationStatus.DELIVERED:
            return f"Paged {about}{at}."
        case NotificationStatus.SUPERSEDED:
            return f"Not paged: {about}{because}, before its turn came."
        case NotificationStatus.FAILED:
            return f"Not reached: {about}{because}."
        case _:
            return f"Being paged: {about}, {held.status} (attempt {held.attempts}){because}."


def _told(silence: Silence) -> str:
    asked = ", ".join(map(str, silence.matchers))
    said = f" ({silence.comment})" if silence.comment else ""
    until = f"{silence.ends_at:%Y-%m-%d %H:%M:%S}"
    return f"; {silence.created_by} silenced {asked} until {until}{said}"


def _place(position: Position) -> str:
    return "-".join(map(str, position))
