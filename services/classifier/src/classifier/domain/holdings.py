"""Which incident holds which alert: an index over the incidents a classifier owns."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from datetime import datetime, timedelta

from tocsin_casebook import InForce
from tocsin_contracts.event import Fact
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import (
    AlertsAttached,
    AlertsCleared,
    AlertsMuted,
    AlertsReleased,
    LeasesRenewed,
    Opened,
)
from tocsin_incident import IncidentState, Status
from tocsin_incident.state import HeldAlert
from tocsin_policy import Inhibitors

MOST_COUNTED = 200_000
"""Arrivals of one source that are remembered; the newest, and enough to tell any storm."""


class Holdings:
    """Look-ups the classifier needs in constant time; derived, thrown away and rebuilt at will.

    `update` is called with every new expected state of an incident. Keys include the record key,
    since groups and alerts of two systems may look alike.

    Attributes:
        stirred: Keys in which something began or ended that may mute alerts of others.
    """

    def __init__(self) -> None:
        self._known: dict[str, IncidentState] = {}
        self._of_key: dict[str, dict[str, None]] = {}
        self._episodes: dict[tuple[str, str], str] = {}
        self._firing: dict[tuple[str, str], set[str]] = {}
        self._groups: dict[tuple[str, str], list[str]] = {}
        self._services: dict[tuple[str, str], list[str]] = {}
        self._arrivals: dict[tuple[str, str], list[datetime]] = {}
        self._leases: dict[str, dict[str, datetime]] = {}
        self._inhibitors: dict[str, tuple[str, Inhibitors]] = {}
        self.stirred: set[str] = set()

    def update(self, state: IncidentState) -> None:
        """Take in a new state of an incident."""
        known = self._known.get(state.incident)
        self._know(state, known)
        if known is not None and known.alerts is state.alerts:
            return
        old = {} if known is None else known.alerts
        for key in old.keys() - state.alerts.keys():
            self._let_go(state, key, old[key])
        for key, held in state.alerts.items():
            if old.get(key) is not held:
                self._take(state, key)

    def follow(self, state: IncidentState, fact: Fact) -> None:
        """Take in the state after a fact that applied, at the cost of what the fact changed.

        In a storm an incident holds tens of thousands of alerts, and a fact changes a few hundred.
        """
        known = self._known.get(state.incident)
        if known is None:
            self.update(state)
            return
        if isinstance(fact, Opened | AlertsAttached | AlertsCleared | AlertsMuted | AlertsReleased):
            for one in fact.alerts:
                self._look(state, known, episode(one.fingerprint, one.starts_at))
        elif isinstance(fact, LeasesRenewed):
            for lease in fact.leases:
                self._look(state, known, episode(lease.fingerprint, lease.starts_at))
        self._know(state, known)

    def know(self, state: IncidentState) -> None:
        """Take in a state whose alerts are known already."""
        self._know(state, self._known.get(state.incident))

    def _look(self, state: IncidentState, known: IncidentState, key: str) -> None:
        if key in state.alerts:
            self._take(state, key)
        elif key in known.alerts:
            self._let_go(state, key, known.alerts[key])

    def _know(self, state: IncidentState, known: IncidentState | None) -> None:
        self._known[state.incident] = state
        if known is None:
            self._of_key.setdefault(state.key, {})[state.incident] = None
            self._groups.setdefault((state.key, state.group_key), []).append(state.incident)
            if state.service is not None and state.status is not Status.MUTED:
                place = (state.key, state.service)
                self._services.setdefault(place, []).append(state.incident)
        # An incident that begins, ends, clears or goes quiet may be, or cease to be, a cause.
        was = None if known is None else _bearing(known)
        if state.service is not None and was != _bearing(state):
            self.stirred.add(state.key)

    def _take(self, state: IncidentState, key: str) -> None:
        held = state.alerts[key]
        place = (state.key, key)
        if place not in self._episodes:
            self._arrived(state, held)
        if not self._later(place, state.incident, held):
            return
        self._episodes[place] = state.incident
        firing = self._firing.setdefault((state.key, held.alert.fingerprint), set())
        inhibitors = self._inhibitors.get(state.key)
        if held.firing:
            firing.add(key)
            if inhibitors is not None:
                inhibitors[1].fires(key, held.alert.labels)
        else:
            firing.discard(key)
            if inhibitors is not None:
                inhibitors[1].ends(key)
        if held.alert.lease_until is not None and held.firing:
            self._leases.setdefault(state.incident, {})[key] = held.alert.lease_until
        elif state.incident in self._leases:
            self._leases[state.incident].pop(key, None)

    def _later(self, place: tuple[str, str], incident: str, held: HeldAlert) -> bool:
        """Whether an alert joined this incident after the one that holds it so far.

        Merged away or gone home, it stands in the incident it left as well, and whoever reads
        states in another order than the log's must find the same holder.
        """
        holder = self._episodes.get(place)
        if holder is None or holder == incident or held.joined_at is None:
            return True
        other = self._known[holder].alerts.get(place[1])
        return other is None or other.joined_at is None or held.joined_at >= other.joined_at

    def _arrived(self, state: IncidentState, held: HeldAlert) -> None:
        if held.joined_at is None:
            return
        arrivals = self._arrivals.setdefault((state.key, held.alert.source), [])
        if arrivals and held.joined_at < arrivals[-1]:
            insort(arrivals, held.joined_at)
        else:
            arrivals.append(held.joined_at)
        if len(arrivals) > MOST_COUNTED:
            del arrivals[: MOST_COUNTED // 2]

    def _let_go(self, state: IncidentState, key: str, held: HeldAlert) -> None:
        """A guest has left; if another incident holds it now, it is that one's."""
        self._leases.get(state.incident, {}).pop(key, None)
        if self._episodes.get((state.key, key)) != state.incident:
            return
        del self._episodes[state.key, key]
        place = (state.key, held.alert.fingerprint)
        firing = self._firing.get(place, set())
        firing.discard(key)
        if not firing:
            self._firing.pop(place, None)
        if state.key in self._inhibitors:
            self._inhibitors[state.key][1].ends(key)

    def drop(self, incident: str) -> None:
        """Forget an incident whose partition is ours no longer, or that is over for good."""
        state = self._known.pop(incident, None)
        if state is None:
            return
        for key, held in state.alerts.items():
            self._let_go(state, key, held)
        self._leases.pop(incident, None)
        members = self._of_key.get(state.key, {})
        members.pop(incident, None)
        if not members:
            self._of_key.pop(state.key, None)
            self._inhibitors.pop(state.key, None)
            for place in [place for place in self._arrivals if place[0] == state.key]:
                del self._arrivals[place]
        _leave(self._groups, (state.key, state.group_key), incident)
        if state.service is not None:
            _leave(self._services, (state.key, state.service), incident)

    def holder(self, key: str, alert_episode: str) -> str | None:
        """The incident that holds this episode, if one does."""
        return self._episodes.get((key, alert_episode))

    def firing_episodes(self, key: str, fingerprint: str) -> tuple[str, ...]:
        """Episodes of this alert that fire in some incident, in a fixed order."""
        return tuple(sorted(self._firing.get((key, fingerprint), ())))

    def group(self, key: str, group_key: str) -> Iterator[str]:
        """Incidents of a group, newest first."""
        return reversed(self._groups.get((key, group_key), []))

    def live(self, key: str, service: str) -> Iterator[IncidentState]:
        """Live incidents of a service, oldest first."""
        for incident in self._services.get((key, service), ()):
            state = self._known[incident]
            if state.status.live:
                yield state

    def inhibitors(self, key: str, in_force: InForce) -> Inhibitors:
        """What fires and inhibits, by the rules in force."""
        held = self._inhibitors.get(key)
        if held is None or held[0] != in_force.hash:
            made = Inhibitors(in_force.policy.inhibition.rules)
            if in_force.policy.inhibition.rules:
                for incident in self._of_key.get(key, {}):
                    for name, alert in self._known[incident].alerts.items():
                        if alert.firing:
                            made.fires(name, alert.alert.labels)
            held = self._inhibitors[key] = (in_force.hash, made)
        return held[1]

    def stir(self) -> frozenset[str]:
        """Keys in which something stirred since this was last asked."""
        found = set(self.stirred)
        self.stirred.clear()
        for key, (_, inhibitors) in self._inhibitors.items():
            if inhibitors.stirred:
                inhibitors.stirred = False
                found.add(key)
        return frozenset(found)

    def attentive(self, key: str) -> tuple[str, ...]:
        """Incidents whose alerts may become muted, or heard, by what stirs."""
        return tuple(
            incident
            for incident in self._of_key.get(key, {})
            for state in [self._known[incident]]
            if state.mutings or state.status is Status.OPEN
        )

    def systems(self) -> tuple[str, ...]:
        """Every key there are incidents of."""
        return tuple(self._of_key)

    def arrived(self, key: str, source: str, now: datetime, within: timedelta) -> int:
        """How many new alerts of a source the log took in within this time."""
        arrivals = self._arrivals.get((key, source))
        if not arrivals:
            return 0
        return len(arrivals) - bisect_right(arrivals, now - within)

    def leases(self, incident: str) -> dict[str, datetime]:
        """When the leases of an incident's firing alerts end, by episode."""
        return self._leases.get(incident, {})


def _leave(index: dict[tuple[str, str], list[str]], place: tuple[str, str], incident: str) -> None:
    members = index.get(place, [])
    if incident in members:
        members.remove(incident)
    if not members:
        index.pop(place, None)


def _bearing(state: IncidentState) -> tuple[bool, bool, bool, str]:
    """What decides whether an incident can be the cause of others' symptoms."""
    return (state.status.live, state.clear_since is None, state.quiet, state.severity)


def joinable(state: IncidentState) -> bool:
    """Whether an alert may attach to it as it is."""
    return state.status.live


def reopenable(state: IncidentState) -> bool:
    """Whether it may come back."""
    return state.status in {Status.RESOLVED, Status.REVIEWED}
