"""Alerts that come and go: they keep their incident instead of opening one after another."""

from __future__ import annotations

from datetime import datetime

from tocsin_incident import IncidentState
from tocsin_policy import Flapping


def changes(state: IncidentState, fingerprint: str, since: datetime, until: datetime) -> int:
    """How often an alert began or ended between two instants, as its incident holds it."""
    edges = [
        edge
        for held in state.alerts.values()
        if held.alert.fingerprint == fingerprint
        for edge in (held.alert.starts_at, held.cleared_at)
    ]
    return sum(edge is not None and since < edge <= until for edge in edges)


def flaps(state: IncidentState, flapping: Flapping | None, fingerprint: str, at: datetime) -> bool:
    """Whether an alert that begins or ends at `at` is flapping then."""
    if flapping is None:
        return False
    # What happens at `at` counts, and is not in the state yet.
    before = changes(state, fingerprint, at - flapping.within, at)
    return before + 1 >= flapping.changes


def settles_at(state: IncidentState, flapping: Flapping | None) -> datetime | None:
    """Until when an incident whose alerts are clear waits for one that flapped to come back."""
    if flapping is None or state.clear_since is None:
        return None
    last = state.clear_since
    fingerprints = {held.alert.fingerprint for held in state.alerts.values()}
    if any(
        changes(state, one, last - flapping.within, last) >= flapping.changes
        for one in fingerprints
    ):
        return last + flapping.within
    return None
