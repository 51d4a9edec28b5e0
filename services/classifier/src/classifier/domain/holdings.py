"""Which incident holds which alert: an index over the incidents a classifier owns."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin_contracts.event import Fact
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import AlertsAttached, AlertsCleared, Opened
from tocsin_incident import IncidentState, Status


class Holdings:
    """Look-ups the classifier needs in constant time; derived, thrown away and rebuilt at will.

    `update` is called with every new expected state of an incident. Keys include the record key,
    since groups and alerts of two systems may look alike.
    """

    def __init__(self) -> None:
        self._known: dict[str, IncidentState] = {}
        self._episodes: dict[tuple[str, str], str] = {}
        self._firing: dict[tuple[str, str], set[str]] = {}
        self._groups: dict[tuple[str, str], list[str]] = {}

    def update(self, state: IncidentState) -> None:
        """Take in a new state of an incident."""
        known = self._known.get(state.incident)
        self._known[state.incident] = state
        if known is None:
            self._groups.setdefault((state.key, state.group_key), []).append(state.incident)
        elif known.alerts is state.alerts:
            return
        old = {} if known is None else known.alerts
        for key, held in state.alerts.items():
            if old.get(key) is not held:
                self._take(state, key)

    def follow(self, state: IncidentState, fact: Fact) -> None:
        """Take in the state after a fact that applied, at the cost of what the fact changed.

        In a storm an incident holds tens of thousands of alerts, and a fact changes a few hundred.
        """
        if state.incident not in self._known:
            self.update(state)
            return
        if isinstance(fact, Opened | AlertsAttached | AlertsCleared):
            for one in fact.alerts:
                key = episode(one.fingerprint, one.starts_at)
                if key in state.alerts:
                    self._take(state, key)
        self._known[state.incident] = state

    def _take(self, state: IncidentState, key: str) -> None:
        held = state.alerts[key]
        self._episodes[state.key, key] = state.incident
        firing = self._firing.setdefault((state.key, held.alert.fingerprint), set())
        if held.firing:
            firing.add(key)
        else:
            firing.discard(key)

    def drop(self, incident: str) -> None:
        """Forget an incident whose partition is ours no longer, or that is over for good."""
        state = self._known.pop(incident, None)
        if state is None:
            return
        for key, held in state.alerts.items():
            if self._episodes.get((state.key, key)) == incident:
                del self._episodes[state.key, key]
                self._firing.pop((state.key, held.alert.fingerprint), None)
        members = self._groups.get((state.key, state.group_key), [])
        if incident in members:
            members.remove(incident)
        if not members:
            self._groups.pop((state.key, state.group_key), None)

    def holder(self, key: str, alert_episode: str) -> str | None:
        """The incident that holds this episode, if one does."""
        return self._episodes.get((key, alert_episode))

    def firing_episodes(self, key: str, fingerprint: str) -> tuple[str, ...]:
        """Episodes of this alert that fire in some incident, in a fixed order."""
        return tuple(sorted(self._firing.get((key, fingerprint), ())))

    def group(self, key: str, group_key: str) -> Iterator[str]:
        """Incidents of a group, newest first."""
        return reversed(self._groups.get((key, group_key), []))


def joinable(state: IncidentState) -> bool:
    """Whether an alert may attach to it as it is."""
    return state.status.live


def reopenable(state: IncidentState) -> bool:
    """Whether it may come back."""
    return state.status in {Status.RESOLVED, Status.REVIEWED}
