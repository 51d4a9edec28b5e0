"""Whether anybody of a level can still be reached."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from tocsin_contracts.ids import derived
from tocsin_contracts.incidents import Purpose
from tocsin_incident.state import IncidentState, Level, Notification, NotificationStatus


class Early(StrEnum):
    """Why a level is reached before its time."""

    EVERY_MEANS_FAILED = "every_means_failed"
    """No means of any target of the level before took its page."""
    NOBODY_TO_REACH = "nobody_to_reach"
    """The level before named nobody who has a means, and nobody could be told before it."""
    LAST_RESORT = "last_resort"
    """Either of these, and the level before was the last."""


class Lost(NamedTuple):
    """An escalation that waits for nobody.

    Attributes:
        since: When the last means failed, or when a level named nobody.
    """

    since: datetime
    reason: Early


def page_id(incident: str, level: Level, contact: str, channel: str) -> str:
    """The id of the page to one target of a level over one channel."""
    return derived("notification", incident, Purpose.PAGE, level.event, contact, channel)


def gave_up_at(held: Notification | None) -> datetime | None:
    """When a message failed for good, or `None` while it may still arrive, or did.

    One that stays in doubt counts as failed: twice is better than never.
    """
    if held is None:
        return None
    if held.status is NotificationStatus.FAILED:
        return held.settled_at
    if held.status is NotificationStatus.IN_DOUBT and held.retry_at is None:
        return held.attempted_at
    return None


def unreachable(state: IncidentState, level: Level) -> datetime | None:
    """Since when every means of every target of a level has failed; `None` while one may do.

    A means that was not used yet may still reach somebody. Of a level without means there is
    nothing to fail.
    """
    latest: datetime | None = None
    for target in level.targets:
        for channel in target.channels:
            page = page_id(state.incident, level, target.contact, channel)
            at = gave_up_at(state.notifications.get(page))
            if at is None:
                return None
            latest = at if latest is None else max(latest, at)
    return latest


def lost(state: IncidentState) -> Lost | None:
    """Since when waiting for an answer is waiting for nothing, and why; `None` while it is not.

    A level that names nobody (a condition that does not hold, a gap on call) says nothing of whom
    was told before: those may still answer, if they could be told. The last resort is never lost:
    there is nobody after it.
    """
    newest = newest_level(state)
    if newest is None or newest.reason == Early.LAST_RESORT:
        return None
    told = [level for level in state.levels if level.generation == state.generation]
    for level in reversed(told):
        if not any(target.channels for target in level.targets):
            continue
        since = unreachable(state, level)
        if since is None:
            return None
        if level is newest:
            return Lost(since, Early.EVERY_MEANS_FAILED)
        return Lost(max(since, newest.reached_at), Early.NOBODY_TO_REACH)
    return Lost(newest.reached_at, Early.NOBODY_TO_REACH)


def newest_level(state: IncidentState) -> Level | None:
    """The level told last in this escalation, or `None` before the first."""
    if not state.levels:
        return None
    newest = state.levels[-1]
    goes_on = newest.generation == state.generation and newest.level == state.level
    return newest if goes_on else None
