"""Drills: made-up alerts, marked, that come when the policy says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tocsin_policy.document import Policy
from tocsin_policy.grouping import DRILL_LABEL


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One drill at one time: its alert fires from `begins_at` and has cleared at `ends_at`."""

    drill: str
    begins_at: datetime
    ends_at: datetime


def drill_alert(policy: Policy, drill: str) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations of a drill's alert, marked as one. Raises `KeyError` without it."""
    held = policy.drills[drill]
    labels = {"system": policy.system, **held.labels, DRILL_LABEL: drill}
    return labels, {"summary": held.title}


def rehearsals(policy: Policy, start: datetime, end: datetime) -> Iterator[Rehearsal]:
    """The drills that begin or end after `start` and not after `end`, by the policy's order."""
    for name, drill in policy.drills.items():
        for begins_at, ends_at in drill.opening.whole_spans(start, end):
            if start < begins_at <= end or start < ends_at <= end:
                yield Rehearsal(name, begins_at, ends_at)
