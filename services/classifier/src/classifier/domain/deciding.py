"""`decide`: one disposition for each observation, and the facts that follow.

Dedup is by label fingerprint and episode, never by summary. State is kept for each alert, never
for a sender's group: a group that says `resolved` while alerts were cut from it closes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from classifier.domain.flapping import flaps
from classifier.domain.holdings import Holdings, joinable, reopenable
from tocsin_casebook import InForce
from tocsin_contracts import incidents as facts
from tocsin_contracts.alerts import Observation, ObservationStatus, Observed
from tocsin_contracts.dispositions import Disposed, Disposition, Outcome
from tocsin_contracts.event import Basis, Cause, Event, Fact, event_id
from tocsin_contracts.ids import episode, incident_id
from tocsin_contracts.incidents import Alert, Cleared, IncidentFact
from tocsin_incident import IncidentState
from tocsin_policy import DRILL_LABEL, Classification, classify, group_key, severity_rank

SOURCE = "tocsin/classifier"

_NEW_GROUP = "new_group"
_SAME_GROUP = "same_group"
_FLAPPING = "flapping"

Find = Callable[[str], IncidentState | None]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An `Observed` record, decoded."""

    event: Event[Fact]
    observed: Observed
    cause: Cause


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: facts for `incidents`, in order, and one `Disposed` for each delivery."""

    incidents: tuple[Event[IncidentFact], ...]
    disposed: tuple[Event[Disposed], ...]


@dataclass(slots=True)
class _Plan:
    """What the deliveries mean for one incident, gathered before facts are made of it.

    The first observation of each kind names the fact: an observation contributes to one fact of
    a kind at most, so ids stay unique, and the same whatever else came in the batch.
    """

    incident: str
    group: str = ""
    opens: bool = False
    reopens: IncidentState | None = None
    attach: list[Alert] = field(default_factory=list)
    attached_by: tuple[Delivery, Observation] | None = None
    clear: list[Cleared] = field(default_factory=list)
    cleared_by: tuple[Delivery, Observation] | None = None
    worst: Classification | None = None
    worst_by: tuple[Delivery, Observation] | None = None


def decide(
    deliveries: Sequence[Delivery],
    *,
    key: str,
    in_force: InForce,
    find: Find,
    holdings: Holdings,
    now: datetime,
    end: int,
) -> Decision:
    """The facts and dispositions of deliveries of one key, decided in order and written together.

    Deciding them together is what keeps a storm small in `incidents`: alerts that join one
    incident are one fact, however many deliveries brought them.

    Args:
        find: Expected state of an incident, or `None`.
        holdings: Index over the same states.
        end: End of the `incidents` partition as folded, for the facts' basis.
    """
    deciding = _Deciding(key, in_force, find, holdings, now)
    basis = Basis(incidents=end, policy=in_force.hash)
    disposed = tuple(
        _disposed(
            delivery,
            tuple(deciding.dispose(delivery, seen) for seen in delivery.observed.observations),
            now,
            basis,
        )
        for delivery in deliveries
    )
    return Decision(tuple(deciding.written(basis)), disposed)


def _disposed(
    delivery: Delivery, dispositions: tuple[Disposition, ...], now: datetime, basis: Basis | None
) -> Event[Disposed]:
    event = delivery.event
    return Event(
        id=event_id(Disposed.TYPE, event.subject, str(event.id)),
        source=SOURCE,
        subject=event.subject,
        key=event.key,
        occurred_at=now,
        fact=Disposed(cause=delivery.cause, basis=basis, dispositions=dispositions),
        traceparent=event.traceparent,
    )


def refuse(delivery: Delivery, reason: str, now: datetime) -> Event[Disposed]:
    """The dispositions of a delivery that is dead-lettered whole."""
    dispositions = tuple(
        Disposition(
            observation=seen.id,
            fingerprint=seen.fingerprint,
            outcome=Outcome.DEAD_LETTERED,
            reason=reason,
        )
        for seen in delivery.observed.observations
    )
    return _disposed(delivery, dispositions, now, None)


class _Deciding:
    def __init__(
        self, key: str, in_force: InForce, find: Find, holdings: Holdings, now: datetime
    ) -> None:
        self._key = key
        self._in_force = in_force
        self._policy = in_force.policy
        self._find = find
        self._holdings = holdings
        self._now = now
        self._plans: dict[str, _Plan] = {}
        self._planned: dict[str, str] = {}
        self._cleared: set[str] = set()
        self._groups: dict[str, str] = {}
        self._disposed: dict[UUID, Disposition] = {}

    def dispose(self, delivery: Delivery, seen: Observation) -> Disposition:
        # A record that ingestion wrote twice may come twice in one batch, when no state knows of
        # the first yet: an observation has one disposition all the same.
        disposed = self._disposed.get(seen.id)
        if disposed is None:
            firing = seen.status is ObservationStatus.FIRING
            disposed = self._fires(delivery, seen) if firing else self._ends(delivery, seen)
            self._disposed[seen.id] = disposed
        return disposed

    def _disposition(
        self,
        seen: Observation,
        outcome: Outcome,
        reason: str,
        incident: str | None = None,
        by: str | None = None,
    ) -> Disposition:
        return Disposition(
            observation=seen.id,
            fingerprint=seen.fingerprint,
            outcome=outcome,
            reason=reason,
            incident=incident,
            by=by,
        )

    def _fires(self, delivery: Delivery, seen: Observation) -> Disposition:
        key = episode(seen.fingerprint, seen.starts_at)
        held_in = self._planned.get(key) or self._holdings.holder(self._key, key)
        if held_in is not None:
            return self._known(seen, key, held_in)
        classified = classify(self._policy, seen.labels, seen.annotations)
        group = group_key(self._policy, seen.labels)
        plan, outcome, reason = self._join(group, seen)
        if self._flaps(plan.incident, seen):
            outcome, reason = Outcome.PAUSED, _FLAPPING
        plan.attach.append(self._alert(delivery, seen))
        plan.attached_by = plan.attached_by or (delivery, seen)
        self._planned[key] = plan.incident
        if plan.worst is None or self._worse(classified, plan.worst):
            plan.worst = classified
            plan.worst_by = (delivery, seen)
        return self._disposition(seen, outcome, reason, plan.incident, classified.rule)

    def _known(self, seen: Observation, key: str, held_in: str) -> Disposition:
        state = self._find(held_in)
        held = state.alerts.get(key) if state is not None else None
        if state is None or held is None:
            return self._disposition(seen, Outcome.REPEATED, "still_firing", held_in)
        if held.alert.observation == seen.id:
            # The same record again, after a crash: it gets the disposition it got or would have
            # got then, to the letter, so that an observation never has two.
            rule = classify(self._policy, seen.labels, seen.annotations).rule
            if next(iter(state.alerts)) == key:
                return self._disposition(seen, Outcome.OPENED, _NEW_GROUP, held_in, rule)
            if self._flaps(held_in, seen):
                return self._disposition(seen, Outcome.PAUSED, _FLAPPING, held_in, rule)
            return self._disposition(seen, Outcome.ATTACHED, _SAME_GROUP, held_in, rule)
        reason = "still_firing" if held.firing else "episode_is_over"
        return self._disposition(seen, Outcome.REPEATED, reason, held_in)

    def _flaps(self, incident: str, seen: Observation) -> bool:
        state = self._find(incident)
        if state is None:
            return False
        # An instant before it, so that the answer is the same once it is held.
        at = seen.starts_at - timedelta(microseconds=1)
        return flaps(state, self._policy.grouping.flapping, seen.fingerprint, at)

    def _worse(self, one: Classification, other: Classification) -> bool:
        return severity_rank(self._policy, one.severity) < severity_rank(
            self._policy, other.severity
        )

    def _join(self, group: str, seen: Observation) -> tuple[_Plan, Outcome, str]:
        planned = self._groups.get(group)
        if planned is not None:
            return self._plans[planned], Outcome.ATTACHED, _SAME_GROUP
        for incident in self._holdings.group(self._key, group):
            state = self._find(incident)
            if state is None:
                continue
            if joinable(state):
                return self._plan(incident, group), Outcome.ATTACHED, _SAME_GROUP
            if reopenable(state) and self._within_window(state):
                plan = self._plan(incident, group)
                plan.reopens = state
                return plan, Outcome.ATTACHED, _SAME_GROUP
            break
        opened = incident_id(self._key, group, episode(seen.fingerprint, seen.starts_at))
        plan = self._plan(opened, group)
        plan.opens = True
        return plan, Outcome.OPENED, _NEW_GROUP

    def _within_window(self, state: IncidentState) -> bool:
        return (
            state.resolved_at is not None
            and self._now - state.resolved_at <= self._policy.grouping.reopen_within
        )

    def _plan(self, incident: str, group: str = "") -> _Plan:
        plan = self._plans.setdefault(incident, _Plan(incident))
        if group:
            plan.group = group
            self._groups[group] = incident
        return plan

    def _alert(self, delivery: Delivery, seen: Observation) -> Alert:
        return Alert(
            fingerprint=seen.fingerprint,
            starts_at=seen.starts_at,
            name=seen.labels.get("alertname", ""),
            labels=seen.labels,
            annotations=seen.annotations,
            generator_url=seen.generator_url,
            source=delivery.observed.source,
            observation=seen.id,
            lease_until=seen.ends_at,
        )

    def _ends(self, delivery: Delivery, seen: Observation) -> Disposition:
        ended_at = seen.ends_at or delivery.event.occurred_at
        key = episode(seen.fingerprint, seen.starts_at)
        planned = self._planned.get(key)
        holder = planned or self._holdings.holder(self._key, key)
        if holder is not None:
            if planned is None and not self._fires_in(holder, key):
                if self._ended_by(holder, key, seen):
                    return self._disposition(seen, Outcome.CLEARED, "resolved", holder)
                return self._disposition(seen, Outcome.REPEATED, "already_clear", holder)
            self._clear(delivery, seen, holder, seen.starts_at, ended_at)
            return self._disposition(seen, Outcome.CLEARED, "resolved", holder)
        # Another replica may give the same alert another start: what fires under this
        # fingerprint and began before the end has ended too.
        cleared: str | None = None
        for other in self._holdings.firing_episodes(self._key, seen.fingerprint):
            other_holder = self._holdings.holder(self._key, other)
            state = self._find(other_holder) if other_holder is not None else None
            if other_holder is None or state is None or other not in state.alerts:
                continue
            starts_at = state.alerts[other].alert.starts_at
            if self._fires_in(other_holder, other) and starts_at <= ended_at:
                self._clear(delivery, seen, other_holder, starts_at, ended_at)
                cleared = other_holder
        reason = "not_held" if cleared is None else "same_alert"
        return self._disposition(seen, Outcome.CLEARED, reason, cleared)

    def _ended_by(self, incident: str, key: str, seen: Observation) -> bool:
        """Whether this very observation cleared it before: the same record again."""
        state = self._find(incident)
        held = state.alerts.get(key) if state is not None else None
        return held is not None and held.cleared_by == seen.id

    def _fires_in(self, incident: str, key: str) -> bool:
        if f"{incident}/{key}" in self._cleared:
            return False
        state = self._find(incident)
        return state is not None and key in state.alerts and state.alerts[key].firing

    def _clear(
        self,
        delivery: Delivery,
        seen: Observation,
        incident: str,
        starts_at: datetime,
        ended_at: datetime,
    ) -> None:
        plan = self._plan(incident)
        plan.clear.append(
            Cleared(
                fingerprint=seen.fingerprint,
                starts_at=starts_at,
                ended_at=ended_at,
                observation=seen.id,
            )
        )
        plan.cleared_by = plan.cleared_by or (delivery, seen)
        self._cleared.add(f"{incident}/{episode(seen.fingerprint, starts_at)}")

    def written(self, basis: Basis) -> list[Event[IncidentFact]]:
        written: list[Event[IncidentFact]] = []

        def write(incident: str, by: tuple[Delivery, Observation], fact: IncidentFact) -> None:
            delivery, seen = by
            written.append(
                Event(
                    id=event_id(fact.TYPE, incident, str(seen.id)),
                    source=SOURCE,
                    subject=incident,
                    key=self._key,
                    occurred_at=self._now,
                    fact=fact.model_copy(update={"cause": delivery.cause, "basis": basis}),
                    traceparent=delivery.event.traceparent,
                )
            )

        for plan in self._plans.values():
            if plan.attached_by is not None and plan.worst is not None:
                if plan.opens:
                    write(plan.incident, plan.attached_by, self._opened(plan, plan.worst))
                else:
                    if plan.reopens is not None:
                        write(plan.incident, plan.attached_by, _reopened(plan.reopens))
                    attached = facts.AlertsAttached(alerts=tuple(plan.attach))
                    write(plan.incident, plan.attached_by, attached)
                    raised = self._raised(plan, plan.worst)
                    if raised is not None and plan.worst_by is not None:
                        write(plan.incident, plan.worst_by, raised)
            if plan.cleared_by is not None:
                cleared = facts.AlertsCleared(alerts=tuple(plan.clear))
                write(plan.incident, plan.cleared_by, cleared)
        return written

    def _opened(self, plan: _Plan, worst: Classification) -> facts.Opened:
        return facts.Opened(
            system=self._policy.system,
            title=worst.title,
            severity=worst.severity,
            rule=worst.rule,
            reason=worst.reason,
            group_key=plan.group,
            service=worst.service,
            playbook=worst.playbook,
            customer_facing=worst.customer_facing,
            components=worst.components,
            near_misses=worst.near_misses,
            urgent=worst.urgent,
            drill=any(DRILL_LABEL in alert.labels for alert in plan.attach),
            alerts=tuple(plan.attach),
        )

    def _raised(self, plan: _Plan, worst: Classification) -> facts.SeverityRaised | None:
        state = self._find(plan.incident)
        if state is None:
            return None
        rank = severity_rank(self._policy, worst.severity)
        if rank >= severity_rank(self._policy, state.severity):
            return None
        return facts.SeverityRaised(
            severity_from=state.severity,
            severity_to=worst.severity,
            rule=worst.rule,
            reason=worst.reason,
        )


def _reopened(state: IncidentState) -> facts.Reopened:
    return facts.Reopened(
        generation=state.generation + 1,
        reason="an alert of its group fired within the reopening window",
    )
