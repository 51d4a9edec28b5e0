"""A policy in a hurry: the same shape, its hours in seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from tocsin_policy.document import Part, Policy, Severity

P = TypeVar("P", bound=Part)
_Divide = Callable[[timedelta], timedelta]

_LEAST = timedelta(milliseconds=1)


def scaled(policy: Policy, divisor: float) -> Policy:
    """The policy with what people wait for divided: for demonstrations and rehearsals.

    Divided are escalation levels and their repeats, the waits of a contact's means, response
    targets, update cadences, acknowledge timeouts, what is prolonged, the reopening window,
    automatic resolution, watching and reviews counted in hours. Not divided are the time limits of
    playbook steps and their calls: a machine is no faster because people pretend to be. Nor are
    calendars, nor reviews counted in business days. Durations are kept to a millisecond, and one
    that is not zero does not become zero.

    Raises:
        ValueError: The divisor is not above zero.
    """
    if divisor <= 0:
        raise ValueError("the divisor must be above zero")

    def divided(duration: timedelta) -> timedelta:
        if not duration:
            return duration
        return max(_LEAST, timedelta(milliseconds=round(duration / divisor / _LEAST)))

    escalation = {
        name: tuple(_divided(level, divided, "after", "repeat_every") for level in levels)
        for name, levels in policy.escalation.items()
    }
    contacts = {
        name: held.model_copy(
            update={"channels": tuple(_divided(each, divided, "after") for each in held.channels)}
        )
        for name, held in policy.contacts.items()
    }
    announcements = {
        name: held.model_copy(
            update={"prolonged": held.prolonged and _divided(held.prolonged, divided, "after")}
        )
        for name, held in policy.announcements.items()
    }
    grouping = _divided(
        policy.grouping, divided, "wait", "interval", "reopen_within", "auto_resolve_after"
    )
    if grouping.flapping is not None:
        flapping = _divided(grouping.flapping, divided, "within")
        grouping = grouping.model_copy(update={"flapping": flapping})
    # Built anew rather than copied: a copy would carry along what the original has cached.
    return Policy(
        **{
            **{name: getattr(policy, name) for name in Policy.model_fields},
            "severities": tuple(_severity(held, divided) for held in policy.severities),
            "contacts": contacts,
            "escalation": escalation,
            "announcements": announcements,
            "grouping": grouping,
        }
    )


def _severity(held: Severity, divided: _Divide) -> Severity:
    times = _divided(held, divided, "response_target", "acknowledge_timeout")
    parts: dict[str, Any] = {
        "updates": held.updates and _divided(held.updates, divided, "first_within", "every"),
        "public_updates": held.public_updates
        and _divided(held.public_updates, divided, "first_within", "every"),
        "watch": held.watch and _divided(held.watch, divided, "normal"),
        "review": held.review and _divided(held.review, divided, "due_within"),
    }
    return times.model_copy(update=parts)


def _divided(part: P, divided: _Divide, *names: str) -> P:
    held = {name: getattr(part, name) for name in names}
    return part.model_copy(
        update={name: divided(time) for name, time in held.items() if time is not None}
    )
