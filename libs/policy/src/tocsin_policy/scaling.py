"""A policy in a hurry: the same shape, its hours in seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from tocsin_policy.document import Cadence, Part, Policy, Severity

P = TypeVar("P", bound=Part)

_LEAST = timedelta(milliseconds=1)


def scaled(policy: Policy, divisor: float) -> Policy:
    """The policy with what people wait for divided: for demonstrations and rehearsals.

    Divided are escalation levels, response targets, update cadences, acknowledge timeouts, the
    reopening window, automatic resolution and reviews. Not divided are the time limits of
    playbook steps and their calls: a machine is no faster because people pretend to be. Durations
    are kept to a millisecond, and one that is not zero does not become zero.

    Raises:
        ValueError: The divisor is not above zero.
    """
    if divisor <= 0:
        raise ValueError("the divisor must be above zero")

    def divided(duration: timedelta) -> timedelta:
        if not duration:
            return duration
        return max(_LEAST, timedelta(milliseconds=round(duration / divisor / _LEAST)))

    def severity(held: Severity) -> Severity:
        change: dict[str, Any] = {}
        for name in ("response_target", "acknowledge_timeout"):
            duration = getattr(held, name)
            if duration is not None:
                change[name] = divided(duration)
        if held.updates is not None:
            change["updates"] = Cadence(
                first_within=divided(held.updates.first_within), every=divided(held.updates.every)
            )
        if held.review is not None:
            due_within = divided(held.review.due_within)
            change["review"] = held.review.model_copy(update={"due_within": due_within})
        return _changed(held, change)

    escalation = {
        name: tuple(_changed(level, {"after": divided(level.after)}) for level in levels)
        for name, levels in policy.escalation.items()
    }
    grouping = {
        "reopen_within": divided(policy.grouping.reopen_within),
        "auto_resolve_after": divided(policy.grouping.auto_resolve_after),
    }
    # Built anew rather than copied: a copy would carry along what the original has cached.
    return Policy(
        **{
            **{name: getattr(policy, name) for name in Policy.model_fields},
            "severities": tuple(severity(held) for held in policy.severities),
            "escalation": escalation,
            "grouping": _changed(policy.grouping, grouping),
        }
    )


def _changed(part: P, change: dict[str, Any]) -> P:
    return part.model_copy(update=change)
