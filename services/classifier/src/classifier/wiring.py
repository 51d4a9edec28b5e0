"""Which adapter stands behind which port of the classifier."""

from __future__ import annotations

from classifier.handlers import Classifier
from classifier.settings import ClassifierSettings
from tocsin_casebook import Casebook, Policies, Silences
from tocsin_runtime.lifecycle import Runtime
from tocsin_runtime.settings import EngineName
from tocsin_runtime.telemetry import gauge

LANES = ("alerts.urgent", "incidents", "alerts")
"""Urgent alerts first; then what the log says of incidents, so that a storm is judged by it."""


async def wire(runtime: Runtime, _settings: ClassifierSettings) -> None:
    """Put the classifier together."""
    policies = Policies()
    await runtime.follow("policies", policies.apply)
    gauge("tocsin_policies_in_force", "Systems that have a policy", policies.__len__)
    silences = Silences()
    await runtime.follow("silences", silences.apply)
    gauge("tocsin_silences", "Silences known, ended ones included", silences.book.__len__)
    handler = Classifier(
        casebook=Casebook(runtime.reader),
        policies=policies,
        silences=silences,
        publisher=runtime.publisher,
        clock=runtime.clock,
    )
    policies.on_change(handler.reconciler.policy_changed)
    runtime.consume(handler, LANES, engine=EngineName.FAUST)
    runtime.background("agenda", handler.run)
