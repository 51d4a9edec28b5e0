"""What the classifier owes an incident by its state alone.

The answers to people's requests, the resolution of what stays clear, a home for alerts that came
too late for an incident that had just ended, and to be heard again for what is muted no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from classifier.domain.deciding import SOURCE, Deciding, Find, basis_of, chunks, ears_of, loads
from classifier.domain.flapping import settles_at
from classifier.domain.holdings import Holdings
from classifier.domain.muting import SYMPTOM, Ears
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Basis, Event, Fact, event_id
from tocsin_contracts.ids import episode, incident_id
from tocsin_contracts.incidents import Alert, IncidentFact, Muting
from tocsin_incident import IncidentState, Status
from tocsin_policy import Policy, SilenceBook, classify, severity_rank

Holder = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the classifier sees beside an incident's own state.

    Attributes:
        find: Expected state of an incident, or `None`.
        holdings: Index over the same states.
    """

    find: Find
    holdings: Holdings
    silences: SilenceBook


def owed(
    state: IncidentState, in_force: InForce, now: datetime, end: int, outlook: Outlook
) -> Owed:
    """The facts owed at `now`, one kind at a time, and when it owes next if left alone."""
    basis = basis_of(end, in_force, outlook.silences)
    for events in (
        _reopening(state),
        _late_alerts(state, outlook.holdings.holder),
        _severity(state, in_force.policy),
        _merge(state),
    ):
        if events:
            return Owed(tuple(_event(state, *event, now, basis) for event in events))
    lapsed = _lapsed(state, outlook.holdings, now, basis)
    if lapsed.events:
        return lapsed
    heard = _heard(state, in_force, now, basis, outlook)
    if heard.events:
        return heard
    resolution = _resolution(state, in_force.policy, now, basis)
    times = (lapsed.next_at, heard.next_at, resolution.next_at)
    return Owed(resolution.events, min((at for at in times if at is not None), default=None))


def _lapsed(state: IncidentState, holdings: Holdings, now: datetime, basis: Basis) -> Owed:
    """What nobody mentioned until its lease was over has cleared."""
    leases = holdings.leases(state.incident)
    if not leases:
        return Owed()
    over = [state.alerts[key].alert for key, until in leases.items() if until <= now]
    if not over:
        return Owed(next_at=min(leases.values()))
    cleared = [
        facts.Cleared(
            fingerprint=alert.fingerprint,
            starts_at=alert.starts_at,
            ended_at=alert.lease_until or now,
            reason="lease_over",
        )
        for alert in over
    ]
    return _all(state, [facts.AlertsCleared(alerts=part) for part in chunks(cleared)], now, basis)


def _all(state: IncidentState, owed: Sequence[IncidentFact], now: datetime, basis: Basis) -> Owed:
    """All of these at once: what is owed piece by piece may be owed too often in a row."""
    return Owed(
        tuple(
            _event(state, state.incident, fact, now, basis, part=part)
            for part, fact in enumerate(owed)
        )
    )


def _heard(
    state: IncidentState, in_force: InForce, now: datetime, basis: Basis, outlook: Outlook
) -> Owed:
    """What is due because of silences, windows, inhibition and causes."""
    ears = ears_of(state.key, in_force, outlook.find, outlook.holdings, outlook.silences, now)
    if not state.mutings and (state.status is not Status.OPEN or ears.deaf_to_nothing):
        return Owed()
    guests = _guests(state, in_force, now, basis, outlook, ears)
    if guests.events:
        return guests
    own = _own(state, now, basis, ears)
    if own.events:
        return own
    times = [at for at in (guests.next_at, own.next_at) if at is not None]
    return Owed(next_at=min(times, default=None))


def _guests(
    state: IncidentState,
    in_force: InForce,
    now: datetime,
    basis: Basis,
    outlook: Outlook,
    ears: Ears,
) -> Owed:
    """Guests go home when what muted them has ended; or something else mutes them by now."""
    if not state.mutings:
        return Owed()
    heard: list[Alert] = []
    moved: list[tuple[Alert, Muting]] = []
    muted: list[Alert] = []
    until: set[Muting] = set()
    policy = in_force.policy
    for held in state.alerts.values():
        if not held.guest or not held.firing or held.muting is None:
            continue
        alert = held.alert
        if ears.stands(held.muting, alert.labels):
            until.add(held.muting)
            continue
        classified = classify(policy, alert.labels, alert.annotations)
        other = ears.muting(alert.labels, classified.service, classified.severity)
        if other is None:
            heard.append(alert)
        elif other.because == SYMPTOM and other.by != state.incident:
            moved.append((alert, other))
        else:
            muted.append(alert.model_copy(update={"muted": other}))
    kept = _all(state, [_muted_fact(state, part) for part in loads(muted)], now, basis)
    leaving = [*((alert, None) for alert in heard), *moved]
    if leaving:
        gone = _leave(state, leaving, in_force, now, basis, outlook)
        return Owed((*kept.events, *gone))
    if kept.events:
        return kept
    ends = [at for at in map(ears.until, until) if at is not None]
    return Owed(next_at=min(ends, default=None))


def _leave(
    state: IncidentState,
    leaving: Sequence[tuple[Alert, Muting | None]],
    in_force: InForce,
    now: datetime,
    basis: Basis,
    outlook: Outlook,
) -> tuple[Event[Fact], ...]:
    """Guests go where they are heard, or where they are symptoms now, and are let go here."""
    deciding = Deciding(state.key, in_force, outlook.find, outlook.holdings, outlook.silences, now)
    count = str(len(state.seen))
    for number, (alert, muting) in enumerate(leaving):
        key = episode(alert.fingerprint, alert.starts_at)
        # It has a home already if this was interrupted before it was let go here.
        if outlook.holdings.holder(state.key, key) not in {None, state.incident}:
            continue
        by = (state.incident, count, str(number))
        if muting is None:
            deciding.release(alert, by)
        else:
            deciding.move(alert, muting, by)
    let_go = [_released_fact(part) for part in chunks([alert for alert, _ in leaving])]
    homes = deciding.written(basis.model_copy(update={"owed_by": state.incident}))
    return (*homes, *_all(state, let_go, now, basis).events)


def _own(state: IncidentState, now: datetime, basis: Basis, ears: Ears) -> Owed:
    """An incident nobody has taken goes quiet while everything that fires in it is muted."""
    own = [held for held in state.alerts.values() if held.firing and not held.guest]
    marked = [held.alert for held in own if held.muting is not None]
    if not own or (state.status is not Status.OPEN and not marked):
        return Owed()
    mutings: list[Alert] = []
    for held in own:
        still = held.muting if held.muting and ears.stands(held.muting, held.alert.labels) else None
        muting = still or ears.muting(
            held.alert.labels, state.service, state.severity, state.incident
        )
        if muting is None:
            break
        if held.muting != muting:
            mutings.append(held.alert.model_copy(update={"muted": muting}))
    else:
        if mutings and state.status is Status.OPEN:
            return _all(state, [_muted_fact(state, part) for part in loads(mutings)], now, basis)
        return Owed(next_at=ears.next_edge())
    if marked:
        return _all(state, [_released_fact(part) for part in chunks(marked)], now, basis)
    return Owed(next_at=ears.next_edge())


def _muted_fact(state: IncidentState, alerts: Sequence[Alert]) -> facts.AlertsMuted:
    return facts.AlertsMuted(
        system=state.system,
        title=state.title,
        severity=state.severity,
        rule=state.rule,
        reason=state.reason,
        group_key=state.group_key,
        service=state.service,
        drill=state.drill,
        alerts=tuple(alerts),
    )


def _released_fact(alerts: Sequence[Alert]) -> facts.AlertsReleased:
    return facts.AlertsReleased(
        alerts=tuple(
            facts.Episode(fingerprint=alert.fingerprint, starts_at=alert.starts_at)
            for alert in alerts
        ),
        reason="nothing mutes them any more",
    )


_Written = list[tuple[str, IncidentFact]]


def _event(
    state: IncidentState,
    incident: str,
    fact: IncidentFact,
    now: datetime,
    basis: Basis,
    *,
    part: int = 0,
) -> Event[IncidentFact]:
    # The number of facts folded tells a second request of the same kind from the first, and is
    # the same for whoever folds the same log.
    parts = [str(state.generation), str(len(state.seen)), *([str(part)] if part else [])]
    if incident != state.incident:
        basis = basis.model_copy(update={"owed_by": state.incident})
    return Event(
        id=event_id(fact.TYPE, incident, state.incident, *parts),
        source=SOURCE,
        subject=incident,
        key=state.key,
        occurred_at=now,
        fact=fact.model_copy(update={"basis": basis}),
    )


def _reopening(state: IncidentState) -> _Written:
    if state.status not in {Status.RESOLVED, Status.REVIEWED}:
        return []
    generation = state.generation + 1
    if state.reopen_request is not None:
        reason, by = state.reopen_request
        reason = reason or f"asked by {by.name}"
        return [(state.incident, facts.Reopened(generation=generation, reason=reason, by=by))]
    if state.unattached:
        # Both, since the reopening lets go of the alerts the refused fact left behind.
        reason = "alerts attached to it while it was being resolved"
        return [
            (state.incident, facts.Reopened(generation=generation, reason=reason)),
            (state.incident, facts.AlertsAttached(alerts=state.unattached)),
        ]
    return []


def _late_alerts(state: IncidentState, holder: Holder) -> _Written:
    """A home for alerts whose incident was closed or merged before they reached it."""
    if state.status not in {Status.CLOSED, Status.MERGED}:
        return []
    homeless = tuple(alert for alert in state.unattached if _homeless(state, alert, holder))
    if not homeless:
        return []
    if state.merged_into is not None:
        return [(state.merged_into, facts.AlertsAttached(alerts=homeless))]
    first = homeless[0]
    opened = incident_id(
        state.key, state.group_key, episode(first.fingerprint, first.starts_at), state.incident
    )
    fact = facts.Opened(
        system=state.system,
        title=state.title,
        severity=state.severity,
        rule=state.rule,
        reason=f"alerts came for {state.incident} after it was closed",
        group_key=state.group_key,
        service=state.service,
        playbook=state.playbook,
        customer_facing=state.customer_facing,
        components=state.components,
        drill=state.drill,
        urgent=state.urgent,
        alerts=homeless,
    )
    return [(opened, fact)]


def _homeless(state: IncidentState, alert: Alert, holder: Holder) -> bool:
    key = episode(alert.fingerprint, alert.starts_at)
    return key not in state.alerts and holder(state.key, key) in {None, state.incident}


def _severity(state: IncidentState, policy: Policy) -> _Written:
    if state.severity_request is None or not state.status.live:
        return []
    wanted, reason, by = state.severity_request
    if policy.severity(wanted) is None or wanted == state.severity:
        return []
    reason = reason or f"asked by {by.name}"
    if severity_rank(policy, wanted) < severity_rank(policy, state.severity):
        raised = facts.SeverityRaised(
            severity_from=state.severity,
            severity_to=wanted,
            rule="a person's request",
            reason=reason,
            by=by,
        )
        return [(state.incident, raised)]
    lowered = facts.SeverityLowered(
        severity_from=state.severity, severity_to=wanted, reason=reason, by=by
    )
    return [(state.incident, lowered)]


def _merge(state: IncidentState) -> _Written:
    if state.merge_request is None or not state.status.live:
        return []
    into, by = state.merge_request
    firing = tuple(held.alert for held in state.alerts.values() if held.firing and not held.guest)
    # The alerts first: if the other incident does not exist, that is refused and so is the rest.
    moved: _Written = [(into, facts.AlertsAttached(alerts=firing))] if firing else []
    return [*moved, (state.incident, facts.Merged(into=into, by=by))]


def _resolution(state: IncidentState, policy: Policy, now: datetime, basis: Basis) -> Owed:
    if not state.status.live or state.clear_since is None or state.declared_by is not None:
        return Owed()
    severity = policy.severity(state.severity)
    watch = severity.watch if severity is not None else None
    watched = policy.grouping.auto_resolve_after if watch is None else watch.duration
    due_at = state.clear_since + watched
    settled_at = settles_at(state, policy.grouping.flapping)
    if settled_at is not None and settled_at > due_at:
        due_at, watched = settled_at, settled_at - state.clear_since
    if due_at > now:
        return Owed(next_at=due_at)
    fact = facts.AutoResolved(
        basis=basis,
        generation=state.generation,
        reason=f"all alerts cleared and stayed clear for {watched}",
        due_at=due_at,
    )
    event = Event(
        id=event_id(fact.TYPE, state.incident, str(state.generation), rfc3339(due_at)),
        source=SOURCE,
        subject=state.incident,
        key=state.key,
        occurred_at=now,
        fact=fact,
    )
    return Owed((event,))
