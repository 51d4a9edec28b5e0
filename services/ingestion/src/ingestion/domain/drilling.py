"""Drills as a source sees them: Alertmanager's webhook, made up from the policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from tocsin_contracts.codec import rfc3339
from tocsin_policy import Policy, drill_alert, rehearsals

_NEVER = "0001-01-01T00:00:00Z"


def drill_webhooks(policy: Policy, since: datetime, now: datetime) -> Iterator[bytes]:
    """The bodies of what drills began or ended after `since` and not after `now`.

    The same drill at the same time gives the same bytes wherever they are made.
    """
    for one in rehearsals(policy, since, now):
        labels, annotations = drill_alert(policy, one.drill)
        over = one.ends_at <= now
        alert = {
            "status": "resolved" if over else "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": rfc3339(one.begins_at),
            "endsAt": rfc3339(one.ends_at) if over else _NEVER,
            "generatorURL": "",
        }
        yield json.dumps({"version": "4", "alerts": [alert]}).encode()
