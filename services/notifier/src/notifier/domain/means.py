"""A person's means, in order: what is used at once, what later, and what because others failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, pairwise
from typing import NamedTuple

from tocsin_contracts.incidents import Target
from tocsin_incident import Early, IncidentState, gave_up_at, page_id
from tocsin_incident.state import Level, Notification


class Why(StrEnum):
    """Why a further means is used."""

    UNANSWERED = "unanswered"
    """Its time came, and nobody had answered."""
    MEANS_FAILED = "means_failed"
    """One before it failed for good."""


class Used(NamedTuple):
    """A means that is to be used.

    Attributes:
        due_at: When it was to be.
        reason: Why; empty for what a target is told by first.
    """

    channel: str
    due_at: datetime
    reason: str = ""


class Reach(NamedTuple):
    """What is to be used of a target's means so far, and when the next would be."""

    used: tuple[Used, ...]
    next_at: datetime | None = None


Unwanted = Callable[[IncidentState, Notification], str | None]
"""Why a message is no longer wanted, or `None` if it is."""


def reach(
    state: IncidentState, level: Level, target: Target, now: datetime, unwanted: Unwanted
) -> Reach:
    """The means by which a target is to have been told of a level by `now`.

    They are used in steps of those with the same wait. The first is used whatever happened, so
    that the log says why nobody was told by it. A further one is used once its wait is over, or as
    soon as any of the step before failed for good; never once the page is not wanted any more.
    Waits count from the first message, and keep their distance: after an outage a person is not
    texted and called in the same second.
    """
    steps = _steps(target)
    if not steps:
        return Reach(())
    due_at = _due_at(state, level)
    used = [Used(channel, due_at) for channel in steps[0].channels]
    if len(steps) == 1:
        return Reach(tuple(used))
    asked = _held(state, level, target, steps[0].channels)
    if not asked or unwanted(state, asked[0]) is not None or _overtaken(state, level, target):
        return Reach(tuple(used))
    first_at = min(held.requested_at for held in asked)
    for before, step in pairwise(steps):
        asked = _held(state, level, target, before.channels)
        if not asked:
            break
        begun_at = min(held.requested_at for held in asked)
        due_at = max(first_at + step.after, begun_at + (step.after - before.after))
        reason = Why.UNANSWERED
        failed_at = min(filter(None, map(gave_up_at, asked)), default=None)
        if failed_at is not None and failed_at < due_at:
            due_at, reason = failed_at, Why.MEANS_FAILED
        if due_at > now:
            return Reach(tuple(used), due_at)
        used.extend(Used(channel, due_at, str(reason)) for channel in step.channels)
    return Reach(tuple(used))


def is_last_resort(state: IncidentState, held: Notification) -> bool:
    """Whether a message is of the level that is told when nobody else could be."""
    return any(
        level.reason == Early.LAST_RESORT
        and level.level == held.level
        and level.generation == held.generation
        for level in state.levels
    )


@dataclass(frozen=True, slots=True)
class _Step:
    after: timedelta
    channels: tuple[str, ...]


def _steps(target: Target) -> tuple[_Step, ...]:
    def wait(channel: str) -> timedelta:
        return target.after.get(channel, timedelta())

    return tuple(
        _Step(after, tuple(channels))
        for after, channels in groupby(sorted(target.channels, key=wait), wait)
    )


def _due_at(state: IncidentState, level: Level) -> datetime:
    # A raised severity has levels that were due before it was raised; nobody is late with those.
    raised_at = state.raised_at
    if raised_at is not None and level.due_at < raised_at <= level.reached_at:
        return raised_at
    return level.due_at


def _held(
    state: IncidentState, level: Level, target: Target, channels: Sequence[str]
) -> list[Notification]:
    pages = (page_id(state.incident, level, target.contact, channel) for channel in channels)
    return [state.notifications[page] for page in pages if page in state.notifications]


def _overtaken(state: IncidentState, level: Level, target: Target) -> bool:
    """Whether the person was paged anew, of another severity: one list of means is enough."""
    later = state.levels[state.levels.index(level) + 1 :]
    return any(
        newer.severity != level.severity
        and any(other.contact == target.contact for other in newer.targets)
        for newer in later
    )
