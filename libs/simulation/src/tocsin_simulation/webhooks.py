"""Alerts as Alertmanager 0.25 sends them; the real parser reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tocsin_simulation.clock import EPOCH

YEAR_ONE = "0001-01-01T00:00:00Z"
"""What Alertmanager says of the end of an alert that has none."""


@dataclass(frozen=True)
class AnAlert:
    """One alert as a sender sees it. Made by `an_alert`.

    Attributes:
        starts_at: When it began to fire; `None` for whenever it is sent first.
        ends_at: When it stopped; `None` while it fires.
    """

    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def resolved(self, at: datetime) -> AnAlert:
        """The same alert once it has stopped."""
        return replace(self, ends_at=at)

    def began(self, at: datetime) -> AnAlert:
        """The same alert with the time it began, if it has none yet."""
        return self if self.starts_at is not None else replace(self, starts_at=at)

    def document(self) -> dict[str, Any]:
        """As it stands in the webhook; Alertmanager's fingerprint is left for us to derive."""
        return {
            "status": "firing" if self.ends_at is None else "resolved",
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": (self.starts_at or EPOCH).isoformat(),
            "endsAt": YEAR_ONE if self.ends_at is None else self.ends_at.isoformat(),
            "generatorURL": "http://prometheus.example.com:9090/graph",
        }


def a_webhook(*alerts: AnAlert, truncated: int = 0, receiver: str = "tocsin") -> bytes:
    """The body Alertmanager would post for these alerts, as one group."""
    common = dict(alerts[0].labels.items()) if alerts else {}
    for alert in alerts:
        common = {name: v for name, v in common.items() if alert.labels.get(name) == v}
    firing = any(alert.ends_at is None for alert in alerts)
    name = common.get("alertname", "")
    return json.dumps(
        {
            "version": "4",
            "receiver": receiver,
            "status": "firing" if firing else "resolved",
            "groupKey": f'{{}}:{{alertname="{name}"}}',
            "truncatedAlerts": truncated,
            "groupLabels": {"alertname": name} if name else {},
            "commonLabels": common,
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example.com:9093",
            "alerts": [alert.document() for alert in alerts],
        }
    ).encode()
