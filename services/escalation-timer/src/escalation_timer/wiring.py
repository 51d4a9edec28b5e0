"""Which adapter stands behind which port of the escalation-timer."""

from __future__ import annotations

from escalation_timer.handlers import EscalationTimer, count_from_zero
from escalation_timer.settings import EscalationTimerSettings
from tocsin_casebook import INCIDENTS, Casebook, Policies
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.telemetry import gauge


async def wire(runtime: Runtime, settings: EscalationTimerSettings) -> None:
    """Put the escalation-timer together."""
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    handler = EscalationTimer(
        casebook=Casebook(runtime.reader),
        policies=policies,
        publisher=runtime.publisher,
        clock=runtime.clock,
        checkpoint_every=settings.checkpoint_every,
    )
    policies.on_change(handler.reconciler.policy_changed)
    count_from_zero()
    runtime.consume(handler, (INCIDENTS,))
    runtime.background("agenda", handler.run)
    runtime.background("checkpoints", handler.checkpoints)
    gauge(
        "tocsin_incidents_with_deadlines",
        "Incidents that have a deadline pending",
        lambda: len(handler.reconciler.agenda),
    )
