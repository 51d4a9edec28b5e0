"""Which messages an incident's state calls for, and whether one is still wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from notifier.domain.means import reach
from tocsin_contracts.codec import rfc3339
from tocsin_contracts.ids import derived
from tocsin_contracts.incidents import Purpose, Target
from tocsin_incident import IncidentState, Status, page_id
from tocsin_incident.state import (
    Anew,
    Level,
    Notification,
    NotificationStatus,
    RemediationStatus,
)
from tocsin_policy import Announcements, Policy

JOINED = "joined "
"""How `about` begins for news of alerts that joined, which no person wrote."""


RAISED = "raised "
"""How `about` begins where the severity was raised of what people knew of."""


PLAYBOOK = "playbook "
"""How `about` begins where a remediation needs a person."""


_KEYED = frozenset({"pagerduty", "webhook"})
"""Kinds of channel in which each page is a thing of its own, open until it is closed."""


CUSTOMERS = frozenset({"statuspage"})
"""Kinds of channel that customers read, and are mailed: who answers is not their business."""


_SHOWN = frozenset({"slack", "slack-app", "teams"})
"""Kinds of channel in which many people wonder whether they have to act."""


class Wanted(NamedTuple):
    """A message the state calls for.

    Attributes:
        notification: Its id.
        provider_key: What the provider merges repeats by.
        about: What else the message speaks of: the level, the remediation.
        reason: Why by this channel now, for a further means of a person.
        due_at: When it was owed, for a page.
    """

    notification: str
    purpose: Purpose
    channel: str
    provider_key: str
    target: Target | None = None
    level: Level | None = None
    about: str = ""
    reason: str = ""
    due_at: datetime | None = None


def wanted(state: IncidentState, policy: Policy, now: datetime) -> Iterator[Wanted]:
    """Every message the state has called for by `now`; those requested already are among them."""
    if state.status is Status.MUTED:
        return
    for level in state.levels:
        yield from _pages(state, level, now)
    yield from _announcements(state, policy)
    if state.first_acknowledged_at is not None and state.acknowledged_by is not None:
        yield from _follow_ups(state, Purpose.ACKNOWLEDGED)
    if state.status in {Status.RESOLVED, Status.REVIEWED, Status.CLOSED}:
        yield from _follow_ups(state, Purpose.RESOLVED)
    if state.overdue_at is not None:
        yield from _reminders(state, state.overdue_targets, f"update {state.overdue}")
    if state.public_overdue_at is not None:
        about = f"public update {state.public_overdue}"
        yield from _reminders(state, state.public_overdue_targets, about)
    for remediation in state.remediations.values():
        for step in remediation.steps:
            if step.overdue_at is not None:
                yield from _reminders(state, step.overdue_targets, f"step {step.proposed.step}")
    yield from _needs_people(state)
    if state.review_reminded:
        yield from _reminders(state, state.review_targets, "review")


def _needs_people(state: IncidentState) -> Iterator[Wanted]:
    """Who is told that a remediation ended without success, or asked about a step in doubt."""
    for remediation in state.remediations.values():
        if remediation.tell:
            status = "in doubt" if remediation.status is RemediationStatus.IN_DOUBT else "failed"
            what = f"{PLAYBOOK}{remediation.playbook}, step {remediation.because_of}"
            about = f"{what}: {status}, {remediation.reason}"
            yield from _reminders(state, remediation.tell, about)


def _announcements(state: IncidentState, policy: Policy) -> Iterator[Wanted]:
    """What is told to channels rather than to people."""
    announced = policy.announcements.get(state.severity)
    if announced is None:
        return
    generation = str(state.generation)
    yield from _opened(state, policy, announced)
    yield from _taken(state, policy, announced)
    yield from _joined(state, policy, announced.updates)
    if state.updates:
        for channel in announced.updates:
            yield _message(state, Purpose.UPDATE, channel, str(state.updates))
    if state.public_updates:
        for channel in announced.public:
            yield _message(state, Purpose.UPDATE, channel, f"public {state.public_updates}")
    for remediation in _to_approve(state):
        for channel in announced.opened:
            yield _message(state, Purpose.APPROVAL, channel, remediation)
    if state.status in {Status.RESOLVED, Status.REVIEWED, Status.CLOSED}:
        told = _told_of_pages(state)
        for channel in _hear_of_the_end(state, announced):
            if channel not in told:
                yield _message(state, Purpose.RESOLVED, channel, generation)


def _opened(state: IncidentState, policy: Policy, announced: Announcements) -> Iterator[Wanted]:
    """That it is there; and what changed, where that was told before.

    Customers hear of a reopening, and of nothing else that begins our escalation anew.
    """
    ours = state.again is not None and state.again.what is not Anew.REOPENED
    raised = state.raised
    if raised is not None and raised.at < state.escalation_from:
        raised = None
    for channel in announced.opened:
        held = policy.channels.get(channel)
        customers = held is not None and held.kind in CUSTOMERS
        told = [
            one.requested_at
            for one in state.notifications.values()
            if one.purpose is Purpose.OPENED and one.channel == channel
        ]
        if not (customers and ours and told):
            yield _message(state, Purpose.OPENED, channel, str(state.generation))
        if raised is not None and not customers and told and min(told) < raised.at:
            yield _message(state, Purpose.OPENED, channel, f"{RAISED}{rfc3339(raised.at)}")


def _told_of_pages(state: IncidentState) -> set[str]:
    """Channels that pages went to: they hear of what follows as the people who were paged.

    A page by mail went to a person, and what is announced by mail goes to whoever reads news.
    """
    return {
        one.channel
        for one in state.notifications.values()
        if one.purpose is Purpose.PAGE and one.kind != "email"
    }


def _taken(state: IncidentState, policy: Policy, announced: Announcements) -> Iterator[Wanted]:
    """Where many people read of the incident, they see that somebody has it."""
    if state.acknowledged_by is None:
        return
    told = _told_of_pages(state)
    for channel in announced.opened:
        held = policy.channels.get(channel)
        if channel not in told and held is not None and held.kind in _SHOWN:
            yield _message(state, Purpose.ACKNOWLEDGED, channel, str(state.generation))


def _hear_of_the_end(state: IncidentState, announced: Announcements) -> tuple[str, ...]:
    prolonged = announced.prolonged
    if prolonged is None or state.resolved_at is None:
        return announced.resolved
    if state.resolved_at - state.opened_at < prolonged.after:
        return announced.resolved
    return tuple(dict.fromkeys((*announced.resolved, *prolonged.resolved)))


def _joined(state: IncidentState, policy: Policy, channels: Sequence[str]) -> Iterator[Wanted]:
    """News of alerts that joined: one message for each interval in which some did."""
    interval = policy.grouping.interval
    if interval is None or state.joined_at is None:
        return
    number = (state.joined_at - state.opened_at) // interval
    for channel in channels:
        yield _message(state, Purpose.UPDATE, channel, f"{JOINED}{number}")


def _to_approve(state: IncidentState) -> Iterator[str]:
    for remediation in state.remediations.values():
        if any(step.proposed.approval in {"one", "two"} for step in remediation.steps):
            yield remediation.remediation


def _pages(state: IncidentState, level: Level, now: datetime) -> Iterator[Wanted]:
    for target in level.targets:
        for means in reach(state, level, target, now, unwanted).used:
            yield Wanted(
                notification=page_id(state.incident, level, target.contact, means.channel),
                purpose=Purpose.PAGE,
                channel=means.channel,
                provider_key=provider_key(state, level, target),
                target=target,
                level=level,
                reason=means.reason,
                due_at=means.due_at,
            )


def next_means_at(state: IncidentState, now: datetime) -> datetime | None:
    """When the next means of anybody is to be used, if nobody answers before."""
    waits = (
        reach(state, level, target, now, unwanted).next_at
        for level in state.levels
        for target in level.targets
        if target.after
    )
    return min(filter(None, waits), default=None)


def provider_key(state: IncidentState, level: Level, target: Target) -> str:
    """One key for each incident, generation, severity, level and target.

    Not one for the incident: a provider that merges by key would take the page of the second
    level for a repeat of the first, and wake nobody.
    """
    parts = (str(level.generation), level.severity, str(level.level), str(level.repeat))
    return ":".join((state.incident, *parts, target.contact))


def _follow_ups(state: IncidentState, purpose: Purpose) -> Iterator[Wanted]:
    """Whoever was paged hears that it is taken, or over, where they were paged.

    What was paged before the escalation began anew stays open at a provider that goes by keys, and
    rings on there; and whoever handed it over wants to know how it ended.
    """
    told: set[tuple[str, str]] = set()
    people: set[tuple[str, str]] = set()
    for page in sorted(state.notifications.values(), key=lambda page: -page.generation):
        if page.purpose is not Purpose.PAGE:
            continue
        if page.status not in {NotificationStatus.DELIVERED, NotificationStatus.IN_DOUBT}:
            continue
        contact = page.target.contact if page.target is not None else ""
        if page.generation != state.generation and page.kind not in _KEYED:
            knows = (page.channel, contact) in people
            if knows or purpose is not Purpose.RESOLVED or page.kind in _SHOWN:
                continue
        if (page.channel, page.provider_key) in told:
            continue
        told.add((page.channel, page.provider_key))
        people.add((page.channel, contact))
        yield Wanted(
            notification=_id(state, purpose, str(page.generation), page.provider_key, page.channel),
            purpose=purpose,
            channel=page.channel,
            provider_key=page.provider_key,
            target=page.target,
        )


def _reminders(state: IncidentState, targets: tuple[Target, ...], about: str) -> Iterator[Wanted]:
    for target in targets:
        for channel in target.channels[:1]:
            notification = _id(
                state, Purpose.REMINDER, str(state.generation), about, target.contact, channel
            )
            yield Wanted(
                notification=notification,
                purpose=Purpose.REMINDER,
                channel=channel,
                provider_key=notification,
                target=target,
                about=about,
            )


def _message(state: IncidentState, purpose: Purpose, channel: str, about: str) -> Wanted:
    notification = _id(state, purpose, about, channel)
    return Wanted(notification, purpose, channel, notification, about=about)


def _id(state: IncidentState, purpose: Purpose, *parts: str) -> str:
    return derived("notification", state.incident, purpose, *parts)


def unwanted(state: IncidentState, held: Notification) -> str | None:
    """Why a message is no longer wanted, or `None` if it is.

    A page is wanted while nobody has answered in its generation; news that something was taken or
    is over stays true; a reminder is not wanted once the incident is resolved.
    """
    if state.muted_until is not None and held.purpose in {Purpose.PAGE, Purpose.REMINDER}:
        return "pages_muted"
    match held.purpose:
        case Purpose.PAGE:
            if state.status is not Status.OPEN:
                return str(state.status)
            if state.quiet:
                return "muted"
            return None if held.generation == state.generation else "other_generation"
        case Purpose.REMINDER:
            return None if state.status is not Status.CLOSED else str(state.status)
        case Purpose.ACKNOWLEDGED | Purpose.OPENED:
            return None if state.status.live else str(state.status)
        case Purpose.APPROVAL:
            open_still = any(
                remediation.status is RemediationStatus.PROPOSED
                for remediation in state.remediations.values()
            )
            return None if state.status.live and open_still else "not_pending"
        case Purpose.RESOLVED | Purpose.UPDATE:
            return None
