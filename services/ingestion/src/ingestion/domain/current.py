"""The alerts that fire now, as observations tell; for whoever looks through Alertmanager's API."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin_contracts.alerts import Observation, ObservationStatus, Observed

MOST_CURRENT = 100_000
"""Alerts held at most; the one seen longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Current:
    """An alert as it was last seen.

    Attributes:
        system: Whose it is.
        ends_at: When it ended, or when its lease does; `None` while it fires without one.
        updated_at: When it was last seen.
    """

    system: str
    fingerprint: str
    starts_at: datetime
    ends_at: datetime | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    generator_url: str
    updated_at: datetime
    firing: bool

    def fires(self, now: datetime) -> bool:
        """Whether it fires at this instant, as far as anyone said."""
        return self.firing and (self.ends_at is None or self.ends_at > now)


class CurrentAlerts:
    """A fold over observations: of each alert the newest, of one episode the earliest start."""

    def __init__(self, most: int = MOST_CURRENT) -> None:
        self._most = most
        self._alerts: OrderedDict[tuple[str, str], Current] = OrderedDict()

    def apply(self, system: str, fact: Observed) -> None:
        """Take in what one record says; records of two lanes may come in any order."""
        for seen in fact.observations:
            self._take(system, fact.received_at, seen)
        while len(self._alerts) > self._most:
            self._alerts.popitem(last=False)

    def _take(self, system: str, at: datetime, seen: Observation) -> None:
        key = (system, seen.fingerprint)
        held = self._alerts.get(key)
        if held is not None and held.updated_at > at:
            return
        starts_at = seen.starts_at
        if held is not None and held.fires(seen.starts_at):
            starts_at = min(starts_at, held.starts_at)
        self._alerts[key] = Current(
            system=system,
            fingerprint=seen.fingerprint,
            starts_at=starts_at,
            ends_at=seen.ends_at,
            labels=seen.labels,
            annotations=seen.annotations,
            generator_url=seen.generator_url,
            updated_at=at,
            firing=seen.status is ObservationStatus.FIRING,
        )
        self._alerts.move_to_end(key)

    def firing(self, now: datetime) -> Sequence[Current]:
        """What fires at this instant, by fingerprint."""
        found = [alert for alert in self._alerts.values() if alert.fires(now)]
        return sorted(found, key=lambda alert: (alert.fingerprint, alert.system))

    def find(self, fingerprint: str, now: datetime) -> Current | None:
        """The alert of this fingerprint that fires, whose-ever it is; of several the newest."""
        found = [one for one in self.firing(now) if one.fingerprint == fingerprint]
        return max(found, key=lambda alert: alert.updated_at, default=None)
