"""What must hold of any run, whatever went wrong in it.

Each check returns what is wrong, as sentences; an empty list means that it holds. They look at
the log, at what the providers saw and at what the services hold, and derive for themselves what
there should be: they share no rule with the services.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from tocsin_casebook import INCIDENTS
from tocsin_contracts.alerts import ObservationStatus, Observed
from tocsin_contracts.dispositions import Disposed, Outcome
from tocsin_contracts.event import Event, Fact
from tocsin_contracts.incidents import (
    IncidentFact,
    NotificationAttempted,
    NotificationDelivered,
    Purpose,
    RemediationStarted,
    RemediationUndoStarted,
)
from tocsin_contracts.silences import SilenceCreated
from tocsin_incident import Book, IncidentState, Status, fold, state_bytes
from tocsin_incident.state import NotificationStatus, Step, StepStatus
from tocsin_runtime.events import decode
from tocsin_runtime.records import Record
from tocsin_simulation.channels import Providers
from tocsin_simulation.memory_log import MemoryLog
from tocsin_simulation.system import System
from tocsin_testkit.audited import unaudited

F = TypeVar("F", bound=Fact)

LANES = ("alerts.urgent", "alerts")
RAW = ("alerts.raw.urgent", "alerts.raw")


class Broken(AssertionError):
    """An invariant does not hold."""


def check(system: System) -> None:
    """Hold a settled system to every invariant.

    Raises:
        Broken: With a sentence for each thing that is wrong.
    """
    wrong = [
        *unaccounted(system.log),
        *unpaged(system.incidents().values(), system.clock.now()),
        *provider_keys(system.providers),
        *called_wrongly(system),
        *misplaced(system),
        *unresolved(system),
        *unheard(system),
        *unfinished(system.incidents().values()),
        *run_twice(system),
        *strayed(system),
        *bugs(system),
        *unaudited(system),
    ]
    if wrong:
        raise Broken("\n".join(wrong))


def unaccounted(log: MemoryLog) -> list[str]:
    """Nothing accepted is unaccounted for: one observation an alert, one disposition each."""
    observations: dict[str, str] = {}
    normalised: set[tuple[str, int, int]] = set()
    for record, event in _events(log, LANES, Observed):
        cause = event.fact.cause
        if cause is not None and cause.topic and cause.offset is not None:
            normalised.add((cause.topic, cause.partition or 0, cause.offset))
        for observation in event.fact.observations:
            observations[str(observation.id)] = f"{record.position}"
    dead = {
        str(record.header("ce_subject") or b"", "utf-8") for record in log.records("dead-letters")
    }
    wrong = [
        f"accepted and never normalised: {record.position}"
        for topic in RAW
        for record in log.records(topic)
        if tuple(record.position) not in normalised
        and "-".join(map(str, record.position)) not in dead
    ]
    outcomes: dict[str, set[str]] = defaultdict(set)
    known_ids = set()
    for _, said in _events(log, ("dispositions",), Disposed):
        # The same id is the same fact: what was said first is what was said.
        if said.id in known_ids:
            continue
        known_ids.add(said.id)
        for disposition in said.fact.dispositions:
            outcomes[str(disposition.observation)].add(
                f"{disposition.outcome} ({disposition.reason}, {disposition.incident})"
            )
    for seen, where in observations.items():
        got = outcomes.get(seen, set())
        if len(got) != 1:
            wrong.append(f"observation {seen} of {where} has {len(got)} outcomes: {sorted(got)}")
    wrong += [f"{known} was never seen" for known in outcomes if known not in observations]
    return wrong


def unpaged(states: Iterable[IncidentState], now: datetime) -> list[str]:
    """Every target of a level that was reached was paged, or superseded with a reason."""
    wrong = []
    late = now - timedelta(seconds=30)
    for state in states:
        for level in state.levels:
            for target in level.targets:
                told = [
                    held
                    for held in state.notifications.values()
                    if held.purpose is Purpose.PAGE
                    and held.level == level.level
                    and held.generation == level.generation
                    and held.target is not None
                    and held.target.contact == target.contact
                ]
                # What was merged away before the notifier came to it is told of there.
                if not told and state.status is not Status.MERGED:
                    wrong.append(
                        f"{state.incident}: nobody told {target.contact} of level {level.level}"
                    )
        for held in state.notifications.values():
            what = f"{state.incident}: {held.purpose} {held.level} over {held.channel}"
            if held.status is NotificationStatus.SUPERSEDED and not held.reason:
                wrong.append(f"{what} was superseded without a reason")
            elif held.status in {NotificationStatus.REQUESTED, NotificationStatus.ATTEMPTED}:
                wrong.append(f"{what} stays {held.status} for ever (attempt {held.attempts})")
            elif not held.status.settled and held.retry_at is not None and held.retry_at < late:
                wrong.append(f"{what} is {held.status} and its retry never came")
    return wrong


def unreached(
    states: Iterable[IncidentState], levels: dict[str, tuple[timedelta, ...]], now: datetime
) -> list[str]:
    """Every level whose time came while nobody had answered was reached or skipped.

    Args:
        levels: By severity, how long after the start of the escalation each level is due.
        now: The instant the system had settled at.
    """
    wrong = []
    for state in states:
        if state.status is not Status.OPEN or state.quiet:
            continue
        # A lowered severity keeps the level it had: whoever was told is not told again.
        reached = set(range(1, state.level + 1))
        for number, after in enumerate(levels.get(state.severity, ()), start=1):
            if state.escalation_from + after < now and number not in reached:
                wrong.append(
                    f"{state.incident}: level {number} was due at {state.escalation_from + after} "
                    f"and was never reached ({state.severity}, generation {state.generation})"
                )
    return wrong


def provider_keys(providers: Providers) -> list[str]:
    """One provider key per (incident, level, target, generation) and channel."""
    keys: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for arrival in providers.arrivals:
        sending = arrival.sending
        if sending.purpose is Purpose.PAGE:
            target = None if sending.target is None else sending.target.contact
            keys[sending.notification, target, arrival.channel].add(sending.provider_key)
    return [
        f"{what} went out under {len(used)} provider keys: {sorted(used)}"
        for what, used in keys.items()
        if len(used) != 1
    ]


def called_wrongly(system: System) -> list[str]:
    """A provider is called once for each attempt that the fold applied, and for no other.

    So a page that an acknowledgement overtook in the log is not made, and of two processes that
    attempt the same message one calls. What is delivered according to the log did arrive.
    """
    applied: set[tuple[str, int]] = set()
    delivered: set[tuple[str, int]] = set()
    states: dict[str, IncidentState] = {}
    for record in system.log.records(INCIDENTS):
        event = decode(record)
        folded = fold(states.get(event.subject), event)
        if folded.state is not None:
            states[event.subject] = folded.state
        if isinstance(event.fact, NotificationAttempted) and folded.ignored is None:
            applied.add((event.fact.notification, event.fact.attempt))
        if isinstance(event.fact, NotificationDelivered):
            delivered.add((event.fact.notification, event.fact.attempt))
    calls = Counter(
        (arrival.sending.notification, arrival.sending.attempt)
        for arrival in system.providers.arrivals
    )
    return [
        *(f"{call} reached a provider and was never applied" for call in calls.keys() - applied),
        *(f"{call} reached a provider {n} times" for call, n in calls.items() if n > 1),
        *(f"{call} is delivered in the log only" for call in delivered - calls.keys()),
    ]


def misplaced(system: System) -> list[str]:
    """A disposition names an incident of the log that knows the alert; a group has one live one."""
    states = system.incidents()
    fingerprints = {
        str(observation.id): observation.fingerprint
        for _, event in _events(system.log, LANES, Observed)
        for observation in event.fact.observations
    }
    wrong = []
    for _, event in _events(system.log, ("dispositions",), Disposed):
        for disposition in event.fact.dispositions:
            if disposition.outcome not in {Outcome.OPENED, Outcome.ATTACHED}:
                continue
            state = states.get(disposition.incident or "")
            fingerprint = fingerprints.get(str(disposition.observation))
            known = (
                set()
                if state is None
                else {held.alert.fingerprint for held in state.alerts.values()}
                | {alert.fingerprint for alert in state.unattached}
            )
            if fingerprint not in known and (state is None or state.merged_into is None):
                wrong.append(
                    f"{fingerprint} was {disposition.outcome} to {disposition.incident}, "
                    "which does not know it"
                )
    live: dict[tuple[str, str], list[str]] = defaultdict(list)
    for state in states.values():
        if state.status.live:
            live[state.key, state.group_key].append(state.incident)
    wrong += [
        f"group {group} has {len(incidents)} live incidents: {incidents}"
        for group, incidents in live.items()
        if len(incidents) > 1 and not _taken_twice(system, incidents)
    ]
    return wrong


def _taken_twice(system: System, incidents: list[str]) -> bool:
    """Whether two of them were given the same record.

    A classifier that was paused past its session may wake with an old view and open again what
    its successor has attached. Without fencing nothing prevents that; a person merges the two.
    """
    given: dict[tuple[object, ...], set[str]] = defaultdict(set)
    for _, event in _events(system.log, (INCIDENTS,), IncidentFact):
        cause = event.fact.cause
        if event.subject in incidents and cause is not None and cause.offset is not None:
            given[cause.topic, cause.partition, cause.offset].add(event.subject)
    return any(len(holders) > 1 for holders in given.values())


def unresolved(system: System) -> list[str]:
    """An incident whose alerts cleared for long enough has resolved by itself."""
    wrong = []
    for state in system.incidents().values():
        in_force = system.policy(state.system)
        if in_force is None or not state.status.live or state.clear_since is None:
            continue
        due_at = state.clear_since + in_force.policy.grouping.auto_resolve_after
        if due_at + timedelta(minutes=1) < system.clock.now():
            wrong.append(f"{state.incident} is clear since {state.clear_since} and {state.status}")
    return wrong


def unheard(system: System) -> list[str]:
    """What fires and is muted is muted by something that is there; the rest has an incident."""
    states = system.incidents()
    now = system.clock.now()
    until: dict[str, datetime] = {}
    for _, event in _events(system.log, ("silences",), Fact):
        if isinstance(event.fact, SilenceCreated):
            until[event.subject] = event.fact.ends_at
        else:
            until[event.subject] = min(until[event.subject], event.occurred_at)
    firing = {
        (state.key, held.alert.labels["alertname"], held.alert.labels.get("instance"))
        for state in states.values()
        for held in state.alerts.values()
        if held.firing and held.alert.labels.get("severity") == "critical"
    }
    wrong = []
    for state in states.values():
        for held in state.alerts.values():
            muting = held.muting
            if muting is None or not held.firing:
                continue
            cause = states.get(muting.by)
            instance = held.alert.labels.get("instance")
            stands = {
                "silenced": until.get(muting.by, now) > now - timedelta(seconds=5),
                "inhibited": (state.key, "Down", instance) in firing,
                "symptom": cause is not None and cause.status.live and cause.clear_since is None,
            }
            # What somebody has taken, or has resolved, is not looked at again for its own alerts.
            if not stands[muting.because] and (held.guest or state.status is Status.OPEN):
                wrong.append(
                    f"{state.incident}: {held.alert.name} fires, and is {muting.because} by "
                    f"{muting.by}, which is over"
                )
    held_of_key = {
        (state.key, held.alert.fingerprint)
        for state in states.values()
        for held in state.alerts.values()
    } | {(state.key, alert.fingerprint) for state in states.values() for alert in state.unattached}
    for record, seen in _events(system.log, LANES, Observed):
        for one in seen.fact.observations:
            known = (seen.key, one.fingerprint) in held_of_key
            claimed = system.policy(seen.key.partition("/")[0]) is not None
            if one.status is ObservationStatus.FIRING and claimed and not known:
                wrong.append(f"{record.position}: nothing holds alert {one.fingerprint}")
    return wrong


def unfinished(states: Iterable[IncidentState]) -> list[str]:
    """A step that was started ends: finished, failed, or in doubt, which asks a person."""
    return [
        f"{state.incident}: step {step.proposed.step} stays {step.status} for ever"
        for state in states
        for remediation in state.remediations.values()
        for step in remediation.steps
        if step.status in {StepStatus.STARTED, StepStatus.UNDOING}
    ]


def run_twice(system: System) -> list[str]:
    """A remediation step has its effect at most once, and never without a start in the log."""
    started: dict[str, set[tuple[str, str]]] = defaultdict(set)
    calls = {
        (held.remediation, step.proposed.step): step.proposed.call
        for state in system.incidents().values()
        for held in state.remediations.values()
        for step in held.steps
    }
    undos = {
        (held.remediation, step.proposed.step): _undo_of(step)
        for state in system.incidents().values()
        for held in state.remediations.values()
        for step in held.steps
    }
    for _, event in _events(system.log, (INCIDENTS,), RemediationStarted):
        step = (event.fact.remediation, event.fact.step)
        started[calls.get(step, "")].add(step)
    for _, undo in _events(system.log, (INCIDENTS,), RemediationUndoStarted):
        step = (undo.fact.remediation, undo.fact.step)
        started[undos.get(step, "")].add(step)
    happened: dict[str, int] = defaultdict(int)
    for effect in system.world.effects:
        happened[effect.what] += effect.changes and effect.how == "run"
    return [
        f"{what} happened {times} times for {len(started[what])} steps that were started"
        for what, times in happened.items()
        if times > len(started[what])
    ]


def _undo_of(step: Step) -> str:
    """The undo as it is called, with what the plan found before the step."""
    text = step.proposed.undo
    for name, value in step.plan.before.items() if step.plan is not None else ():
        if f"${{{name}}}" in text:
            text = text.replace(f'"${{{name}}}"', value)
            text = text.replace(f"${{{name}}}", str(json.loads(value)))
    return text


def strayed(system: System) -> list[str]:
    """What each service holds is what the log folds to, however it came to hold it."""
    books: dict[int, Book] = {}
    for record in system.log.records(INCIDENTS):
        book = books.setdefault(record.position.partition, Book())
        book.fold(decode(record), record.position.offset)
    wrong = []
    for instance in system.instances.values():
        if instance.casebook is None:
            continue
        for partition in sorted(instance.casebook.partitions):
            held = instance.casebook.book(partition).settled()
            for incident, state in books.get(partition, Book()).settled().items():
                if incident not in held:
                    wrong.append(f"{instance.name} does not know {incident}")
                elif state_bytes(held[incident]) != state_bytes(state):
                    wrong.append(
                        f"{instance.name} holds another state of {incident}: "
                        f"{_difference(held[incident], state)}"
                    )
            wrong += [
                f"{instance.name} still expects facts about {incident}"
                for incident in held
                if instance.casebook.book(partition).pending(incident)
            ]
    return wrong


def _difference(held: IncidentState, wanted: IncidentState) -> str:
    return "; ".join(
        f"{name}: {getattr(held, name)!r:.300} instead of {getattr(wanted, name)!r:.300}"
        for name in IncidentState.model_fields
        if getattr(held, name) != getattr(wanted, name)
    )


def bugs(system: System) -> list[str]:
    """No process ended by itself, but for giving up on a log that was away for too long."""
    return [
        f"{instance.name} ended with {reason!r}"
        for instance in system.crashes
        for reason in _reasons(instance.crash)
        if "gave up publishing" not in str(reason)
    ]


def _reasons(crash: BaseException | None) -> list[BaseException]:
    if isinstance(crash, BaseExceptionGroup):
        return [reason for inner in crash.exceptions for reason in _reasons(inner)]
    return [] if crash is None else [crash]


def _events(log: MemoryLog, topics: Iterable[str], fact: type[F]) -> list[tuple[Record, Event[F]]]:
    found = []
    for topic in topics:
        for record in log.records(topic):
            event = decode(record)
            if isinstance(event.fact, fact):
                found.append((record, event))
    return found  # type: ignore[return-value]  # narrowed by the isinstance above
