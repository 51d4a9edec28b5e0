"""The whole system in one process: the real handlers on a log in memory and virtual time.

Every service instance is an actor with its own casebook, policies and engine, started again after
a crash as a supervisor would. Only what stands outside is fake: the broker, the providers, the
clock, the runners of remediation steps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from classifier.handlers import Classifier
from classifier.wiring import LANES
from escalation_timer.handlers import EscalationTimer
from ingestion.domain.answers import VERBS
from ingestion.handlers import Door, Normaliser
from notifier.domain.heartbeats import beating
from notifier.handlers import Notifier
from notifier.heartbeats import HEARTBEATS, Heart
from remediation.handlers import Remediator
from tocsin_casebook import (
    CLAIMS,
    FREEZES,
    INCIDENTS,
    Casebook,
    Claims,
    Freezes,
    InForce,
    Policies,
    Reconciler,
    Silences,
)
from tocsin_contracts.event import Event, event_id
from tocsin_contracts.policies import PolicyPublished
from tocsin_incident import IncidentState, fold
from tocsin_policy import Policy, policy_document, policy_hash
from tocsin_runtime.consuming import Budgets
from tocsin_runtime.dead_lettering import DeadLetters
from tocsin_runtime.events import decode, outgoing
from tocsin_runtime.failures import Transient
from tocsin_runtime.following import Follower
from tocsin_runtime.ports import Clock, Handler, Publisher
from tocsin_runtime.records import Record
from tocsin_simulation.channels import OpenGate, Providers
from tocsin_simulation.clock import EPOCH, SimulatedClock
from tocsin_simulation.faults import Faults, NoFaults, SeededFaults
from tocsin_simulation.loop import Actor, running_loop
from tocsin_simulation.memory_engine import MemoryEngine
from tocsin_simulation.memory_groups import MemoryGroup
from tocsin_simulation.memory_log import MemoryLog, registered_topics
from tocsin_simulation.resting import RestingClock, Stir
from tocsin_simulation.runners import World

T = TypeVar("T")

MOST_RETRIES = 200
"""Times a sender outside repeats what it heard no yes to; more means that something hangs."""

FOR_EVER = timedelta(days=36_500)
"""Longer than anything that is simulated."""

STARTS_WITHIN = timedelta(seconds=1)
"""After which every service of a system without faults is up."""

SETTLED_AFTER = timedelta(seconds=90)
"""Silence on every topic, with no lag, after which nothing more is to be expected."""

SETTLES_WITHIN = timedelta(minutes=45)
"""Longest a system may take to settle once nothing goes wrong any more."""


class Unsettled(AssertionError):
    """The system kept writing, or kept lagging, though nothing went wrong any more."""


@dataclass(slots=True)
class Instance:
    """One life of one process.

    Attributes:
        casebook: What it has folded, where it folds; one given beforehand is used.
        crash: Why it ended by itself, if it did.
        followers: Topics it reads whole before it acts, beside the policies.
    """

    service: str
    name: str
    casebook: Casebook | None = None
    actor: Actor | None = None
    crash: BaseException | None = None
    followers: list[Follower] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


Runs = Sequence[Callable[[], Awaitable[None]]]


@dataclass(slots=True)
class Service:
    """How a service is put together: its lanes, and a handler with what runs beside it."""

    name: str
    topics: tuple[str, ...]
    build: Callable[[System, Instance, Policies], tuple[Handler, Runs]]


class System:
    """Five services, a broker and the world around them.

    Args:
        policies: The documents that are in force from the start.
        faults: What goes wrong; nothing, if not given.
        instances: Processes of each service.
        partitions: Of every topic that has several.
        services: Which run; tests plant bugs by replacing one.
        starts_at: What the wall clock shows when it is made.
        calm: Nobody will die or be cut off, so time in which nothing can happen is passed over:
            no heartbeats, no polling. What is told, and when, is the same.
    """

    def __init__(
        self,
        *,
        policies: Sequence[PolicyPublished],
        faults: Faults | None = None,
        instances: int = 1,
        partitions: int = 2,
        services: Sequence[Service] | None = None,
        starts_at: datetime = EPOCH,
        calm: bool = False,
    ) -> None:
        self.loop = running_loop()
        self.faults: Faults = faults or NoFaults()
        self.clock = SimulatedClock(self.loop, starts_at)
        self.log = MemoryLog(self.clock, registered_topics(partitions), self.faults)
        self.publisher: Publisher = self.log
        self.providers = Providers(self.clock, self.faults)
        self.world = World(self.clock, self.faults)
        self.services = tuple(SERVICES if services is None else services)
        self.instances: dict[str, Instance] = {}
        self.crashes: list[Instance] = []
        self.calm = calm
        self.stir = Stir()
        self.groups = {
            service.name: MemoryGroup(
                partitions,
                session=FOR_EVER if calm else timedelta(seconds=30),
                rebalance=timedelta(seconds=60),
            )
            for service in self.services
        }
        self._count = instances
        self._last_append = self.loop.time()
        self._policies = Policies()
        self.door = Door(publisher=self.log, policies=self._policies, clock=self.clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.log.appended.append(self._heard)
        for published in policies:
            self.publish_policy(published)
        if isinstance(self.faults, SeededFaults):
            self.faults.install(self.loop)
            self.faults.kill = self.kill

    def _heard(self, record: Record) -> None:
        self._last_append = self.loop.time()
        self.stir.heard(self._last_append)
        if record.position.topic == "policies":
            self._policies.apply(record)

    # Processes.

    async def start(self) -> None:
        """Start every instance and the supervisors that start them again."""
        for service in self.services:
            for number in range(1, self._count + 1):
                name = f"{service.name}-{number}"
                self._tasks.append(asyncio.create_task(self._supervise(service, name)))
        if isinstance(self.faults, SeededFaults):
            self._tasks.append(asyncio.create_task(self._step_the_clock(self.faults)))
        await self.sleep(STARTS_WITHIN)

    async def _supervise(self, service: Service, slot: str) -> None:
        life = 0
        while True:
            life += 1
            instance = Instance(service.name, f"{slot}#{life}")
            self.instances[slot] = instance
            self._spawn(service, instance)
            await instance.ended.wait()
            await self.sleep(timedelta(seconds=2))

    def _spawn(self, service: Service, instance: Instance) -> None:
        actor = self.loop.spawn(instance.name, self._process(service, instance))
        instance.actor = actor
        if actor.main is None:
            raise RuntimeError("an actor has a main task")
        actor.main.add_done_callback(lambda task: self._ended(instance, task))

    def _ended(self, instance: Instance, task: asyncio.Task[Any]) -> None:
        """A process that ends by itself takes everything it still had to do with it."""
        instance.crash = None if task.cancelled() else task.exception()
        self.crashes.append(instance)
        if instance.actor is not None:
            self.kill(instance.actor)

    def kill(self, actor: Actor) -> None:
        """SIGKILL; the supervisor starts the process again."""
        self.loop.kill(actor)
        for instance in self.instances.values():
            if instance.actor is actor:
                instance.ended.set()

    async def _process(self, service: Service, instance: Instance) -> None:
        policies = Policies()
        follower = Follower(self.log, "policies", policies.apply)
        handler, runs = service.build(self, instance, policies)
        engine = MemoryEngine(
            self.log,
            self.groups[service.name],
            service.topics,
            handler,
            name=instance.name,
            dead_letter=DeadLetters(self.log, self.clock, service.name),
            clock=self.clock,
            budgets=Budgets(max_batch=50),
            heartbeat=FOR_EVER if self.calm else timedelta(seconds=10),
        )
        async with asyncio.TaskGroup() as group:
            for each in (follower, *instance.followers):
                group.create_task(each.run())
                await each.caught_up()
            for run in runs:
                group.create_task(_forever(run))
            group.create_task(engine.run())

    async def _step_the_clock(self, faults: SeededFaults) -> None:
        while faults.rates.step > 0:
            await self.sleep(timedelta(hours=faults.between(0, 2 / faults.rates.step)))
            if not faults.active:
                return
            most = faults.rates.step_by.total_seconds()
            self.clock.step(timedelta(seconds=faults.between(-most, most)))

    def clock_of_a_service(self) -> Clock:
        """What one process reads the time from."""
        return RestingClock(self.clock, self.stir) if self.calm else self.clock

    # The world.

    def publish_policy(self, published: PolicyPublished) -> None:
        """Put a policy in force, as `tocsin policy publish` does."""
        event = Event(
            id=event_id(PolicyPublished.TYPE, published.system, published.hash),
            source="tocsin/policy-publisher",
            subject=published.system,
            key=published.system,
            occurred_at=self.clock.now(),
            fact=published,
        )
        self.log.append(outgoing(event))
        if self._policies.version(published.hash) is None:
            raise ValueError(f"the policy of {published.system} is refused")

    def policy(self, system: str) -> InForce | None:
        """The policy in force, if there is one."""
        return self._policies.get(system)

    def beats(self) -> bool:
        """Whether any policy has a channel with a heartbeat."""
        return any(beating(policy) for policy in self._policies.all())

    async def post(self, body: bytes | Mapping[str, object], source: str = "alertmanager") -> int:
        """Have a webhook delivered, repeated until ingestion says yes, as Alertmanager does."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._insist(
            lambda: self.door.accept(
                source, data, content_type="application/json", traceparent=None
            )
        )

    async def answer(self, incident: str, verb: str, **fields: object) -> str:
        """Have a person answer: `acknowledge`, `resolve`, `notes` … repeated until it is taken."""
        found = next(known for known in VERBS if known.name == verb)
        answer = found.body.model_validate({"by": "a person", **fields})
        key = f"{incident} {verb} {self.loop.time()}"
        return await self._insist(
            lambda: self.door.answer(incident, found, answer, idempotency_key=key, traceparent=None)
        )

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        for _ in range(MOST_RETRIES):
            try:
                return await call()
            except Transient:
                await self.sleep(timedelta(milliseconds=500))
        raise RuntimeError(f"no yes in {MOST_RETRIES} attempts")

    async def sleep(self, duration: timedelta) -> None:
        """Let virtual time pass."""
        await self.clock.sleep(duration)

    # What came of it.

    def incidents(self, *, until: datetime | None = None) -> dict[str, IncidentState]:
        """Every incident, folded anew from the log up to `until`, oldest first."""
        states: dict[str, IncidentState] = {}
        for record in self.log.records(INCIDENTS):
            if until is not None and record.recorded_at > until:
                continue
            event = decode(record)
            folded = fold(states.get(event.subject), event)
            if folded.state is not None:
                states[event.subject] = folded.state
        return dict(sorted(states.items(), key=lambda item: (item[1].opened_at, item[0])))

    def lag(self) -> dict[str, int]:
        """Records each group has not committed yet."""
        return {
            service.name: sum(
                len(self.log.fetch(topic, number, committed, 1_000_000))
                for topic in service.topics
                for number in range(self.log.width(topic))
                for committed in [self.groups[service.name].committed.get((topic, number), 0)]
            )
            for service in self.services
        }

    async def settle(self) -> None:
        """Let nothing go wrong any more, and wait until nobody has anything left to do.

        Raises:
            Unsettled: It does not come to rest.
        """
        if isinstance(self.faults, SeededFaults):
            self.faults.active = False
        ends_at = self.loop.time() + SETTLES_WITHIN.total_seconds()
        while True:
            await self.sleep(timedelta(seconds=5))
            quiet = self.loop.time() - self._last_append
            if quiet >= SETTLED_AFTER.total_seconds() and not any(self.lag().values()):
                return
            if self.loop.time() > ends_at:
                raise Unsettled(f"lag {self.lag()}, quiet for {quiet:.0f} s\n{self.loop.dump()}")


def published(policy: Policy, *, by: str = "a test") -> PolicyPublished:
    """The fact that puts a policy in force."""
    return PolicyPublished(
        system=policy.system,
        hash=policy_hash(policy),
        document=policy_document(policy),
        published_by=by,
    )


async def _forever(run: Callable[[], Awaitable[None]]) -> None:
    await run()
    raise RuntimeError("this was to run for ever")


def _rests(clock: Clock, reconciler: Reconciler) -> None:
    if isinstance(clock, RestingClock):
        clock.agenda = reconciler.agenda


def _ingestion(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    del instance
    return Normaliser(publisher=system.publisher, policies=policies), ()


def _classifier(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    clock = system.clock_of_a_service()
    silences = Silences()
    instance.followers.append(Follower(system.log, "silences", silences.apply))
    handler = Classifier(
        casebook=instance.casebook,
        policies=policies,
        silences=silences,
        publisher=system.publisher,
        clock=clock,
    )
    _rests(clock, handler.reconciler)
    policies.on_change(handler.reconciler.policy_changed)
    return handler, (handler.run,)


def _escalation_timer(
    system: System, instance: Instance, policies: Policies
) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    clock = system.clock_of_a_service()
    handler = EscalationTimer(
        casebook=instance.casebook,
        policies=policies,
        publisher=system.publisher,
        clock=clock,
        checkpoint_every=timedelta(days=1) if system.calm else timedelta(minutes=1),
    )
    _rests(clock, handler.reconciler)
    policies.on_change(handler.reconciler.policy_changed)
    return handler, (handler.run, handler.checkpoints)


def _notifier(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    clock = system.clock_of_a_service()
    handler = Notifier(
        casebook=instance.casebook,
        policies=policies,
        publisher=system.publisher,
        clock=clock,
        channels=system.providers,
        gate=OpenGate(),
        instance=instance.name,
    )
    _rests(clock, handler.reconciler)
    policies.on_change(handler.reconciler.policy_changed)
    if not system.beats():
        # It would look every second, in vain.
        return handler, (handler.run,)
    heart = Heart(
        policies=policies,
        publisher=system.publisher,
        clock=clock,
        channels=system.providers,
        gate=OpenGate(),
        instance=instance.name,
    )
    instance.followers.append(Follower(system.log, HEARTBEATS, heart.apply))
    return handler, (handler.run, heart.run)


def _remediation(system: System, instance: Instance, policies: Policies) -> tuple[Handler, Runs]:
    instance.casebook = instance.casebook or Casebook(system.log)
    clock = system.clock_of_a_service()
    freezes = Freezes()
    instance.followers.append(Follower(system.log, FREEZES, freezes.apply))
    claims = Claims()
    instance.followers.append(Follower(system.log, CLAIMS, claims.apply))
    handler = Remediator(
        casebook=instance.casebook,
        policies=policies,
        freezes=freezes,
        claims=claims,
        publisher=system.publisher,
        clock=clock,
        runners=system.world.runners,
        instance=instance.name,
    )
    _rests(clock, handler.reconciler)
    policies.on_change(handler.reconciler.policy_changed)
    return handler, (handler.run,)


SERVICES: tuple[Service, ...] = (
    Service("ingestion", ("alerts.raw.urgent", "alerts.raw"), _ingestion),
    Service("classifier", LANES, _classifier),
    Service("escalation-timer", (INCIDENTS,), _escalation_timer),
    Service("notifier", (INCIDENTS,), _notifier),
    Service("remediation", (INCIDENTS,), _remediation),
)
"""The services as they are."""
