"""`decide`: one disposition for each observation, and the facts that follow.

Dedup is by label fingerprint and episode, never by summary. State is kept for each alert, never
for a sender's group: a group that says `resolved` while alerts were cut from it closes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TypedDict, TypeVar
from uuid import UUID

from classifier.domain.flapping import flaps
from classifier.domain.holdings import Holdings, joinable, reopenable
from classifier.domain.muting import MAINTENANCE, SILENCED, SYMPTOM, Ears
from tocsin_casebook import InForce
from tocsin_contracts import incidents as facts
from tocsin_contracts.alerts import Observation, ObservationStatus, Observed
from tocsin_contracts.dispositions import Disposed, Outcome
from tocsin_contracts.event import Basis, Cause, Event, Fact, event_id
from tocsin_contracts.ids import episode, incident_id
from tocsin_contracts.incidents import Alert, Cleared, IncidentFact, Lease, Muting
from tocsin_incident import IncidentState, Status, weight
from tocsin_policy import (
    DRILL_LABEL,
    Classification,
    SilenceBook,
    classify,
    group_key,
    severity_rank,
)

SOURCE = "tocsin/classifier"

_NEW_GROUP = "new_group"
_SAME_GROUP = "same_group"
_SAME_SERVICE = "same_service"
_STORM = "storm"
_FLAPPING = "flapping"

STORM_GROUP = "tocsin_storm"
"""Label that stands in the group key of a storm; its value is the source."""

MOST_IN_A_FACT = 5_000
"""Ends or leases of one fact."""

MOST_CHARACTERS = 1_300_000
"""Characters of the alerts of one fact: a record holds them even as six bytes each."""

T = TypeVar("T")

_OUTCOMES = {SILENCED: Outcome.SILENCED, MAINTENANCE: Outcome.SILENCED}

Find = Callable[[str], IncidentState | None]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An `Observed` record, decoded."""

    event: Event[Fact]
    observed: Observed
    cause: Cause


class Said(TypedDict):
    """A `Disposition` before it is one: those of a delivery are made together, if at all."""

    observation: UUID
    fingerprint: str
    outcome: Outcome
    reason: str
    incident: str | None
    by: str | None


@dataclass(frozen=True)
class Decision:
    """What follows.

    Attributes:
        incidents: Facts for `incidents`, in order.
        said: What becomes of the observations of each delivery.
    """

    incidents: tuple[Event[IncidentFact], ...]
    said: tuple[tuple[Delivery, list[Said]], ...]
    now: datetime
    basis: Basis | None

    @cached_property
    def disposed(self) -> tuple[Event[Disposed], ...]:
        """One for each delivery; made when they are asked for, which a what-if does not."""
        return tuple(
            _disposed(delivery, said, self.now, self.basis) for delivery, said in self.said
        )


@dataclass(frozen=True, slots=True)
class _By:
    """The observation that a fact follows from.

    Attributes:
        of: What the fact's id is derived from.
    """

    of: tuple[str | UUID, ...]
    cause: Cause | None = None
    traceparent: str | None = None

    @property
    def id(self) -> tuple[str, ...]:
        """Part of the fact's id; most observations name no fact, and are not asked."""
        return tuple(map(str, self.of))


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
    attached_by: _By | None = None
    mute: list[Alert] = field(default_factory=list)
    muted_by: _By | None = None
    clear: list[Cleared] = field(default_factory=list)
    cleared_by: _By | None = None
    renew: list[Lease] = field(default_factory=list)
    renewed_by: _By | None = None
    worst: Classification | None = None
    worst_by: _By | None = None


def decide(
    deliveries: Sequence[Delivery],
    *,
    key: str,
    in_force: InForce,
    find: Find,
    holdings: Holdings,
    silences: SilenceBook,
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
    deciding = Deciding(key, in_force, find, holdings, silences, now)
    deciding.foresee(seen for delivery in deliveries for seen in delivery.observed.observations)
    basis = basis_of(end, in_force, silences)
    said = tuple(
        (delivery, [deciding.dispose(delivery, seen) for seen in delivery.observed.observations])
        for delivery in deliveries
    )
    return Decision(tuple(deciding.written(basis)), said, now, basis)


def basis_of(end: int, in_force: InForce, silences: SilenceBook) -> Basis:
    """What a decision is made from, for whoever asks it again."""
    return Basis(incidents=end, policy=in_force.hash, silences=silences.end or None)


def ears_of(
    key: str,
    in_force: InForce,
    find: Find,
    holdings: Holdings,
    silences: SilenceBook,
    now: datetime,
) -> Ears:
    """What decides whether an alert of this key is heard at `now`."""
    return Ears(
        policy=in_force.policy,
        silences=silences,
        inhibitors=holdings.inhibitors(key, in_force),
        live=lambda service: holdings.live(key, service),
        find=find,
        now=now,
    )


def _disposed(
    delivery: Delivery, said: Sequence[Said], now: datetime, basis: Basis | None
) -> Event[Disposed]:
    event = delivery.event
    # All at once: to make each disposition by itself takes nearly twice as long.
    fact = Disposed.model_validate({"cause": delivery.cause, "basis": basis, "dispositions": said})
    return Event(
        id=event_id(Disposed.TYPE, event.subject, str(event.id)),
        source=SOURCE,
        subject=event.subject,
        key=event.key,
        occurred_at=now,
        fact=fact,
        traceparent=event.traceparent,
    )


def refuse(delivery: Delivery, reason: str, now: datetime) -> Event[Disposed]:
    """The dispositions of a delivery that is dead-lettered whole."""
    said = [_said(seen, Outcome.DEAD_LETTERED, reason) for seen in delivery.observed.observations]
    return _disposed(delivery, said, now, None)


def _said(
    seen: Observation,
    outcome: Outcome,
    reason: str,
    incident: str | None = None,
    by: str | None = None,
) -> Said:
    return {
        "observation": seen.id,
        "fingerprint": seen.fingerprint,
        "outcome": outcome,
        "reason": reason,
        "incident": incident,
        "by": by,
    }


class Deciding:
    """One decision about alerts of one key, and the facts it comes to."""

    def __init__(
        self,
        key: str,
        in_force: InForce,
        find: Find,
        holdings: Holdings,
        silences: SilenceBook,
        now: datetime,
    ) -> None:
        self._key = key
        self._in_force = in_force
        self._policy = in_force.policy
        self._find = find
        self._holdings = holdings
        self._now = now
        self._ears = ears_of(key, in_force, find, holdings, silences, now)
        self._deaf_to_nothing = self._ears.deaf_to_nothing
        self._plans: dict[str, _Plan] = {}
        self._planned: dict[str, str] = {}
        self._cleared: set[str] = set()
        self._groups: dict[str, str] = {}
        self._disposed: dict[UUID, Said] = {}
        self._arrived: dict[str, int] = {}

    def foresee(self, observations: Iterable[Observation]) -> None:
        """Know what inhibits before deciding on what it inhibits, in whatever order they came."""
        if not self._policy.inhibition.rules:
            return
        for seen in observations:
            key = episode(seen.fingerprint, seen.starts_at)
            if seen.status is ObservationStatus.FIRING:
                held_in = self._holdings.holder(self._key, key)
                if held_in is None or self._fires_in(held_in, key):
                    self._ears.inhibitors.fires(key, seen.labels)

    def dispose(self, delivery: Delivery, seen: Observation) -> Said:
        """The one disposition of an observation."""
        # A record that ingestion wrote twice may come twice in one batch, when no state knows of
        # the first yet: an observation has one disposition all the same.
        disposed = self._disposed.get(seen.id)
        if disposed is None:
            firing = seen.status is ObservationStatus.FIRING
            disposed = self._fires(delivery, seen) if firing else self._ends(delivery, seen)
            self._disposed[seen.id] = disposed
        return disposed

    def release(self, alert: Alert, by: tuple[str, ...]) -> None:
        """Give an alert that was muted, and is no longer, the incident it belongs to."""
        key = episode(alert.fingerprint, alert.starts_at)
        classified = classify(self._policy, alert.labels, alert.annotations)
        plan, _, _ = self._join(group_key(self._policy, alert.labels), alert, classified)
        self._attach(plan, alert, classified, _By(by))
        self._planned[key] = plan.incident

    def move(self, alert: Alert, muting: Muting, by: tuple[str, ...]) -> None:
        """Keep an alert with the incident it is a symptom of now."""
        classified = classify(self._policy, alert.labels, alert.annotations)
        self._mute(self._plan(muting.by), alert, muting, classified, _By(by))

    def _fires(self, delivery: Delivery, seen: Observation) -> Said:
        key = episode(seen.fingerprint, seen.starts_at)
        held_in = self._planned.get(key) or self._holdings.holder(self._key, key)
        if held_in is not None:
            return self._known(delivery, seen, key, held_in)
        classified = classify(self._policy, seen.labels, seen.annotations)
        alert = self._alert(delivery, seen)
        by = _by(delivery, seen)
        self._arrived[alert.source] = self._arrived.get(alert.source, 0) + 1
        muted = self._muted(seen, alert, classified, by)
        if muted is not None:
            return muted
        plan, outcome, reason = self._join(group_key(self._policy, seen.labels), alert, classified)
        if self._flaps(plan.incident, seen):
            outcome, reason = Outcome.PAUSED, _FLAPPING
        self._attach(plan, alert, classified, by)
        self._planned[key] = plan.incident
        return _said(seen, outcome, reason, plan.incident, classified.rule)

    def _muted(
        self, seen: Observation, alert: Alert, classified: Classification, by: _By
    ) -> Said | None:
        if self._deaf_to_nothing:
            return None
        muting = self._ears.muting(alert.labels, classified.service, classified.severity)
        if muting is None:
            return None
        group = group_key(self._policy, alert.labels)
        key = episode(alert.fingerprint, alert.starts_at)
        symptom = muting.because == SYMPTOM
        plan = self._plan(muting.by) if symptom else self._kept(group, key)
        self._mute(plan, alert, muting, classified, by)
        return self._of_muted(seen, muting)

    def _mute(
        self, plan: _Plan, alert: Alert, muting: Muting, classified: Classification, by: _By
    ) -> None:
        plan.mute.append(alert.model_copy(update={"muted": muting}))
        plan.muted_by = plan.muted_by or by
        self._judge(plan, classified, by)
        self._planned[episode(alert.fingerprint, alert.starts_at)] = plan.incident

    def _of_muted(self, seen: Observation, muting: Muting) -> Said:
        outcome = _OUTCOMES.get(muting.because, Outcome.INHIBITED)
        incident = muting.by if muting.because == SYMPTOM else None
        return _said(seen, outcome, muting.because, incident, muting.by)

    def _kept(self, group: str, key: str) -> _Plan:
        """Where alerts of a group are kept of which nobody hears."""
        planned = self._groups.get(f"muted {group}")
        if planned is None:
            held = (self._find(one) for one in self._holdings.group(self._key, group))
            there = next((s for s in held if s is not None and s.status is Status.MUTED), None)
            # One that is empty is over: its id must not come back with other alerts.
            fits = there is not None and any(one.firing for one in there.alerts.values())
            planned = (
                there.incident
                if there is not None and fits
                else incident_id(self._key, "muted", group, key)
            )
            self._groups[f"muted {group}"] = planned
        plan = self._plan(planned)
        plan.group = group
        return plan

    def _attach(self, plan: _Plan, alert: Alert, classified: Classification, by: _By) -> None:
        plan.attach.append(alert)
        plan.attached_by = plan.attached_by or by
        self._judge(plan, classified, by)

    def _judge(self, plan: _Plan, classified: Classification, by: _By) -> None:
        if plan.worst is None or self._worse(classified, plan.worst):
            plan.worst = classified
            plan.worst_by = by

    def _known(self, delivery: Delivery, seen: Observation, key: str, held_in: str) -> Said:
        state = self._find(held_in)
        held = state.alerts.get(key) if state is not None else None
        if state is None or held is None:
            return _said(seen, Outcome.REPEATED, "still_firing", held_in)
        if held.alert.observation == seen.id:
            return self._same_again(seen, key, state, held.alert)
        if held.firing:
            self._renew(delivery, seen, held_in, held.alert)
        reason = "still_firing" if held.firing else "episode_is_over"
        return _said(seen, Outcome.REPEATED, reason, held_in)

    def _same_again(self, seen: Observation, key: str, state: IncidentState, alert: Alert) -> Said:
        """The same record again, after a crash.

        It gets the disposition it got or would have got then, to the letter, so that an
        observation never has two.
        """
        if alert.muted is not None:
            return self._of_muted(seen, alert.muted)
        rule = classify(self._policy, seen.labels, seen.annotations).rule
        storm = state.group_key == storm_group(alert.source)
        if next(iter(state.alerts)) == key:
            reason = _STORM if storm else _NEW_GROUP
            return _said(seen, Outcome.OPENED, reason, state.incident, rule)
        if self._flaps(state.incident, seen):
            return _said(seen, Outcome.PAUSED, _FLAPPING, state.incident, rule)
        own = state.group_key == group_key(self._policy, seen.labels)
        reason = _STORM if storm else _SAME_GROUP if own else _SAME_SERVICE
        return _said(seen, Outcome.ATTACHED, reason, state.incident, rule)

    def _renew(self, delivery: Delivery, seen: Observation, incident: str, held: Alert) -> None:
        """Note that an alert with a lease is still there, once half of the lease is over."""
        until = self._lease(delivery.observed.source, seen)
        if until is None or held.lease_until is None or until <= held.lease_until:
            return
        if held.lease_until - self._now > (until - self._now) / 2:
            return
        plan = self._plan(incident)
        plan.renew.append(
            Lease(fingerprint=held.fingerprint, starts_at=held.starts_at, lease_until=until)
        )
        plan.renewed_by = plan.renewed_by or _by(delivery, seen)

    def _lease(self, source: str, seen: Observation) -> datetime | None:
        if seen.ends_at is not None:
            return seen.ends_at
        lease = self._policy.grouping.leases.get(source)
        return None if lease is None else self._now + lease

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

    def _join(
        self, group: str, alert: Alert, classified: Classification
    ) -> tuple[_Plan, Outcome, str]:
        found = self._of_group(group)
        if found is not None:
            return found, Outcome.ATTACHED, _SAME_GROUP
        related = self._of_service(classified, alert.source)
        if related is not None:
            return self._plan(related), Outcome.ATTACHED, _SAME_SERVICE
        if self._storms(alert.source, classified) and DRILL_LABEL not in alert.labels:
            storm = storm_group(alert.source)
            found = self._of_group(storm)
            if found is not None:
                return found, Outcome.ATTACHED, _STORM
            return self._open(storm, alert), Outcome.OPENED, _STORM
        return self._open(group, alert), Outcome.OPENED, _NEW_GROUP

    def _open(self, group: str, alert: Alert) -> _Plan:
        opened = incident_id(self._key, group, episode(alert.fingerprint, alert.starts_at))
        plan = self._plan(opened, group)
        plan.opens = True
        return plan

    def _of_group(self, group: str) -> _Plan | None:
        """The incident that alerts of this group join, if there is one."""
        planned = self._groups.get(group)
        if planned is not None:
            return self._plans[planned]
        for incident in self._holdings.group(self._key, group):
            state = self._find(incident)
            if state is None or state.status is Status.MUTED:
                continue
            if joinable(state):
                return self._plan(incident, group)
            if reopenable(state) and self._within_window(state):
                plan = self._plan(incident, group)
                plan.reopens = state
                return plan
            break
        return None

    def _of_service(self, classified: Classification, source: str) -> str | None:
        """The live incident of the same service that another source told of not long ago."""
        within = self._policy.grouping.correlate_within
        if within is None or classified.service is None:
            return None
        for state in self._holdings.live(self._key, classified.service):
            newest = state.joined_at or state.opened_at
            own = any(held.alert.source == source for held in state.alerts.values())
            if not own and not state.drill and self._now - newest <= within:
                return state.incident
        return None

    def _storms(self, source: str, classified: Classification) -> bool:
        storm = self._policy.grouping.storm
        if storm is None:
            return False
        if severity_rank(self._policy, classified.severity) < severity_rank(
            self._policy, storm.severity
        ):
            return False
        before = self._holdings.arrived(self._key, source, self._now, storm.within)
        return before + self._arrived.get(source, 0) > storm.alerts

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
            lease_until=self._lease(delivery.observed.source, seen),
        )

    def _ends(self, delivery: Delivery, seen: Observation) -> Said:
        ended_at = seen.ends_at or delivery.event.occurred_at
        key = episode(seen.fingerprint, seen.starts_at)
        planned = self._planned.get(key)
        holder = planned or self._holdings.holder(self._key, key)
        if holder is not None:
            if planned is None and not self._fires_in(holder, key):
                if self._ended_by(holder, key, seen):
                    return _said(seen, Outcome.CLEARED, "resolved", holder)
                return _said(seen, Outcome.REPEATED, "already_clear", holder)
            self._clear(delivery, seen, holder, seen.starts_at, ended_at)
            self._clear_others(delivery, seen, ended_at, source=delivery.observed.source)
            return _said(seen, Outcome.CLEARED, "resolved", holder)
        # Another replica may give the same alert another start: what fires under this
        # fingerprint and began before the end has ended too.
        cleared = self._clear_others(delivery, seen, ended_at)
        reason = "not_held" if cleared is None else "same_alert"
        return _said(seen, Outcome.CLEARED, reason, cleared)

    def _clear_others(
        self,
        delivery: Delivery,
        seen: Observation,
        ended_at: datetime,
        source: str | None = None,
    ) -> str | None:
        """Clear other episodes of an alert that began before it ended; the last one's incident.

        A source that moves an alert's start holds one alert, whatever number of episodes that
        looks like.
        """
        cleared: str | None = None
        for other in self._holdings.firing_episodes(self._key, seen.fingerprint):
            holder = self._holdings.holder(self._key, other)
            state = self._find(holder) if holder is not None else None
            if holder is None or state is None or other not in state.alerts:
                continue
            alert = state.alerts[other].alert
            if source is not None and alert.source != source:
                continue
            if self._fires_in(holder, other) and alert.starts_at <= ended_at:
                self._clear(delivery, seen, holder, alert.starts_at, ended_at)
                cleared = holder
        return cleared

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
        plan.cleared_by = plan.cleared_by or _by(delivery, seen)
        key = episode(seen.fingerprint, starts_at)
        self._cleared.add(f"{incident}/{key}")

    def written(self, basis: Basis) -> list[Event[IncidentFact]]:
        """The facts that were decided, in the order in which they are to be written."""
        return [
            Event(
                id=event_id(fact.TYPE, plan.incident, *by.id, *([str(part)] if part else [])),
                source=SOURCE,
                subject=plan.incident,
                key=self._key,
                occurred_at=self._now,
                fact=fact.model_copy(update={"cause": by.cause, "basis": basis}),
                traceparent=by.traceparent,
            )
            for plan in self._plans.values()
            for by, owed in self._owed(plan)
            if by is not None
            for part, fact in enumerate(owed)
        ]

    def _owed(self, plan: _Plan) -> Iterator[tuple[_By | None, list[IncidentFact]]]:
        """What one incident is owed, each kind of fact in as many parts as its alerts need."""
        worst = plan.worst
        if plan.attached_by is not None and worst is not None:
            parts = list(loads(plan.attach))
            if plan.opens:
                yield plan.attached_by, [self._opened(plan, worst, parts.pop(0))]
            elif plan.reopens is not None:
                yield plan.attached_by, [_reopened(plan.reopens)]
            yield plan.attached_by, [facts.AlertsAttached(alerts=part) for part in parts]
            raised = None if plan.opens else self._raised(plan, worst)
            yield plan.worst_by, [raised] if raised is not None else []
        if worst is not None:
            quiet = [self._kept_quiet(plan, worst, part) for part in loads(plan.mute)]
            yield plan.muted_by, [*quiet]
        yield plan.cleared_by, [facts.AlertsCleared(alerts=part) for part in chunks(plan.clear)]
        yield plan.renewed_by, [facts.LeasesRenewed(leases=part) for part in chunks(plan.renew)]

    def _kept_quiet(
        self, plan: _Plan, worst: Classification, alerts: tuple[Alert, ...]
    ) -> facts.AlertsMuted:
        return facts.AlertsMuted(
            system=self._policy.system,
            title=worst.title,
            severity=worst.severity,
            rule=worst.rule,
            reason=worst.reason,
            group_key=plan.group,
            service=worst.service,
            drill=any(DRILL_LABEL in alert.labels for alert in plan.mute),
            alerts=alerts,
        )

    def _opened(
        self, plan: _Plan, worst: Classification, alerts: tuple[Alert, ...]
    ) -> facts.Opened:
        storm = self._policy.grouping.storm
        source = plan.attach[0].source
        if storm is not None and plan.group == storm_group(source):
            return facts.Opened(
                system=self._policy.system,
                title=f"Storm of alerts from {source}",
                severity=storm.severity,
                rule=_STORM,
                reason=(
                    f"{source} sends more than {storm.alerts} new alerts in {storm.within}; "
                    f"those no more severe than {storm.severity} are gathered here"
                ),
                group_key=plan.group,
                alerts=alerts,
            )
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
            alerts=alerts,
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


def chunks(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    """What one fact holds of ends or leases, at most `MOST_IN_A_FACT` each."""
    for first in range(0, len(items), MOST_IN_A_FACT):
        yield tuple(items[first : first + MOST_IN_A_FACT])


def loads(alerts: Sequence[Alert]) -> Iterator[tuple[Alert, ...]]:
    """What one fact holds of alerts, at most `MOST_CHARACTERS` each unless one has more alone."""
    load: list[Alert] = []
    characters = 0
    for alert in alerts:
        own = weight(alert)
        if load and characters + own > MOST_CHARACTERS:
            yield tuple(load)
            load, characters = [], 0
        load.append(alert)
        characters += own
    if load:
        yield tuple(load)


def storm_group(source: str) -> str:
    """The group of what a source in a storm sends."""
    return json.dumps([[STORM_GROUP, source]], ensure_ascii=False, separators=(",", ":"))


def _by(delivery: Delivery, seen: Observation) -> _By:
    return _By((seen.id,), delivery.cause, delivery.event.traceparent)


def _reopened(state: IncidentState) -> facts.Reopened:
    return facts.Reopened(
        generation=state.generation + 1,
        reason="an alert of its group fired within the reopening window",
    )
