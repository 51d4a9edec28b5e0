"""What the classifier owes an incident by its state alone.

The answers to people's requests, the resolution of what stays clear, and a home for alerts that
came too late for an incident that had just ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from classifier.domain.deciding import SOURCE
from classifier.domain.flapping import settles_at
from tocsin_casebook import InForce, Owed
from tocsin_contracts import incidents as facts
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.event import Basis, Event, event_id
from tocsin_contracts.ids import episode, incident_id
from tocsin_contracts.incidents import Alert, IncidentFact
from tocsin_incident import IncidentState, Status
from tocsin_policy import Policy, severity_rank

Holder = Callable[[str, str], str | None]


def owed(
    state: IncidentState, in_force: InForce, now: datetime, end: int, *, holder: Holder
) -> Owed:
    """The facts owed at `now`, one kind at a time, and when the incident resolves if left alone.

    Args:
        holder: (key, episode) -> the incident that holds the alert, as `Holdings.holder`.
    """
    basis = Basis(incidents=end, policy=in_force.hash)
    for events in (
        _reopening(state),
        _late_alerts(state, holder),
        _severity(state, in_force.policy),
        _merge(state),
    ):
        if events:
            return Owed(tuple(_event(state, *event, now, basis) for event in events))
    return _resolution(state, in_force.policy, now, basis)


_Written = list[tuple[str, IncidentFact]]


def _event(
    state: IncidentState, incident: str, fact: IncidentFact, now: datetime, basis: Basis
) -> Event[IncidentFact]:
    # The number of facts folded tells a second request of the same kind from the first, and is
    # the same for whoever folds the same log.
    count = str(len(state.seen))
    return Event(
        id=event_id(fact.TYPE, incident, state.incident, str(state.generation), count),
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
    firing = tuple(held.alert for held in state.alerts.values() if held.firing)
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
