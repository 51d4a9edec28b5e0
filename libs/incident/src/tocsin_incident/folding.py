"""`fold`: the state after a fact. Total, pure, and the only way a state comes to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Event, Fact, Person
from tocsin_contracts.ids import episode
from tocsin_contracts.incidents import IncidentFact
from tocsin_incident.life import Reason, step
from tocsin_incident.remedies import REMEDIES
from tocsin_incident.state import (
    Anew,
    Asked,
    Changed,
    HeldAlert,
    IncidentState,
    Level,
    MissedTarget,
    Notification,
    NotificationStatus,
    Status,
)


class Folded(NamedTuple):
    """What a fact made of a state.

    Attributes:
        state: The state after; absent only for a fact about an incident nobody opened.
        ignored: Why the fact did not apply, or `None` if it did.
    """

    state: IncidentState | None
    ignored: Reason | None


Changes = dict[str, Any] | Reason


def fold(state: IncidentState | None, event: Event[Fact]) -> Folded:
    """The state after `event`, in log order; never raises, whatever the log holds.

    A fact that no longer applies is ignored with a reason. A fact whose id was folded or ignored
    before is a repeat: it changes nothing, so any prefix may come again.
    """
    fact = event.fact
    if not isinstance(fact, IncidentFact):
        return Folded(state, Reason.UNKNOWN_INCIDENT)
    if state is None:
        if isinstance(fact, facts.Opened):
            return Folded(_opened(event, fact), None)
        if isinstance(fact, facts.AlertsMuted):
            return Folded(_kept(event, fact), None)
        return Folded(None, Reason.UNKNOWN_INCIDENT)
    identity = str(event.id)
    if identity in state.seen:
        return Folded(state, Reason.REPEAT)
    seen = state.seen | {identity}
    if isinstance(fact, facts.Opened):
        return Folded(state.model_copy(update={"seen": seen}), Reason.ALREADY_OPEN)
    status = step(state.status, type(fact))
    if isinstance(status, Reason):
        return Folded(_refused(state, fact, seen), status)
    changes = _APPLY[type(fact)](state, event, fact)
    if isinstance(changes, Reason):
        return Folded(state.model_copy(update={"seen": seen}), changes)
    changes["status"] = status
    changes["seen"] = seen
    return Folded(state.model_copy(update=changes), None)


def _refused(state: IncidentState, fact: IncidentFact, seen: frozenset[str]) -> IncidentState:
    # Alerts that came to an incident which had just ended must not be lost with the refused
    # fact: the state keeps them for the classifier, which reopens or opens another.
    update: dict[str, Any] = {"seen": seen}
    if isinstance(fact, facts.AlertsAttached):
        update["unattached"] = (*state.unattached, *fact.alerts)
    return state.model_copy(update=update)


def _opened(event: Event[Fact], fact: facts.Opened) -> IncidentState:
    at = event.occurred_at
    return IncidentState(
        incident=event.subject,
        key=event.key,
        system=fact.system,
        title=fact.title,
        status=Status.OPEN,
        severity=fact.severity,
        opened_severity=fact.severity,
        rule=fact.rule,
        reason=fact.reason,
        group_key=fact.group_key,
        service=fact.service,
        playbook=fact.playbook,
        customer_facing=fact.customer_facing,
        components=fact.components,
        near_misses=fact.near_misses,
        urgent=fact.urgent,
        drill=fact.drill,
        declared_by=fact.declared_by,
        policy=fact.basis.policy if fact.basis else None,
        opened_at=at,
        escalation_from=at,
        alerts={
            episode(alert.fingerprint, alert.starts_at): HeldAlert(alert=alert, joined_at=at)
            for alert in fact.alerts
        },
        seen=frozenset({str(event.id)}),
    )


def _kept(event: Event[Fact], fact: facts.AlertsMuted) -> IncidentState:
    at = event.occurred_at
    alerts = _guests({}, event, fact)
    return IncidentState(
        incident=event.subject,
        key=event.key,
        system=fact.system,
        title=fact.title,
        status=Status.MUTED,
        severity=fact.severity,
        opened_severity=fact.severity,
        rule=fact.rule,
        reason=fact.reason,
        group_key=fact.group_key,
        service=fact.service,
        drill=fact.drill,
        policy=fact.basis.policy if fact.basis else None,
        opened_at=at,
        escalation_from=at,
        alerts=alerts,
        mutings=len(alerts),
        seen=frozenset({str(event.id)}),
    )


def _guests(
    held: Mapping[str, HeldAlert], event: Event[Fact], fact: facts.AlertsMuted
) -> dict[str, HeldAlert]:
    """What is held with the alerts of the fact muted: those that were there, and new guests."""
    alerts = dict(held)
    for alert in fact.alerts:
        key = episode(alert.fingerprint, alert.starts_at)
        known = alerts.get(key)
        if known is None:
            alerts[key] = HeldAlert(
                alert=alert, joined_at=event.occurred_at, muting=alert.muted, guest=True
            )
        elif known.firing:
            alerts[key] = known.model_copy(update={"muting": alert.muted})
    return alerts


def _mutings(alerts: Mapping[str, HeldAlert]) -> int:
    return sum(held.muting is not None for held in alerts.values())


def _any_fires(alerts: dict[str, HeldAlert]) -> bool:
    """Whether one of the incident's own alerts still fires.

    Looked for from both ends: of thousands of episodes the newest fires mostly, or the first that
    never ended, and between them lie all that have.
    """
    ends = zip(alerts.values(), reversed(alerts.values()), strict=True)
    return any(_fires(old) or _fires(new) for old, new in ends)


def _fires(held: HeldAlert) -> bool:
    return held.firing and not held.guest


COMMANDER = "incident_commander"
"""The role of whose it is."""

PUBLIC = "public"
"""Audience of an update that is meant for everybody."""

_APPLY: dict[type[IncidentFact], Callable[[IncidentState, Event[Fact], Any], Changes]] = {}

F = TypeVar("F", bound=IncidentFact)
_Apply = Callable[[IncidentState, Event[Fact], F], Changes]


def _applies(kind: type[F]) -> Callable[[_Apply[F]], _Apply[F]]:
    def register(function: _Apply[F]) -> _Apply[F]:
        _APPLY[kind] = function
        return function

    return register


@_applies(facts.AlertsAttached)
def _attached(state: IncidentState, event: Event[Fact], fact: facts.AlertsAttached) -> Changes:
    alerts = dict(state.alerts)
    changed = False
    for alert in fact.alerts:
        key = episode(alert.fingerprint, alert.starts_at)
        known = alerts.get(key)
        if known is None or known.guest:
            alerts[key] = HeldAlert(alert=alert, joined_at=event.occurred_at)
            changed = True
    if not changed:
        return Reason.NOTHING_NEW
    changes: dict[str, Any] = {
        "alerts": alerts,
        "mutings": _mutings(alerts) if state.mutings else 0,
        "clear_since": None,
        "joined_at": event.occurred_at,
    }
    return changes | _heard_again(state, event)


def _heard_again(state: IncidentState, event: Event[Fact]) -> dict[str, Any]:
    """What is heard after everything was muted is asked for from the first level on."""
    if state.status is Status.OPEN and state.quiet:
        return _escalates_again(state, event, Anew.HEARD_AGAIN)
    return {}


@_applies(facts.AlertsMuted)
def _muted(state: IncidentState, event: Event[Fact], fact: facts.AlertsMuted) -> Changes:
    alerts = _guests(state.alerts, event, fact)
    if alerts == state.alerts:
        return Reason.NOTHING_NEW
    return {"alerts": alerts, "mutings": _mutings(alerts)}


@_applies(facts.AlertsReleased)
def _released(state: IncidentState, event: Event[Fact], fact: facts.AlertsReleased) -> Changes:
    alerts = dict(state.alerts)
    for one in fact.alerts:
        key = episode(one.fingerprint, one.starts_at)
        held = alerts.get(key)
        if held is None or held.muting is None:
            continue
        if held.guest:
            del alerts[key]
        else:
            alerts[key] = held.model_copy(update={"muting": None})
    if alerts == state.alerts:
        return Reason.NOTHING_NEW
    changes: dict[str, Any] = {"alerts": alerts, "mutings": _mutings(alerts)}
    after = state.model_copy(update=changes)
    return changes | ({} if after.quiet else _heard_again(state, event))


@_applies(facts.LeasesRenewed)
def _renewed(state: IncidentState, _: Event[Fact], fact: facts.LeasesRenewed) -> Changes:
    alerts = dict(state.alerts)
    changed = False
    for lease in fact.leases:
        key = episode(lease.fingerprint, lease.starts_at)
        held = alerts.get(key)
        if held is None or not held.firing:
            continue
        alert = held.alert.model_copy(update={"lease_until": lease.lease_until})
        alerts[key] = held.model_copy(update={"alert": alert})
        changed = True
    return {"alerts": alerts} if changed else Reason.NOTHING_NEW


@_applies(facts.AlertsCleared)
def _cleared(state: IncidentState, event: Event[Fact], fact: facts.AlertsCleared) -> Changes:
    alerts = dict(state.alerts)
    changed = False
    for cleared in fact.alerts:
        key = episode(cleared.fingerprint, cleared.starts_at)
        held = alerts.get(key)
        if held is None or not held.firing:
            continue
        changed = True
        alerts[key] = held.model_copy(
            update={
                "cleared_at": cleared.ended_at,
                "cleared_because": cleared.reason,
                "cleared_by": cleared.observation,
            }
        )
    if not changed:
        return Reason.NOTHING_NEW
    all_clear = not _any_fires(alerts)
    # That a guest ends says nothing of when the incident's own alerts did.
    since = state.clear_since or event.occurred_at
    return {"alerts": alerts, "clear_since": since if all_clear else None}


@_applies(facts.SeverityRaised)
def _raised(state: IncidentState, event: Event[Fact], fact: facts.SeverityRaised) -> Changes:
    if fact.severity_from != state.severity:
        return Reason.OTHER_SEVERITY
    return {
        "severity": fact.severity_to,
        "severity_raised_at": event.occurred_at,
        "level": 0,
        "repeats": 0,
        # What was muted was milder.
        **_NOT_MUTED,
        "raised_at": event.occurred_at,
        "raised": Changed(
            what=Anew.SEVERITY_RAISED,
            at=event.occurred_at,
            by=fact.by,
            reason=fact.reason,
            was=fact.severity_from,
            rule=fact.rule,
        ),
        "severity_request": None,
    }


@_applies(facts.SeverityLowered)
def _lowered(state: IncidentState, _: Event[Fact], fact: facts.SeverityLowered) -> Changes:
    if fact.severity_from != state.severity:
        return Reason.OTHER_SEVERITY
    return {"severity": fact.severity_to, "severity_request": None, "raised": None}


@_applies(facts.SeverityRequested)
def _severity_requested(
    state: IncidentState, _: Event[Fact], fact: facts.SeverityRequested
) -> Changes:
    if fact.severity == state.severity:
        return Reason.NOTHING_NEW
    return {"severity_request": (fact.severity, fact.reason, fact.by)}


@_applies(facts.Acknowledged)
def _acknowledged(state: IncidentState, event: Event[Fact], fact: facts.Acknowledged) -> Changes:
    return {
        **_NOTHING_ASKED,
        "acknowledged_at": event.occurred_at,
        "acknowledged_by": fact.by,
        "first_acknowledged_at": state.first_acknowledged_at or event.occurred_at,
    }


@_applies(facts.AcknowledgementExpired)
def _acknowledgement_expired(
    state: IncidentState, event: Event[Fact], fact: facts.AcknowledgementExpired
) -> Changes:
    if fact.generation != state.generation:
        return Reason.OTHER_GENERATION
    return _escalates_again(state, event, Anew.ACKNOWLEDGEMENT_EXPIRED)


_NOTHING_ASKED: dict[str, Any] = {"escalation": None, "handed": None}
_NOT_MUTED: dict[str, Any] = {"muted_until": None, "muted_by": None}


@_applies(facts.EscalationRequested)
def _escalation_requested(
    state: IncidentState, event: Event[Fact], fact: facts.EscalationRequested
) -> Changes:
    asked = Asked(by=fact.by, reason=fact.reason, at=event.occurred_at)
    changes: dict[str, Any] = {}
    if state.status is Status.ACKNOWLEDGED:
        # Those who were told already are not told again: it goes on from the level it had.
        went = {"level": state.level, "repeats": state.repeats}
        changes = _escalates_again(state, event, Anew.ESCALATED, fact.by, fact.reason) | went
    return changes | _NOT_MUTED | {"escalation": asked}


@_applies(facts.HandedOver)
def _handed_over(state: IncidentState, event: Event[Fact], fact: facts.HandedOver) -> Changes:
    had = {state.handed_to, state.acknowledged_by.name if state.acknowledged_by else None}
    if had == {None}:
        had = {fact.by.name}
    # What somebody had to do because it was theirs, is now for whom it was given to.
    roles = {role: fact.contact if who in had else who for role, who in state.roles.items()}
    return {
        **_escalates_again(state, event, Anew.HANDED_OVER, fact.by, fact.reason),
        **_NOT_MUTED,
        "escalation": None,
        "handed_to": fact.contact,
        "handed": Asked(by=fact.by, reason=fact.reason, at=event.occurred_at),
        "roles": {COMMANDER: fact.contact} | roles,
    }


@_applies(facts.PagesMuted)
def _pages_muted(_: IncidentState, event: Event[Fact], fact: facts.PagesMuted) -> Changes:
    until = event.occurred_at + fact.lasts
    return {**_NOTHING_ASKED, "muted_until": until, "muted_by": fact.by}


@_applies(facts.UnmuteRequested)
def _unmute_requested(
    state: IncidentState, event: Event[Fact], _: facts.UnmuteRequested
) -> Changes:
    if state.muted_until is None:
        return Reason.NOT_MUTED
    return {"muted_until": min(state.muted_until, event.occurred_at)}


@_applies(facts.MuteEnded)
def _mute_ended(state: IncidentState, event: Event[Fact], fact: facts.MuteEnded) -> Changes:
    if state.muted_until is None:
        return Reason.NOT_MUTED
    if fact.due_at < state.muted_until:
        return Reason.PAGES_MUTED
    if state.status is not Status.OPEN:
        return dict(_NOT_MUTED)
    return _escalates_again(state, event, Anew.MUTE_ENDED) | _NOT_MUTED


def _escalates_again(
    state: IncidentState,
    event: Event[Fact],
    what: Anew,
    by: Person | None = None,
    reason: str = "",
) -> dict[str, Any]:
    had = state.acknowledged_by.name if state.acknowledged_by is not None else ""
    at = event.occurred_at
    return {
        "generation": state.generation + 1,
        "escalation_from": at,
        "again": Changed(what=what, at=at, by=by, reason=reason, was=had),
        "level": 0,
        "repeats": 0,
        "acknowledged_at": None,
        "acknowledged_by": None,
    }


@_applies(facts.LevelReached)
def _level_reached(state: IncidentState, event: Event[Fact], fact: facts.LevelReached) -> Changes:
    if fact.generation != state.generation:
        return Reason.OTHER_GENERATION
    if fact.severity != state.severity:
        return Reason.OTHER_SEVERITY
    if state.muted_until is not None:
        return Reason.PAGES_MUTED
    if (fact.level, fact.repeat) <= (state.level, state.repeats):
        return Reason.LEVEL_PASSED
    level = Level(
        level=fact.level,
        generation=fact.generation,
        severity=fact.severity,
        due_at=fact.due_at,
        reached_at=event.occurred_at,
        targets=fact.targets,
        skipped=fact.skipped,
        repeat=fact.repeat,
        waited=fact.waited,
        reason=fact.reason,
        by=fact.by,
        text=fact.text,
        event=str(event.id),
    )
    return {
        **_NOTHING_ASKED,
        "level": fact.level,
        "repeats": fact.repeat,
        "levels": (*state.levels, level),
    }


@_applies(facts.ResponseTargetMissed)
def _target_missed(
    state: IncidentState, _: Event[Fact], fact: facts.ResponseTargetMissed
) -> Changes:
    if fact.generation != state.generation:
        return Reason.OTHER_GENERATION
    if any(missed.generation == fact.generation for missed in state.missed):
        return Reason.NOTHING_NEW
    missed = MissedTarget(
        generation=fact.generation, severity=fact.severity, target=fact.target, due_at=fact.due_at
    )
    return {"missed": (*state.missed, missed)}


@_applies(facts.UpdateOverdue)
def _update_overdue(state: IncidentState, _: Event[Fact], fact: facts.UpdateOverdue) -> Changes:
    if fact.audience == PUBLIC:
        if fact.number <= state.public_overdue:
            return Reason.NOTHING_NEW
        return {
            "public_overdue": fact.number,
            "public_overdue_at": fact.due_at,
            "public_overdue_targets": fact.targets,
        }
    if fact.number <= state.overdue:
        return Reason.NOTHING_NEW
    return {
        "overdue": fact.number,
        "overdue_at": fact.due_at,
        "overdue_targets": fact.targets,
    }


@_applies(facts.ReviewDue)
def _review_due(state: IncidentState, _: Event[Fact], fact: facts.ReviewDue) -> Changes:
    if state.review_reminded:
        return Reason.NOTHING_NEW
    return {"review_reminded": True, "review_targets": fact.targets}


@_applies(facts.NotificationRequested)
def _requested(
    state: IncidentState, event: Event[Fact], fact: facts.NotificationRequested
) -> Changes:
    if fact.notification in state.notifications:
        return Reason.NOTHING_NEW
    requested = Notification(
        notification=fact.notification,
        purpose=fact.purpose,
        generation=fact.generation,
        level=fact.level,
        target=fact.target,
        channel=fact.channel,
        kind=fact.kind,
        provider_key=fact.provider_key,
        message=fact.message,
        status=NotificationStatus.REQUESTED,
        requested_at=event.occurred_at,
        due_at=fact.due_at,
    )
    return {"notifications": state.notifications | {fact.notification: requested}}


def _notification(state: IncidentState, notification: str, **update: object) -> Changes:
    changed = state.notifications[notification].model_copy(update=update)
    return {"notifications": state.notifications | {notification: changed}}


@_applies(facts.NotificationAttempted)
def _attempted(
    state: IncidentState, event: Event[Fact], fact: facts.NotificationAttempted
) -> Changes:
    held = state.notifications.get(fact.notification)
    if held is None:
        return Reason.UNKNOWN_NOTIFICATION
    if held.status.settled:
        return Reason.SETTLED
    if fact.attempt != held.attempts + 1 or held.status is NotificationStatus.ATTEMPTED:
        return Reason.OTHER_ATTEMPT
    return _notification(
        state,
        fact.notification,
        status=NotificationStatus.ATTEMPTED,
        attempts=fact.attempt,
        attempted_by=fact.instance,
        attempted_at=event.occurred_at,
        retry_at=None,
    )


def _of_attempt(state: IncidentState, notification: str, attempt: int) -> Reason | None:
    held = state.notifications.get(notification)
    if held is None:
        return Reason.UNKNOWN_NOTIFICATION
    if held.status.settled:
        return Reason.SETTLED
    return Reason.OTHER_ATTEMPT if attempt != held.attempts else None


@_applies(facts.NotificationDelivered)
def _delivered(
    state: IncidentState, event: Event[Fact], fact: facts.NotificationDelivered
) -> Changes:
    # A provider's yes counts whichever attempt it answers: the message is out.
    held = state.notifications.get(fact.notification)
    if held is None:
        return Reason.UNKNOWN_NOTIFICATION
    if held.status is NotificationStatus.DELIVERED:
        return Reason.SETTLED
    return _notification(
        state,
        fact.notification,
        status=NotificationStatus.DELIVERED,
        provider_ref=fact.provider_ref,
        settled_at=event.occurred_at,
        retry_at=None,
        reason="",
    )


@_applies(facts.NotificationFailed)
def _failed(state: IncidentState, event: Event[Fact], fact: facts.NotificationFailed) -> Changes:
    reason = _of_attempt(state, fact.notification, fact.attempt)
    if reason is not None:
        return reason
    final = fact.retry_at is None
    return _notification(
        state,
        fact.notification,
        status=NotificationStatus.FAILED if final else NotificationStatus.WAITING,
        settled_at=event.occurred_at if final else None,
        retry_at=fact.retry_at,
        reason=fact.reason,
    )


@_applies(facts.NotificationInDoubt)
def _in_doubt(state: IncidentState, _: Event[Fact], fact: facts.NotificationInDoubt) -> Changes:
    reason = _of_attempt(state, fact.notification, fact.attempt)
    if reason is not None:
        return reason
    return _notification(
        state,
        fact.notification,
        status=NotificationStatus.IN_DOUBT,
        retry_at=fact.retry_at,
        reason=fact.reason,
    )


@_applies(facts.NotificationSuperseded)
def _superseded(
    state: IncidentState, event: Event[Fact], fact: facts.NotificationSuperseded
) -> Changes:
    held = state.notifications.get(fact.notification)
    if held is None:
        return Reason.UNKNOWN_NOTIFICATION
    if held.status.settled:
        return Reason.SETTLED
    return _notification(
        state,
        fact.notification,
        status=NotificationStatus.SUPERSEDED,
        settled_at=event.occurred_at,
        retry_at=None,
        reason=fact.reason,
    )


@_applies(facts.NoteAdded)
def _note(state: IncidentState, _: Event[Fact], __: facts.NoteAdded) -> Changes:
    return {"notes": state.notes + 1}


@_applies(facts.RoleAssigned)
def _role(state: IncidentState, _: Event[Fact], fact: facts.RoleAssigned) -> Changes:
    return {"roles": state.roles | {fact.role: fact.contact}}


@_applies(facts.UpdatePosted)
def _update(state: IncidentState, event: Event[Fact], fact: facts.UpdatePosted) -> Changes:
    changes: dict[str, Any] = {
        "updates": state.updates + 1,
        "updated_at": event.occurred_at,
        "update_text": fact.text,
    }
    if fact.audience == PUBLIC:
        # What outsiders are told, people inside know.
        changes |= {
            "public_updates": state.public_updates + 1,
            "public_updated_at": event.occurred_at,
            "public_text": fact.text,
        }
    return changes


_APPLY.update(REMEDIES)


@_applies(facts.Mitigated)
def _mitigated(state: IncidentState, event: Event[Fact], fact: facts.Mitigated) -> Changes:
    # Whoever mitigates has answered: nobody needs to be woken for it any more.
    return {
        **_NOTHING_ASKED,
        "mitigated_at": event.occurred_at,
        "acknowledged_at": state.acknowledged_at or event.occurred_at,
        "acknowledged_by": state.acknowledged_by or fact.by,
        "first_acknowledged_at": state.first_acknowledged_at or event.occurred_at,
    }


@_applies(facts.Resolved)
def _resolved(_: IncidentState, event: Event[Fact], fact: facts.Resolved) -> Changes:
    return {
        "resolved_at": event.occurred_at,
        "resolved_by": fact.by,
        "resolution": fact.text,
        **_NO_REQUESTS,
    }


@_applies(facts.AutoResolved)
def _auto_resolved(state: IncidentState, event: Event[Fact], fact: facts.AutoResolved) -> Changes:
    if fact.generation != state.generation:
        return Reason.OTHER_GENERATION
    if state.clear_since is None:
        return Reason.ALERTS_FIRING
    return {
        "resolved_at": event.occurred_at,
        "resolved_by": None,
        "resolution": fact.reason,
        **_NO_REQUESTS,
    }


_NO_REQUESTS: dict[str, Any] = {
    "severity_request": None,
    "reopen_request": None,
    "merge_request": None,
    "unattached": (),
    "review_reminded": False,
    **_NOTHING_ASKED,
    **_NOT_MUTED,
}


@_applies(facts.ReopenRequested)
def _reopen_requested(_: IncidentState, __: Event[Fact], fact: facts.ReopenRequested) -> Changes:
    return {"reopen_request": (fact.reason, fact.by)}


@_applies(facts.Reopened)
def _reopened(state: IncidentState, event: Event[Fact], fact: facts.Reopened) -> Changes:
    if fact.generation != state.generation + 1:
        return Reason.OTHER_GENERATION
    return {
        **_escalates_again(state, event, Anew.REOPENED, fact.by, fact.reason),
        **_NO_REQUESTS,
        "handed_to": None,
        "mitigated_at": None,
        "resolved_at": None,
        "resolved_by": None,
        "resolution": "",
        "reviewed_at": None,
    }


@_applies(facts.MergeRequested)
def _merge_requested(state: IncidentState, _: Event[Fact], fact: facts.MergeRequested) -> Changes:
    if fact.into == state.incident:
        return Reason.NOTHING_NEW
    return {"merge_request": (fact.into, fact.by)}


@_applies(facts.Merged)
def _merged(_: IncidentState, event: Event[Fact], fact: facts.Merged) -> Changes:
    return {"merged_into": fact.into, "closed_at": event.occurred_at, **_NO_REQUESTS}


@_applies(facts.Reviewed)
def _reviewed(_: IncidentState, event: Event[Fact], __: facts.Reviewed) -> Changes:
    return {"reviewed_at": event.occurred_at}


@_applies(facts.Closed)
def _closed(_: IncidentState, event: Event[Fact], __: facts.Closed) -> Changes:
    return {"closed_at": event.occurred_at, "reopen_request": None}
