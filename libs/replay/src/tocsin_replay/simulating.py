"""A recording lived through again: the services' own functions, virtual time, recorded answers.

Normalising, classifying, folding, escalating, requesting messages and proposing playbooks is done
by what does it in production. Only what stands outside is played: providers and runners answer as
they answered then, and people as `history` says. Time jumps from one thing to the next.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from classifier.handlers import Classifier
from escalation_timer.domain.duty import owed as timer_owed
from ingestion.domain.delivery import Delivery as Parsed
from ingestion.domain.delivery import Received
from ingestion.domain.sources import Sources
from ingestion.handlers import Normaliser
from notifier.domain.duty import event_of as notifier_event
from notifier.domain.duty import owed as notifier_owed
from notifier.domain.outcomes import Unwell, retry_at
from remediation.domain.duty import event_of as remediation_event
from remediation.domain.duty import owed as remediation_owed
from tocsin_casebook import Casebook, InForce, Policies, Reconciler, Silences
from tocsin_contracts import incidents as facts
from tocsin_contracts.alerts import Observed
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Event, Fact, Person, event_id
from tocsin_contracts.ids import episode, key_of
from tocsin_contracts.incidents import Alert, Evidence, IncidentFact, Purpose
from tocsin_incident import Folded, IncidentState, fold
from tocsin_incident.state import Notification
from tocsin_policy import Policy, policy_hash
from tocsin_replay.held import HeldLog
from tocsin_replay.history import RAW, Followup, History, Outcome, Response, Story
from tocsin_replay.keeping import Kept
from tocsin_replay.reading import INCIDENTS, Progress, Recorded, Step
from tocsin_replay.summing import Summing
from tocsin_replay.supposing import Supposed, check
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Poison, Transient
from tocsin_runtime.ports import Handler
from tocsin_runtime.records import Outgoing, Position, Record

INSTANCE = "what-if"

KEPT_FOR = timedelta(days=1)
"""How long an incident that is over is remembered, at least: what comes later of it is another."""
LANES = ("alerts.urgent", INCIDENTS, "alerts")
TOPICS = (*LANES, "dispositions", "dead-letters", "incidents.state")
_WHOLE = frozenset({0})

SAME_CALL = timedelta(minutes=2)
"""How far from a recorded call another to the same channel is taken to have gone the same way."""

AGAIN = timedelta(seconds=1)
"""After what time a batch is tried again whose policy is on its way."""

AFTERMATH = timedelta(hours=1)
"""How long time goes on after the recording ends."""


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of it.

    Attributes:
        incidents: By id, each summed up.
        assumptions: What was taken for granted, with how often.
        alerts: How many observations were disposed of.
    """

    incidents: Kept
    assumptions: dict[str, int]
    alerts: int = 0


class _Clock:
    """Virtual time: it is as late as the last thing that happened."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, duration: timedelta) -> None:
        del duration
        await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop; time passes elsewhere


class _OnlyAlerts:
    """What normalising writes, without the answers it finds: people are played."""

    def __init__(self, log: HeldLog) -> None:
        self._log = log
        self.alerts = 0

    async def publish(self, records: Sequence[Outgoing]) -> tuple[Position, ...]:
        kept = [record for record in records if record.topic != INCIDENTS]
        for record in kept:
            if isinstance(record.event, Event) and isinstance(record.event.fact, Observed):
                self.alerts += len(record.event.fact.observations)
        return await self._log.publish(kept)


@dataclass(slots=True)
class _Service:
    """A service and how far it has read each of its lanes."""

    handler: Handler
    lanes: tuple[str, ...]
    read: dict[str, int] = field(default_factory=dict)
    seen: int = 0

    def unread(self, log: HeldLog) -> list[Record]:
        found: list[Record] = []
        if self.seen == log.written:
            return found
        self.seen = log.written
        for lane in self.lanes:
            read = self.read.get(lane, 0)
            records = log.fetch(lane, 0, read) if log.end(lane, 0) > read else ()
            if records:
                self.read[lane] = records[-1].position.offset + 1
                found.extend(records)
        return found


@dataclass(slots=True)
class _Played:
    """A recorded story as it is told in one incident of the simulation."""

    story: Story
    answered: dict[int, datetime] = field(default_factory=dict)


class _Once:
    """The fold, asked once what a fact makes of a state, though five services ask.

    They read the same facts in the same order, so their states are the same objects.
    """

    def __init__(self) -> None:
        # By the object: it is kept here, and to compare ids takes as long as the look-up.
        self._known: dict[int, tuple[IncidentState | None, Event[Fact], Folded]] = {}

    def __call__(self, before: IncidentState | None, event: Event[Fact]) -> Folded:
        known = self._known.get(id(event))
        if known is not None and known[0] is before and known[1] is event:
            return known[2]
        folded = fold(before, event)
        self._known[id(event)] = (before, event, folded)
        return folded

    def forget(self) -> None:
        """Once everybody has read what was written."""
        self._known.clear()


class _Parsed(Sources):
    """Sources that remember what a body says: senders repeat what still fires, byte for byte."""

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[bytes, Parsed] = OrderedDict()
        self._bytes = 0

    def parse(self, name: str, received: Received) -> Parsed:
        if name not in TIMELESS:
            return super().parse(name, received)
        known = self._known.get(received.body)
        if known is None:
            known = self._known[received.body] = super().parse(name, received)
            self._bytes += len(received.body)
            while self._bytes > MOST_BODIES_BYTES:
                self._bytes -= len(self._known.popitem(last=False)[0])
        else:
            self._known.move_to_end(received.body)
        return known


TIMELESS = frozenset({"alertmanager"})
"""Sources that read nothing but the body."""

MOST_BODIES_BYTES = 16 << 20
"""Of bodies whose meaning is remembered: those of some thousands of groups."""

Do = Callable[[], None]


@dataclass(slots=True)
class _Open:
    """An incident that something may happen to yet.

    Attributes:
        pending: What people are still to do to it.
        forgotten_at: When to see whether it can be let go of, once it is over.
    """

    opened_at: datetime
    summing: Summing
    state: IncidentState | None = None
    pending: int = 0
    forgotten_at: datetime | None = None


class Simulation:
    """One run.

    Args:
        history: The recording.
        instead: A policy that takes the place of its system's from the beginning.
        supposed: What was otherwise about one incident.

    Raises:
        ValueError: It supposes something of what there is not.
    """

    def __init__(
        self,
        history: History,
        instead: Policy | None = None,
        supposed: Supposed | None = None,
    ) -> None:
        self._history = history
        self._instead = instead
        self._supposed = supposed
        self._replaced = None if supposed is None else self._replacement(supposed)
        begins_at = history.begins_at or datetime(2000, 1, 1, tzinfo=UTC)
        self._clock = _Clock(begins_at)
        self._log = HeldLog(dict.fromkeys(TOPICS, 1), clock=self._clock, events=True)
        self._fold = _Once()
        self._policies: list[Policies] = []
        self._versions: dict[str, InForce] = {}
        self._seen = _OnlyAlerts(self._log)
        self._normaliser = Normaliser(
            publisher=self._seen, policies=self._followed(), sources=_Parsed()
        )
        self._silences = Silences()
        self._unsilenced = deque(self._history.silences)
        policies = [version.policy for version in history.versions]
        policies += [] if instead is None else [instead]
        self._kept_for = max((KEPT_FOR, *(one.grouping.reopen_within for one in policies)))
        self._reconcilers: list[Reconciler] = []
        self._casebooks: list[Casebook] = []
        self._services: list[_Service] = []
        self._build()
        self._agenda: list[tuple[datetime, int, Do]] = []
        self._sequence = 0
        self._open: dict[str, _Open] = {}
        self._over: deque[tuple[datetime, str]] = deque()
        self._summaries = Kept(history.scratch)
        self._heard = 0
        self._played: dict[str, dict[str, _Played]] = {}
        self._assumed: dict[str, int] = {}
        self._waiting: list[tuple[_Service, list[Record]]] = []
        self._settled_at = -1

    def _followed(self) -> Policies:
        policies = Policies()
        self._policies.append(policies)
        return policies

    def _casebook(self) -> Casebook:
        casebook = Casebook(self._log, self._fold)
        self._casebooks.append(casebook)
        return casebook

    def _build(self) -> None:
        policies = self._followed()
        classifier = self._classifier = Classifier(
            casebook=self._casebook(),
            policies=policies,
            silences=self._silences,
            publisher=self._log,
            clock=self._clock,
            accounts=False,
        )
        self._add(classifier, classifier.reconciler, policies, LANES)
        for duty in (
            timer_owed,
            partial(notifier_owed, instance=INSTANCE),
            partial(remediation_owed, instance=INSTANCE),
        ):
            policies = self._followed()
            reconciler = Reconciler(
                casebook=self._casebook(),
                policies=policies,
                publisher=self._log,
                clock=self._clock,
                duty=duty,
            )
            self._add(reconciler, reconciler, policies, (INCIDENTS,))

    def _add(
        self,
        handler: Handler,
        reconciler: Reconciler,
        policies: Policies,
        lanes: tuple[str, ...],
    ) -> None:
        policies.on_change(reconciler.policy_changed)
        self._reconcilers.append(reconciler)
        self._services.append(_Service(handler, lanes))

    # Running.

    async def run(self, progress: Progress | None = None) -> Lived:
        """Live through all of it.

        Without the cyclic garbage collector: all that is made is kept, and it would look at all
        of it again and again.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            return await self._run_all(progress)
        finally:
            if collecting:
                gc.enable()

    async def _run_all(self, progress: Progress | None) -> Lived:
        for service in self._services:
            await service.handler.assigned(_WHOLE)
        self._publish_policies()
        inputs = iter(self._history.inputs)
        ends_at = (self._history.ends_at or self._clock.at) + AFTERMATH
        record = next(inputs, None)
        while True:
            at = self._next(None if record is None else record.recorded_at)
            if at is None or at > ends_at:
                break
            self._clock.at = max(self._clock.at, at)
            self._silence()
            # What is due at an instant comes before what happens at it.
            await self._settle()
            while self._agenda and self._agenda[0][0] <= self._clock.at:
                heapq.heappop(self._agenda)[2]()
            count = 0
            while record is not None and record.recorded_at <= self._clock.at:
                await self._deliver(record)
                count += 1
                record = next(inputs, None)
            if progress is not None and count:
                progress(count)
            await self._settle()
            self._forget()
        for incident in list(self._open):
            self._sum_up(incident)
        self._summaries.settle()
        return Lived(self._summaries, dict(sorted(self._assumed.items())), self._seen.alerts)

    def _silence(self) -> None:
        """Hear of the silences that were known by now; people make them whatever the policy."""
        while self._unsilenced and self._unsilenced[0].recorded_at <= self._clock.at:
            record = self._unsilenced.popleft()
            supposed = self._supposed
            if supposed is None or supposed.silenced_by(_subject(record)):
                self._silences.apply(record)

    def _next(self, upcoming: datetime | None) -> datetime | None:
        times = [upcoming, *(reconciler.agenda.next_at() for reconciler in self._reconcilers)]
        if self._agenda:
            times.append(self._agenda[0][0])
        if self._unsilenced:
            times.append(self._unsilenced[0].recorded_at)
        return min((at for at in times if at is not None), default=None)

    def _publish_policies(self) -> None:
        """Put in force at once what was in force at the beginning; the rest comes when it came."""
        if self._instead is not None:
            self._in_force(InForce(self._instead, policy_hash(self._instead)))
        for version in self._history.versions:
            if self._instead is not None and version.policy.system == self._instead.system:
                continue
            held = InForce(version.policy, version.hash)
            if version.recorded_at <= self._clock.at:
                self._in_force(held)
            else:
                self._at(version.recorded_at, partial(self._in_force, held))

    def _in_force(self, version: InForce) -> None:
        self._versions[version.hash] = version
        for policies in self._policies:
            policies.publish(version)

    async def _deliver(self, record: Record) -> None:
        if record.position.topic not in RAW:
            topic = record.position.topic
            self._log.append(_copied(record, topic))
            return
        try:
            await self._normaliser.handle([record])
        except Poison:
            return  # a dead letter then, and now

    async def _settle(self) -> None:
        """Let everybody read and owe until nobody has anything left to do at this instant."""
        for reconciler in self._reconcilers:
            due = reconciler.agenda.due(self._clock.at)
            if due:
                await reconciler.reconcile(due)
        if self._log.written == self._settled_at and not self._waiting:
            return
        moved = True
        while moved:
            moved = False
            waiting, self._waiting = self._waiting, []
            for service, batch in waiting:
                await self._hand(service, batch)
            for service in self._services:
                batch = service.unread(self._log)
                if batch:
                    moved = True
                    await self._hand(service, batch)
        self._hear()  # once everybody has folded what is heard
        self._log.forget_all()
        self._fold.forget()
        self._settled_at = self._log.written

    async def _hand(self, service: _Service, batch: list[Record]) -> None:
        try:
            await service.handler.handle(batch)
        except Poison:
            # As an engine does: one by one, without what nobody can handle.
            if len(batch) > 1:
                for record in batch:
                    await self._hand(service, [record])
        except Transient:
            self._at(self._clock.at + AGAIN, lambda: self._waiting.append((service, batch)))

    def _at(self, at: datetime, do: Do) -> None:
        self._sequence += 1
        heapq.heappush(self._agenda, (at, self._sequence, do))

    def _later(self, incident: str, at: datetime, do: Do) -> None:
        """Have a person do something to an incident, which is not forgotten before."""
        held = self._open.get(incident)
        if held is None:
            return

        def done() -> None:
            held.pending -= 1
            do()

        held.pending += 1
        self._at(max(at, self._clock.at), done)

    def _assume(self, what: str) -> None:
        self._assumed[what] = self._assumed.get(what, 0) + 1

    # What stands outside: it hears what the log says, and answers.

    def _hear(self) -> None:
        for record in self._log.fetch(INCIDENTS, 0, self._heard):
            self._heard = record.position.offset + 1
            event = decode(record)
            self._take(Recorded(event, record.position, record.recorded_at))
            match event.fact:
                case facts.NotificationAttempted():
                    self._call(event.subject, event.fact)
                case facts.NotificationDelivered():
                    self._told(event.subject, event.fact)
                case facts.RemediationProposed():
                    self._plan(event.subject, event.fact)
                case facts.RemediationStarted():
                    self._run(event.subject, event.fact)
                case _:
                    self._hold(event)

    def _take(self, recorded: Recorded) -> None:
        """Take a fact into what its incident comes to, by the fold that everybody shares."""
        event = recorded.event
        held = self._open.get(event.subject)
        if held is None:
            basis = event.fact.basis.policy if event.fact.basis is not None else None
            version = self._versions.get(basis or "")
            summing = Summing(None if version is None else version.policy)
            held = self._open[event.subject] = _Open(event.occurred_at, summing)
        folded = self._fold(held.state, event)
        held.summing.take(Step(recorded, held.state, folded.state, folded.ignored))
        lived = held.state is None or held.state.status.live
        held.state = folded.state
        if lived and held.state is not None and not held.state.status.live:
            held.forgotten_at = self._clock.at + self._kept_for
            self._over.append((held.forgotten_at, event.subject))

    def _state(self, incident: str) -> IncidentState | None:
        found = self._reconcilers[1]._casebook.find(incident)  # noqa: SLF001 - its settled state
        return None if found is None else found[1]

    def _hold(self, event: Event[Fact]) -> None:
        """An incident holds an alert: who answered an incident with it then, answers this one."""
        held = [alert for alert in getattr(event.fact, "alerts", ()) if isinstance(alert, Alert)]
        if not held or event.subject not in self._open:
            return
        answers = self._history.answers
        played = self._played.setdefault(event.subject, {})
        alerts = (episode(alert.fingerprint, alert.starts_at) for alert in held)
        for name in answers.holders(event.key, alerts):
            story = None if name in played else answers.story(name)
            if story is None:
                continue
            played[name] = _Played(story)
            replaced = self._replaced if self._is_supposed(name) else None
            if replaced is not None and replaced.delay is not None:
                # From the opening; an incident that takes it over later has had it at once.
                at = self._opened_at(event.subject) + replaced.delay
                self._respond(event.subject, played[name], replaced, at)
            for response in story.responses:
                if response.delay is None and not self._silent(name, response):
                    self._respond(event.subject, played[name], response, response.event.occurred_at)
            for followup in story.followups:
                if followup.after is None:
                    self._follow(event.subject, followup, followup.event.occurred_at)

    def _told(self, incident: str, fact: facts.NotificationDelivered) -> None:
        """Somebody was paged: they answer as they did, or as they would."""
        state = self._state(incident)
        page = state.notifications.get(fact.notification) if state is not None else None
        if state is None or page is None or page.purpose is not Purpose.PAGE or page.target is None:
            return
        contact = page.target.contact
        for name, played in self._played.get(incident, {}).items():
            for response in played.story.responses:
                if response.number != state.generation or response.number in played.answered:
                    continue
                if response.delay is None or self._silent(name, response):
                    continue
                if contact == response.person or response.person not in response.paged:
                    at = self._clock.at + response.delay
                    self._respond(incident, played, response, at)
                elif contact not in response.paged:
                    delay, why = self._history.delay_of(contact)
                    self._assume(
                        f"{page.target.name}, not paged then, answers after "
                        f"{delay.total_seconds():.0f} s ({why})"
                    )
                    at = self._clock.at + delay
                    self._respond(incident, played, response, at, by=contact)

    # What is supposed of one incident.

    def _replacement(self, supposed: Supposed) -> Response | None:
        """The answer that takes the place of the first recorded one, its delay from the opening."""
        history, incident = self._history, supposed.incident
        system = key_of(incident).partition("/")[0]
        policies = [one.policy for one in history.versions if one.policy.system == system]
        if self._instead is not None and self._instead.system == system:
            policies.append(self._instead)
        check(supposed, policies, map(_subject, history.silences))
        after = supposed.acknowledged_after
        if after is None:
            return None
        story = history.answers.story(incident)
        first = next((r for r in story.responses if r.number == 1), None) if story else None
        who = supposed.by or (first.person if first is not None else "")
        if not who:
            raise ValueError("nobody answered then; say who does: ack at +3m by CONTACT")
        begun = history.begins_at or datetime(2000, 1, 1, tzinfo=UTC)
        fact = facts.Acknowledged(by=Person(name=who, via=INSTANCE))
        event: Event[Fact] = Event(
            id=event_id(fact.TYPE, incident, "supposed"),
            source="tocsin/ingestion",
            subject=incident,
            key=key_of(incident),
            occurred_at=begun if first is None else first.event.occurred_at,
            fact=fact,
        )
        return Response(1, who, event, after, frozenset())

    def _is_supposed(self, name: str) -> bool:
        return self._supposed is not None and self._supposed.incident == name

    def _silent(self, name: str, response: Response) -> bool:
        """Whether a recorded answer is supposed not to have been given."""
        if self._supposed is None or not self._is_supposed(name):
            return False
        return self._supposed.nobody or (self._replaced is not None and response.number == 1)

    def _opened_at(self, incident: str) -> datetime:
        return self._open[incident].opened_at

    def _supposed_call(self, incident: str, held: Notification) -> bool | None:
        """Whether a call is supposed to go well; nothing where nothing is supposed of it."""
        supposed = self._supposed
        if supposed is None or (
            incident != supposed.incident
            and supposed.incident not in self._played.get(incident, {})
        ):
            return None
        after = self._clock.at - self._opened_at(incident)
        for outage in supposed.outages:
            if outage.covers(held.channel, held.kind, after):
                return not outage.down
        return None

    def _respond(
        self,
        incident: str,
        played: _Played,
        response: Response,
        at: datetime,
        by: str | None = None,
    ) -> None:
        def answer() -> None:
            state = self._state(incident)
            if state is None or response.number in played.answered:
                return
            if state.generation != response.number or not state.status.live:
                return
            fact = response.event.fact
            if by is not None and isinstance(fact, IncidentFact):
                fact = fact.model_copy(update={"by": Person(name=by, via=INSTANCE)})
            played.answered[response.number] = self._clock.at
            self._write(incident, fact, response.event)
            for followup in played.story.followups:
                if followup.after == response.number:
                    waited = followup.event.occurred_at - response.event.occurred_at
                    self._follow(incident, followup, self._clock.at + waited)

        self._later(incident, at, answer)

    def _follow(self, incident: str, followup: Followup, at: datetime) -> None:
        def act() -> None:
            state = self._state(incident)
            fact = followup.event.fact
            if state is None or not isinstance(fact, IncidentFact):
                return
            if followup.playbook:
                same = [r for r in state.remediations.values() if r.playbook == followup.playbook]
                if not same:
                    self._assume("an approval whose playbook is not proposed is left out")
                    return
                fact = fact.model_copy(update={"remediation": same[-1].remediation})
            if isinstance(fact, facts.MergeRequested):
                into = self._instead_of(fact.into)
                if into is None:
                    self._assume("a merge into an incident that there is not is left out")
                    return
                fact = fact.model_copy(update={"into": into})
            self._write(incident, fact, followup.event)

        self._later(incident, at, act)

    def _instead_of(self, recorded: str) -> str | None:
        if recorded in self._open:
            return recorded
        return next((name for name, held in self._played.items() if recorded in held), None)

    def _write(self, incident: str, fact: Fact, recorded: Event[Fact]) -> None:
        if not isinstance(fact, IncidentFact):
            return
        now = self._clock.at
        event = Event(
            id=event_id(fact.TYPE, incident, str(recorded.id), rfc3339(now)),
            source="tocsin/ingestion",
            subject=incident,
            key=key_of(incident),
            occurred_at=now,
            fact=fact,
        )
        self._log.append(outgoing(event))

    def _call(self, incident: str, fact: facts.NotificationAttempted) -> None:
        """A provider is called: it answers as it did then, or as it did about that time."""
        state = self._state(incident)
        held = state.notifications.get(fact.notification) if state is not None else None
        if held is None or held.attempted_by != INSTANCE:
            return
        goes_well = self._supposed_call(incident, held)
        takes = self._history.takes.get(held.channel, timedelta(0))
        if goes_well is False:
            self._assume(f"a call to {held.channel} fails, as supposed")
            down = Unwell("unreachable", "supposed to be down")
            failed = facts.NotificationFailed(
                notification=fact.notification,
                attempt=fact.attempt,
                reason=down.reason,
                detail=down.detail,
                retry_at=retry_at(down, held, self._clock.at + takes),
            )
            self._tell(incident, failed, takes)
            return
        known = self._history.answers.call(fact.notification, fact.attempt)
        if goes_well:
            known = None if known is None or not known.delivered else known
        elif known is None or abs(self._clock.at - known.at) > SAME_CALL:
            known = self._failing(held.channel)
        if known is None:
            answer: IncidentFact = facts.NotificationDelivered(
                notification=fact.notification, attempt=fact.attempt
            )
            self._tell(incident, answer, takes)
            return
        delay, recorded = known.answers[0]
        moved: dict[str, object] = {
            "notification": fact.notification,
            "attempt": fact.attempt,
            "basis": None,
            "cause": None,
        }
        again_at = getattr(recorded, "retry_at", None)
        if again_at is not None:
            moved["retry_at"] = self._clock.at + (again_at - known.at)
        if isinstance(recorded, IncidentFact):
            self._tell(incident, recorded.model_copy(update=moved), delay)

    def _failing(self, channel: str) -> Outcome | None:
        """The recorded call to the same channel nearest in time, if that is near and failed."""
        calls = self._history.channels.get(channel)
        nearest = None if calls is None else calls.failing(self._clock.at, SAME_CALL)
        if nearest is None:
            return None
        self._assume(f"a call to {channel} fails as the recorded one nearest to it did")
        return self._history.answers.call(*nearest)

    def _tell(self, incident: str, fact: IncidentFact, delay: timedelta) -> None:
        def tell() -> None:
            parts = (str(getattr(fact, "notification", "")), str(getattr(fact, "attempt", "")))
            event = notifier_event(incident, fact, self._clock.at, None, *parts)
            self._log.append(outgoing(event))

        self._at(self._clock.at + delay, tell)

    def _plan(self, incident: str, fact: facts.RemediationProposed) -> None:
        """Steps are planned at once; nobody knows what the world would have looked like."""
        for step in fact.steps:
            if step.planned:
                planned = facts.RemediationStepPlanned(
                    remediation=fact.remediation, step=step.step, plan=1, diff=step.call
                )
                self._at(self._clock.at, partial(self._ran, incident, planned))

    def _run(self, incident: str, fact: facts.RemediationStarted) -> None:
        """A step runs: it ends as it did then; one that never ran is taken to work."""
        state = self._state(incident)
        held = state.remediations.get(fact.remediation) if state is not None else None
        if state is None or held is None:
            return
        known = self._history.steps.get((state.system, held.playbook, fact.step))
        answers: Sequence[tuple[timedelta, Fact]] = ()
        if known is not None:
            answers = known.answers
        else:
            self._assume("a step that never ran then succeeds at once")
            answers = self._success(state, held.playbook, fact)
        for delay, recorded in answers:
            if isinstance(recorded, IncidentFact):
                update: dict[str, object] = {
                    "remediation": fact.remediation,
                    "basis": None,
                    "cause": None,
                }
                if "attempt" in type(recorded).model_fields:
                    update["attempt"] = fact.attempt
                answer = recorded.model_copy(update=update)
                self._at(self._clock.at + delay, partial(self._ran, incident, answer))

    def _success(
        self, state: IncidentState, playbook: str, fact: facts.RemediationStarted
    ) -> list[tuple[timedelta, Fact]]:
        evidence = Evidence(took=timedelta(0))
        finished = facts.RemediationStepFinished(
            remediation=fact.remediation,
            step=fact.step,
            succeeded=True,
            reason="assumed",
            evidence=evidence,
            attempt=fact.attempt,
        )
        in_force = self._policies[0].get(state.system)
        book = in_force.policy.playbooks.get(playbook) if in_force is not None else None
        step = next((s for s in book.steps if s.id == fact.step), None) if book else None
        found: list[tuple[timedelta, Fact]] = [(timedelta(0), finished)]
        if step is not None and step.verify is not None:
            verified = facts.RemediationVerified(
                remediation=fact.remediation,
                step=fact.step,
                attempt=fact.attempt,
                evidence=evidence,
            )
            found.append((timedelta(0), verified))
        return found

    def _ran(self, incident: str, fact: IncidentFact) -> None:
        event = remediation_event(incident, fact, self._clock.at, None)
        self._log.append(outgoing(event))

    # The end.

    def _forget(self) -> None:
        """Let go of incidents that have been over for long: nothing can happen to them any more.

        What a service would remember for longer is who asked for what when; a run is told by what
        it came to.
        """
        while self._over and self._over[0][0] <= self._clock.at:
            at, incident = self._over.popleft()
            held = self._open.get(incident)
            if held is None or held.forgotten_at != at or held.state is None:
                continue
            if held.state.status.live:
                continue  # reopened
            if held.pending or self._busy(held.state):
                held.forgotten_at = self._clock.at + self._kept_for
                self._over.append((held.forgotten_at, incident))
                continue
            self._sum_up(incident)
            self._classifier.forget(incident)
            for casebook in self._casebooks:
                casebook.book(0).forget(incident)
            for reconciler in self._reconcilers:
                reconciler.agenda.put(incident, None)

    def _busy(self, state: IncidentState) -> bool:
        """Whether anything may happen by itself to an incident that is over."""
        return (
            bool(state.unattached)
            or any(held.firing for held in state.alerts.values())
            or any(not held.status.settled for held in state.notifications.values())
            or any(state.incident in reconciler.agenda for reconciler in self._reconcilers)
        )

    def _sum_up(self, incident: str) -> None:
        played = self._played.pop(incident, {})
        try:
            self._summaries.put(self._open.pop(incident).summing.summary())
        except LookupError:
            return  # facts about an incident that nobody opened
        self._judge(played)

    def _judge(self, told: dict[str, _Played]) -> None:
        """Say which recorded answers nobody gave."""
        for name, played in told.items():
            for response in played.story.responses:
                silent = self._silent(name, response)
                if response.number not in played.answered and not silent:
                    self._assume("a recorded answer is not given: who gave it is not told")


def _subject(record: Record) -> str:
    return (record.header("ce_subject") or b"").decode(errors="replace")


def _copied(record: Record, topic: str) -> Outgoing:
    return Outgoing(topic, record.key, record.value, record.headers)
