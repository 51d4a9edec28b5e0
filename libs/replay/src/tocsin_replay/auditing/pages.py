"""Every incident that had to page has a page, an answer in time, or a recorded failure."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from escalation_timer.domain.deadlines import Deadline, Kind, deadlines
from tocsin_contracts.event import Event, Fact, Writer
from tocsin_contracts.incidents import Purpose
from tocsin_incident import IncidentState, Status, fold, state_bytes
from tocsin_incident.state import Level, Notification, NotificationStatus
from tocsin_replay.auditing.findings import FindingKind, Findings
from tocsin_replay.reading import Version
from tocsin_runtime.records import Record

MOST_ENDED = 1_000
"""Ended incidents of a partition kept as they are; older ones are packed, in a hundredth of that.

They are kept at all because any of them may open again.
"""

_ESCALATES = frozenset({Kind.LEVEL, Kind.ACKNOWLEDGEMENT})
_MOVES = frozenset({Writer.INGESTION, Writer.CLASSIFIER, Writer.ESCALATION_TIMER})
_CALLED = frozenset({NotificationStatus.REQUESTED, NotificationStatus.ATTEMPTED})

_Due = tuple[str, int, str, int, int]


class InForce:
    """The versions of every policy, by when the log had them."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self._versions: dict[str, list[Version]] = {}
        for version in versions:
            self._versions.setdefault(version.policy.system, []).append(version)
        self._times = {
            system: [version.recorded_at for version in held]
            for system, held in self._versions.items()
        }

    def at(self, system: str, at: datetime) -> Version | None:
        """The version that decided at an instant."""
        number = bisect_right(self._times.get(system, []), at)
        return self._versions[system][number - 1] if number else None


class Pages:
    """Folds the incidents of one partition and holds them to what they promise.

    Args:
        since: Incidents to which nothing has happened since then are not judged.
        lateness: How much later than due a level may be reached.
    """

    def __init__(
        self,
        versions: InForce,
        findings: Findings,
        since: datetime | None,
        until: datetime,
        lateness: timedelta,
    ) -> None:
        self.subjects: set[str] = set()
        self._versions = versions
        self._findings = findings
        self._since = since
        self._until = until
        self._lateness = lateness
        self._states: dict[str, IncidentState] = {}
        self._ended: OrderedDict[str, IncidentState] = OrderedDict()
        self._packed: dict[str, bytes] = {}
        self._latest: dict[str, datetime] = {}
        # Since when each deadline of an incident has stood: a severity raised late makes levels
        # due in the past, and they are late only once somebody could have reached them.
        self._stood: dict[str, dict[_Due, datetime]] = {}
        self._told: set[tuple[str, _Due]] = set()

    def take(self, record: Record, event: Event[Fact]) -> None:
        """Fold one fact, having asked whether it came too late to be the first answer."""
        incident = event.subject
        self.subjects.add(incident)
        before = self._find(incident)
        moves = event.fact.WRITER in _MOVES
        if before is not None and moves:
            self._judge_deadlines(before, record.recorded_at)
        folded = fold(before, event)
        if folded.ignored is not None and event.fact.WRITER is Writer.INGESTION:
            self._findings.counts["answers without effect"] += 1
        if folded.state is None:
            return
        self._latest[incident] = record.recorded_at
        self._keep(folded.state)
        if moves and folded.state.status in {Status.OPEN, Status.ACKNOWLEDGED}:
            self._stand(folded.state, record.recorded_at)
        elif moves:
            self._stood.pop(incident, None)

    def finish(self) -> None:
        """Judge every incident as the log leaves it."""
        for state in self._each():
            if self._since is not None and self._latest[state.incident] < self._since:
                continue
            if state.status is Status.MUTED:
                self._findings.counts["muted incidents"] += 1
                continue
            self._findings.counts["incidents"] += 1
            self._judge_deadlines(state, self._until)
            if state.status is not Status.MERGED:  # what was merged away is told of there
                for level in state.levels:
                    self._judge_level(state, level)
            for held in state.notifications.values():
                if held.purpose is Purpose.PAGE:
                    self._judge_page(state, held)

    def _find(self, incident: str) -> IncidentState | None:
        held = self._states.get(incident) or self._ended.pop(incident, None)
        if held is None and incident in self._packed:
            held = _unpacked(self._packed.pop(incident))
        return held

    def _keep(self, state: IncidentState) -> None:
        if state.status.live:
            self._states[state.incident] = state
            return
        self._states.pop(state.incident, None)
        self._ended[state.incident] = state
        if len(self._ended) > MOST_ENDED:
            incident, oldest = self._ended.popitem(last=False)
            self._packed[incident] = zlib.compress(state_bytes(oldest))

    def _each(self) -> Iterator[IncidentState]:
        yield from self._states.values()
        yield from self._ended.values()
        for packed in self._packed.values():
            yield _unpacked(packed)

    def _pending(self, state: IncidentState, at: datetime) -> Iterator[tuple[_Due, Deadline]]:
        version = self._versions.at(state.system, at)
        if version is None:
            return
        for deadline in deadlines(state, version.policy):
            if deadline.kind in _ESCALATES:
                number = 0 if deadline.level is None else deadline.level.number
                named = (deadline.kind, state.generation, state.severity, number, deadline.repeat)
                yield named, deadline

    def _stand(self, state: IncidentState, at: datetime) -> None:
        before = self._stood.get(state.incident, {})
        self._stood[state.incident] = {
            named: before.get(named, at) for named, _ in self._pending(state, at)
        }

    def _judge_deadlines(self, state: IncidentState, at: datetime) -> None:
        """What was due so long before `at` that somebody should have written it by then."""
        stood = self._stood.get(state.incident)
        if not stood:
            return
        version = self._versions.at(state.system, at)
        for named, deadline in self._pending(state, at):
            since = max(deadline.due_at, stood.get(named, at))
            if version is not None:
                since = max(since, version.recorded_at)
            if since + self._lateness >= at or (state.incident, named) in self._told:
                continue
            self._told.add((state.incident, named))
            what = (
                f"level {deadline.level.number} of {state.severity}"
                if deadline.level is not None
                else "the expiry of its acknowledgement"
            )
            detail = f"{what} was due and nobody wrote it by {at:%Y-%m-%d %H:%M:%S}"
            self._findings.wrong(FindingKind.NOT_ESCALATED, state.incident, detail, deadline.due_at)

    def _judge_level(self, state: IncidentState, level: Level) -> None:
        self._findings.counts["levels"] += 1
        for target in level.targets:
            if not target.channels:
                continue
            told = any(
                held.purpose is Purpose.PAGE
                and held.level == level.level
                and held.generation == level.generation
                and held.target is not None
                and held.target.contact == target.contact
                for held in state.notifications.values()
            )
            if told:
                continue
            if level.reached_at + self._lateness > self._until:
                self._findings.on_its_way("page", state.incident, level.reached_at)
                continue
            detail = f"level {level.level} was reached; nobody told {target.contact}"
            self._findings.wrong(FindingKind.NOBODY_PAGED, state.incident, detail, level.reached_at)

    def _judge_page(self, state: IncidentState, held: Notification) -> None:
        self._findings.counts["pages"] += 1
        if held.status is NotificationStatus.FAILED:
            self._findings.counts["pages that failed, as recorded"] += 1
        if held.status.settled:
            return
        since: datetime | None = held.retry_at
        if held.status in _CALLED:
            since = held.attempted_at or held.requested_at
        if since is None:
            return  # in doubt for good: the log says so, and that it is not tried again
        who = held.target.contact if held.target is not None else "somebody"
        if since + self._lateness > self._until:
            self._findings.on_its_way("page", f"{state.incident} {held.notification}", since)
            return
        detail = (
            f"{held.notification} to {who} over {held.channel}"
            f" stays {held.status} (attempt {held.attempts})"
        )
        self._findings.wrong(FindingKind.NO_OUTCOME, state.incident, detail, since)


def _unpacked(packed: bytes) -> IncidentState:
    return IncidentState.model_validate_json(zlib.decompress(packed))


class Settled:
    """What the latest records were disposed of by; the oldest is forgotten.

    >>> settled = Settled(most=1)
    >>> settled.add(UUID(int=1), UUID(int=2))
    >>> settled.add(UUID(int=3), UUID(int=4))
    >>> UUID(int=1) in settled, settled.get(UUID(int=3))
    (False, UUID('00000000-0000-0000-0000-000000000004'))
    """

    def __init__(self, most: int) -> None:
        self._held: OrderedDict[UUID, UUID] = OrderedDict()
        self._most = most

    def __contains__(self, seen: UUID) -> bool:
        return seen in self._held

    def get(self, seen: UUID) -> UUID | None:
        """By what, if that is still known."""
        return self._held.get(seen)

    def add(self, seen: UUID, by: UUID) -> None:
        """Take in what a record was disposed of by."""
        self._held[seen] = by
        if len(self._held) > self._most:
            self._held.popitem(last=False)
