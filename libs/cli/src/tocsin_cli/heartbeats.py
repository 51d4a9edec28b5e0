"""When each channel last took a synthetic page, and the Prometheus rules that watch it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from notifier.domain.heartbeats import Pulse, beating, fold
from notifier.heartbeats import HEARTBEATS
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.heartbeats import HeartbeatFact
from tocsin_policy import Policy, format_duration
from tocsin_replay import read_policies
from tocsin_runtime.events import decode
from tocsin_runtime.failures import Poison
from tocsin_runtime.ports import Reader

Pulses = Mapping[tuple[str, str], Pulse]

DEADLINE = "tocsin_heartbeat_deadline_timestamp_seconds"
"""Metric of each notifier: when a channel's next synthetic page must have arrived."""


async def read_pulses(reader: Reader) -> tuple[Sequence[Policy], Pulses]:
    """The policies in force, and what the log says of each channel's heartbeats."""
    policies = {one.policy.system: one.policy for one in await read_policies(reader)}
    pulses: dict[tuple[str, str], Pulse] = {}
    for partition in range(await reader.partitions(HEARTBEATS)):
        start, end = await reader.bounds(HEARTBEATS, partition)
        async for record in reader.read(HEARTBEATS, partition, start, end):
            try:
                event = decode(record)
            except Poison:
                continue  # the notifiers passed over it, too
            if isinstance(event.fact, HeartbeatFact):
                key = (event.subject, event.fact.channel)
                pulses[key], _ = fold(pulses.get(key, Pulse()), event)
    return tuple(policies.values()), pulses


def rows(policies: Sequence[Policy], pulses: Pulses, now: datetime) -> list[dict[str, str]]:
    """One row for each channel that has a heartbeat."""
    found = []
    for policy in policies:
        for channel, heartbeat in beating(policy).items():
            pulse = pulses.get((policy.system, channel), Pulse())
            found.append(
                {
                    "system": policy.system,
                    "channel": channel,
                    "kind": policy.channels[channel].kind,
                    "every": format_duration(heartbeat.every),
                    "arrived": _shown(pulse.delivered_at),
                    "due": _shown(pulse.deadline(heartbeat)),
                    "state": _state(pulse, pulse.deadline(heartbeat), now),
                    "reason": pulse.reason if pulse.missed_at is not None else "",
                }
            )
    return found


def _state(pulse: Pulse, deadline: datetime | None, now: datetime) -> str:
    if pulse.missed_at is not None:
        return "missing"
    if deadline is None:
        return "no beat yet"
    return "overdue" if deadline < now else "beating"


def _shown(at: datetime | None) -> str:
    return "" if at is None else rfc3339(at)


def heartbeat_rules() -> dict[str, Any]:
    """The Prometheus rules that notice where the notifiers themselves do not: they are gone."""
    return {
        "groups": [
            {
                "name": "tocsin-heartbeats",
                "rules": [
                    {
                        "alert": "TocsinHeartbeatOverdue",
                        "expr": f"max by (system, channel) ({DEADLINE}) < time()",
                        "for": "1m",
                        "labels": {"severity": "critical"},
                        "annotations": {
                            "summary": "Synthetic pages of {{ $labels.system }} by "
                            "{{ $labels.channel }} do not arrive",
                            "description": "The provider does not take pages, or the notifier does "
                            "not send any. `tocsin notify heartbeats` says which.",
                        },
                    },
                    {
                        "alert": "TocsinNotifierGone",
                        "expr": f"absent({DEADLINE})",
                        "for": "5m",
                        "labels": {"severity": "critical", "system": "tocsin"},
                        "annotations": {
                            "summary": "No notifier tells of heartbeats",
                            "description": "None runs, none is scraped, or no policy in force has "
                            "a channel with a heartbeat. Have Alertmanager tell somebody by a way "
                            "that does not lead through Tocsin.",
                        },
                    },
                ],
            }
        ]
    }
