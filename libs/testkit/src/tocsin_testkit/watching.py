"""What must hold at every step of a run, and ends it at the step that breaks it.

`invariants` looks when everything has settled; here a failure shows what had just happened. The
watcher folds the log for itself as it grows, and is asked before every call to a provider.
"""

from __future__ import annotations

from notifier.domain.heartbeats import beat_id, closing_id
from notifier.heartbeats import HEARTBEATS
from notifier.ports import Sending
from tocsin_casebook import INCIDENTS
from tocsin_contracts.dispositions import Disposed
from tocsin_contracts.event import Event, Fact, Writer
from tocsin_contracts.heartbeats import HeartbeatAttempted
from tocsin_contracts.incidents import (
    LevelReached,
    NotificationAttempted,
    Purpose,
    RemediationStarted,
    SeverityRaised,
)
from tocsin_incident import IncidentState, Status, fold
from tocsin_runtime.events import decode
from tocsin_runtime.records import Record
from tocsin_simulation.system import System
from tocsin_testkit.invariants import Broken

_EVENTS = (INCIDENTS, "dispositions", "alerts", "alerts.urgent")


class Watch:
    """Watches a system from now on.

    Attributes:
        states: Every incident, as the log has it so far.
        looked: How many steps were looked at.
    """

    def __init__(self, system: System) -> None:
        self.states: dict[str, IncidentState] = {}
        self.looked = 0
        self._loop = system.loop
        self._kinds: dict[str, tuple[str, str]] = {}
        self._attempts: dict[tuple[str, int], tuple[str, bool]] = {}
        self._levels_before_raise: dict[str, int] = {}
        self._called: set[tuple[str, int, str]] = set()
        self._keys: dict[tuple[str, str], str] = {}
        system.log.appended.append(self._appended)
        system.providers.attempting.append(self._attempting)

    def _broken(self, sentence: str) -> None:
        def end() -> None:
            raise Broken(f"{sentence}\n{self._loop.tail()}")

        # From a callback of the world's: what we are called from must not be able to catch it.
        self._loop.call_as(self._loop.world, 0, end)

    def _appended(self, record: Record) -> None:
        topic = record.position.topic
        if topic == HEARTBEATS:
            self._beat(decode(record))
        if topic not in _EVENTS:
            return
        self.looked += 1
        event = decode(record)
        self._one_writer_and_one_meaning(event, record)
        if topic == INCIDENTS:
            self._folded(event)
        elif isinstance(event.fact, Disposed):
            self._names_incidents_that_exist(event.fact, record)

    def _beat(self, event: Event[Fact]) -> None:
        """A synthetic page is attempted in the log before it is made, as any other."""
        if isinstance(event.fact, HeartbeatAttempted):
            beat = beat_id(event.subject, event.fact.channel, event.fact.due_at)
            for one in (beat, closing_id(beat)):
                attempt = (one, event.fact.attempt)
                self._attempts.setdefault(attempt, (event.fact.instance, True))

    def _one_writer_and_one_meaning(self, event: Event[Fact], record: Record) -> None:
        """A kind of fact has one writer, and an id is one kind of fact about one subject."""
        if event.fact.WRITER is not Writer.ANY and event.source != f"tocsin/{event.fact.WRITER}":
            self._broken(f"{event.source} wrote {event.type}, which is {event.fact.WRITER}'s")
        meaning = (event.type, event.subject)
        known = self._kinds.setdefault(str(event.id), meaning)
        if known != meaning:
            self._broken(f"id {event.id} is {known}, and now {meaning} ({record.position})")

    def _names_incidents_that_exist(self, said: Disposed, record: Record) -> None:
        """A disposition never speaks of an incident that the log does not hold yet."""
        for disposition in said.dispositions:
            if disposition.incident is not None and disposition.incident not in self.states:
                self._broken(
                    f"{record.position} disposes of {disposition.observation} into "
                    f"{disposition.incident}, which is not in the log"
                )

    def _folded(self, event: Event[Fact]) -> None:
        before = self.states.get(event.subject)
        folded = fold(before, event)
        if folded.state is not None:
            self.states[event.subject] = folded.state
        if folded.ignored is not None or before is None:
            return
        match event.fact:
            case NotificationAttempted() as fact:
                asked = before.notifications[fact.notification]
                wanted = asked.purpose is not Purpose.PAGE or before.status is Status.OPEN
                self._attempts[fact.notification, fact.attempt] = (fact.instance, wanted)
            case LevelReached() as fact:
                self._reached(before, event, fact)
            case RemediationStarted() as fact:
                if not before.status.live:
                    self._broken(f"{event.subject} is {before.status} and {fact.step} starts")
            case SeverityRaised():
                # A worse severity starts its levels again, also one it had before.
                self._levels_before_raise[event.subject] = len(before.levels)
            case _:
                pass

    def _reached(self, before: IncidentState, event: Event[Fact], fact: LevelReached) -> None:
        """A level is never early, never after an answer, and never twice in a generation."""
        if event.occurred_at < fact.due_at:
            self._broken(f"{event.subject}: level {fact.level} came before {fact.due_at}")
        if before.status is not Status.OPEN:
            self._broken(f"{event.subject} is {before.status} and level {fact.level} is reached")
        place = (fact.generation, fact.level)
        if fact.repeat == 0 and (*place, fact.severity) in self._reached_of(event.subject):
            self._broken(f"{event.subject}: level {place} is reached a second time")

    def _reached_of(self, incident: str) -> set[tuple[int, int, str]]:
        return {
            (level.generation, level.level, level.severity)
            for level in self.states[incident].levels[
                self._levels_before_raise.get(incident, 0) : -1
            ]
            if level.repeat == 0
        }

    def _attempting(self, sending: Sending) -> None:
        """A call is made by whoever attempted it in the log, once, and under one key.

        And a page only if nobody had answered by the attempt's place in the log.
        """
        self.looked += 1
        attempt = (sending.notification, sending.attempt)
        caller = self._loop.actor().name
        instance, wanted = self._attempts.get(attempt, ("nobody", True))
        if instance != caller:
            self._broken(f"{caller} calls for {attempt}, which {instance} attempted in the log")
        if not wanted:
            self._broken(f"{caller} pages for {attempt} though somebody had answered before")
        if (*attempt, caller) in self._called:
            self._broken(f"{caller} calls twice for {attempt}")
        self._called.add((*attempt, caller))
        who = sending.target.contact if sending.target is not None else ""
        key = self._keys.setdefault((sending.notification, who), sending.provider_key)
        if key != sending.provider_key:
            self._broken(f"{attempt} went out under {key} and now {sending.provider_key}")
