"""A policy at another pace: two hours of escalation in two minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tocsin_policy.document import Cadence, Policy, Severity


def scaled(policy: Policy, divisor: int) -> Policy:
    """The policy with every deadline divided by `divisor`.

    Levels, response, acknowledgement, updates, review, reopening and resolution are. What a step
    or a call may take is not: the world does not run faster.
    """
    if divisor == 1:
        return policy

    def by(duration: timedelta | None) -> timedelta | None:
        return None if duration is None else duration / divisor

    def severity(whole: Severity) -> Severity:
        update: dict[str, Any] = {
            "response_target": by(whole.response_target),
            "acknowledge_timeout": by(whole.acknowledge_timeout),
        }
        if whole.updates is not None:
            update["updates"] = Cadence(
                first_within=whole.updates.first_within / divisor,
                every=whole.updates.every / divisor,
            )
        if whole.review is not None:
            update["review"] = whole.review.model_copy(
                update={"due_within": whole.review.due_within / divisor}
            )
        return whole.model_copy(update=update)

    escalation = {
        name: tuple(level.model_copy(update={"after": level.after / divisor}) for level in levels)
        for name, levels in policy.escalation.items()
    }
    grouping = policy.grouping.model_copy(
        update={
            "reopen_within": policy.grouping.reopen_within / divisor,
            "auto_resolve_after": policy.grouping.auto_resolve_after / divisor,
        }
    )
    return policy.model_copy(
        update={
            "severities": tuple(severity(whole) for whole in policy.severities),
            "escalation": escalation,
            "grouping": grouping,
        }
    )
